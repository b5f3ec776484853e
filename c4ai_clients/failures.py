"""The failures of requests, urllib3, http.client, ssl and HTTP statuses, in our words."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
from collections.abc import Iterator
from datetime import timezone
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

import requests
import urllib3

from .errors import (
    AuthError,
    C4AIError,
    ConnectError,
    IncompleteReplyError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    ServerError,
    StatusError,
    UsageError,
    causes,
    quote,
)

__all__ = [
    "WHICH_SERVER",
    "connect_error",
    "page_error",
    "status_error",
    "translated",
    "wants_login",
]

# What to do where a server answers, and not as the client's kind of server does.
WHICH_SERVER = "is the base URL right? connect(URL) tells which client fits"


def status_error(status: int, said: str, location: str = "", retry_after: str = "") -> StatusError:
    """Return the error of a status that refuses; *said* is the body's beginning."""
    known: dict[str, Any] = {
        "status": status,
        "body": said,
        "retry_after": _retry_after(retry_after),
    }
    reason = http.client.responses.get(status, "")
    words = f"the server answered {status} {reason}".rstrip() + (f": {said}" if said else "")
    if status < 400 and location:
        words = f"the server sends us on ({status}) to {quote(location)}"
        if wants_login(location):
            return AuthError(f"{words}: it wants a login; give api_key or cookies", **known)
        if _ELSEWHERE.match(location):
            return StatusError(f"{words}: give that server as base_url", **known)
        return StatusError(f"{words}, which is not followed; {WHICH_SERVER}", **known)
    if status in (401, 403):
        return AuthError(f"{words}; give api_key or cookies that it accepts", **known)
    if status == 407:
        return StatusError(f"{words}; give the proxy's login in proxy=", **known)
    if status in (404, 410):
        return NotFoundError(f"{words}; {WHICH_SERVER}", **known)
    if status == 429:
        return RateLimitError(f"{words}; ask less often", **known)
    if status >= 500:
        return ServerError(f"{words}; try again later", **known)
    return StatusError(words, **known)


# A URL with a host, readable or not: urlsplit() refuses what no server should say.
_ELSEWHERE = re.compile(r"\s*([a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)

_PAGES = (
    (rb"type=[\"']?password|log ?in to|sign ?in to|please (log|sign) ?in", "it wants a login"),
    (rb"\bsleeping\b", "this Space sleeps: open it in a browser to wake it, and ask again"),
    (rb"\bbuilding\b.{0,40}\bspace\b|\bspace\b.{0,40}\bbuilding\b", "this Space is being built"),
    (rb"\bspace\b.{0,40}\bpaused\b", "this Space is paused by its owner"),
)


def page_error(status: int, body: bytes) -> StatusError | None:
    """Return the error of a web page that says why there is no answer, or None.

    The words are a guess: no page of a proxy before a server was recorded.
    """
    for words, hint in _PAGES:
        if re.search(words, body, re.IGNORECASE | re.DOTALL):
            kind = AuthError if "login" in hint else ServerError
            return kind(
                f"the server answered with a web page: {hint}", status=status, body=quote(body)
            )
    return None


def wants_login(location: str) -> bool:
    """Tell whether a redirect leads to a login page."""
    return any(word in location.lower() for word in ("login", "signin", "sign-in", "oauth"))


def _retry_after(value: str) -> float | None:
    """Read Retry-After: seconds or a date, a year at the most; None where it says neither."""
    if _SECONDS.fullmatch(value.strip()):
        return min(float(value), _YEAR)
    seconds = seconds_until(value)
    return None if seconds is None else min(max(0.0, seconds), _YEAR)


def seconds_until(date: str) -> float | None:
    """Return the seconds until an HTTP date, below 0 where it is past; None where it is none."""
    try:
        when = parsedate_to_datetime(date)
        if when.tzinfo is None:  # HTTP knows one zone
            when = when.replace(tzinfo=timezone.utc)
        return when.timestamp() - time()
    except (ValueError, TypeError, OverflowError):
        return None


_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")
_YEAR = 31_536_000.0


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Let nothing of requests, urllib3, http.client, ssl or socket out."""
    try:
        yield
    except C4AIError:
        raise
    except (
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        http.client.HTTPException,
        OSError,
        ValueError,
    ) as error:
        ours = _translation(error)
        raise ours from (error if ours.__cause__ is None else ours.__cause__)


def _translation(error: Exception) -> C4AIError:
    """Return our error for one of theirs.

    What our own socket raised, deep down, says it best; the libraries have
    only wrapped it.
    """
    chain = causes(error)
    for link in chain:
        if isinstance(link, C4AIError):
            return link
    if type(error) is OSError and error.errno is None:  # requests', of a file of cert=
        return UsageError(f"cannot send this: {quote(str(error))}")
    if any(isinstance(link, _USAGE) for link in chain):
        hint = ": pip install 'c4ai-clients[socks]'" if "SOCKS" in str(error) else ""
        return UsageError(f"cannot send this: {quote(str(error))}{hint}")
    if any(isinstance(link, _NEVER_REACHED) for link in chain):
        return connect_error(error)
    for link in chain:
        if isinstance(link, http.client.BadStatusLine) and not _cut(link):
            return ProtocolError(f"the answer is not HTTP: {quote(str(link))}")
        # A bare HTTPException: too many headers.
        if isinstance(link, _UNREADABLE) or type(link) is http.client.HTTPException:
            return ProtocolError(f"the answer cannot be read: {quote(str(link))}")
    return IncompleteReplyError("the connection ended before the answer was complete; ask again")


def _cut(error: http.client.BadStatusLine) -> bool:
    """Tell whether a status line is none only because the connection ended in it."""
    line = str(error)
    return isinstance(error, ConnectionError) or (
        "HTTP/".startswith(line[:5]) and not line.endswith("\n")
    )


_USAGE = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidJSONError,
    UnicodeEncodeError,  # a proxy's password beyond Latin-1
    urllib3.exceptions.LocationValueError,
    urllib3.exceptions.URLSchemeUnknown,
)
# Not urllib3's ProxyError, which it also makes of a connection that a proxy closed
# when the message was sent; what fails in connecting is a ConnectError already.
_NEVER_REACHED = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    requests.exceptions.ConnectTimeout,
)
_UNREADABLE = (
    urllib3.exceptions.DecodeError,
    urllib3.exceptions.HeaderParsingError,
    urllib3.exceptions.InvalidHeader,
    http.client.LineTooLong,
    http.client.UnknownProtocol,
    http.client.ImproperConnectionState,
)


def connect_error(error: BaseException, where: str = "the server") -> ConnectError:
    """Return the error of a connection that never came to be."""
    for link in causes(error):
        if isinstance(link, ssl.SSLCertVerificationError):
            return ConnectError(
                f"the certificate of {where} is not trusted ({link.verify_message}); "
                "give its CA with verify=PATH",
                lasting=True,
            )
        if isinstance(link, ssl.SSLError):
            return ConnectError(
                f"no TLS with {where} ({quote(str(link.reason or link))}); does it speak https?",
                lasting=True,
            )
        if isinstance(link, socket.gaierror):
            return ConnectError(
                f"no address known for {where}; is the URL right?",
                lasting=link.errno == socket.EAI_NONAME,
            )
        if isinstance(link, ConnectionRefusedError):
            return ConnectError(
                f"{where} refused the connection; is the server up, and the URL right?"
            )
    return ConnectError(f"cannot reach {where}: {quote(str(error))}")
