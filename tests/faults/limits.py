"""What has no end, or far too much in it: each ends by name, and costs little memory."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator

from cases import Case, Provider
from turns import UNPREFIXED

from c4ai_clients import C4AIError, IncompleteReplyError, ProtocolError, ServerError

MIB = 1 << 20
OK = b"HTTP/1.1 200 OK\r\n"
GZIP = b"Content-Encoding: gzip\r\n"
JSON = b"Content-Type: application/json\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
# What each server says so that a connection stays open, with much room in it.
KEEPALIVES = {
    "c4ai-command": b'{"type":"status","status":"keepAlive","room":"%b"}\n',
    "h2o": b":%b\n\n",
    "autonomous": b": keep-alive %b\n\n",
    "qwen": b'data: {"msg":"heartbeat","room":"%b"}\n\n',
}
SPACE = b" " * 60_000


def _endless_gzip(unit: bytes) -> tuple[bytes, bytes]:
    """Return how a gzip body begins, and how it goes on for ever."""
    pack = zlib.compressobj(9, wbits=31)
    first = pack.compress(unit) + pack.flush(zlib.Z_FULL_FLUSH)
    return first, pack.compress(unit) + pack.flush(zlib.Z_FULL_FLUSH)


def _stacked(body: bytes, times: int) -> bytes:
    for _ in range(times):
        body = gzip.compress(body)
    return body


ZEROS, MORE_ZEROS = _endless_gzip(bytes(MIB))
STACKED = _stacked(bytes(16 * MIB), 3)


def _bombs(provider: Provider) -> Iterator[tuple[str, bytes, bytes, type[C4AIError], str]]:
    """Yield what is sent first, what is sent again and again, and what comes of it."""
    calm = KEEPALIVES[provider.name] % SPACE
    calm_gzip, more_calm_gzip = _endless_gzip(calm * 16)
    kind = b"application/jsonl" if provider.name == "c4ai-command" else b"text/event-stream"
    stream = OK + b"Content-Type: %b\r\n" % kind
    barren = "without any content"
    longer = r"longer than [18],\d{3},\d{3} bytes"
    yield "keep-alives", stream + b"\r\n", calm, ProtocolError, barren
    yield (
        "keep-alives-gzip",
        stream + GZIP + b"\r\n" + calm_gzip,
        more_calm_gzip,
        ProtocolError,
        barren,
    )
    yield "a-line", stream + b'\r\ndata: {"', b"x" * 65536, ProtocolError, longer
    yield "a-line-gzip", stream + GZIP + b"\r\n" + ZEROS, MORE_ZEROS, ProtocolError, longer
    garbage = stream + GZIP + b"\r\n" + gzip.compress(b"\n")
    yield "garbage-behind-gzip", garbage, b"x" * 65536, ProtocolError, barren
    stacks = stream + b"Content-Encoding: gzip, gzip, gzip\r\n\r\n" + STACKED
    yield "gzip-in-gzip-in-gzip", stacks, b"", ProtocolError, longer
    yield "a-chunk-size", stream + CHUNKED + b"5;", b"x" * 65536, IncompleteReplyError, ""
    yield "zeros-of-a-chunk-size", stream + CHUNKED, b"0" * 65536, IncompleteReplyError, ""
    yield "trailers", stream + CHUNKED + b"0\r\n", b"x: y\r\n" * 9000, ProtocolError, "trailer"


def _heads() -> Iterator[tuple[str, bytes, bytes, str]]:
    """Yield headers without end."""
    yield "a-header", OK + b"X: ", b"x" * 65536, "65536 bytes when reading header line"
    yield "headers", OK, b"X: y\r\n" * 9000, "100 headers"
    yield "cookies", OK, b"Set-Cookie: a=b\r\n" * 9000, "100 headers"
    yield "a-folded-header", OK + b"X: y\r\n", b" y\r\n" * 9000, "100 headers"
    yield "a-status-line", b"", b"x" * 65536, "65536 bytes when reading status line"
    yield "100-continue", b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99, "100 informational"
    yield "103-early-hints", b"", b"HTTP/1.1 103 Early\r\n\r\n" * 99, "100 informational"
    between = b"HTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" * 99
    yield "100-and-103", b"", between, "100 informational"


def limits(provider: Provider) -> Iterator[Case]:
    """Yield each thing without end, at the step where it matters."""

    def case(step: str, label: str, first: bytes, again: bytes, *outcome: object) -> Case:
        error, words = outcome
        told = {"partial": False, "words": words} if error else {"emulator": UNPREFIXED}
        fault = {"step": step, "kind": "raw", "body": first, "again": again, "times": 9}
        return Case(provider, f"endless-{label}", fault, error, part="limits", **told)

    for label, first, again, *outcome in _bombs(provider):
        yield case(provider.stream, label, first, again, *outcome)
    for label, first, again, words in _heads():
        yield case(provider.message, label, first, again, ProtocolError, words)
    failed = b"HTTP/1.1 500 No\r\n" + JSON
    for step in (provider.message, *provider.preparing):
        yield case(step, "error", failed + b"\r\n[", b"1," * 32768, ServerError, "1,1,1")
        bomb = failed + GZIP + b"\r\n" + ZEROS
        yield case(step, "error-gzip", bomb, MORE_ZEROS, ServerError, "")
    for step in provider.preparing:
        if (provider.name, step) == ("h2o", "settings"):
            continue
        outcome = (ProtocolError, r"longer than 4,\d{3},\d{3} bytes")
        if step in provider.falls_back:
            outcome = (None, "")
        yield case(step, "json", OK + JSON + b"\r\n[", b"1," * 32768, *outcome)
        bomb = OK + JSON + GZIP + b"\r\n" + ZEROS
        yield case(step, "json-gzip", bomb, MORE_ZEROS, *outcome)
