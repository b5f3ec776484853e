"""An answer's head and a request's, against what http.client makes of the same bytes."""

from __future__ import annotations

import http.client
import io
import random
from typing import Any

import pytest
import requests

import c4ai_clients
from c4ai_clients.connections import _called
from c4ai_clients.errors import UsageError
from c4ai_clients.http1 import Response, request_head

LINES = [
    *(b"Content-Length: 5", b"content-length:7", b"Content-Length: -1", b"Content-Length: x"),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: Chunked", b"transfer-encoding: gzip"),
    *(b"Connection: close", b"Connection: keep-alive", b"Keep-Alive: timeout=5"),
    *(b"Set-Cookie: a=b; Path=/", b"set-cookie: c=d", b"X-Gr\xf6\xdfe: sch\xf6n", b"X: sch\xf6n"),
    *(b"X:  spaces \t ", b"X:", b"X: \t", b": no name", b"no colon", b"Space : x", b"\tfolded"),
    *(b" folded: too", b"X: a\rY: b", b"X: a\x0bb", b"From : x", b"From me", b"From: me", b"\r"),
    *(b"Content-Type: multipart/mixed", b"Content-Type: text/event-stream; charset=utf-8"),
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
    """3,000 heads of ordinary and odd lines have the same headers and the same end of body."""
    random_ = random.Random(10)
    for _ in range(3000):
        lines = random_.choices(LINES, k=random_.randrange(6))
        ends = random_.choices([b"\r\n", b"\r\n", b"\n"], k=len(lines))
        head = b"HTTP/1.%d %b\r\n" % (random_.randrange(2), random_.choice(STATUS))
        raw = head + b"".join(map(b"".join, zip(lines, ends, strict=True))) + b"\r\nbody"

        assert told(http.client.HTTPResponse, raw) == told(Response, raw), raw


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
