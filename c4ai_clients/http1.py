"""HTTP/1.1 as it stands on the wire: a request's head, an answer's head, the chunked framing.

http.client does all of it too, at a price that a small request and a reply of
one token a chunk feel: it looks at each header on the way out again, hands
those on the way in to email's parser, and reads four times for each chunk.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Mapping
from typing import Any

import urllib3

from .errors import UsageError

__all__ = ["Response", "request_head"]

_OLD = ("HTTP/1.0", "HTTP/0.9")
_LINE = 1 << 16
_HEADS = 100
_HEAD = 1 << 18
_FIELD = re.compile(r"([!-9;-~]+)[ \t]*:([^\n]*)\n")

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;|\Z)")
_SIZE_LINE = 1 << 12
_TRAILER = 1 << 16


def request_head(method: str, target: str, headers: Mapping[str, str | bytes]) -> bytes:
    """Return a request's head.

    Raises:
        UsageError: A line break is in it, or a letter that is none of Latin-1.
    """
    lines = [f"{method} {target} HTTP/1.1"]
    for name, value in headers.items():
        lines.append(f"{name}: {value if isinstance(value, str) else value.decode('latin-1')}")
    head = "\r\n".join([*lines, "", ""])
    breaks = len(lines) + 1
    if (head.count("\r"), head.count("\n")) != (breaks, breaks) or max(head) > "\xff":
        raise UsageError("a header holds a line break or a character that no header may hold")
    return head.encode("latin-1")


class Response(http.client.HTTPResponse):
    """An answer that reads its head and its chunks in bulk, and skips any 1xx."""

    headers: Any
    _body: _Chunked | None = None
    _heads = 0

    def begin(self) -> None:
        """Read the head of the answer, and tell where its body ends."""
        while True:
            version, status, reason = self._read_status()
            if version not in _OLD and not version.startswith("HTTP/1."):
                raise http.client.UnknownProtocol(version)
            fields = _fields(self.fp)
            if not 100 <= status < 200 or status == 101:
                break
        self.version = 10 if version in _OLD else 11
        self.code = self.status = status
        self.reason = reason.strip()
        self.headers = fields
        self.chunked = _is_chunked(fields)
        self.chunk_left = None
        self.length = None if self.chunked else _length(fields)
        if status in (204, 304) or status < 200:
            self.length = 0
        connection = fields.get("connection", "").lower()
        kept = self.version == 11 or "keep-alive" in connection or "keep-alive" in fields
        kept = kept and "close" not in connection
        self.will_close = not kept or (not self.chunked and self.length is None)

    def _read_status(self) -> Any:
        """Read a status line; there may be some before the answer's own."""
        self._heads += 1
        if self._heads > _HEADS:
            raise http.client.HTTPException(f"more than {_HEADS} informational answers")
        return super()._read_status()  # type: ignore[misc]

    def read1(self, n: int = -1) -> bytes:
        """Return what has come of the body, ``b""`` at its end."""
        if not self.chunked or self.fp is None:
            return super().read1(n)
        if self._body is None:
            self._body = _Chunked()
        body = self._body
        while not body.ended:
            raw = self.fp.read1(n)
            if not raw:
                raise http.client.IncompleteRead(b"")
            if data := body.data(raw):
                return data
        trailer = b"\r\n" + body.rest
        while b"\r\n\r\n" not in trailer and (raw := self.fp.read1(n)):
            trailer += raw
            if len(trailer) > _TRAILER:
                raise http.client.LineTooLong("trailer")
        self.close()
        return b""


def _fields(reader: Any) -> urllib3.HTTPHeaderDict:
    """Read headers; a line that is none is passed over.

    email's parser, which http.client asks, drops all that follow such a line,
    and with them how the body is framed.
    """
    found: list[tuple[str, str]] = []
    size = count = 0
    folds = False
    while (line := reader.readline(_LINE + 1)) not in (b"\r\n", b"\n", b""):
        size += len(line)
        count += 1
        if len(line) > _LINE or size > _HEAD:
            raise http.client.LineTooLong("header line")
        if count >= _HEADS:
            raise http.client.HTTPException(f"got more than {_HEADS} headers")
        text = line.decode("latin-1")
        if field := _FIELD.fullmatch(text):
            found.append((field[1], _value(field[2])))
            folds = True
        elif folds and text[0] in " \t":
            name, value = found[-1]
            found[-1] = name, f"{value} {_value(text)}".strip()
        else:
            folds = False
    fields = urllib3.HTTPHeaderDict(found)
    if "content-encoding" in fields:
        # urllib3 takes a name with a space, or none at all, for one that it knows.
        fields["content-encoding"] = ", ".join(_listed(fields, "content-encoding"))
    return fields


def _value(text: str) -> str:
    return text.strip(" \t\r\n").replace("\r", " ")


def _listed(fields: urllib3.HTTPHeaderDict, name: str) -> list[str]:
    """Return the codings that a header lists, however often it comes, in lower case."""
    words = (word.strip().lower() for word in fields.get(name, "").split(","))
    return [word for word in words if word not in ("", "identity")]


def _is_chunked(fields: urllib3.HTTPHeaderDict) -> bool:
    codings = _listed(fields, "transfer-encoding")
    if unknown := [coding for coding in codings if coding != "chunked"]:
        raise http.client.HTTPException(f"its transfer coding is {', '.join(unknown)}")
    return bool(codings)


def _length(fields: urllib3.HTTPHeaderDict) -> int | None:
    try:
        lengths = {int(each) for each in fields.get("content-length", "").split(",")}
    except ValueError:
        return None
    if len(lengths) > 1:
        raise http.client.HTTPException(f"it has several lengths: {sorted(lengths)}")
    length = lengths.pop()
    return length if length >= 0 else None


class _Chunked:
    """Takes the chunked framing off what has come, many chunks at once.

    http.client reads four times for each chunk, which costs a reply of one
    token a chunk more than all that is done with the tokens.

    Attributes:
        ended: Whether the last chunk was seen.
        rest: What has come and is no whole piece of framing yet.
    """

    def __init__(self) -> None:
        self.ended = False
        self.rest = b""
        self._left = 0  # of the chunk that has begun, its line end included

    def data(self, raw: bytes) -> bytes:
        """Return the data in *raw*.

        Raises:
            http.client.IncompleteRead: This is no chunked framing.
        """
        raw = self.rest + raw if self.rest else raw
        found: list[bytes] = []
        at, left = 0, self._left
        while True:
            if left:
                end = at + left
                found.append(raw[at : end - 2])
                if len(raw) < end:
                    at = min(len(raw), end - 2)
                    left = end - at
                    break
                if raw[end - 2 : end] != b"\r\n":
                    raise http.client.IncompleteRead(b"")
                at, left = end, 0
            end = raw.find(b"\r\n", at)
            if end < 0:
                if len(raw) - at > _SIZE_LINE:
                    raise http.client.IncompleteRead(b"")
                break
            digits = _SIZE.match(raw, at, end)
            if digits is None:
                raise http.client.IncompleteRead(b"")
            at = end + 2
            size = int(digits[1], 16)
            if not size:
                self.ended = True
                break
            left = size + 2
        self.rest, self._left = raw[at:], left
        return b"".join(found)
