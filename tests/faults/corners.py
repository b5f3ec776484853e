"""HTTP's corners: statuses, Retry-After, framings, encodings, and bytes that are hardly HTTP."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from email.utils import formatdate
from time import time
from typing import Any

import brotli
from backports import zstd
from cases import TEXT, TOKENS, Case, Provider

from c4ai_clients import (
    AuthError,
    C4AIError,
    IncompleteReplyError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    ServerError,
    StatusError,
)

LIKE = {400: StatusError, 401: AuthError, 403: AuthError, 404: NotFoundError, 410: NotFoundError}
LIKE = {**LIKE, 429: RateLimitError}
STATUSES = (
    *(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416),
    *(417, 418, 421, 422, 423, 424, 425, 426, 428, 429, 431, 451, 499),
    *(500, 501, 502, 503, 504, 505, 507, 508, 510, 511, 520),
)
BODIES = {
    "json": ("application/json", b'{"weather": "rain \\u001b[31m"}', "rain"),
    "html": ("text/html; charset=utf-8", b"<html><h1>Rain\x1b[31m</h1></html>", "Rain"),
    "empty": ("text/plain", b"", ""),
}
# A Gradio app is asked by /call where its queue refuses, and says other things itself.
ELSEWISE = {("join", status) for status in (401, 403, 404, 405, 422)}

DAY = 86_400
# What the header says, and the seconds that it means: None for nothing.
RETRY_AFTER: dict[str, tuple[str, tuple[float, float] | None]] = {
    "seconds": ("700", (700, 700)),
    "zero": ("0", (0, 0)),
    "fraction": ("700.25", (700.25, 700.25)),
    "spaces": ("  700  ", (700, 700)),
    "date": (formatdate(time() + 3600, usegmt=True), (3000, 3600)),
    "date-past": ("Wed, 21 Oct 2015 07:28:00 GMT", (0, 0)),
    "date-no-zone": (formatdate(time() + 3600)[:-6], (3000, 3600)),
    "date-impossible": ("Wed, 99 Oct 2015 27:28:00 GMT", None),
    "absent": ("", None),
    "negative": ("-5", None),
    "words": ("soon", None),
    "nan": ("nan", None),
    "infinite": ("inf", None),
    "hexadecimal": ("0x10", None),
    "underscore": ("1_0", None),
    "absurd": ("99999999999999999999", (365 * DAY, 365 * DAY)),
    "absurdly-long": ("9" * 5000, (365 * DAY, 365 * DAY)),
    "exponent": ("1e400", None),
}


def _statuses(provider: Provider) -> Iterator[Case]:
    """Every status, with each kind of body at one provider or another."""
    for number, status in enumerate(STATUSES):
        turn = (number + len(provider.name)) % len(BODIES)
        for label in list(BODIES)[turn : turn + 1]:
            if (provider.message, status) in ELSEWISE:
                continue
            kind, body, words = BODIES[label]
            like = LIKE.get(status, ServerError if status >= 500 else StatusError)
            yield Case(
                provider,
                f"{status}-{label}",
                {
                    "step": provider.message,
                    "kind": "status",
                    "status": status,
                    "headers": {"content-type": kind},
                    "body": body,
                    "times": 9,
                },
                like,
                partial=False,
                processed=(0,),
                tries=3 if status in (429, 503) else 1,
                words=f"{status}.*{words}",
                part="corners",
            )


def _retry_after(provider: Provider) -> Iterator[Case]:
    for label, (value, seconds) in RETRY_AFTER.items():
        status = 429 if (len(label) + len(provider.name)) % 2 else 503
        yield Case(
            provider,
            f"{status}-retry-after-{label}",
            {
                "step": provider.message,
                "kind": "status",
                "status": status,
                "headers": {"Retry-After": value} if value else {},
                "body": b'{"detail":"Queue is full."}',
                "times": 9,
            },
            RateLimitError if status == 429 else ServerError,
            partial=False,
            processed=(0,),
            retry_after=seconds,
            part="retry-after",
        )


def _said(provider: Provider) -> tuple[str, bytes]:
    """Return the media type and the body of a whole reply."""

    def event(value: Any) -> str:
        return f"data: {json.dumps(value)}\n\n"

    if provider.name == "c4ai-command":
        updates = [{"type": "stream", "token": token} for token in TOKENS]
        updates.append({"type": "finalAnswer", "text": TEXT, "interrupted": False})  # type: ignore[dict-item]
        return "application/jsonl", "".join(json.dumps(u) + "\n" for u in updates).encode()
    if provider.name == "h2o":
        tokens = [
            {"token": {"id": i, "text": token, "special": False}, "generated_text": None}
            for i, token in enumerate(TOKENS)
        ]
        tokens[-1]["generated_text"] = TEXT
        return "text/event-stream", "".join(event(token) for token in tokens).encode()
    if provider.name == "autonomous":
        chunks = [{"choices": [{"index": 0, "delta": {"content": token}}]} for token in TOKENS]
        return "text/event-stream", (
            "".join(event(chunk) for chunk in chunks) + "data: [DONE]\n\n"
        ).encode()
    output = {"data": ["", [["Hi", TEXT]], None]}
    done = {"msg": "process_completed", "success": True, "output": output}
    return "text/event-stream", event(done).encode()


def _deflate(data: bytes, wbits: int) -> bytes:
    pack = zlib.compressobj(wbits=wbits)
    return pack.compress(data) + pack.flush()


ENCODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "x-gzip": ("x-gzip", gzip.compress),
    "capitals": ("GZip", gzip.compress),
    "gzip-members": ("gzip", lambda b: gzip.compress(b[:50]) + gzip.compress(b[50:])),
    "gzip-twice": ("gzip, gzip", lambda b: gzip.compress(gzip.compress(b))),
    "deflate": ("deflate", lambda b: _deflate(b, 15)),
    "deflate-raw": ("deflate", lambda b: _deflate(b, -15)),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstd.compress),
    "zstd-then-gzip": ("zstd, gzip", lambda b: gzip.compress(zstd.compress(b))),
    "identity": ("identity", bytes),
}


def _chunked(body: bytes, size: int = 60) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


def _raw(provider: Provider, label: str, body: bytes, *outcome: Any, **more: Any) -> Case:
    fault = {"step": provider.stream, "kind": "raw", "body": body, "times": 9}
    return Case(provider, label, fault, *outcome, part="corners", **more)


def _encodings(provider: Provider) -> Iterator[Case]:
    kind, said = _said(provider)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n"
    for label, (name, pack) in ENCODINGS.items():
        packed = pack(said)
        coded = f"{head}Content-Encoding: {name}\r\n".encode()
        yield _raw(
            provider,
            f"encoded-{label}-chunked",
            coded + b"Transfer-Encoding: chunked\r\n\r\n" + _chunked(packed),
        )
        if label == "identity":
            continue
        sized = coded + b"Content-Length: %d\r\n\r\n" % len(packed)
        yield _raw(
            provider,
            f"encoded-{label}-cut",
            sized + packed[: len(packed) // 3],
            IncompleteReplyError,
        )
        # The first bytes say what it is, so these say that it is something else.
        yield _raw(
            provider,
            f"encoded-{label}-not-at-all",
            coded + b"\r\n" + b"\x07" * 3 + said,
            ProtocolError,
            words="decode",
        )
    for name in ("compress", "pack200-gzip", "gzip, secret", "aes128gcm"):
        yield _raw(
            provider,
            f"encoded-{name}",
            f"{head}Content-Encoding: {name}\r\n\r\n".encode() + said,
            ProtocolError,
            words="encoded as",
            partial=False,
        )
    many = ", ".join(["gzip"] * 20)
    yield _raw(
        provider,
        "encoded-twenty-times",
        f"{head}Content-Encoding: {many}\r\n\r\n".encode() + said,
        ProtocolError,
        words="20 > 5",
    )


def _framings(provider: Provider) -> Iterator[Case]:
    """Answers that are hardly HTTP, and what comes of each."""
    kind, said = _said(provider)
    size = len(said)
    ok = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n".encode()
    length = b"Content-Length: %d\r\n" % size
    chunked = b"Transfer-Encoding: chunked\r\n"
    whole: dict[str, bytes] = {
        "no-reason": ok.replace(b" OK", b"") + length + b"\r\n" + said,
        "http-1.0": ok.replace(b"1.1", b"1.0") + b"\r\n" + said,
        "http-1.0-keep-alive": ok.replace(b"1.1", b"1.0")
        + b"Connection: keep-alive\r\n%b\r\n%b" % (length, said),
        "bare-line-feeds": (ok + length + b"\r\n").replace(b"\r\n", b"\n") + said,
        "folded-header": ok + b"X-Long: one\r\n two\r\n" + length + b"\r\n" + said,
        "latin-header": ok + "X-Größe: schön\r\n".encode("latin-1") + length + b"\r\n" + said,
        "utf-8-header": ok + "X-Size: größer 😀\r\n".encode() + length + b"\r\n" + said,
        "ninety-cookies": ok + b"Set-Cookie: a=b; Path=/\r\n" * 90 + length + b"\r\n" + said,
        "long-cookie": ok + b"Set-Cookie: a=" + b"b" * 60_000 + b"\r\n" + length + b"\r\n" + said,
        "length-too-large": ok + b"Content-Length: %d\r\n\r\n" % (size + 99) + said,
        "length-2**62": ok + b"Content-Length: %d\r\n\r\n" % 2**62 + said,
        "length-no-number": ok + b"Content-Length: many\r\n\r\n" + said,
        "length-negative": ok + b"Content-Length: -1\r\n\r\n" + said,
        "length-and-chunked": ok + b"Content-Length: 5\r\n" + chunked + b"\r\n" + _chunked(said),
        "trailing-bytes": ok + length + b"\r\n" + said + b"HTTP/1.1 500 No\r\n\r\n",
        "trailing-after-chunks": ok + chunked + b"\r\n" + _chunked(said) + b"\r\n\r\nmore",
        "trailers": ok + chunked + b"\r\n" + _chunked(said)[:-2] + b"X-Sum: 1\r\nX-Y: z\r\n\r\n",
        "chunk-extensions": ok
        + chunked
        + b'\r\n%x;a=b; c="d"\r\n' % size
        + said
        + b"\r\n0;last\r\n\r\n",
        "chunk-sizes-padded": ok + chunked + b"\r\n%012X  \r\n" % size + said + b"\r\n000\r\n\r\n",
        "chunks-of-a-byte": ok + chunked + b"\r\n" + _chunked(said, 1),
        "early-hints": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 3
        + ok
        + length
        + b"\r\n"
        + said,
        "continue-and-processing": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
        + ok
        + length
        + b"\r\n"
        + said,
    }
    for label, answer in whole.items():
        yield _raw(provider, f"http-{label}", answer)
    broken: dict[str, tuple[bytes, type[C4AIError]]] = {
        "nothing": (b"", IncompleteReplyError),
        "blank-lines": (b"\r\n\r\n\r\n", ProtocolError),
        "http-0.9": (said, ProtocolError),
        "http-2.0": (ok.replace(b"1.1", b"2.0") + length + b"\r\n" + said, ProtocolError),
        "http-2-preface": (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03", ProtocolError),
        "tls-alert": (b"\x15\x03\x01\x00\x02\x02\x28", ProtocolError),
        "status-000": (ok.replace(b"200", b"000") + length + b"\r\n" + said, ProtocolError),
        "status-word": (ok.replace(b"200", b"two") + length + b"\r\n" + said, ProtocolError),
        "status-999": (ok.replace(b"200", b"999") + b"Content-Length: 0\r\n\r\n", ServerError),
        "status-204": (b"HTTP/1.1 204 No Content\r\n\r\n", IncompleteReplyError),
        "status-304": (b"HTTP/1.1 304 Not Modified\r\n\r\n", StatusError),
        "status-101": (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
            IncompleteReplyError,
        ),
        "only-1xx": (b"HTTP/1.1 103 Early Hints\r\n\r\n", IncompleteReplyError),
        "cut-in-status-line": (b"HTTP/1.1 20", IncompleteReplyError),
        "cut-in-headers": (ok, IncompleteReplyError),
        "cut-in-a-header": (ok + b"Content-Len", IncompleteReplyError),
        "length-too-small": (ok + b"Content-Length: 30\r\n\r\n" + said, IncompleteReplyError),
        "chunk-2**60": (ok + chunked + b"\r\n1000000000000000\r\n" + said, IncompleteReplyError),
        "chunk-negative": (ok + chunked + b"\r\n-1\r\n" + said, IncompleteReplyError),
        "chunks-that-are-none": (ok + chunked + b"\r\n" + said, IncompleteReplyError),
        "body-of-nothing": (ok + b"Content-Length: 0\r\n\r\n", IncompleteReplyError),
    }
    for label, (answer, error) in broken.items():
        yield _raw(provider, f"http-{label}", answer, error, partial=False)


def corners(provider: Provider) -> Iterator[Case]:
    """Yield each corner of HTTP for a provider."""
    yield from _statuses(provider)
    yield from _retry_after(provider)
    yield from _encodings(provider)
    yield from _framings(provider)
