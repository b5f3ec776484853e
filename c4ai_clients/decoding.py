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


def jsonl(chunks: Iterable[bytes], limit: int = LIMIT) -> Iterator[dict[str, Any]]:
    """Read each line that is not blank as a JSON object.

    An unfinished last line is read too where it is one; half an object is
    dropped, since it only shows that the body was cut.

    Raises:
        ProtocolError: A line is something else, or longer than *limit* bytes;
            the text quotes it.
    """
    held = _Held(limit, "line")
    for chunk in chunks:
        end = chunk.rfind(b"\n") + 1
        if end:
            yield from _records(held.take(chunk, end), limit)
        else:
            held.keep(chunk)
    rest = held.take(b"", 0).strip()
    if not rest:
        return
    try:
        last = loads(rest)
    except ProtocolError:
        if rest.startswith(b"{"):
            return
        raise
    yield last


class _Held:
    """What has come and is not finished yet; joined once, however many pieces it has."""

    def __init__(self, limit: int, what: str) -> None:
        self._limit = limit
        self._what = what
        self._pieces: list[bytes] = []
        self._size = 0

    def keep(self, piece: bytes) -> None:
        """Keep a piece in which nothing is finished."""
        if not piece:
            return
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > self._limit:
            raise _too_long(self._what, self._limit, self._pieces[0])

    def take(self, chunk: bytes, end: int) -> bytes:
        """Return what *chunk* finishes up to *end*, and keep what is behind it."""
        self._pieces.append(chunk[:end])
        taken = b"".join(self._pieces)
        self._pieces, self._size = [], 0
        if end < len(chunk):
            self.keep(chunk[end:])
        return taken

    def ends_line(self) -> bool:
        """Tell whether what is kept ends in a newline."""
        return bool(self._pieces) and self._pieces[-1].endswith(b"\n")


def _records(block: bytes, limit: int) -> Iterator[dict[str, Any]]:
    """Read finished lines; decoded as one block, which is cheaper than line by line."""
    if len(block) > limit:
        for raw in block.split(b"\n"):
            if len(raw) > limit:
                raise _too_long("line", limit, raw)
    try:
        lines = block.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        yield from (loads(raw) for raw in block.split(b"\n") if raw.strip())
        return
    for line in lines:
        if line and not line.isspace():
            yield loads(line)


def loads(raw: bytes | str) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        ProtocolError: It is not one; the text quotes its beginning.
    """
    try:
        text = (raw if isinstance(raw, str) else raw.decode("utf-8")).strip(" \t\r\n")
        value, end = _decode(text)
        if end != len(text):
            raise ValueError("more than one value")
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"expected JSON, got: {quote(raw)}") from error
    if type(value) is not dict:
        raise ProtocolError(f"expected a JSON object, got: {quote(raw)}")
    return value


_decode = json.JSONDecoder().raw_decode


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
    held = _Held(limit, "event")
    for chunk in _newlines(chunks):
        if not dispatched and len(head) < _HEAD:
            head = (head + chunk[:_HEAD]).lstrip(b"\n")
        blank = chunk.rfind(b"\n\n")
        if blank >= 0:
            end = blank + 2
        elif chunk.startswith(b"\n") and held.ends_line():
            end = 1
        else:
            held.keep(chunk)
            continue
        for frame in held.take(chunk, end).split(b"\n\n"):
            if len(frame) > limit:
                raise _too_long("event", limit, frame)
            for event in _events(frame.strip(b"\n")):
                dispatched = True
                yield event
    if not dispatched and head.strip() and not _begins_stream(head.partition(b"\n")[0]):
        raise ProtocolError(f"expected an event stream, got: {quote(head[:_HEAD])}")


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


def _events(frame: bytes) -> Iterator[ServerSentEvent]:
    try:
        if frame.startswith(b"data:") and b"\n" not in frame:
            data = frame[6:] if frame[5:6] == b" " else frame[5:]
            yield ServerSentEvent(data.decode("utf-8"))
        elif frame:
            for event in sseclient.SSEClient(iter([frame + b"\n\n"])).events():
                yield ServerSentEvent(event.data, event.event)
    except UnicodeDecodeError as error:
        raise ProtocolError(f"not UTF-8: {quote(frame)}") from error


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
