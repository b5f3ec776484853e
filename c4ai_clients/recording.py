"""``record``: what a client and its server say to each other, kept in a file.

Rules that this file keeps:

1. What is secret is not written: of the request's headers those that are known
   to be plain, of cookies their names; and wherever else a secret of the
   request stands, or a cookie that its answer sets, ``***``.
2. An exchange is written when it has ended, as one line; see
   :mod:`c4ai_clients.emulator.replay` for what stands in it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .emulator.replay import replay
from .errors import UsageError
from .secret import is_plain, without

if TYPE_CHECKING:
    from .client import ChatClient

__all__ = ["record", "replay"]

_COOKIE = re.compile(r"^([^=;]*)=[^;]*")


@contextlib.contextmanager
def record(client: ChatClient, path: str | os.PathLike[str]) -> Iterator[None]:
    """Keep in *path* all that *client* and its server say within the block.

    For example::

        with record(client, "sky.jsonl"):
            client.chat("Why is the sky blue?")

    :func:`replay` answers from the file. Keys, cookies and passwords are left
    out; prompts and answers are what it is for. The file is its owner's alone
    (mode 0600), and must not exist yet.

    Raises:
        UsageError: The file is there already, or cannot be written; the client
            is being recorded already.
    """
    transport = client._transport
    if transport.tap is not None:
        raise UsageError("this client is being recorded already")
    name = os.fspath(path)
    try:
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(f"{name} is there already: name a new file") from None
    except OSError as error:
        raise UsageError(f"cannot write {name}: {error.strerror}") from error
    with os.fdopen(handle, "w", encoding="ascii") as opened:
        recorder = _Recorder(opened)
        transport.tap = recorder.tap
        try:
            yield
        finally:
            try:
                client.close()  # waits for goodbyes, which are said when a reply is over
            finally:
                transport.tap = None
                recorder.end()


class _Recorder:
    """Writes exchanges to a file, each when it has ended."""

    def __init__(self, opened: Any) -> None:
        self._opened = opened
        self._lock = threading.Lock()
        self._began = monotonic()
        self._open: dict[int, _Body] = {}
        self._over = False

    def tap(self, prepared: Any, response: Any, secrets: Iterable[str]) -> None:
        """Begin an exchange whose answer's headers have come."""
        if response.status_code == 101:
            raise UsageError("a Gradio before 4 speaks a websocket, which record() does not keep")
        said = response.raw
        server = "{0.scheme}://{0.netloc}".format(urlsplit(prepared.url))
        row = {
            "at_ms": _milliseconds(self._began),
            "method": prepared.method,
            "path": prepared.path_url,
            "request_headers": {
                name: value for name, value in prepared.headers.items() if is_plain(name)
            },
            "request_body": _bytes(prepared.body),
            "status": response.status_code,
            "reason": response.reason or "",
            "response_headers": [
                [name, _plain(name.lower(), value, server)] for name, value in said.headers.items()
            ],
        }
        withheld = list(secrets)
        body = _Body(said, self._began, lambda ended: self._write(ended, row, withheld))
        with self._lock:
            if self._over:  # another thread's, which asked just before the end
                return
            self._open[id(body)] = body
        response.raw = body

    def end(self) -> None:
        """Write what is still open, as far as it has come."""
        with self._lock:
            self._over = True
            unended = list(self._open.values())
        for body in unended:
            body.end("client-closed")

    def _write(self, body: _Body, row: dict[str, Any], secrets: list[str]) -> None:
        shown = [(ms, chunk) for ms, chunk in body.chunks]
        whole = b"".join(chunk for _, chunk in shown)
        clean = without(whole, secrets)
        if clean != whole:  # it may stand in several pieces, so they become one
            shown = [(shown[0][0], clean)]
        row["request_body"] = _text(without(row["request_body"], secrets))
        row["path"] = without(row["path"], secrets)
        row["response_headers"] = [
            [name, without(value, secrets)] for name, value in row["response_headers"]
        ]
        row["chunks"] = [[ms, _text(chunk)] for ms, chunk in shown]
        row["end"] = body.ended
        with self._lock:
            if self._open.pop(id(body), None) is not None:
                self._opened.write(json.dumps(row) + "\n")
                self._opened.flush()


class _Body:
    """An answer's body that notes what is read of it."""

    def __init__(self, raw: Any, began: float, ended: Any) -> None:
        self.chunks: list[tuple[float, bytes]] = []
        self.ended = ""
        self._raw = raw
        self._began = began
        self._tell = ended

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def read1(self, *args: Any, **how: Any) -> bytes:
        """Return what has come, and note it."""
        try:
            chunk: bytes = self._raw.read1(*args, **how)
        except Exception:  # whatever ended it is noted, and goes on
            self.end("cut")
            raise
        if chunk:
            self.chunks.append((_milliseconds(self._began), chunk))
        else:
            self.end("complete")
        return chunk

    def close(self) -> None:
        """Close the answer; where it has not ended, its client left."""
        self._raw.close()
        self.end("client-closed")

    def end(self, how: str) -> None:
        """Note the end, once."""
        if not self.ended:
            self.ended = how
            self._tell(self)


def _plain(header: str, value: str, server: str) -> str:
    """Return a header's value without a cookie's own, and without the server's name."""
    if header == "set-cookie":
        return _COOKIE.sub(r"\1=***", value)
    return value.removeprefix(server) if header == "location" else value


def _milliseconds(began: float) -> float:
    return round((monotonic() - began) * 1000, 1)


def _bytes(body: Any) -> bytes:
    return body.encode() if isinstance(body, str) else body or b""


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
