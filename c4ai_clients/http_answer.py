"""``Answer``: one HTTP answer, whose body is read as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import requests
import urllib3

from .clocks import Call, Clocked
from .connections import Line
from .decoding import parsed
from .errors import IncompleteReplyError, ProtocolError, TimedOutError, UsageError, quote
from .failures import translated

__all__ = ["JSON_LIMIT", "Answer"]

JSON_LIMIT = 4 << 20

_PIECE = 1 << 16
_ERROR_LIMIT = 1 << 16
_PATIENCE = 1.0
_ENCODINGS = {*urllib3.HTTPResponse.CONTENT_DECODERS, "identity", ""}


class Answer:
    """One HTTP answer whose body is read as it comes."""

    def __init__(
        self,
        call: Call,
        response: requests.Response,
        release: Callable[[], None],
        sock: Clocked | None = None,
    ) -> None:
        self._call = call
        self._response = response
        self._release = release
        self._socket = sock
        self.status = response.status_code

    def header(self, name: str) -> str:
        """Return a header's value, or ``""``."""
        return self._response.headers.get(name) or ""

    @property
    def content_type(self) -> str:
        """The media type, in lower case and without parameters."""
        return self.header("content-type").partition(";")[0].strip().lower()

    def chunks(self) -> Iterator[bytes]:
        """Yield the body's pieces as they arrive.

        ``read1`` gives what has come; ``iter_content`` and ``iter_lines`` hold
        it back where the body is not chunked (measured: up to 0.9 s).

        Raises:
            ProtocolError: It is encoded in a way that cannot be read, or goes
                on and on without any content.
        """
        raw = self._response.raw
        self._check_encoding()
        barren = 0
        with translated():
            while True:
                if self._call.fresh:  # the last piece brought content; reading clears it
                    barren = 0
                chunk = raw.read1(_PIECE, decode_content=True)
                if not chunk:
                    return
                barren += len(chunk)
                self._call.check_barren(barren)
                yield chunk

    def _check_encoding(self) -> None:
        """Refuse an encoding that urllib3 would hand on as if it were text."""
        encodings = self.header("content-encoding").lower()
        for encoding in encodings.split(",") if encodings else ():
            if encoding.strip() not in _ENCODINGS:
                raise ProtocolError(
                    f"the answer is encoded as {quote(encoding)}, which nobody asked for "
                    "and cannot be read here"
                )

    def read(self, limit: int = JSON_LIMIT, *, content: bool = False) -> bytes:
        """Return the whole body.

        Args:
            limit: How many bytes it may have.
            content: Whether its bytes are what was asked for, such as a file's.

        Raises:
            ProtocolError: It is longer than *limit* bytes.
        """
        body = bytearray()
        for chunk in self.chunks():
            self._call.fresh = content
            body += chunk
            if len(body) > limit:
                raise ProtocolError(f"the answer is longer than {limit:,} bytes")
        return bytes(body)

    def line(self) -> Line:
        """Return the connection itself, where the server has switched protocols (101).

        Raises:
            UsageError: The caller's own adapter has made it, and keeps it.
        """
        if self._socket is None:
            raise UsageError("a session with an adapter of its own cannot switch protocols")
        # The answer's own reader: it may hold what came right behind the headers.
        raw: Any = self._response.raw
        return Line(self._socket, raw.answer.fp)

    def json(self, *, first_line: bool = False, limit: int = JSON_LIMIT) -> Any:
        """Return the body, or its first line, as JSON of any type; None where it is empty.

        Raises:
            ProtocolError: It is no JSON, or longer than *limit* bytes; quotes it.
        """
        body = self.read(limit).strip()
        if first_line:
            body = body.partition(b"\n")[0]
        return parsed(body) if body else None

    def beginning(self) -> bytes:
        """Return what can be read of the body's beginning, for an error's text.

        It is not waited for longer than a second, since the status says enough.

        Raises:
            TimedOutError: ``total`` ran out.
        """
        body = bytearray()
        try:
            with self._call.briefly(_PATIENCE):
                for chunk in self.chunks():
                    body += chunk
                    if len(body) >= _ERROR_LIMIT:
                        break
        except (IncompleteReplyError, ProtocolError):
            pass
        except TimedOutError as error:
            if error.kind == "total":
                raise
        return bytes(body[:_ERROR_LIMIT])

    def close(self) -> None:
        """Hang up, or give the connection back where the body was read to its end."""
        self._release()
        self._response.close()
