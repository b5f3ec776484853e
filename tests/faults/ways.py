"""How a client gets to a server, and what may go wrong there: TLS and proxies."""

from __future__ import annotations

import atexit
import contextlib
import datetime
import functools
import pathlib
import ssl
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import peers
import trustme
from cases import Case, Provider
from turns import MIDDLE

from c4ai_clients import (
    AuthError,
    C4AIError,
    ConnectError,
    IncompleteReplyError,
    ProtocolError,
    ServerError,
    StatusError,
)

PATIENCE = 0.4
PLAIN_TO_TLS = "http-to-a-tls-port"
TLS_TO_PLAIN = "https-to-a-plain-port"


_kept = tempfile.TemporaryDirectory(prefix="c4ai-ca-")
atexit.register(_kept.cleanup)


@functools.cache
def _server(fault: str) -> tuple[ssl.SSLContext, str | bool]:
    """Return a server's TLS, and what its client trusts."""
    authority = trustme.CA()
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    names = ("other.test",) if fault == "wrong-host" else ("127.0.0.1", "localhost")
    certificate = authority.issue_cert(*names, not_after=past if fault == "expired" else None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if fault == "new-only":
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    if fault == "self-signed":
        return context, True
    path = pathlib.Path(_kept.name) / f"ca-{fault}.pem"
    authority.cert_pem.write_to_path(str(path))
    return context, str(path)


def _socks(*answers: bytes) -> Callable[[Any], None]:
    """Answer each message of a SOCKS client like this, and go."""

    def handle(connection: Any) -> None:
        for answer in answers:
            connection.recv(512)
            connection.sendall(answer)

    return handle


HTML = b"<html>Filtered</html>"
PROXY_SAYS = {
    "403": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    "407": b"HTTP/1.1 407 Proxy Authentication Required\r\n"
    b"Proxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
    "502": b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
    "page": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 21\r\n\r\n" + HTML,
    "nothing": b"",
    "garbage": b"\x15\x03\x01 what?\r\n\r\n",
}
SOCKS_SAYS = {
    "refuses": _socks(b"\x05\x00", b"\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"),
    "reaches-nobody": _socks(b"\x05\x00", b"\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00"),
    "wants-a-password": _socks(b"\x05\xff"),
    "denies-the-password": _socks(b"\x05\x02", b"\x01\x01"),
    "nothing": _socks(b""),
    "http": _socks(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "stops-halfway": _socks(b"\x05\x00", b"\x05\x00\x00"),
}


@contextlib.contextmanager
def arriving(way: str) -> Iterator[tuple[ssl.SSLContext | None, Mapping[str, Any]]]:
    """Prepare a way; yield the server's TLS and the client's settings."""
    kind, _, how = way.partition(": ")
    settings: dict[str, Any] = {}
    tls = None
    if kind in ("tls", "connect", PLAIN_TO_TLS):
        tls, settings["verify"] = _server(how if kind == "tls" else "")
    if kind not in ("proxy", "connect", "socks"):
        yield tls, settings
        return
    if kind == "socks":
        dies = peers.socks5([], PATIENCE)
        handle = SOCKS_SAYS.get(how, dies)
    else:
        dies = peers.proxying([], PATIENCE)
        # What is HTTP leaves the connection open for the next step of the turn.
        times = 4 if kind == "proxy" and how not in ("nothing", "garbage") else 1
        handle = peers.answering(*[PROXY_SAYS[how]] * times) if how in PROXY_SAYS else dies
    login = "me:secret@" if "password" in how else ""
    scheme = "socks5h" if kind == "socks" else "http"
    with peers.listening(handle) as address:
        yield tls, {**settings, "proxy": f"{scheme}://{login}{address}"}


TLS: dict[str, tuple[type[C4AIError] | None, str]] = {
    "tls: good": (None, ""),
    "tls: new-only": (None, ""),
    "tls: expired": (ConnectError, "certificate .*expired"),
    "tls: wrong-host": (ConnectError, "certificate .*(mismatch|doesn't match|not valid for)"),
    "tls: self-signed": (ConnectError, "not trusted.*verify=PATH"),
    TLS_TO_PLAIN: (ConnectError, "does it speak https"),
    PLAIN_TO_TLS: (IncompleteReplyError, "ended before"),
}
PROXIES: dict[str, tuple[type[C4AIError], str]] = {
    "proxy: 403": (AuthError, "403"),
    "proxy: 407": (StatusError, "407.*proxy="),
    "proxy: 502": (ServerError, "502"),
    "proxy: page": (ProtocolError, "web page.*Filtered"),
    "proxy: nothing": (IncompleteReplyError, "ended before"),
    "proxy: garbage": (ProtocolError, "not HTTP"),
    "connect: 403": (ConnectError, "proxy.*403"),
    "connect: 407": (ConnectError, "proxy.*407"),
    "connect: 502": (ConnectError, "proxy.*502"),
    "connect: page": (ConnectError, "proxy"),
    "connect: nothing": (ConnectError, "proxy"),
    "connect: garbage": (ConnectError, "proxy"),
    **{f"socks: {how}": (ConnectError, "SOCKS|proxy") for how in SOCKS_SAYS},
}


def ways(provider: Provider) -> Iterator[Case]:
    """Yield each way to a provider's server."""
    calm = {"step": "none", "kind": "cut"}
    for way, (error, words) in {**TLS, **PROXIES}.items():
        yield Case(
            provider,
            way,
            calm,
            error,
            partial=False if error else None,
            processed=(0,) if error else (1,),
            way=way,
            words=words,
            part="ways",
        )
    for way in ("proxy", "connect", "socks"):
        yield Case(
            provider,
            f"{way}: dies-mid-stream",
            {
                "step": provider.stream,
                "kind": "stall",
                "at": MIDDLE[provider.name],
                "seconds": 9,
            },
            IncompleteReplyError,
            partial=True,
            processed=(1,),
            way=f"{way}: dies",
            part="ways",
        )
