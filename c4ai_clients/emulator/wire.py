"""One answer on its way out: framing, faults, and a client that leaves.

Every byte of every answer passes through `Exchange`, so a fault is written
once for all protocols. Rules kept here:

* A body is a script: ``bytes`` to send and ``float`` seconds to wait.
* While waiting, the socket is watched, so a client that hangs up is noticed
  in a silent stall as well; whoever was writing gets `GoneError`.
* A fault's offset counts the bytes that go into the framing, so a cut is at
  the same place of the reply on chunked, sized and close-delimited bodies.
"""

from __future__ import annotations

import json
import re
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable
from email.utils import formatdate
from http.client import responses
from typing import Any, Protocol

from c4ai_clients.emulator.faults import Fault
from c4ai_clients.emulator.replies import Answer
from c4ai_clients.emulator.request import Request

__all__ = [
    "Exchange",
    "GoneError",
    "Headers",
    "Line",
    "Script",
    "Service",
    "compact",
    "join_halves",
    "utf8",
]

Headers = list[tuple[str, str]]
Script = Generator[bytes | float, None, None]

_TICK = 0.1
_WHOLE = frozenset({"status", "rate_limit", "html", "empty", "json", "garbage", "unread"})
_HTML = (
    b"<!doctype html>\n<html><head><title>Just a moment...</title></head>"
    b"<body><h1>Something else is here</h1></body></html>\n"
)


class GoneError(Exception):
    """Nobody listens any more: the client left, a fault cut it, or we stop."""


class Line(Protocol):
    """The socket, as an exchange needs it; `listener.Connection` is one."""

    def send(self, data: bytes) -> None:
        """Send all of it, or raise GoneError."""

    def wait(self, seconds: float, *, watch: bool = True) -> None:
        """Wait; raise GoneError when the client goes or the emulator stops."""

    def reset(self) -> None:
        """Have the socket closed by a reset instead of an orderly end."""

    def play_out(self, script: Script) -> None:
        """Play the rest of a script in its own time, for nobody."""

    def hold_back(self) -> None:
        """Take as few bytes as possible from the client from here on."""


class Service(ABC):
    """One protocol's server side: what the wire asks of it."""

    protocol: str
    keepalive: bytes
    #: Headers that this server puts on every answer.
    headers: tuple[tuple[str, str], ...] = ()

    @abstractmethod
    def step(self, method: str, path: str) -> str:
        """Name what a request is for, from its first line alone."""

    @abstractmethod
    def answer(self, exchange: Exchange) -> None:
        """Answer one request."""

    @abstractmethod
    def refusal(self, status: int) -> tuple[Headers, bytes]:
        """Give headers and body with which a real server refuses."""

    def rate_limit(self) -> tuple[int, Headers, bytes]:
        """Give the answer of a real server that is asked too often."""
        return (429, *self.refusal(429))

    def meets(self, fault: Fault, step: str) -> bool:
        """Say whether a fault is meant for this step."""
        return fault.step == step


class Exchange:
    """One request and the answer to it.

    Attributes:
        request: What was asked.
        fault: What goes wrong this time, if anything.
        close: Whether the connection ends after this answer.
        finished: Whether the body was sent to its end.
    """

    def __init__(
        self,
        line: Line,
        service: Service,
        request: Request,
        fault: Fault | None = None,
        *,
        framing: str = "chunked",
        chunk_tokens: int = 1,
    ) -> None:
        """Prepare to answer; nothing is sent yet."""
        self.request = request
        self.fault = fault
        self.close = False
        self.finished = False
        self._line = line
        self._service = service
        self._framing = framing
        self._chunk_tokens = chunk_tokens
        self._mute = False
        self._drip: float | None = None
        self._sent = 0
        self._chunked = False
        self._gzip: Any = None
        self._due = fault if fault and fault.kind in _AT else None

    def run(self) -> None:
        """Answer the request, in the protocol's way or in the fault's."""
        fault = self.fault
        kind = fault.kind if fault else ""
        if fault and kind in _WHOLE:
            self._instead(fault)
        elif fault and kind == "deaf":
            self._mute = True
            if fault.body == b"processed":
                self._service.answer(self)
            raise GoneError("deaf")
        else:
            self._service.answer(self)
        if kind == "close":
            self.close = True

    def send(
        self, status: int, headers: Headers, body: bytes = b"", *, chunked: bool = False
    ) -> None:
        """Send a whole answer."""
        self._begin(status, headers, "chunked" if chunked else "length", len(body))
        if body:
            self._write(body)
        self._end()

    def json(self, value: object, *, status: int = 200, headers: Headers | None = None) -> None:
        """Send a JSON answer, sized."""
        head = [("content-type", "application/json"), *(headers or [])]
        self.send(status, head, compact(value))

    def stream(
        self,
        status: int,
        headers: Headers,
        script: Script,
        *,
        survives: bool = False,
        live: bool = False,
    ) -> None:
        """Send a body piece by piece as the script says.

        Args:
            status: The answer's status.
            headers: Without those of the framing.
            script: Bytes to send and seconds to wait.
            survives: When the client goes, play the script to its end all the
                same, unheard; otherwise it is closed there.
            live: The script waits for something else to happen, so its size
                cannot be known in advance.
        """
        try:
            self._play(status, headers, script, live)
        except GoneError:
            if survives:
                self._line.play_out(script)
            else:
                script.close()
            raise

    def failing(self, answer: Answer) -> Answer:
        """Give the model's answer, or one that fails as an "upstream" fault says."""
        fault = self.fault
        if fault is None or fault.kind != "upstream":
            return answer
        said = fault.body.decode() if fault.body else "mid-stream upstream error"
        return answer.failing(said, fault.at)

    def wait(self, seconds: float) -> None:
        """Wait, unless nobody would hear the answer any more."""
        if not self._mute:
            self._line.wait(seconds)

    def _play(self, status: int, headers: Headers, script: Script, live: bool) -> None:
        framing = "chunked" if live else self._framing
        if framing == "gzip" and "gzip" not in self.request.header("accept-encoding"):
            framing = "chunked"
        if self.fault and self.fault.kind == "length":
            framing = "length"
        pieces: Iterable[bytes | float] = script
        length = 0
        if framing == "length":
            # The size must be known first, so the answer is made in advance.
            pieces = list(script)
            length = sum(len(piece) for piece in pieces if isinstance(piece, bytes))
        self._begin(status, headers, framing, length)
        held: list[bytes] = []
        for piece in pieces:
            if isinstance(piece, bytes):
                held.append(piece)
            else:
                self.wait(piece)
            if len(held) >= self._chunk_tokens:
                self._write(b"".join(held))
                held.clear()
        if held:
            self._write(b"".join(held))
        self._end()

    def _instead(self, fault: Fault) -> None:
        if fault.kind == "unread":
            self._line.hold_back()
            self._line.wait(fault.seconds or 30.0, watch=False)
            raise GoneError("unread")
        status, headers, body = 200, [("content-type", "text/html; charset=utf-8")], b""
        if fault.kind == "status":
            status = fault.status or 500
            headers, body = self._service.refusal(status)
        elif fault.kind == "rate_limit":
            status, headers, body = self._service.rate_limit()
        elif fault.kind == "html":
            body = _HTML
        elif fault.kind == "json":
            headers = [("content-type", "application/json")]
            body = compact({"error": "the model is not here today"})
        elif fault.kind == "garbage":
            headers = [("content-type", "application/octet-stream")]
            body = b"\x00\xff\xfe neither lines nor events \x80\x81\r\r{]\n\n"
        self.send(status, headers, body if fault.body is None else fault.body)

    def _begin(self, status: int, headers: Headers, framing: str, length: int) -> None:
        fault = self.fault
        if fault and fault.kind == "informational":
            code = fault.status or 103
            link = "Link: </style.css>; rel=preload\r\n" if code == 103 else ""
            head = f"HTTP/1.1 {code} {responses.get(code, '')}\r\n{link}\r\n"
            self._raw(head.encode() * (fault.at or 1))
        if self._due and self._due.at is None and self._due.kind != "keepalives":
            self._fire(b"")
        if fault and fault.kind == "length":
            framing, length, self.close = "length", length + 1000, True
        self._chunked = framing in ("chunked", "gzip")
        self.close = self.close or framing == "close"
        if framing == "gzip":
            self._gzip = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
        self._raw(self._head(status, headers, framing, length))
        if self._due and self._due.at == 0:
            self._fire(b"")

    def _head(self, status: int, headers: Headers, framing: str, length: int) -> bytes:
        extra = dict(self.fault.headers or {}) if self.fault else {}
        if extra.get("Connection", "").lower() == "close":
            self.close = True
        told = [*headers, *self._service.headers, ("Date", formatdate(usegmt=True))]
        told.append(("Connection", "close" if self.close else "keep-alive"))
        if framing == "gzip":
            told.append(("Content-Encoding", "gzip"))
        if self._chunked:
            told.append(("Transfer-Encoding", "chunked"))
        elif framing == "length":
            told.append(("Content-Length", str(length)))
        taken = {name.lower() for name in extra}
        told = [pair for pair in told if pair[0].lower() not in taken]
        lines = [f"{name}: {value}" for name, value in (*told, *extra.items())]
        first = f"HTTP/1.1 {status} {responses.get(status, '')}"
        return "\r\n".join([first, *lines, "", ""]).encode("utf-8")

    def _write(self, data: bytes) -> None:
        if self.request.method == "HEAD":
            return
        if self._gzip:
            data = self._gzip.compress(data) + self._gzip.flush(zlib.Z_SYNC_FLUSH)
        due = self._due
        if due and due.kind == "keepalives" and self._sent >= (due.at or 0):
            self._fire(b"")
        self._payload(data)

    def _payload(self, data: bytes) -> None:
        opening = f"{len(data):x}\r\n".encode() if self._chunked else b""
        closing = b"\r\n" if self._chunked else b""
        due = self._due
        if due and due.at is not None and due.kind != "keepalives":
            first = due.at - self._sent
            if 0 <= first < len(data):
                # The chunk is announced whole: real proxies cut inside one too.
                self._fire(opening + data[:first] if first else b"")
                opening, data = (b"" if first else opening), data[first:]
                self._sent += first
        self._raw(opening + data + closing)
        self._sent += len(data)

    def _end(self) -> None:
        if self.request.method == "HEAD":
            self.finished = True
            return
        if self._due and self._due.at == self._sent:
            self._fire(b"")
        if self._gzip:
            rest, self._gzip = self._gzip.flush(), None
            self._payload(rest)
        if self.fault and self.fault.kind == "tail":
            self.wait(self.fault.seconds or 1.0)
        if self._chunked:
            self._raw(b"0\r\n\r\n")
        self.finished = True

    def _fire(self, before: bytes) -> None:
        fault, self._due = self._due, None
        if fault is None:
            return
        if before:
            self._raw(before)
        _AT[fault.kind](self, fault)

    def _raw(self, data: bytes) -> None:
        if self._mute:
            return
        if self._drip is None:
            self._line.send(data)
            return
        for number in data:
            self._line.send(bytes((number,)))
            self._line.wait(self._drip)

    def _cut(self, _fault: Fault) -> None:
        raise GoneError("cut")

    def _reset(self, _fault: Fault) -> None:
        self._line.reset()
        raise GoneError("reset")

    def _say(self, fault: Fault) -> None:
        self._raw(fault.body or b"")
        while fault.again and not self._mute:
            self._raw(fault.again)
        self.wait(fault.seconds or 0.0)
        raise GoneError("raw")

    def _stall(self, fault: Fault) -> None:
        self.wait(30.0 if fault.seconds is None else fault.seconds)

    def _drop_by_drop(self, fault: Fault) -> None:
        self._drip = 0.05 if fault.seconds is None else fault.seconds

    def _keep_alive(self, fault: Fault) -> None:
        end = time.monotonic() + (30.0 if fault.seconds is None else fault.seconds)
        while time.monotonic() < end:
            data = self._service.keepalive
            if self._gzip:
                data = self._gzip.compress(data) + self._gzip.flush(zlib.Z_SYNC_FLUSH)
            self._payload(data)
            self.wait(_TICK)


_AT: dict[str, Callable[[Exchange, Fault], None]] = {
    "cut": Exchange._cut,
    "reset": Exchange._reset,
    "stall": Exchange._stall,
    "drip": Exchange._drop_by_drop,
    "raw": Exchange._say,
    "keepalives": Exchange._keep_alive,
}


def join_halves(text: str) -> str:
    """Make one character of two surrogate halves that stand together."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def utf8(text: str) -> bytes:
    """Encode JSON text; a lone surrogate half is escaped, as JavaScript does."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        half = re.compile("[\ud800-\udfff]")
        text = half.sub(lambda found: f"\\u{ord(found[0]):04x}", join_halves(text))
        return text.encode("utf-8")


def compact(value: object) -> bytes:
    """Write JSON as JavaScript does: compact and in raw UTF-8."""
    return utf8(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
