"""A loopback server that answers with what a real one was recorded to say.

Each request is given the next recorded exchange of its method and path that
nobody has had yet, byte for byte and chunk by chunk, over a real socket: ids
in a path stand for any other, and the query does not count. Where a recorded
body was cut, this one is cut; where its client left first, the server waits.

    with replay("chatui/A/first_and_second_turn") as server:
        H2O(server.url)

A recorded websocket is spoken again, frame by frame; what the client says is
kept as a request of its own, with the method ``WS``.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import io
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CAPTURES = Path(__file__).parent / "captures"

_ID = re.compile(
    r"(?<=/)(?:[0-9a-f]{24,64}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?=/|$)", re.IGNORECASE
)
_FRAMING = ("transfer-encoding", "content-length", "connection", "keep-alive")
_CUT = ("truncated", "eof_before_end", "eof")
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_LEFT = ("client-closed", "closed_by_client", "client_timeout", "TimeoutError")


@dataclass
class Exchange:
    """One recorded request and its answer; ``end`` tells how the body ended."""

    method: str
    path: str
    status: int
    reason: str
    headers: list[tuple[str, str]]
    chunks: list[tuple[float, bytes]]
    end: str
    request: bytes = field(repr=False, default=b"")
    frames: list[tuple[bool, int, bytes]] = field(repr=False, default_factory=list)

    @property
    def body(self) -> bytes:
        """The whole body, as far as it was recorded."""
        return b"".join(chunk for _, chunk in self.chunks)


@dataclass
class Request:
    """One request that came."""

    method: str
    path: str
    headers: http.client.HTTPMessage
    body: bytes


def recorded(case: str) -> list[Exchange]:
    """Read a recording, such as ``"gradio/5.50.0/first_turn"``, in the order of its requests."""
    with open(CAPTURES / f"{case}.jsonl", encoding="utf-8") as opened:
        rows = [json.loads(line) for line in opened]
    rows.sort(key=lambda row: row.get("started", row.get("at_ms", 0)))
    return [_exchange(row) for row in rows if "error" not in row]


def _exchange(row: dict[str, Any]) -> Exchange:
    status_line = row.get("status_line", "HTTP/1.1 200").split(" ", 2)
    chunks = row.get("chunks", row.get("body")) or []
    return Exchange(
        method=row["method"],
        path=row["path"],
        status=row["status"],
        reason=row.get("reason", status_line[-1]),
        headers=[(name, value) for name, value in row["response_headers"]],
        chunks=[(ms, base64.b64decode(chunk)) for ms, chunk in chunks],
        end=str(row.get("end", row.get("ended"))),
        request=base64.b64decode(row.get("request_body") or ""),
        frames=[
            (side == "server", opcode, base64.b64decode(data))
            for _, side, opcode, data in (row.get("frames") or [] if row["status"] == 101 else [])
        ],
    )


def _pattern(path: str) -> str:
    return _ID.sub("*", urlsplit(path).path)


class Replay:
    """The running server.

    Attributes:
        url: Its base URL.
        exchanges: What was recorded.
        left: What of it nobody has asked for yet.
        requests: What was asked.
        unexpected: Methods and paths of requests that no recording answers.
    """

    def __init__(self, exchanges: list[Exchange], pace: float) -> None:
        self.exchanges = exchanges
        self.left = list(exchanges)
        self.requests: list[Request] = []
        self.unexpected: list[str] = []
        self._pace = pace
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._live: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, name="replay")]
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
            thread = threading.Thread(target=self._serve, args=(sock,), name="replay")
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
        self, sock: socket.socket, reader: io.BufferedReader, request: Request, exchange: Exchange
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
                self.requests.append(Request("WS", request.path, request.headers, said))
        if exchange.end in _LEFT:
            sock.recv(1)

    def _next(self, request: Request) -> Exchange:
        asked = (request.method, _pattern(request.path))
        with self._lock:
            self.requests.append(request)
            for exchange in self.left:
                if asked == (exchange.method, _pattern(exchange.path)):
                    self.left.remove(exchange)
                    return exchange
            self.unexpected.append(f"{request.method} {request.path}")
        headers = [("content-type", "text/plain"), ("content-length", "0")]
        return Exchange(request.method, request.path, 404, "Not Found", headers, [], "complete")


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


def _read(reader: io.BufferedReader) -> Request | None:
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
    return Request(line[0].decode(), line[1].decode(), headers, body)


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
    sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    start = time.monotonic()
    for ms, chunk in exchange.chunks:
        time.sleep(max(0.0, start + pace * ms / 1000 - time.monotonic()))
        if chunk:
            sock.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk) if chunked else chunk)
    if chunked and exchange.end not in _CUT + _LEFT:
        sock.sendall(b"0\r\n\r\n")


@contextlib.contextmanager
def replay(case: str, *, pace: float = 0.0) -> Iterator[Replay]:
    """Serve a recording.

    Args:
        case: Below ``tests/captures``, without ``.jsonl``.
        pace: 1 waits between chunks as the real server did, 0 not at all.
    """
    server = Replay(recorded(case), pace)
    try:
        yield server
    finally:
        server.stop()
