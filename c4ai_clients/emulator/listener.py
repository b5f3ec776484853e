"""Sockets and threads: one loopback port, one thread a connection, all joined.

Everything opened here is closed here: `Listener.stop` ends the accepting
thread, every connection and every wait, whatever they were doing.
"""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

from c4ai_clients.emulator.faults import Faults
from c4ai_clients.emulator.request import Request
from c4ai_clients.emulator.wire import Exchange, GoneError, Script, Service

__all__ = ["Connection", "Journal", "Listener"]


class Journal:
    """What happened, over all ports of one emulator."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.lock = threading.Lock()
        self.requests: list[Request] = []
        self.hang_ups: list[str] = []
        self.connections = 0
        self.open_connections = 0

    def arrived(self, request: Request) -> None:
        """Note a request."""
        with self.lock:
            self.requests.append(request)

    def hung_up(self, step: str) -> None:
        """Note a client that went before the body had ended."""
        with self.lock:
            self.hang_ups.append(step)

    def opened(self) -> int:
        """Note a connection, and name it."""
        with self.lock:
            self.connections += 1
            self.open_connections += 1
            return self.connections

    def closed(self) -> None:
        """Note the end of a connection."""
        with self.lock:
            self.open_connections -= 1


class Connection:
    """One accepted socket, which can be waited on and broken off."""

    def __init__(
        self,
        sock: socket.socket,
        wake: socket.socket,
        play_out: Callable[[Script], None],
    ) -> None:
        """Take a socket over; `wake` becomes readable when all must end."""
        self.sock = sock
        self.left = False
        self.play_out = play_out
        self._wake = wake
        self._reset = False
        self._watched = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(wake, selectors.EVENT_READ)

    def send(self, data: bytes) -> None:
        """Send all of it, or raise GoneError."""
        try:
            self.sock.sendall(data)
        except OSError as error:
            self.left = True
            raise GoneError("the client has gone") from error

    def wait(self, seconds: float, *, watch: bool = True) -> None:
        """Wait; raise GoneError when the client goes or the emulator stops."""
        end = time.monotonic() + seconds
        self._watch(watch)
        while True:
            left = end - time.monotonic()
            if left <= 0:
                return
            for key, _ in self._selector.select(left):
                if key.fileobj is self._wake:
                    raise GoneError("the emulator stops")
                self._look()

    def shake_hands(self, context: ssl.SSLContext) -> None:
        """Speak TLS from here on; `stop` can end the handshake too."""
        secured = context.wrap_socket(self.sock, server_side=True, do_handshake_on_connect=False)
        self.sock = secured
        secured.do_handshake()

    def reset(self) -> None:
        """Have the socket closed by a reset instead of an orderly end."""
        self._reset = True

    def hold_back(self) -> None:
        """Take as few bytes as possible from the client from here on."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)

    def stop(self) -> None:
        """Wake whoever reads from or writes to this socket."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection, in order or by a reset."""
        self._selector.close()
        with contextlib.suppress(OSError):
            if self._reset:
                linger = struct.pack("ii", 1, 0)
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            else:
                self.sock.shutdown(socket.SHUT_WR)
        self.sock.close()

    def _watch(self, watch: bool) -> None:
        if watch != self._watched:
            if watch:
                self._selector.register(self.sock, selectors.EVENT_READ)
            else:
                self._selector.unregister(self.sock)
            self._watched = watch

    def _look(self) -> None:
        try:
            if isinstance(self.sock, ssl.SSLSocket):
                # TLS has no peeking: its own goodbye is what has to be read.
                self.sock.setblocking(False)
                data = self.sock.recv(1)
            else:
                data = self.sock.recv(1, socket.MSG_PEEK)
        except (ssl.SSLWantReadError, BlockingIOError):
            return
        except OSError as error:
            self.left = True
            raise GoneError("the client has gone") from error
        finally:
            if self.sock.fileno() >= 0:
                self.sock.setblocking(True)
        if not data:
            self.left = True
            raise GoneError("the client has gone")
        # The next request is here already: it can wait, and hides a hang-up.
        self._watch(False)


class _Handler(BaseHTTPRequestHandler):
    """Reads requests from one connection and has the service answer them."""

    protocol_version = "HTTP/1.1"
    server: Any

    def __init__(self, connection: Connection, number: int, port: Listener) -> None:
        self._line = connection
        self._number = number
        self._port = port
        super().__init__(connection.sock, port.address, port)  # type: ignore[arg-type]

    def log_message(self, *_: Any) -> None:
        """Say nothing: what happened is in the journal."""

    def _one(self) -> None:
        port = self._port
        self.path = re.sub(r"^https?://[^/]*", "", self.path, count=1)  # as proxies hand it on
        step = port.service.step(self.command, self.path.partition("?")[0])
        fault = port.faults.due(lambda fault: port.service.meets(fault, step))
        unread = fault is not None and fault.kind == "unread"
        request = Request(
            port.service.protocol,
            step,
            self.command,
            self.path,
            self.headers,
            b"" if unread else self._body(),
            self._number,
        )
        port.journal.arrived(request)
        exchange = Exchange(self._line, port.service, request, fault, **port.exchange_settings)
        try:
            exchange.run()
        except GoneError:
            if self._line.left and not exchange.finished:
                port.journal.hung_up(step)
            raise
        self.close_connection = self.close_connection or exchange.close

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Answer every method in the same way; http.server asks for do_GET."""
        if not name.startswith("do_"):
            raise AttributeError(name)
        return self._one

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            pieces = []
            while size := self._chunk_size():
                pieces.append(self._exactly(size))
                self.rfile.readline()
            trailer = b"a trailer, which says nothing that is read here"
            while trailer.strip():
                trailer = self.rfile.readline()
            return b"".join(pieces)
        declared = str(self.headers.get("content-length") or 0)
        return self._exactly(int(declared) if declared.isdigit() else 0)

    def _chunk_size(self) -> int:
        size = self.rfile.readline().partition(b";")[0].strip()
        if not re.fullmatch(rb"[0-9a-fA-F]{1,8}", size):
            raise GoneError("what came is no chunk, or nothing came")
        return int(size, 16)

    def _exactly(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise GoneError("the client left while sending")
        return data


class Listener:
    """One loopback port that speaks one protocol."""

    def __init__(
        self,
        service: Service,
        journal: Journal,
        faults: Faults,
        *,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        **exchange_settings: Any,
    ) -> None:
        """Open the port and begin to accept."""
        self.service = service
        self.journal = journal
        self.faults = faults
        self.exchange_settings = exchange_settings
        self._tls = tls
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._live: dict[Connection, threading.Thread] = {}
        self._socket = socket.create_server(("127.0.0.1", port), backlog=512)
        self._wake, self._waker = socket.socketpair()
        self.address: tuple[str, int] = self._socket.getsockname()
        self._unheard: list[threading.Thread] = []
        self._thread = self._spawn(self._accept)

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        scheme = "https" if self._tls else "http"
        return f"{scheme}://{self.address[0]}:{self.address[1]}"

    def stop(self, seconds: float = 5.0) -> None:
        """Close every socket and wait for every thread, for so long at most."""
        if self._stopping.is_set():
            return
        end = time.monotonic() + seconds
        self._stopping.set()
        self._waker.close()
        # A connection of our own wakes accept() everywhere; closing its socket
        # under it does not.
        with contextlib.suppress(OSError):
            socket.create_connection(self.address, timeout=1).close()
        self._thread.join(seconds)
        self._socket.close()
        with self._lock:
            live = dict(self._live)
        for connection in live:
            connection.stop()
        for thread in [*live.values(), *self._unheard]:
            thread.join(max(0.0, end - time.monotonic()))
        self._wake.close()

    def _spawn(self, work: Callable[..., None], *arguments: Any) -> threading.Thread:
        name = f"emulator-{self.service.protocol}-{self.address[1]}"
        thread = threading.Thread(target=work, args=arguments, name=name, daemon=True)
        thread.start()
        return thread

    def _play_out(self, script: Script) -> None:
        """Play the rest of an answer whose client has gone, in its own time."""

        def unheard() -> None:
            for piece in script:
                if not isinstance(piece, bytes) and self._stopping.wait(piece):
                    break
            script.close()

        self._unheard.append(self._spawn(unheard))

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            if self._stopping.is_set():
                sock.close()
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sock, self._wake, self._play_out)
            with self._lock:
                number = self.journal.opened()
                self._live[connection] = self._spawn(self._serve, connection, number)

    def _serve(self, connection: Connection, number: int) -> None:
        try:
            # The client going, or a fault, ends the connection; that is all.
            with contextlib.suppress(GoneError, OSError):
                if self._tls:
                    connection.shake_hands(self._tls)
                _Handler(connection, number, self)
        finally:
            connection.close()
            self.journal.closed()
            with self._lock:
                self._live.pop(connection, None)
