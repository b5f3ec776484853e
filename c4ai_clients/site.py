"""A server that is asked what it is: by few small requests, none of them a message.

A provider's recogniser, ``providers/NAME_site.py``, is given a :class:`Site`
and says what it has :class:`Found`, or None where the server is not its own.
What one has asked, another is told without a second request.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from .client import ChatClient
from .clocks import Call, Timeout
from .decoding import parsed
from .errors import C4AIError, ProtocolError
from .retrying import RetryPolicy
from .secret import without

__all__ = ["Found", "Seen", "Site"]

_MOST = 4
_PATIENCE = Timeout(connect=10, first=10, idle=10, total=30)
_JSON_LIMIT = 4 << 20


@dataclass(frozen=True)
class Seen:
    """One answer.

    Attributes:
        status: The HTTP status.
        kind: The media type, such as ``"text/html"``.
        location: Where a redirect leads.
        links: The header ``Link``.
        body: The body; of anything but JSON only its first 64 KiB.
    """

    status: int
    kind: str = ""
    location: str = ""
    links: str = ""
    body: bytes = b""

    @property
    def is_page(self) -> bool:
        """Whether it is a web page."""
        return self.kind in ("text/html", "application/xhtml+xml")

    @property
    def json(self) -> Any:
        """The body's first line as JSON, where the status is a success; None otherwise."""
        if self.status != 200 or self.is_page:
            return None
        return self.said

    @property
    def said(self) -> Any:
        """The body's first line as JSON, whatever the status; None where it is none."""
        try:
            return parsed(self.body.strip().partition(b"\n")[0])
        except ProtocolError:
            return None

    def shows(self, mark: str) -> bool:
        """Tell whether page or header hold *mark*, in lower case."""
        return mark in self.links.lower() or mark.encode() in self.body.lower()


@dataclass(frozen=True)
class Found:
    """What a server was found to be.

    Attributes:
        what: Its kind, such as ``"Gradio"``.
        version: Its version or era, as far as it tells.
        certain: Whether real servers of this kind were seen to answer so.
        models: The models that it lists, or a few of them.
        login: Whether it wants a login; None where it does not say.
        terms: Whether it wants its terms accepted first; None likewise.
        chat: What chats there and what goes into it, a line each.
        problem: Why nobody can chat with it.
    """

    what: str
    version: str = ""
    certain: bool = True
    models: tuple[str, ...] = ()
    login: bool | None = None
    terms: bool | None = None
    chat: tuple[str, ...] = ()
    problem: C4AIError | None = None


class Site:
    """A server of an unknown kind.

    Args:
        origin: Scheme, host and port, and a login where there is one.
        base: The path of the application, such as ``"/chat"``, or ``""``.
        settings: What its client is to be made with; those that every client
            takes hold here too.
        tried: What was tried before, in the same examination.
    """

    def __init__(
        self, origin: str, base: str, settings: Mapping[str, Any], tried: list[str]
    ) -> None:
        every = inspect.signature(ChatClient.__init__).parameters
        left_out = ("base_url", "model", "retry", "strict", "timeout")
        own = {n: v for n, v in settings.items() if n in every and n not in left_out}
        self.base = base
        self.settings = settings
        self.tried = tried
        self._call = Call(Timeout.of(settings.get("timeout"), _PATIENCE))
        self._client = ChatClient(origin, retry=RetryPolicy.none(), **own)
        self._authorized = False
        self._seen: dict[tuple[str, str], Seen] = {}

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return self._client.base_url

    @property
    def url(self) -> str:
        """Where the application is, without a trailing slash."""
        return self.origin + self.base

    @property
    def spent(self) -> bool:
        """Whether as much was asked as may be."""
        return len(self.tried) >= _MOST

    def page(self) -> Seen:
        """Return what stands at the application's own URL.

        The key is sent only where it is asked for: chat-ui of 2026 fails at one
        that is not its own.
        """
        page = self.ask("/")
        if page.status in (401, 403, 404) and self.settings.get("api_key") and not self.spent:
            self._authorized = True
            self._seen.clear()
            page = self.ask("/")
        return page

    def ask(self, path: str, method: str = "GET", *, limit: int = _JSON_LIMIT) -> Seen:
        """Return an answer; one of status 0 where as much was asked as may be.

        Args:
            path: Below the application's own.
            method: What is not ``GET`` is sent with an empty JSON object.
            limit: Bytes of JSON that are read.

        Raises:
            TransportError: There was none.
            ProtocolError: The first was no HTTP.
        """
        path = self.base + path
        if (method, path) not in self._seen:
            if self.spent:
                return Seen(0)
            self._seen[method, path] = self._asked(method, path, limit)
        return self._seen[method, path]

    def _asked(self, method: str, path: str, limit: int) -> Seen:
        self.tried.append(f"{method} {path}")
        # Anew each time: one that was kept may have died, and is not tried again.
        self._client.close()
        with self._client._transport.open(
            self._call,
            method,
            path,
            phase="connect",
            as_it_is=True,
            authorize=self._authorized,
            json=None if method == "GET" else {},
        ) as answer:
            self.tried[-1] += f" ({answer.status})"
            kind = answer.content_type
            try:
                body = answer.read(limit) if "json" in kind or "data" in kind else b""
            except ProtocolError:
                body = b""
            told = (body or answer.beginning()).decode("latin-1")
            # A server may say back what it was sent.
            location, links, told = (
                without(said, self._call.withheld())
                for said in (answer.header("location"), answer.header("link"), told)
            )
            return Seen(answer.status, kind, location, links, told.encode("latin-1"))

    def named(self, page: Seen, mark: str) -> str | None:
        """Return the path below which *page* has its own files, by what stands before *mark*."""
        found = re.search(
            rf"[\"'<(]([^\"'<>()\s]*){re.escape(mark)}", page.links + page.body.decode("latin-1")
        )
        if found is None:
            return None
        return self.path_of(found[1] + "/")

    def path_of(self, target: str) -> str | None:
        """Return the path of what a page calls *target*, or None where it is another server's."""
        try:
            whole = urljoin(self.url + "/", target)
            path: str = urlsplit(whole).path
        except ValueError:
            return None
        return path.rstrip("/") if whole.startswith(self.origin + "/") else None

    def close(self) -> None:
        """Close all connections."""
        self._client.close()
