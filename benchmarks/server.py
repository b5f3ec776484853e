"""The server that the clients are measured against: raw sockets, bytes made beforehand.

``python -m benchmarks.server CORE`` prints its port. The first part of a path
says what to answer, ``/PROTOCOL,TOKENS,TOKENS A CHUNK,FRAMING,TOKENS A SECOND/…``;
behind it stand the protocol's own paths. Where a rate is given, each token is
the time of its sending, in seconds of the clock that all processes share.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import json
import os
import socket
import sys
import threading
import time
import zlib
from dataclasses import dataclass
from typing import Any

from . import wire


@dataclass(frozen=True)
class Asked:
    """What kind of reply is asked for."""

    protocol: str
    tokens: int
    grouped: int = 1
    framing: str = "chunked"
    rate: float = 0.0

    def path(self) -> str:
        return f"/{self.protocol},{self.tokens},{self.grouped},{self.framing},{self.rate:g}"

    @classmethod
    def of(cls, part: str) -> Asked:
        protocol, tokens, grouped, framing, rate = part.split(",")
        return cls(protocol, int(tokens), int(grouped), framing, float(rate))


@functools.lru_cache(maxsize=4)
def reply(asked: Asked) -> bytes:
    """Return a whole reply, headers and all."""
    begun, each, end = wire.records(asked.protocol, wire.tokens(asked.tokens))
    rows = [*begun, *each, *end]
    groups = [b"".join(rows[i : i + asked.grouped]) for i in range(0, len(rows), asked.grouped)]
    body = b"".join(wire.framed(groups, asked.framing))
    return wire.head(asked.protocol, asked.framing, len(body)) + body


class Pacer:
    """Sends tokens when they are due, for all connections in one thread.

    Attributes:
        connections: How many have been accepted so far.
    """

    def __init__(self) -> None:
        self._due: list[tuple[float, int, socket.socket, Any, threading.Event]] = []
        self._lock = threading.Condition()
        self._number = 0
        self.connections = 0

    def send(self, connection: socket.socket, asked: Asked) -> None:
        """Send a reply; returns when it is sent."""
        sent = threading.Event()
        with self._lock:
            self._number += 1
            # Replies that begin together would all be due together.
            begin = time.monotonic() + (self._number * 0.618 % 1) / asked.rate
            steps = _paced(asked)
            heapq.heappush(self._due, (begin, self._number, connection, steps, sent))
            self._lock.notify()
        sent.wait()

    def run(self) -> None:
        while True:
            with self._lock:
                while not self._due:
                    self._lock.wait()
                due, number, connection, steps, sent = self._due[0]
                late = due - time.monotonic()
                if late > 0:
                    self._lock.wait(late)
                    continue
                heapq.heappop(self._due)
            try:
                gap = next(steps)(connection)
            except (StopIteration, OSError):
                sent.set()
                continue
            with self._lock:
                heapq.heappush(self._due, (due + gap, number, connection, steps, sent))


def _paced(asked: Asked) -> Any:
    """Yield what sends each part of a reply, and returns the seconds until the next."""
    begun, _, _ = wire.records(asked.protocol, ["0"])
    packer = zlib.compressobj(wbits=31) if asked.framing == "gzip" else None
    stamps: list[str] = []

    def put(connection: socket.socket, body: bytes) -> None:
        if packer is not None:
            body = packer.compress(body) + packer.flush(zlib.Z_SYNC_FLUSH)
        if asked.framing in ("chunked", "gzip"):
            body = b"%x\r\n%b\r\n" % (len(body), body)
        connection.sendall(body)

    def first(connection: socket.socket) -> float:
        connection.sendall(wire.head(asked.protocol, asked.framing))
        put(connection, b"".join(begun))
        return 0.0

    def token(connection: socket.socket) -> float:
        stamps.append(f"{time.monotonic():.6f} ")
        put(connection, wire.records(asked.protocol, stamps[-1:])[1][0])
        return 1 / asked.rate

    def last(connection: socket.socket) -> float:
        put(connection, b"".join(wire.records(asked.protocol, stamps)[2]))
        if packer is not None:
            tail = packer.flush()
            connection.sendall(b"%x\r\n%b\r\n" % (len(tail), tail))
        if asked.framing in ("chunked", "gzip"):
            connection.sendall(b"0\r\n\r\n")
        return 0.0

    yield first
    for _ in range(asked.tokens):
        yield token
    yield last


def _json(value: Any) -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


def prepared(method: str, path: str, protocol: str) -> bytes | None:
    """Return the answer to a step before the reply; None where the reply itself is asked for."""
    name = path.partition("?")[0].removeprefix("/gradio_api").removeprefix("/chat")
    if name == "/config":
        return _json(wire.config(protocol))
    if name == "/info":
        return _json(wire.info())
    if name == "/queue/join":
        return _json({"event_id": wire.EVENT})
    if name.startswith("/heartbeat"):
        return b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
    if name == "/conversation":
        return _json({"conversationId": wire.CONVERSATION})
    if method == "GET" and name.startswith("/api/"):
        if "/v2/" in name:
            return _json({"json": {"title": "", "messages": []}})
        return _json({"messages": [{"id": "00000000-root", "from": "system", "content": ""}]})
    if name == "/settings":
        return _json({})
    return None


def serve(connection: socket.socket, pacer: Pacer) -> None:
    """Answer the requests of one connection."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection, connection.makefile("rb") as reader:
        pacer.connections += 1
        while line := reader.readline():
            size = 0
            while (header := reader.readline()) not in (b"\r\n", b""):
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    size = int(value)
            reader.read(size)
            method, whole, _ = line.decode("latin-1").split()
            if whole == "/connections":
                connection.sendall(_json(pacer.connections))
                continue
            _, part, rest = (*whole.split("/", 2), "")[:3]
            asked = Asked.of(part)
            answer = prepared(method, "/" + rest, asked.protocol)
            if answer is not None:
                connection.sendall(answer)
            elif asked.rate:
                pacer.send(connection, asked)
            else:
                connection.sendall(reply(asked))
            if answer is None and asked.framing == "close":
                return


def _served(connection: socket.socket, pacer: Pacer) -> None:
    with contextlib.suppress(ConnectionError):  # the client may hang up
        serve(connection, pacer)


def main() -> None:
    """Listen until stdin ends."""
    if len(sys.argv) > 1:
        os.sched_setaffinity(0, {int(sys.argv[1])})
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    pacer = Pacer()

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_served, args=(connection, pacer), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    threading.Thread(target=pacer.run, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
