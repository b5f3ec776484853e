"""What both generations of chat-ui have from SvelteKit: hooks, errors, cookies.

A hook speaks before any route and sets no cookie; a route's errors are JSON, or
a page for whoever prefers one. Which of the two formats a hook uses depends on
whether Accept or Content-Type name JSON.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from c4ai_clients.emulator.wire import Exchange, Headers, compact

__all__ = [
    "FORMS",
    "JSON",
    "NOT_YOURS",
    "TOO_MANY",
    "Attempts",
    "BrokenError",
    "RefusedError",
    "Route",
    "Visit",
    "page",
    "step_of",
]

FORMS = ("multipart/form-data", "application/x-www-form-urlencoded", "text/plain")
JSON = [("content-type", "application/json")]
TOO_MANY = "You are sending too many messages. Try again later."
NOT_YOURS = (
    "You don't have access to this conversation. If someone gave you this link, "
    "ask them to use the 'share' feature instead."
)

#: Method, pattern of the path, the step it is, and what answers it.
Route = tuple[str, str, str, Callable[..., None]]


class RefusedError(Exception):
    """SvelteKit's `error()`: a status and a message."""

    def __init__(self, status: int, message: str) -> None:
        """Say what the client will read."""
        super().__init__(status, message)
        self.status = status
        self.message = message


class BrokenError(Exception):
    """What the real server did not expect, and answers with 500."""


def page(title: str = "HuggingChat") -> bytes:
    """Give an HTML page."""
    return (
        '<!doctype html>\n<html lang="en" class="h-full">\n\t<head>\n'
        f'\t\t<meta charset="utf-8" />\n\t\t<title>{title}</title>\n'
        '\t\t<link href="/_app/immutable/entry/start.0.js" rel="modulepreload">\n'
        "\t</head>\n\t<body></body>\n</html>\n"
    ).encode()


def step_of(routes: tuple[Route, ...], method: str, path: str) -> str:
    """Name what a request is for, from its first line alone."""
    for wanted, pattern, name, _ in routes:
        if method == wanted and re.fullmatch(pattern, path):
            return name
    return "other"


class Attempts:
    """How many messages each session tried to send in the last minute.

    Args:
        limit: Above it, 429; None is no limit.
        late: Let one more through, as versions did that counted after looking.
    """

    def __init__(self, limit: int | None, *, late: bool = False) -> None:
        """Begin with none."""
        self._limit = limit
        self._late = late
        self._lock = threading.Lock()
        self._recent: dict[str, list[float]] = {}

    def add(self, name: str) -> None:
        """Count one, whether it will succeed or not; refuse it above the limit."""
        if self._limit is None:
            return
        with self._lock:
            since = time.monotonic() - 60
            recent = [each for each in self._recent.get(name, []) if each > since]
            self._recent[name] = [*recent, time.monotonic()]
            if len(recent) >= self._limit + self._late:
                raise RefusedError(429, TOO_MANY)


class Visit:
    """One request, with the session that it belongs to.

    Args:
        exchange: The request and the answer to it.
        name: The session, which is the cookie's value.
        days: How long the cookie lasts.
        on_get: Whether answers to GET and DELETE set the cookie as well.
        headers: What every answer of a route has.
    """

    def __init__(
        self,
        exchange: Exchange,
        name: str,
        *,
        days: int,
        on_get: bool = False,
        headers: Headers | None = None,
    ) -> None:
        """Remember whose request it is."""
        self.exchange = exchange
        self.name = name
        self._days = days
        self._on_get = on_get
        self._headers = headers or []

    def cookie(self) -> Headers:
        """Give the cookie that a route's answer sets."""
        if self.exchange.request.method != "POST" and not self._on_get:
            return []
        expires = formatdate(time.time() + self._days * 86400, usegmt=True)
        value = f"hf-chat={self.name}; Path=/; Expires={expires}"
        return [("set-cookie", f"{value}; HttpOnly; Secure; SameSite=None")]

    def routed(self, routes: tuple[Route, ...], service: object) -> bool:
        """Have the first fitting route answer; False where none fits."""
        request = self.exchange.request
        for method, pattern, _, route in routes:
            found = re.fullmatch(pattern, request.path)
            if found and method == request.method:
                route(service, self, *found.groups())
                return True
        return False

    def send(
        self, status: int, headers: Headers, body: bytes = b"", *, chunked: bool = False
    ) -> None:
        """Send an answer of a route."""
        told = headers + self._headers + self.cookie()
        self.exchange.send(status, told, body, chunked=chunked)

    def json(self, value: object, *, status: int = 200, headers: Headers | None = None) -> None:
        """Send the JSON answer of a route."""
        self.send(status, [*(headers or ()), *JSON], compact(value), chunked=True)

    def refused(self, status: int, message: str) -> None:
        """Send what SvelteKit makes of an `error()`."""
        if "text/html" in self.exchange.request.header("accept"):
            self.send(status, [("content-type", "text/html; charset=utf-8")], page(message))
        else:
            self.send(status, JSON, compact({"message": message}))

    def hooked(self, status: int, message: str) -> bool:
        """Send what a hook says, without a cookie; always True."""
        request = self.exchange.request
        if "application/json" in request.header("accept") + request.content_type():
            self.exchange.send(status, JSON, compact({"error": message}), chunked=True)
        else:
            plain = [("content-type", "text/plain")]
            self.exchange.send(status, plain, message.encode(), chunked=True)
        return True

    def posted_json(self) -> Any:
        """Read the body as JSON, which it must be and say."""
        request = self.exchange.request
        if request.content_type() not in ("application/json", "text/plain"):
            raise BrokenError
        try:
            return request.json()
        except ValueError as error:
            raise BrokenError from error

    def posted_object(self) -> dict[str, Any]:
        """Read the body as a JSON object."""
        data = self.posted_json()
        if not isinstance(data, dict):
            raise BrokenError
        return data
