"""Bytes into lines, lines into records; pure, no I/O.

Rules that this file keeps:

1. Lines are split on bytes. JSON may hold U+2028, U+2029 and U+0085 raw, and
   ``str.splitlines`` would break it there (seen: chat-ui, Gradio from 4.22).
2. A record comes out whole or not at all. Half a JSON object is never valid
   JSON, and half an event is dropped as the WHATWG standard says, so a reply
   that was cut can only be missing its end mark.
3. Everything costs in proportion to the bytes received, in pieces of any size,
   and no line or event may grow beyond ``LIMIT``.
4. Odd but valid JSON means the same everywhere. Of a key that comes twice the
   last holds, as in JavaScript; NaN and the infinities are null, as JavaScript
   writes them; a lone surrogate stays. Nesting beyond ``DEPTH``, bytes that are
   no UTF-8 and an integer longer than Python reads (4,300 digits) are refused.
   So are more than ``VALUES`` in a long text: five bytes may take 250 of memory.
   1e999 is read as infinity, so a number is taken by :func:`count` or
   :func:`seconds`, and a text by :func:`string`, which pass over any other type.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from json.scanner import make_scanner
from typing import Any

import sseclient

from .errors import ProtocolError, quote

if not hasattr(sseclient.SSEClient, "events"):
    raise ImportError(
        "the module sseclient comes from the dead package 'sseclient': "
        "pip uninstall sseclient, then pip install --force-reinstall sseclient-py"
    )

LIMIT = 1 << 20
DEPTH = 200
VALUES = 100_000  # keys counted too
# No shorter text can be nested deeper; nor can one up to _LONG without lists.
_SHALLOW = 2 * DEPTH
_LONG = 5 * DEPTH
# What a text up to here holds takes no more memory than VALUES do.
_ROOMY = 1 << 18
_MARKS = b",:[{"
_NO_MARKS = bytes(set(range(256)).difference(_MARKS))
_BEHIND_STRING = re.compile(rb'(?:"[^"]*"?)?([^"]*)')
_HEAD = 300
# sseclient-py adds line to line, which costs the square of their number.
_LINES = 32
# JSON's integers are exact up to here, in JavaScript too.
_EXACT = 1 << 53


def jsonl(chunks: Iterable[bytes], limit: int = LIMIT) -> Iterator[dict[str, Any]]:
    """Read each line that is not blank as a JSON object.

    An unfinished last line is read too where it is one; half an object is
    dropped, since it only shows that the body was cut.

    Raises:
        ProtocolError: A line is something else, or longer than *limit* bytes;
            the text quotes it.
    """
    held = _Held(limit, "a line")
    for chunk in chunks:
        end = chunk.rfind(b"\n") + 1
        if end:
            yield from _records(held.take(chunk, end), limit)
        else:
            held.keep(chunk)
    rest = held.take(b"", 0)
    try:
        yield from _records(rest, limit)
    except ProtocolError:
        if not rest.lstrip().startswith(b"{"):
            raise


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
        if end == len(chunk) and not self._pieces:
            return chunk
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
                raise _too_long("a line", limit, raw)
    bad = b""
    try:
        text = block.decode("utf-8")
    except UnicodeDecodeError as error:
        sound = block.rfind(b"\n", 0, error.start) + 1
        text = block[:sound].decode("utf-8")
        bad = block[sound:].partition(b"\n")[0]
    for line in text.split("\n"):
        if not line:
            continue
        if len(line) <= _ROOMY and (value := _object_in(line, 0)) is not None:
            yield value
        elif not line.isspace():
            yield loads(line)
    if bad:
        yield loads(bad)


def _object_in(text: str, at: int) -> dict[str, Any] | None:
    """Return the JSON object that *text* is from *at* on.

    None of all that :func:`loads` would refuse, and of some that it takes: with
    spaces around. *text* is short enough to hold any number of values.
    """
    try:
        value, end = _scan(text, at)
    except (ValueError, RecursionError, StopIteration):
        return None
    if end != len(text) or type(value) is not dict:
        return None
    if end > _SHALLOW and _may_be_deep(text) and _is_deep(value):
        return None
    return value


def loads(raw: bytes | str) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        ProtocolError: It is not one; the text quotes its beginning.
    """
    value = parsed(raw)
    if type(value) is not dict:
        raise ProtocolError(f"expected a JSON object, got: {quote(raw)}")
    return value


def parsed(raw: bytes | str) -> Any:
    """Read one JSON value of any type.

    Raises:
        ProtocolError: It is none, nested too deeply, or holds too many values;
            the text quotes its beginning.
    """
    if len(raw) > _ROOMY and _is_crowded(raw):
        raise ProtocolError(f"expected JSON, got more than {VALUES:,} values: {quote(raw)}")
    try:
        text = (raw if isinstance(raw, str) else raw.decode("utf-8")).strip(" \t\r\n")
        value, end = _scan(text, 0)
        if end != len(text):
            raise ValueError("more than one value")
    except (ValueError, RecursionError, StopIteration) as error:
        raise ProtocolError(f"expected JSON, got: {quote(raw)}") from error
    if end > _SHALLOW and _may_be_deep(text) and _is_deep(value):
        raise ProtocolError(
            f"expected JSON, got something nested more than {DEPTH} deep: {quote(raw)}"
        )
    return value


# What raw_decode calls; it says by StopIteration where no value begins.
_scan = make_scanner(json.JSONDecoder(parse_constant=lambda name: None))  # type: ignore[arg-type]


def _is_crowded(raw: bytes | str) -> bool:
    """Tell whether there are more than ``VALUES``; before all but the first stands a mark.

    Most texts show that they hold fewer by their marks in and outside of strings.
    """
    data = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    if len(data.translate(None, _NO_MARKS)) <= VALUES:
        return False
    return outside_strings(data, _MARKS) > VALUES


def outside_strings(raw: bytes, marks: bytes) -> int:
    """Return how many of *marks* stand outside of the strings of JSON, which may be cut.

    In passes that each find one thing, since one pattern for a string with its
    escapes keeps a state for each character (measured: 120 times its size).
    """
    unescaped = raw.replace(rb"\\", b"").replace(rb"\"", b"")
    unwanted = bytes(set(range(256)) - {*marks, *b'"'})
    # Without its text, a string that has none of the marks in it is two quotes.
    bare = unescaped.translate(None, unwanted).replace(b'""', b"")
    return sum(len(found[1]) for found in _BEHIND_STRING.finditer(bare))


def _may_be_deep(text: str) -> bool:
    """Tell whether there are brackets enough; a level is two characters, [], or five, {"":}."""
    if len(text) <= _LONG:
        return len(text) + 3 * text.count("[") > _LONG
    found = 0
    for bracket in "[{":  # find() passes over long strings faster than count()
        at = text.find(bracket)
        while at >= 0 and found <= DEPTH:
            found += 1
            at = text.find(bracket, at + 1)
    return found > DEPTH


def _is_deep(value: Any) -> bool:
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) in (dict, list)
        ]
        if not level:
            return False
    return True


def string(value: object) -> str:
    """Return the text that a field holds, ``""`` where it holds no text."""
    return value if isinstance(value, str) else ""


def count(value: object) -> int | None:
    """Return the whole number from 0 on that a field holds, None where it holds none."""
    return value if type(value) is int and 0 <= value < _EXACT else None


def seconds(value: object) -> float | None:
    """Return the seconds that a field holds, None where it holds none."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    return value if 0 <= value < _EXACT else None


def sse(chunks: Iterable[bytes], limit: int = LIMIT) -> Iterator[tuple[str, str]]:
    """Yield the data and the name of each event, as the WHATWG standard has it.

    The frames are cut here, in one pass; what stands in a frame is read by
    sseclient-py, except for the one line ``data: …`` that nearly all are.

    Raises:
        ProtocolError: An event is longer than *limit* or its name than 300
            bytes, it is not UTF-8, or the body ended and nothing in it
            was an event stream; quotes it.
    """
    return _events(chunks, limit, objects=False)


def sse_objects(
    chunks: Iterable[bytes], limit: int = LIMIT
) -> Iterator[dict[str, Any] | tuple[str, str]]:
    """Yield each event that has no name, and one JSON object in one line, as that object.

    Any other event is given as :func:`sse` gives it, whoever reads it decides
    what it means. Raises what that raises.
    """
    return _events(chunks, limit, objects=True)


def _events(chunks: Iterable[bytes], limit: int, *, objects: bool) -> Iterator[Any]:
    head = b""
    dispatched = False
    held = _Held(limit, "an event")
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
        text, failure = _decoded(held.take(chunk, end), limit)
        for frame in _frames(text):
            at = 6 if frame[:6] == "data: " else 5 if frame[:5] == "data:" else 0
            if at and "\n" not in frame:
                dispatched = True
                value = _object_in(frame, at) if objects and len(frame) <= _ROOMY else None
                yield (frame[at:], "message") if value is None else value
            elif frame := frame.strip("\n"):
                for event in _read_by_sseclient(frame.encode("utf-8").split(b"\n")):
                    dispatched = True
                    yield event
        if failure is not None:
            raise failure
    if not dispatched and head.strip() and not _begins_stream(head.partition(b"\n")[0]):
        raise ProtocolError(
            f"expected an event stream, got: {quote(head[:_HEAD], more=len(head) >= _HEAD)}"
        )


def _frames(text: str) -> list[str]:
    """Part finished events: at two newlines, or where events are long, at one before another.

    One character is found many times faster than two, but each find is a call.
    """
    if text.find("\n") < _LONG:
        return text.split("\n\n")
    frames, start, at = [], 0, 0
    while at := text.find("\n", at) + 1:
        if text.startswith("\n", at):
            frames.append(text[start : at - 1])
            start = at = at + 1
    return frames


def _decoded(block: bytes, limit: int) -> tuple[str, ProtocolError | None]:
    """Return the text of finished events, and the error of the first that cannot be read.

    Decoded as one block, which is cheaper than one by one.
    """
    if len(block) <= limit:
        with contextlib.suppress(UnicodeDecodeError):
            return block.decode("utf-8"), None
    sound = ""
    for frame in block.split(b"\n\n"):
        if len(frame) > limit:
            return sound, _too_long("an event", limit, frame)
        try:
            sound += frame.decode("utf-8") + "\n\n"
        except UnicodeDecodeError as error:
            failure = ProtocolError(f"not UTF-8: {quote(frame)}")
            failure.__cause__ = error
            return sound, failure
    return sound, None


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


def _read_by_sseclient(lines: list[bytes]) -> Iterator[tuple[str, str]]:
    """Read an event's lines a few at a time: the name goes on, and the data is joined."""
    name, data = b"message", []
    for at in range(0, len(lines), _LINES):
        # The last line ends each part's data in a newline, where it has any.
        part = [b"event: " + name, *lines[at : at + _LINES], b"data:", b"", b""]
        (event,) = sseclient.SSEClient(iter([b"\n".join(part)])).events()
        name = event.event.encode("utf-8")
        data.append(event.data)
        if len(name) > _HEAD:
            raise _too_long("an event's name", _HEAD, name)
    whole = "".join(data)
    if whole:
        yield whole[:-1], name.decode("utf-8")


def _too_long(what: str, limit: int, start: bytes) -> ProtocolError:
    begins = quote(start[:_HEAD], more=True)
    return ProtocolError(f"{what} is longer than {limit:,} bytes; it begins: {begins}")


def paired(text: str) -> str:
    """Return *text* with the two halves of a character made one; a lone half stays."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


class Halves:
    """Joins the two halves of a character that came in two pieces.

    chat-ui cuts tokens between UTF-16 units, so an emoji may come as two lone
    surrogates in two events (seen: eras B and C).
    """

    def __init__(self) -> None:
        self._half = ""

    def join(self, text: str) -> str:
        """Return *text*, with the half kept from before and without its own last."""
        if text.isascii() and not self._half:
            return text
        if self._half:
            text = paired(self._half + text)
            self._half = ""
        if "\ud800" <= text[-1:] <= "\udbff":
            self._half = text[-1]
            return text[:-1]
        return text

    def rest(self) -> str:
        """Return a half whose other half never came."""
        rest, self._half = self._half, ""
        return rest
