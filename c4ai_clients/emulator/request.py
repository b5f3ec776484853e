"""What a client asked, kept for tests to look at.

Whatever is secret stays readable in `Request.headers`, where a test needs it,
and is never shown by `repr`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_string
from email.message import Message
from typing import Any
from urllib.parse import parse_qsl, urlsplit

__all__ = ["Form", "Part", "Request"]

# What may be shown; any other header may hold a secret.
_PLAIN = frozenset(
    {
        *("accept", "accept-encoding", "accept-language", "connection", "content-length"),
        *("content-type", "country-code", "expect", "host", "origin", "referer", "time-zone"),
        *("transfer-encoding", "upgrade", "user-agent"),
    }
)


@dataclass(frozen=True)
class Part:
    """One uploaded file of a multipart body."""

    name: str
    filename: str
    content_type: str
    content: bytes


@dataclass(frozen=True)
class Form:
    """The fields and files of a form, in the order in which they were sent."""

    fields: dict[str, str]
    files: tuple[Part, ...]


class Request:
    """One request, as it arrived.

    Attributes:
        protocol: Whose port it came to: "chat-ui", "h2o", "autonomous", "gradio".
        step: What it is for, such as "create" or "message".
        method: In capitals.
        path: Without the query.
        query: The query's parameters; of repeated ones, the last.
        headers: Looked up in any case: ``request.headers["origin"]``.
        body: The bytes, with a chunked upload's framing removed.
        connection: Names the TCP connection; equal numbers, one connection.
    """

    def __init__(
        self,
        protocol: str,
        step: str,
        method: str,
        target: str,
        headers: Message,
        body: bytes,
        connection: int,
    ) -> None:
        """Keep what was read from the socket."""
        parts = urlsplit(target)
        self.protocol = protocol
        self.step = step
        self.method = method
        self.path = parts.path
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.headers = headers
        self.body = body
        self.connection = connection

    def header(self, name: str) -> str:
        """Give a header's value, or an empty string."""
        return str(self.headers.get(name, ""))

    def content_type(self) -> str:
        """Give the body's media type in small letters, without parameters."""
        return self.header("content-type").partition(";")[0].strip().lower()

    def json(self) -> Any:
        """Read the body as JSON; a ValueError where it is none."""
        return json.loads(self.body)

    def form(self) -> Form:
        """Read the body as a form, urlencoded or multipart."""
        if self.content_type() != "multipart/form-data":
            text = self.body.decode("utf-8", "replace")
            return Form(dict(parse_qsl(text, keep_blank_values=True)), ())
        fields: dict[str, str] = {}
        files: list[Part] = []
        for head, content in self._parts():
            name = str(head.get_param("name", "", header="content-disposition"))
            filename = head.get_filename()
            if filename is None:
                fields[name] = content.decode("utf-8", "replace")
            else:
                files.append(Part(name, filename, head.get_content_type(), content))
        return Form(fields, tuple(files))

    def _parts(self) -> Iterator[tuple[Message, bytes]]:
        # email's own multipart parser takes seconds for 20 MB, and needs text.
        declared = message_from_string(f"content-type: {self.header('content-type')}")
        boundary = str(declared.get_param("boundary", "")).encode()
        for part in (b"\r\n" + self.body).split(b"\r\n--" + boundary)[1:]:
            if part.startswith(b"--"):
                return
            head, _, content = part.partition(b"\r\n\r\n")
            text = head.lstrip(b"\r\n").decode("utf-8", "replace")
            yield message_from_string(text), content

    def cookies(self) -> dict[str, str]:
        """Give the cookies that came with it."""
        pairs = (part.partition("=") for part in self.header("cookie").split(";"))
        return {name.strip(): value.strip() for name, _, value in pairs if name.strip()}

    def __repr__(self) -> str:
        """Show the request without anything secret."""
        shown = {
            name: value if name.lower() in _PLAIN else "***" for name, value in self.headers.items()
        }
        return (
            f"<Request {self.protocol} {self.step}: {self.method} {self.path} "
            f"{shown} {len(self.body)} bytes>"
        )
