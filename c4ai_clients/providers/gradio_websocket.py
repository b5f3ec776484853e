"""Gradio 3.50's queue, a websocket; needs websocket-client (extra ``[gradio3]``).

1. ``GET /queue/join`` asks for the upgrade, a request like any other: login,
   proxy, TLS, clocks and ``cancel()`` are the transport's.
2. The server says ``send_hash`` and is told listener and session; then the
   queue's messages as in 4.0, whole values only; ``send_data`` asks for the message.
3. ``process_completed`` ends the reply, and the server closes with 1000.

websocket-client reads and writes the frames, over the transport's connection.
Seen on a server of 3.50.2.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..decoding import loads
from ..errors import C4AIError, IncompleteReplyError, ProtocolError, UsageError, quote
from .gradio_messages import refusal
from .gradio_queue import EVENT_LIMIT, Question, Said

if TYPE_CHECKING:
    from ..connections import Line

__all__ = ["talked"]

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def talked(question: Question) -> Said:
    """Ask over a websocket; yield the queue's messages."""
    client = _websocket_client()
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    with question.transport.open(
        question.turn.call,
        "GET",
        "/queue/join",
        phase="stream",
        headers={
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": key,
        },
        cookies=question.turn.conversation.cookies,
        refusal=refusal,
    ) as answer:
        wanted = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()
        if answer.status != 101 or answer.header("sec-websocket-accept") != wanted:
            raise ProtocolError(f"the server opens no websocket: it answered {answer.status}")
        talk = _Talk(client, answer.line())
        yield {}
        for message in question.messages(talk.records(), loads):
            kind = message.get("msg")
            if kind == "send_hash":
                body = question.body
                talk.say({name: body[name] for name in ("fn_index", "session_hash")})
            elif kind == "send_data":
                talk.say(question.body)
            else:
                yield message
                if kind == "process_completed":
                    return


class _Talk:
    """Records over a connection that was upgraded."""

    def __init__(self, client: Any, line: Line) -> None:
        self._client = client
        self._socket = _Socket(line)
        self._talk = client.WebSocket(skip_utf8_validation=True)
        self._talk.sock = self._socket
        self._talk.connected = True

    def say(self, value: dict[str, Any]) -> None:
        """Send a record."""
        self._talk.send(json.dumps(value))

    def records(self) -> Iterator[bytes]:
        """Yield what the server says, until it closes."""
        client = self._client
        while True:
            self._socket.received = 0
            try:
                opcode, data = self._talk.recv_data()
            except client.WebSocketConnectionClosedException as error:
                raise IncompleteReplyError(
                    "the connection ended before the answer was complete; ask again"
                ) from error
            except client.WebSocketException as error:
                if self._socket.failure is not None:
                    raise self._socket.failure from None
                raise ProtocolError(f"no websocket frame: {quote(str(error))}") from error
            if opcode == client.ABNF.OPCODE_CLOSE:
                return
            yield data


class _Socket:
    """The transport's connection as websocket-client wants a socket.

    Attributes:
        received: Bytes of the present record.
        failure: The error of ours that a wait ended in: a TimeoutError is
            turned into another one on its way up.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self.received = 0
        self.failure: C4AIError | None = None

    def recv(self, size: int) -> bytes:
        try:
            data = self._line.read(size)
        except C4AIError as error:
            self.failure = error
            raise
        self.received += len(data)
        if self.received > EVENT_LIMIT:
            raise ProtocolError(f"a message is longer than {EVENT_LIMIT:,} bytes")
        return data

    def send(self, data: bytes) -> int:
        try:
            self._line.write(data)
        except C4AIError as error:
            self.failure = error
            raise
        return len(data)

    def gettimeout(self) -> None:
        """Say that it waits: the connection's own clocks end that."""

    def close(self) -> None:
        """Leave that to the transport, which has opened it."""


def _websocket_client() -> Any:
    try:
        import websocket
    except ImportError as error:
        raise UsageError(
            "this app is Gradio 3, whose queue is a websocket: pip install 'c4ai-clients[gradio3]'"
        ) from error
    if not hasattr(websocket, "ABNF"):
        raise UsageError(
            "the module websocket comes from another package: "
            "pip uninstall websocket, then pip install --force-reinstall websocket-client"
        )
    return websocket
