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
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from .clocks import Call, Clocked
from .errors import C4AIError
from .failures import connect_error, translated
from .http1 import Response, request_head

__all__ = ["Line", "TimedAdapter"]

# How many idle connections a pool may keep: enough that threads never find it full.
_KEPT = 1024
# Bytes of a body that are sent together with its head.
_TOGETHER = 1 << 16


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


class _Body(urllib3.HTTPResponse):
    """An answer's body, with urllib3's decoders where it is encoded.

    What is chunked and not encoded passes none of urllib3's buffers, which
    cost a token that comes alone as much as all that is done with it.
    """

    def __init__(self, answer: Response, method: str, url: str) -> None:
        super().__init__(
            answer,
            answer.headers,
            answer.status,
            version=answer.version,
            reason=answer.reason,
            preload_content=False,
            original_response=answer,
            request_method=method,
            request_url=url,
        )
        self.answer = answer
        self._as_it_is = answer.chunked and not answer.headers.get("content-encoding")

    def read1(self, amt: int | None = None, decode_content: bool | None = None) -> bytes:
        """Return what has come of the body, ``b""`` at its end."""
        if not self._as_it_is:
            return super().read1(amt, decode_content)
        data = self.answer.read1(-1 if amt is None else amt)
        if not data:
            self.release_conn()
        return data


class _Timed(HTTPConnection if TYPE_CHECKING else object):  # type: ignore[misc]
    """What makes a urllib3 connection keep a call's clocks; a mixin before its class.

    Attributes:
        current: Holds the ``call`` to serve; told the ``socket`` that does.
        called: What the server is called in requests.
    """

    current: threading.local
    called: str
    sock: Any
    response_class = Response
    _asked = ("", "")
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

    @property
    def is_connected(self) -> bool:
        """Whether a kept connection may be used: nothing came that nobody asked for."""
        return super().is_connected and not self.sock.pending()

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

    def request(
        self, method: str, url: str, body: Any = None, headers: Any = None, **how: Any
    ) -> None:
        """Have the socket, kept or new, serve the present call; then send, all at once."""
        if self.sock is None:
            self.connect()
        self._asked = method, url
        self.current.socket = self.sock
        self.sock.serve(self.current.call)
        if "host" not in headers:
            headers = {"Host": self.called, **headers}
        head = request_head(method, url, headers)
        body = body.encode() if isinstance(body, str) else body or b""
        if len(body) <= _TOGETHER:
            self.sock.sendall(head + body)
        else:
            self.sock.sendall(head)
            self.sock.sendall(body)

    def getresponse(self) -> Any:
        """Return the answer; an end inside its headers is not their end."""
        sock = self.sock
        method, url = self._asked
        answer = Response(sock, method=method)
        try:
            answer.begin()
            if sock.ended:
                raise http.client.RemoteDisconnected("the connection ended inside the headers")
        except BaseException:
            answer.close()
            raise
        if answer.will_close:
            self.close()  # the answer keeps the socket open
        return _Body(answer, method, url)


class _Dialled(_Timed):
    """A timed connection that dials itself, so that what it waits on can be shut."""

    def _peer(self) -> tuple[str, int]:
        """Return the host and port to dial."""
        return self.host.strip("[]"), self.port

    def _socket(self, family: int, kind: int, protocol: int) -> socket.socket:
        """Make a socket that is not connected yet."""
        return socket.socket(family, kind, protocol)

    def _dial(self, sock: Any, address: Any) -> None:
        """Connect to one of the peer's addresses."""
        sock.connect(address)

    def _new_conn(self) -> socket.socket:
        """Connect to one of the peer's addresses, all of them within one limit.

        urllib3 spends its limit on each address anew, and keeps the socket to
        itself while it connects.
        """
        end = None if self.timeout is None else monotonic() + self.timeout
        failure: OSError = ConnectionError("the name has no address")
        host, port = self._peer()
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        ):
            sock = self._socket(family, kind, protocol)
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
                self._dial(sock, address)
            except OSError as error:
                failure = error
                sock.close()
                self._let_go()
                if self._given_up:
                    break
            else:
                return sock
        raise failure


class _BySocks(_Dialled):
    """A timed connection that dials a SOCKS proxy, and has that dial the server."""

    _socks_options: dict[str, Any]

    def _peer(self) -> tuple[str, int]:
        return self._socks_options["proxy_host"].strip("[]"), int(self._socks_options["proxy_port"])

    def _socket(self, family: int, kind: int, protocol: int) -> socket.socket:
        import socks  # type: ignore[import-untyped]

        made: socket.socket = socks.socksocket(family, kind, protocol)
        return made

    def _dial(self, sock: Any, address: Any) -> None:
        told = self._socks_options
        sock.set_proxy(
            told["socks_version"],
            *address[:2],
            rdns=told["rdns"],
            username=told["username"],
            password=told["password"],
        )
        sock.connect((self.host, self.port))


def _called(url: str) -> str:
    """Return what a server is called in each request: its port only where it is no usual one."""
    parts = urllib3.util.parse_url(url)
    host = re.sub("%.*]", "]", str(parts.host))  # a zone is this machine's own
    usual = {"http": 80, "https": 443}.get(str(parts.scheme))
    return host if parts.port in (None, usual) else f"{host}:{parts.port}"


def _pools(
    shared: dict[str, Any], timed: type[_Timed], plain: type[Any], secure: type[Any]
) -> dict[str, Any]:
    """Return urllib3 pool classes whose connections have what is *shared*."""
    plain = type("Plain", (timed, plain), shared)
    secure = type("Secure", (timed, secure), shared)
    return {
        "http": type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
    }


class TimedAdapter(HTTPAdapter):
    """Mounts the connections that keep clocks; as many are kept as were in use at once.

    One server's: where it is, the way there and whom to trust are found out
    with the first request, where requests asks anew for each.
    """

    def __init__(self, current: threading.local, url: str) -> None:
        self._shared = {"current": current, "called": _called(url)}
        self._pool: Any = None
        super().__init__(pool_maxsize=_KEPT)

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """Return the connections to the server."""
        if self._pool is None:
            pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
            super().cert_verify(pool, str(request.url), verify, cert)  # type: ignore[no-untyped-call]
            self._pool = pool
        return self._pool

    def cert_verify(self, *args: Any) -> None:
        """Do nothing: the pool knows since it was made."""

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        """Return the path to ask for; an http proxy is asked for the whole URL."""
        direct = self._pool is not None and self._pool.proxy is None
        return request.path_url if direct else super().request_url(request, proxies)

    def close(self) -> None:
        """Close every connection now.

        urllib3 leaves that to the garbage collector, and a traceback that
        somebody keeps, as notebooks do, keeps a pool alive.
        """
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 - it refuses to be iterated
                manager.pools[key].close()
        self._pool = None
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
        response.headers = resp.headers  # type: ignore[assignment]
        response.raw = resp
        response.reason = resp.reason  # type: ignore[assignment]
        response.url = str(req.url)
        response.request = req
        return response

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _pools(
            self._shared, _Dialled, HTTPConnection, HTTPSConnection
        )

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Make the pools of connections through *proxy*."""
        manager = super().proxy_manager_for(proxy, **kwargs)
        if proxy.lower().startswith("socks"):
            from urllib3.contrib.socks import SOCKSConnection, SOCKSHTTPSConnection

            pools = _pools(self._shared, _BySocks, SOCKSConnection, SOCKSHTTPSConnection)
        else:
            pools = _pools(self._shared, _Dialled, HTTPConnection, HTTPSConnection)
        manager.pool_classes_by_scheme = pools
        return manager
