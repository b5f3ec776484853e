"""Bytes into lines, lines into records; pure, no I/O.

Rules that this file keeps:

1. Lines are split on bytes. JSON may hold U+2028, U+2029 and U+0085 raw, and
   ``str.splitlines`` would break it there (seen: chat-ui, Gradio from 4.22).
2. A record comes out whole or not at all. Half a JSON object is never valid
   JSON, and half an event is dropped as the WHATWG standard says, so a reply
   that was cut can only be missing its end mark.
3. Everything costs in proportion to the bytes received, in pieces of any size,
   and no line or event may grow beyond ``LIMIT``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import sseclient

from .errors import ProtocolError, quote

if not hasattr(sseclient.SSEClient, "events"):
    raise ImportError(
        "the module sseclient comes from the dead package 'sseclient': "
        "pip uninstall sseclient, then pip install --force-reinstall sseclient-py"
    )

LIMIT = 1 << 20
_HEAD = 300


class ServerSentEvent(NamedTuple):
    """One event of a ``text/event-stream``."""

    data: str
    event: str = "message"


class Lines:
    """The finished lines of a body, without their newlines.

    Attributes:
        rest: After iteration, what followed the last newline.

    Raises:
        ProtocolError: While iterating; a line is longer than *limit* bytes.
    """

    def __init__(self, chunks: Iterable[bytes], limit: int = LIMIT) -> None:
        self.rest = b""
        self._chunks = chunks
        self._limit = limit

    def __iter__(self) -> Iterator[bytes]:
        limit = self._limit
        tail: list[bytes] = []
        size = 0
        for chunk in self._chunks:
            *whole, rest = chunk.split(b"\n")
            if whole:
                tail.append(whole[0])
                whole[0] = b"".join(tail)
                for line in whole:
                    if len(line) > limit:
                        raise _too_long("line", limit, line)
                    yield line
                tail.clear()
                size = 0
            if rest:
                tail.append(rest)
                size += len(rest)
                if size > limit:
                    raise _too_long("line", limit, tail[0])
        self.rest = b"".join(tail)


def jsonl(lines: Lines) -> Iterator[dict[str, Any]]:
    """Read each line that is not blank as a JSON object.

    An unfinished last line is read too where it is one; half an object is
    dropped, since it only shows that the body was cut.

    Raises:
        ProtocolError: A line is something else; the text quotes it.
    """
    for line in lines:
        line = line.strip()
        if line:
            yield loads(line)
    rest = lines.rest.strip()
    if not rest:
        return
    try:
        last = loads(rest)
    except ProtocolError:
        if rest.startswith(b"{"):
            return
        raise
    yield last


def loads(raw: bytes | str) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        ProtocolError: It is not one; the text quotes its beginning.
    """
    try:
        value = json.loads(raw.decode("utf-8") if isinstance(raw, bytes) else raw)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"expected JSON, got: {quote(raw)}") from error
    if not isinstance(value, dict):
        raise ProtocolError(f"expected a JSON object, got: {quote(raw)}")
    return value


def sse(chunks: Iterable[bytes], limit: int = LIMIT) -> Iterator[ServerSentEvent]:
    """Read a ``text/event-stream`` as the WHATWG standard has it.

    The frames are cut here, in one pass; what stands in a frame is read by
    sseclient-py, except for the one line ``data: …`` that nearly all are.

    Raises:
        ProtocolError: An event is longer than *limit*, is not UTF-8, or the
            body ended and nothing in it was an event stream; quotes it.
    """
    head = b""
    dispatched = False
    frame: list[bytes] = []
    size = 0
    lines = Lines(_newlines(chunks), limit)
    for line in lines:
        if not head.strip():
            head = line[:_HEAD]
        if line:
            frame.append(line)
            size += len(line)
            if size > limit:
                raise _too_long("event", limit, head)
            continue
        for event in _events(frame):
            dispatched = True
            yield event
        frame = []
        size = 0
    head = head if head.strip() else lines.rest[:_HEAD]
    if not dispatched and head.strip() and not _begins_stream(head):
        raise ProtocolError(f"expected an event stream, got: {quote(head)}")


def _begins_stream(head: bytes) -> bool:
    """Tell whether *head*, maybe cut short, is a field or a comment."""
    name = head.partition(b":")[0]
    return any(field.startswith(name) for field in (b"data", b"event", b"id", b"retry"))


def _newlines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Drop a byte order mark and turn CRLF and CR into LF, without waiting."""
    started = False
    start = b""
    after_cr = False
    for chunk in chunks:
        if not started:
            start += chunk
            if len(start) < 3 and b"\xef\xbb\xbf".startswith(start):
                continue
            started = True
            chunk = start[3:] if start.startswith(b"\xef\xbb\xbf") else start
        if after_cr and chunk:
            after_cr = False
            if chunk[:1] == b"\n":
                chunk = chunk[1:]
        if b"\r" in chunk:
            # A CR ends its line at once; the LF that may follow is dropped.
            after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        yield chunk
    if not started:
        yield start


def _events(frame: list[bytes]) -> Iterator[ServerSentEvent]:
    try:
        if len(frame) == 1 and frame[0].startswith(b"data:"):
            data = frame[0][6:] if frame[0][5:6] == b" " else frame[0][5:]
            yield ServerSentEvent(data.decode("utf-8"))
        elif frame:
            for event in sseclient.SSEClient(iter([b"\n".join(frame) + b"\n\n"])).events():
                yield ServerSentEvent(event.data, event.event)
    except UnicodeDecodeError as error:
        raise ProtocolError(f"not UTF-8: {quote(b' '.join(frame))}") from error


def _too_long(what: str, limit: int, start: bytes) -> ProtocolError:
    return ProtocolError(
        f"a {what} is longer than {limit:,} bytes; it begins: {quote(start[:_HEAD])}"
    )


class Halves:
    """Joins the two halves of a character that came in two pieces.

    chat-ui cuts tokens between UTF-16 units, so an emoji may come as two lone
    surrogates in two events (seen: eras B and C).
    """

    def __init__(self) -> None:
        self._half = ""

    def join(self, text: str) -> str:
        """Return *text*, with the half kept from before and without its own last."""
        if self._half:
            text = (
                (self._half + text)
                .encode("utf-16-le", "surrogatepass")
                .decode("utf-16-le", "surrogatepass")
            )
            self._half = ""
        if "\ud800" <= text[-1:] <= "\udbff":
            self._half = text[-1]
            return text[:-1]
        return text

    def rest(self) -> str:
        """Return a half whose other half never came."""
        rest, self._half = self._half, ""
        return rest
