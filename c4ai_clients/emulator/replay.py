"""A loopback server that answers with what a real one was recorded to say.

A recording is a file of JSON lines, one exchange each::

    {"method": "POST", "path": "/conversation", "request_headers": {…},
     "request_body": BASE64, "status": 200, "reason": "OK",
     "response_headers": [[NAME, VALUE], …], "chunks": [[MS, BASE64], …],
     "end": "complete"}

``chunks`` are the pieces of the body as they came, without their framing and
compression, each with the milliseconds since the request; ``end`` is
``complete``, ``cut``, or ``client-closed`` where the client left first. A
websocket (Gradio before 4) has ``frames`` instead, ``[MS, "server" or
"client", OPCODE, BASE64]`` each.

Each request is given the next recorded exchange of its method and path that
nobody has had yet, piece by piece, over a real socket: ids in a path stand for
any other, and the query does not count there. Of several it is the first that
asked the same, in the same conversation where that can be told.
"""

from __future__ import annotations

import base64
import codecs
import contextlib
import hashlib
import http.client
import io
import json
import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from os import PathLike
from typing import Any
from urllib.parse import parse_qsl, urlsplit

__all__ = ["Asked", "Exchange", "Replay", "exchanges", "replay", "replies"]

_ID = re.compile(
    r"(?<![0-9a-zA-Z])(?:[0-9a-f]{24,64}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r"(?![0-9a-zA-Z])",
    re.IGNORECASE,
)
_SESSION = re.compile(r'("session_hash": ?)"[^"]*"')
_FRAMING = ("transfer-encoding", "content-length", "content-encoding", "connection", "keep-alive")
_CUT = ("cut", "truncated", "eof_before_end", "eof")
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_LEFT = ("client-closed", "closed_by_client", "client_timeout", "TimeoutError")
_GRACE = 2.0  # seconds for a goodbye that is still on its way


@dataclass
class Exchange:
    """One recorded request and its answer.

    Attributes:
        chunks: Milliseconds since the request and bytes of each piece of the body.
        end: How the body ended.
        request: The request's body.
        request_type: Its ``Content-Type``.
        frames: Of a websocket: whether the server said it, opcode and data.
    """

    method: str
    path: str
    status: int
    reason: str
    headers: list[tuple[str, str]]
    chunks: list[tuple[float, bytes]]
    end: str
    request: bytes = field(repr=False, default=b"")
    request_type: str = ""
    frames: list[tuple[bool, int, bytes]] = field(repr=False, default_factory=list)

    @property
    def body(self) -> bytes:
        """The whole body, as far as it was recorded."""
        return b"".join(chunk for _, chunk in self.chunks)


@dataclass
class Asked:
    """One request that came."""

    method: str
    path: str
    headers: http.client.HTTPMessage
    body: bytes = field(repr=False)


def exchanges(path: str | PathLike[str]) -> list[Exchange]:
    """Read a recording, in the order of its requests.

    Raises:
        ValueError: The file cannot be read, or holds something else; says which line.
    """
    rows = []
    try:
        with open(path, "rb") as opened:
            lines = opened.read().removeprefix(codecs.BOM_UTF8).split(b"\n")
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if "error" not in row:
                began = float(row.get("started", row.get("at_ms", number)))
                rows.append((began, _exchange(row)))
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is no recording: its line {number} holds no recorded exchange"
            ) from error
    rows.sort(key=lambda row: row[0])
    return [exchange for _, exchange in rows]


def _exchange(row: dict[str, Any]) -> Exchange:
    status_line = row.get("status_line", "HTTP/1.1 200").split(" ", 2)
    return Exchange(
        method=str(row["method"]),
        path=str(row["path"]),
        status=int(row["status"]),
        reason=row.get("reason", status_line[-1]),
        headers=[(name, value) for name, value in row["response_headers"]],
        chunks=[
            (float(ms), _bytes(chunk)) for ms, chunk in row.get("chunks", row.get("body")) or []
        ],
        end=str(row.get("end", row.get("ended"))),
        request_type=str(_lower(row.get("request_headers")).get("content-type", "")),
        request=_bytes(row.get("request_body") or ""),
        frames=[
            (side == "server", opcode, _bytes(data))
            for _, side, opcode, data in (row.get("frames") or [] if row["status"] == 101 else [])
        ],
    )


def _bytes(encoded: str) -> bytes:
    return base64.b64decode(encoded, validate=True)


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in dict(headers or {}).items()}


def _pattern(path: str) -> str:
    return _ID.sub("*", urlsplit(path).path)


def _plain(path: str, body: bytes, content_type: str) -> tuple[dict[str, str], str]:
    """Return a request's query and body without what its client makes up anew each time."""
    query = dict(parse_qsl(urlsplit(path).query, keep_blank_values=True))
    query = {name: "*" if name == "session_hash" else _ID.sub("*", query[name]) for name in query}
    text = body.decode("utf-8", "replace")
    _, _, boundary = content_type.partition("boundary=")
    if boundary:
        text = text.replace(boundary, "boundary")
    return query, _ID.sub("*", _SESSION.sub(r"\1*", text))


class Replay:
    """The running server.

    Args:
        exchanges: What to answer with.
        pace: 1 waits between pieces as the recorded server did, 0 not at all.

    Attributes:
        url: Its base URL.
        exchanges: What was recorded.
        left: What of it nobody has asked for yet.
        requests: What was asked.
        unexpected: Methods and paths of requests that no recording answers.
        differing: Where a request was another than the recorded one.
    """

    def __init__(self, exchanges: Iterable[Exchange], pace: float = 0.0) -> None:
        """Open a port and begin to answer."""
        self.exchanges = list(exchanges)
        self.left = list(self.exchanges)
        self.requests: list[Asked] = []
        self.unexpected: list[str] = []
        self.differing: list[str] = []
        self._pace = pace
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._live: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, name="replay", daemon=True)]
        self._threads[0].start()

    def stop(self) -> None:
        """Close every socket and join every thread."""
        self._ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        with self._lock:
            for sock in self._live:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._serve, args=(sock,), name="replay", daemon=True)
            with self._lock:
                self._live.append(sock)
                self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock, sock.makefile("rb") as reader:
            while not self._ended.is_set() and (request := _read(reader)) is not None:
                exchange = self._next(request)
                if exchange.frames:
                    self._talk(sock, reader, request, exchange)
                    return
                _send(sock, exchange, self._pace)
                if exchange.end in _LEFT:
                    sock.recv(1)
                if exchange.end in _LEFT + _CUT:
                    return

    def _talk(
        self, sock: socket.socket, reader: io.BufferedReader, request: Asked, exchange: Exchange
    ) -> None:
        """Speak a recorded websocket."""
        key = (request.headers["sec-websocket-key"] + _GUID).encode()
        accept = base64.b64encode(hashlib.sha1(key).digest()).decode()
        head = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        sock.sendall("\r\n".join([*head, f"Sec-WebSocket-Accept: {accept}", "", ""]).encode())
        for ours, opcode, data in exchange.frames:
            if ours:
                sock.sendall(_frame(opcode, data))
                continue
            opcode, said = _read_frame(reader)
            if opcode == 8:
                return
            with self._lock:
                self.requests.append(Asked("WS", request.path, request.headers, said))
        if exchange.end in _LEFT:
            sock.recv(1)

    def _next(self, request: Asked) -> Exchange:
        asked = (request.method, _pattern(request.path))
        sent = _plain(request.path, request.body, request.headers.get("content-type", ""))

        def differs(each: Exchange) -> tuple[bool, bool]:
            recorded = _plain(each.path, each.request, each.request_type)
            return sent != recorded, request.path != each.path

        with self._lock:
            self.requests.append(request)
            fitting = [each for each in self.left if asked == (each.method, _pattern(each.path))]
            if fitting:
                exchange = min(fitting, key=differs)
                if differs(exchange)[0]:
                    self.differing.append(_difference(request, exchange, sent))
                self.left.remove(exchange)
                return exchange
            self.unexpected.append(f"{request.method} {request.path}")
        headers = [("content-type", "text/plain"), ("content-length", "0")]
        return Exchange(request.method, request.path, 404, "Not Found", headers, [], "complete")

    def check(self) -> None:
        """Compare what was asked with what was recorded.

        Raises:
            AssertionError: A request was another, was not recorded, or was not
                made; says which.
        """
        end = time.monotonic() + _GRACE
        while self.left and time.monotonic() < end:
            time.sleep(0.01)
        with self._lock:
            wrong = [f"{each}: not recorded" for each in self.unexpected]
            wrong += self.differing
            wrong += [f"{each.method} {each.path}: not asked for" for each in self.left]
        if wrong:
            raise AssertionError("other requests than the recorded ones:\n" + "\n".join(wrong))


def _difference(request: Asked, exchange: Exchange, sent: tuple[dict[str, str], str]) -> str:
    """Say where a request is another than the recorded one, and quote both there."""
    recorded = _plain(exchange.path, exchange.request, exchange.request_type)
    what = f"{request.method} {_pattern(request.path)}"
    if sent[0] != recorded[0]:
        return f"{what}: the query is {sent[0]}, recorded {recorded[0]}"
    text, other = sent[1], recorded[1]
    at = next(
        (i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b),
        min(len(text), len(other)),
    )
    start = max(0, at - 30)
    return f"{what}: the body is {text[start : at + 60]!r}, recorded {other[start : at + 60]!r}"


def _frame(opcode: int, data: bytes) -> bytes:
    size = len(data)
    if size < 126:
        return bytes((0x80 | opcode, size)) + data
    if size < 1 << 16:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + data
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + data


def _read_frame(reader: io.BufferedReader) -> tuple[int, bytes]:
    """Read one of the client's frames, which are masked; an opcode and its data."""
    head = reader.read(2)
    if len(head) < 2:
        return 8, b""
    assert head[1] & 0x80, "a client's frame is masked"
    size = head[1] & 0x7F
    if size > 125:
        size = int.from_bytes(reader.read(2 if size == 126 else 8), "big")
    mask = reader.read(4)
    data = reader.read(size)
    return head[0] & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))


def _read(reader: io.BufferedReader) -> Asked | None:
    line = reader.readline().split()
    if len(line) != 3:
        return None
    headers = http.client.parse_headers(reader)
    body = b""
    if headers.get("transfer-encoding"):
        while size := int(reader.readline(), 16):
            body += reader.read(size)
            reader.readline()
        reader.readline()
    elif length := headers.get("content-length"):
        body = reader.read(int(length))
    return Asked(line[0].decode(), line[1].decode(), headers, body)


def _send(sock: socket.socket, exchange: Exchange, pace: float) -> None:
    """Send an answer in the framing that it was recorded in."""
    names = [name.lower() for name, _ in exchange.headers]
    chunked = "transfer-encoding" in names
    lines = [f"HTTP/1.1 {exchange.status} {exchange.reason}"]
    lines += [
        f"{name}: {value}" for name, value in exchange.headers if name.lower() not in _FRAMING
    ]
    if chunked:
        lines.append("Transfer-Encoding: chunked")
    else:
        lines.append(f"Content-Length: {len(exchange.body)}")
    sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1", "replace"))
    start = time.monotonic()
    for ms, chunk in exchange.chunks:
        time.sleep(max(0.0, start + pace * ms / 1000 - time.monotonic()))
        if chunk:
            sock.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk) if chunked else chunk)
    if chunked and exchange.end not in _CUT + _LEFT:
        sock.sendall(b"0\r\n\r\n")


@contextlib.contextmanager
def replay(path: str | PathLike[str], *, pace: float = 0.0) -> Iterator[Replay]:
    """Serve a recording, and check on leaving that the same was asked.

    For example::

        with replay("sky.jsonl") as server, ChatUI(server.url) as client:
            client.chat("Why is the sky blue?")

    Args:
        path: A file that :func:`~c4ai_clients.recording.record` wrote.
        pace: 1 waits between pieces as the recorded server did, 0 not at all.

    Raises:
        ValueError: The file cannot be read, or holds something else.
        AssertionError: On leaving without another error: a request was not
            the recorded one, was not recorded, or was not made.
    """
    server = Replay(exchanges(path), pace)
    try:
        yield server
        server.check()
    finally:
        server.stop()


def replies(path: str | PathLike[str]) -> list[str]:
    """Return the texts of the answers in a recording, in their order.

    An answer that did not become complete is left out.

    Raises:
        ValueError: The file cannot be read, or holds no recording.
    """
    found = (_said(exchange.body) for exchange in exchanges(path))
    return [text for text in found if text is not None]


def _said(body: bytes) -> str | None:
    """Return the text of the answer in a streamed body, None where there is none."""
    tokens: list[str] = []
    text: str | None = None
    for line in body.splitlines():
        data = line.removeprefix(b"data:").strip()
        if data == b"[DONE]":
            text = "".join(tokens)
        if not data.startswith(b"{"):
            continue
        try:
            said = json.loads(data)
        except ValueError:
            continue
        if said.get("type") == "finalAnswer":
            text = said.get("text")
        elif isinstance(said.get("generated_text"), str):
            text = said["generated_text"]
        elif said.get("msg") == "process_completed" and said.get("success", True):
            text = _last_text((said.get("output") or {}).get("data"))
        deltas = (choice.get("delta") or {} for choice in said.get("choices") or ())
        tokens += (delta.get("content") or "" for delta in deltas)
    return text


def _last_text(value: Any) -> str | None:
    """Return what stands last in the last history among a Gradio app's outputs."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return _last_text(value.get("content", value.get("text")))
    if isinstance(value, list):
        nested = [each for each in value if isinstance(each, list | dict) and each]
        return _last_text((nested or value)[-1]) if value else None
    return None
