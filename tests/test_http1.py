"""An answer's head and a request's, against what http.client makes of the same bytes."""

from __future__ import annotations

import http.client
import io
import random
import re
from typing import Any

import pytest
import requests

import c4ai_clients
from c4ai_clients.connections import _called
from c4ai_clients.errors import UsageError
from c4ai_clients.http1 import Response, request_head

LINES = [
    *(b"Content-Length: 5", b"content-length:5", b"Transfer-Encoding: Chunked"),
    *(b"Connection: keep-alive", b"Keep-Alive: timeout=5"),
    *(b"Set-Cookie: a=b; Path=/", b"set-cookie: c=d", b"X: sch\xf6n", b"From: me", b"X: a\x0bb"),
    *(b"X:  spaces \t ", b"X:", b"X: \t", b"X: a\r\n folded", b"X:\r\n\tfolded\r\n twice \t"),
    *(b"Content-Type: multipart/mixed", b"Content-Type: text/event-stream; charset=utf-8"),
]
# Lines that are no header: what follows one of them holds all the same.
ODD = [
    *(
        b": no name",
        b"no colon",
        b"X-Gr\xf6\xdfe: x",
        b"X\0: a",
        b"From me",
        b"no\r\n more",
        b"X y: z",
    ),
    *(b"From me\r\n\tfolded: too", b"\r x", b"\0"),
]
STATUS = [b"200 OK", b"200", b"204 No Content", b"304 Not Modified", b"101 Switching", b"500 x y"]


class Sock:
    """Gives an answer to read, as a socket does."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(self._raw))  # type: ignore[arg-type]


def told(kind: type[http.client.HTTPResponse], raw: bytes) -> Any:
    """Return what a class of responses makes of *raw*, down to where the body begins."""
    response = kind(Sock(raw), method="POST")  # type: ignore[arg-type]
    try:
        response.begin()
    except http.client.HTTPException as error:
        return type(error), str(error)
    # A folded line is one space more or less.
    fields = sorted((name.lower(), value.split()) for name, value in response.headers.items())
    return (
        (response.status, response.reason, response.version, fields),
        (response.chunked, response.length, response.will_close, response.fp.read()),
    )


def test_response__is_what_the_standard_library_makes_of_it() -> None:
    """3,000 heads have the same headers and the same end of body, odd lines between them or not."""
    random_ = random.Random(10)
    for _ in range(3000):
        lines = random_.choices(LINES, k=random_.randrange(6))
        head = b"HTTP/1.%d %b\r\n" % (random_.randrange(2), random_.choice(STATUS))
        ends = random_.choices([b"\r\n", b"\r\n", b"\n"], k=len(lines))
        plain = [line + end for line, end in zip(lines, ends, strict=True)]
        odd = list(plain)
        for _ in range(random_.randrange(3)):
            odd.insert(random_.randrange(len(odd) + 1), random_.choice(ODD) + b"\r\n")
        raw = head + b"".join(odd) + b"\r\nbody"

        wanted = told(http.client.HTTPResponse, head + b"".join(plain) + b"\r\nbody")
        assert wanted == told(Response, raw), raw


@pytest.mark.parametrize(
    ("lines", "chunked", "length"),
    [
        (b"Transfer-Encoding: chunked \t", True, None),
        (b"Transfer-Encoding : chunked", True, None),
        (b"Transfer-Encoding: , chunked,", True, None),
        (b"Transfer-Encoding: identity, Chunked", True, None),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", True, None),
        (b"Transfer-Encoding: identity\r\nContent-Length: 5", False, 5),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5", True, None),
        (b"Content-Length: 5 ", False, 5),
        (b"Content-Length: 5, 5\r\ncontent-length: 5", False, 5),
        (b"Content-Length: -1", False, None),
        (b"Content-Length: x", False, None),
        (b"X: a\rY: b\r\nContent-Length: 5", False, 5),
    ],
)
def test_response__framing(lines: bytes, chunked: bool, length: int | None) -> None:
    """How the body is framed is found however it is written, with white space or without."""
    response = Response(Sock(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n\r\n"), method="POST")  # type: ignore[arg-type]
    response.begin()

    assert (chunked, length) == (response.chunked, response.length)


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize(
    "lines",
    [b"Connection: close", b"Connection: keep-alive, Close", b"Connection: x\r\nConnection: close"],
)
def test_response__that_says_close_is_the_last(version: int, lines: bytes) -> None:
    """A connection that its server will close is not kept, whatever else is said."""
    raw = b"HTTP/1.%d 200 OK\r\nContent-Length: 0\r\nKeep-Alive: x\r\n%b\r\n\r\n" % (version, lines)
    response = Response(Sock(raw), method="POST")  # type: ignore[arg-type]
    response.begin()

    assert response.will_close


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (b"Transfer-Encoding: gzip, chunked", "its transfer coding is gzip"),
        (b"Transfer-Encoding: gzip", "its transfer coding is gzip"),
        (b"Content-Length: 5\r\nContent-Length: 7", "several lengths: [5, 7]"),
        (b"\r\n".join([b"X: " + b"y" * 65_000] * 5), "header line"),
    ],
    ids=["gzip-chunked", "gzip", "two-lengths", "300-kB"],
)
def test_response__refuses_what_cannot_be_read(lines: bytes, why: str) -> None:
    """A framing that is not known, or said in two ways, and headers without measure."""
    response = Response(Sock(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n\r\n"), method="POST")  # type: ignore[arg-type]
    with pytest.raises(http.client.HTTPException, match=re.escape(why)):
        response.begin()


@pytest.mark.parametrize("said", ["gzip ", "gzip,", "identity, GZIP", "identity"])
def test_response__content_encoding(said: str) -> None:
    """What encodes the body is told as its decoders are called."""
    raw = f"HTTP/1.1 200 OK\r\nContent-Encoding: {said}\r\n\r\n".encode()
    response = Response(Sock(raw), method="POST")  # type: ignore[arg-type]
    response.begin()

    assert ("" if said == "identity" else "gzip") == response.headers["content-encoding"]


@pytest.mark.parametrize(
    "raw",
    [
        *(
            b"HTTP/2 200 OK\r\n",
            b"HTP/1.1 200 OK\r\n",
            b"HTTP/1.1 20 OK\r\n",
            b"HTTP/1.1 x\r\n",
            b"",
        ),
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 99 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 65_531 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 65_532 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\nY: z\r\n\r\n",
        b"HTTP/0.9 200 OK\r\n\r\n",
    ],
    ids=range(11),
)
def test_response__refuses_what_the_standard_library_refuses(raw: bytes) -> None:
    """Its limits and its errors are those of http.client."""
    assert told(http.client.HTTPResponse, raw) == told(Response, raw)


@pytest.mark.parametrize("odd", ["a\r\nb: c", "a\nb", "a\rb", "\u2013"])
def test_request_head__holds_no_line_break(odd: str) -> None:
    """Whoever writes a header writes no other."""
    with pytest.raises(UsageError, match="line break"):
        request_head("GET", "/", {"X": odd})
    with pytest.raises(UsageError, match="line break"):
        request_head("GET", "/" + odd, {})


@pytest.mark.parametrize(
    ("url", "called"),
    [
        ("http://LocalHost:80/x", "localhost"),
        ("https://localhost:443", "localhost"),
        ("https://localhost:80", "localhost:80"),
        ("http://127.0.0.1:8080/a/b", "127.0.0.1:8080"),
        ("http://[::1]:8080", "[::1]:8080"),
        ("http://[fe80::1%25eth0]", "[fe80::1]"),
        ("https://b\xfccher.example", "xn--bcher-kva.example"),
    ],
)
def test_host__is_what_the_standard_library_says(url: str, called: str) -> None:
    """The port is named where it is not the usual one."""
    assert called == _called(url)


@pytest.mark.parametrize(
    "base", ["http://127.0.0.1:80", "https://H.example/\xe4/~c", "http://[::1]"]
)
@pytest.mark.parametrize(
    "path", ["/", "/a/B-1_.~", "/a//b", "/a b", "/%7ea/%2f", "/a?b=c", "/\xe9#d"]
)
@pytest.mark.parametrize("params", [None, {"a": "b"}, {"a": "b c&d", "e": "\xe9"}])
def test_url__is_what_requests_makes_of_it(
    base: str, path: str, params: dict[str, str] | None
) -> None:
    """A plain path is put behind the server's URL as requests would do it."""
    client = c4ai_clients.H2O(base)
    client._transport._open_session()

    expected = requests.Request("GET", client.base_url + path, params=params).prepare().url
    assert expected == client._transport._url(path, params)
