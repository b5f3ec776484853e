"""urllib3's connections, made to keep the clocks of the call that they serve.

An adapter mounts them under requests. Whatever waits, waits in a
:class:`~c4ai_clients.clocks.Clocked`, so limits and ``cancel()`` hold in
connect, headers and body alike.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from .clocks import Call, Clocked
from .errors import C4AIError
from .failures import connect_error, translated

__all__ = ["Line", "TimedAdapter"]

# How many idle connections a pool may keep: enough that threads never find it full.
_KEPT = 1024

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;|\Z)")
_SIZE_LINE = 1 << 12
_TRAILER = 1 << 16
_HEADS = 100


class _Chunked:
    """Takes the chunked framing off what has come, many chunks at once.

    http.client reads four times for each chunk, which costs a reply of one
    token a chunk more than all that is done with the tokens.

    Attributes:
        ended: Whether the last chunk was seen.
        rest: What has come and is no whole piece of framing yet.
    """

    def __init__(self) -> None:
        self.ended = False
        self.rest = b""
        self._left = 0  # of the data of the chunk that has begun
        self._between = b""  # the line end that stands before the next size

    def data(self, raw: bytes) -> bytes:
        """Return the data in *raw*.

        Raises:
            http.client.IncompleteRead: This is no chunked framing.
        """
        raw = self.rest + raw if self.rest else raw
        left, between = self._left, self._between
        found: list[bytes] = []
        at = 0
        while True:
            if left:
                piece = raw[at : at + left]
                found.append(piece)
                at += len(piece)
                left -= len(piece)
                if left:
                    break
                between = b"\r\n"
            start = at + len(between)
            end = raw.find(b"\r\n", start)
            if end < 0:
                if len(raw) - at > _SIZE_LINE:
                    raise http.client.IncompleteRead(b"")
                break
            digits = _SIZE.match(raw, start, end)
            if digits is None or raw[at:start] != between:
                raise http.client.IncompleteRead(b"")
            left = int(digits[1], 16)
            at = end + 2
            if not left:
                self.ended = True
                break
        self.rest, self._left, self._between = raw[at:], left, between
        return b"".join(found)


class _Answer(http.client.HTTPResponse):
    """An answer that reads chunks in bulk, and skips any 1xx; http.client skips only 100."""

    _body: _Chunked | None = None
    _heads = 0

    def read1(self, n: int = -1) -> bytes:
        """Return what has come of the body, ``b""`` at its end."""
        if not self.chunked or self.fp is None:
            return super().read1(n)
        if self._body is None:
            self._body = _Chunked()
        body = self._body
        while not body.ended:
            raw = self.fp.read1(n)
            if not raw:
                raise http.client.IncompleteRead(b"")
            if data := body.data(raw):
                return data
        trailer = b"\r\n" + body.rest
        while b"\r\n\r\n" not in trailer and (raw := self.fp.read1(n)):
            trailer += raw
            if len(trailer) > _TRAILER:
                raise http.client.LineTooLong("trailer")
        self.close()
        return b""

    def _read_status(self) -> Any:
        """Read a status line; http.client itself goes on for as long as 100 comes."""
        self._heads += 1
        if self._heads > _HEADS:
            raise http.client.HTTPException(f"more than {_HEADS} informational answers")
        return super()._read_status()  # type: ignore[misc]

    def begin(self) -> None:
        super().begin()
        while 102 <= self.status < 200:
            self.headers = self.msg = None  # type: ignore[assignment]
            super().begin()


class Line:
    """A connection that speaks another protocol by now, after the answer 101.

    Its waits are measured, and ended by ``cancel()``, as those of a body are.
    """

    def __init__(self, sock: Clocked, reader: Any) -> None:
        self._socket = sock
        self._reader = reader

    def read(self, size: int) -> bytes:
        """Return what has come, at most *size* bytes; ``b""`` at the end."""
        with translated():
            return bytes(self._reader.read1(size))

    def write(self, data: bytes) -> None:
        """Send all of *data*."""
        with translated():
            self._socket.sendall(data)


class _Timed(HTTPConnection if TYPE_CHECKING else object):  # type: ignore[misc]
    """What makes a urllib3 connection keep a call's clocks; a mixin before its class."""

    current: threading.local
    sock: Any
    response_class = _Answer
    _line: socket.socket | None = None
    _given_up = False

    def connect(self) -> None:
        """Connect beside the calling thread, which cancel and ``connect`` can free."""
        call: Call = self.current.call
        self.timeout = call.timeout.connect
        self._given_up = False
        where = f"{self.host}:{self.port}"
        if self.proxy:
            where = f"the proxy {where}"
        elif socks := getattr(self, "_socks_options", None):
            where += " by the SOCKS proxy {proxy_host}:{proxy_port}".format(**socks)
        try:
            call.aside(super().connect, self._give_up, self.close)
        except C4AIError:
            raise
        except (
            OSError,
            UnicodeError,
            urllib3.exceptions.HTTPError,
            http.client.HTTPException,
        ) as error:
            if isinstance(error, TimeoutError) and error.errno is None:
                raise call.timed_out("connect") from error  # its clock, not the system's
            raise connect_error(error, where) from error
        finally:
            self._let_go()
        self.sock = Clocked(self.sock)

    def close(self) -> None:
        """Close, also what a connect that nobody waited for has left."""
        self._let_go()
        super().close()

    def _let_go(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def _give_up(self) -> None:
        """Have a connect or a TLS handshake under way fail now."""
        self._given_up = True
        if self._line is not None:
            with contextlib.suppress(OSError):
                self._line.shutdown(socket.SHUT_RDWR)

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Have the socket, kept or new, serve the present call; then send."""
        if self.sock is None:
            self.connect()
        self.current.socket = self.sock
        self.sock.serve(self.current.call)
        super().request(*args, **kwargs)

    def getresponse(self) -> Any:
        """Return the answer; an end inside its headers is not their end."""
        sock = self.sock
        response = super().getresponse()
        if sock.ended:
            response.close()
            raise http.client.RemoteDisconnected("the connection ended inside the headers")
        return response


class _Dialled(_Timed):
    """A timed connection that dials itself, so that what it waits on can be shut."""

    def _new_conn(self) -> socket.socket:
        """Connect to one of the host's addresses, all of them within one limit.

        urllib3 spends its limit on each address anew, and keeps the socket to
        itself while it connects.
        """
        end = None if self.timeout is None else monotonic() + self.timeout
        failure: OSError = ConnectionError("the name has no address")
        host = self.host.strip("[]")
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, self.port, type=socket.SOCK_STREAM
        ):
            sock = socket.socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                if self.source_address:
                    sock.bind(self.source_address)
                sock.settimeout(None if end is None else max(0.001, end - monotonic()))
                # TLS takes the socket itself away; a second handle on it stays ours.
                self._line = sock.dup()
                if self._given_up:
                    raise ConnectionAbortedError("given up")
                sock.connect(address)
            except OSError as error:
                failure = error
                sock.close()
                self._let_go()
                if self._given_up:
                    break
            else:
                return sock
        raise failure


def _pools(
    current: threading.local, timed: type[_Timed], plain: type[Any], secure: type[Any]
) -> dict[str, Any]:
    """Return urllib3 pool classes whose connections serve ``current.call``."""
    plain = type("Plain", (timed, plain), {"current": current})
    secure = type("Secure", (timed, secure), {"current": current})
    return {
        "http": type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
    }


class TimedAdapter(HTTPAdapter):
    """Mounts the connections that keep clocks; one kept for each thread."""

    def __init__(self, current: threading.local) -> None:
        self._connections = current
        super().__init__(pool_maxsize=_KEPT)

    def close(self) -> None:
        """Close every connection now.

        urllib3 leaves that to the garbage collector, and a traceback that
        somebody keeps, as notebooks do, keeps a pool alive.
        """
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 - it refuses to be iterated
                manager.pools[key].close()
        super().close()

    def build_response(
        self, req: requests.PreparedRequest, resp: urllib3.BaseHTTPResponse
    ) -> requests.Response:
        """Make the response without its cookie jar.

        http.cookiejar drops all cookies of an answer that holds one impossible
        date, and warns; the transport reads them itself.
        """
        response = requests.Response()
        response.status_code = resp.status
        response.headers = CaseInsensitiveDict(resp.headers)
        response.raw = resp
        response.reason = resp.reason  # type: ignore[assignment]
        response.url = str(req.url)
        response.request = req
        return response

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _pools(
            self._connections, _Dialled, HTTPConnection, HTTPSConnection
        )

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Make the pools of connections through *proxy*."""
        manager = super().proxy_manager_for(proxy, **kwargs)
        if proxy.lower().startswith("socks"):
            from urllib3.contrib.socks import SOCKSConnection, SOCKSHTTPSConnection

            pools = _pools(self._connections, _Timed, SOCKSConnection, SOCKSHTTPSConnection)
        else:
            pools = _pools(self._connections, _Dialled, HTTPConnection, HTTPSConnection)
        manager.pool_classes_by_scheme = pools
        return manager
