"""Peers that the emulator cannot be: raw servers, proxies, and hosts that never answer."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator

import trustme


@contextlib.contextmanager
def listening(handle: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve each connection with *handle*, in a thread; yield ``host:port``.

    On leaving all connections are shut and all threads joined.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            handle(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                # Or a second piece waits until the client acknowledges the first.
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections.append(connection)
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

    threads.append(threading.Thread(target=accept))
    threads[0].start()
    try:
        yield "{}:{}".format(*listener.getsockname())
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        threads[0].join()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(5)
            assert not thread.is_alive()


def read_request(connection: socket.socket) -> bytes:
    """Read one request with its body, as far as Content-Length says."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(body) < length:
        piece = connection.recv(65536)
        if not piece:
            break
        body += piece
    return head + b"\r\n\r\n" + body


def answering(*answers: bytes) -> Callable[[socket.socket], None]:
    """Answer the requests of one connection with these bytes, then close."""

    def handle(connection: socket.socket) -> None:
        for answer in answers:
            if not read_request(connection):
                return
            connection.sendall(answer)

    return handle


def wait_for_end(connection: socket.socket) -> None:
    """Read until the other side goes."""
    while connection.recv(65536):
        pass


@contextlib.contextmanager
def never_accepting() -> Iterator[str]:
    """Yield a ``host:port`` whose connects hang: the backlog is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield "{}:{}".format(*listener.getsockname())


def _relay(a: socket.socket, b: socket.socket, patience: float) -> None:
    while ready_ones := select.select([a, b], [], [], patience)[0]:
        for ready in ready_ones:
            data = ready.recv(65536)
            if not data:
                return
            (b if ready is a else a).sendall(data)


def proxying(seen: list[str], patience: float = 30) -> Callable[[socket.socket], None]:
    """Be an HTTP proxy: CONNECT and absolute URLs; note what was asked for.

    It ends the connection where nothing is said for *patience* seconds.
    """

    def handle(connection: socket.socket) -> None:
        request = read_request(connection)
        method, target, _ = request.split(b"\r\n")[0].decode().split(" ")
        seen.append(f"{method} {target}")
        address = target if method == "CONNECT" else target.split("/")[2]
        host, port = address.rsplit(":", 1)
        with socket.create_connection((host, int(port))) as upstream:
            if method == "CONNECT":
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                upstream.sendall(request)
            _relay(connection, upstream, patience)

    return handle


def socks5(seen: list[str], patience: float = 30) -> Callable[[socket.socket], None]:
    """Be a SOCKS5 proxy without a login, as patient; note what was asked for."""

    def exactly(connection: socket.socket, count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += connection.recv(count - len(data))
        return data

    def handle(connection: socket.socket) -> None:
        exactly(connection, exactly(connection, 2)[1])
        connection.sendall(b"\x05\x00")
        kind = exactly(connection, 4)[3]
        raw = exactly(connection, 4 if kind == 1 else exactly(connection, 1)[0])
        host = socket.inet_ntoa(raw) if kind == 1 else raw.decode()
        port = struct.unpack(">H", exactly(connection, 2))[0]
        seen.append(f"{host}:{port}")
        with socket.create_connection((host, port)) as upstream:
            connection.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
            _relay(connection, upstream, patience)

    return handle


class Authority:
    """A certificate authority of our own, and a server context for 127.0.0.1."""

    def __init__(self, path: str) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(path)
        self.path = path
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(self.server)


def behind_tls(
    authority: Authority, handle: Callable[[socket.socket], None]
) -> Callable[[socket.socket], None]:
    """Do the same over TLS."""

    def secured(connection: socket.socket) -> None:
        with authority.server.wrap_socket(connection, server_side=True) as secure:
            handle(secure)

    return secured


def http(body: bytes = b"", *headers: str, status: str = "200 OK") -> bytes:
    """Return an answer's bytes."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def routed(routes: dict[str, bytes], seen: list[bytes]) -> Callable[[socket.socket], None]:
    """Answer by the longest beginning of ``METHOD /path`` that fits, else 404; note requests."""

    def handle(connection: socket.socket) -> None:
        while request := read_request(connection):
            seen.append(request)
            line = request.partition(b" HTTP/")[0].decode("latin-1")
            fitting = [route for route in routes if line.startswith(route)]
            missing = http(b"no", status="404 Not Found")
            connection.sendall(routes[max(fitting, key=len)] if fitting else missing)

    return handle
