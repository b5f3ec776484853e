"""Gradio's queue, server side, 4.2 to 6.31, as it was recorded.

A message joins the queue under a session hash, and that session's event stream
tells how it goes: estimation, process_starts, process_generating (whole values
or edits), process_completed. Whoever loses the stream has lost the answer: the
session is gone. How versions differ is in `gradio_versions`.
"""

from __future__ import annotations

import hashlib
import mimetypes
import re
import secrets
from collections.abc import Callable
from urllib.parse import unquote

from c4ai_clients.emulator.faults import Fault
from c4ai_clients.emulator.gradio_app import App, RefusedError
from c4ai_clients.emulator.gradio_config import config
from c4ai_clients.emulator.gradio_queue import EVENTS, Queue
from c4ai_clients.emulator.gradio_versions import VERSIONS
from c4ai_clients.emulator.replies import Model
from c4ai_clients.emulator.settings import Settings
from c4ai_clients.emulator.wire import (
    Exchange,
    Headers,
    Script,
    Service,
    compact,
)

__all__ = ["Gradio"]

_JSON = [("content-type", "application/json")]
_TEXT = [("content-type", "text/plain; charset=utf-8")]
_HTML = [("content-type", "text/html; charset=utf-8")]
_AT_JOIN = frozenset({"status", "rate_limit", "html", "json", "garbage", "deaf", "unread"})
_BARE = frozenset({"config", "login", "page"})

_Route = tuple[str, str, str, Callable[..., None]]


class Gradio(Service):
    """One Gradio server with one chat app."""

    protocol = "gradio"
    headers = (("server", "uvicorn"),)

    def __init__(
        self,
        model: Model,
        settings: Settings,
        *,
        version: str = "5.50.0",
        pace: float = 0.0,
        goodbye: Callable[[str], None],
        scheme: str = "http",
    ) -> None:
        """Begin without any session."""
        if version not in VERSIONS:
            known = ", ".join(VERSIONS)
            raise ValueError(f"no Gradio {version!r} is emulated, but {known}")
        self._version = VERSIONS[version]
        self.keepalive = self._version.heartbeat()
        self._settings = settings
        self._scheme = scheme
        self._app = App(self._version, model, settings, pace)
        self._routes = self._all_routes(Queue(self._app, goodbye))
        self._files: dict[str, bytes] = {}
        self._tokens: set[str] = set()

    def _all_routes(self, queue: Queue) -> tuple[_Route, ...]:
        return (
            ("GET", "/config/?", "config", self._config),
            ("GET", "/", "page", self._page),
            ("POST", "/login/?", "login", self._login),
            ("GET", "/info/?", "other", self._info),
            ("GET", "/login_check/?", "other", self._checked),
            *self._queue_routes(queue),
            ("POST", "/cancel", "cancel", queue.cancel),
            ("POST", "/reset/?", "reset", queue.reset),
            ("POST", "/upload", "upload", self._upload),
            ("GET", "/file=(.+)", "file", self._file),
            ("POST", "/call/([^/]+)", "call", queue.called),
            ("GET", "/call/([^/]+)/([^/]+)", "call", queue.call_told),
            ("GET", "/heartbeat/([^/]+)", "other", self._alive),
        )

    def _queue_routes(self, queue: Queue) -> tuple[_Route, _Route]:
        if self._version.protocol == "sse":
            return (
                ("GET", "/queue/join", "stream", queue.old_join),
                ("POST", "/queue/data", "join", queue.old_data),
            )
        return (
            ("POST", "/queue/join", "join", queue.join),
            ("GET", "/queue/data", "stream", queue.stream),
        )

    def step(self, method: str, path: str) -> str:
        """Name what a request is for, from its first line alone."""
        bare = path.removeprefix(self._version.prefix)
        for wanted, pattern, name, _ in self._routes:
            if method == wanted and re.fullmatch(pattern, bare):
                return name
        return "other"

    def meets(self, fault: Fault, step: str) -> bool:
        """Say whether a fault is meant for this step.

        What happens to a "message" happens to joining where it stands for the
        whole answer, and to the stream where it happens inside one.
        """
        if fault.step == "message":
            return step == ("join" if fault.kind in _AT_JOIN else "stream")
        return fault.step == step

    def refusal(self, status: int) -> tuple[Headers, bytes]:
        """Give headers and body with which a real server refuses."""
        said = {401: "Not authenticated", 404: "Not Found"}
        if status == 500:
            return _TEXT, b"Internal Server Error"
        return _JSON, compact({"detail": said.get(status, "Queue is stopped.")})

    def rate_limit(self) -> tuple[int, Headers, bytes]:
        """Give the answer of a real server whose queue is full."""
        said = "Queue is full. Max size is 2 and size is 2."
        return 503, _JSON, compact({"detail": said})

    def answer(self, exchange: Exchange) -> None:
        """Answer one request."""
        request = exchange.request
        try:
            allowed: list[str] = []
            for method, pattern, name, route in self._routes:
                prefix = "" if name in _BARE else self._version.prefix
                found = re.fullmatch(re.escape(prefix) + pattern, request.path)
                if found and method == request.method:
                    self._admit(exchange, name)
                    route(exchange, *found.groups())
                    return
                allowed += [method] if found else []
            if not allowed:
                raise RefusedError(404, "Not Found")
            body = compact({"detail": "Method Not Allowed"})
            exchange.send(405, [("allow", ", ".join(allowed)), *_JSON], body)
        except RefusedError as refused:
            if refused.status == 500:
                exchange.send(500, *self.refusal(500))
            else:
                body = compact({"detail": refused.detail})
                exchange.send(refused.status, _JSON, body)

    def _admit(self, exchange: Exchange, name: str) -> None:
        if self._settings.auth is None or name in ("login", "page"):
            return
        cookies = exchange.request.cookies()
        given = {v for k, v in cookies.items() if k.startswith("access-token-")}
        if not given & self._tokens:
            said = "Not authenticated"
            detail = {"error": said, "auth_message": None}
            raise RefusedError(401, detail if self._version.auth_object else said)

    def _config(self, exchange: Exchange) -> None:
        root = f"{self._scheme}://{exchange.request.header('host')}"
        body = compact(config(self._version, self._settings, root))
        exchange.send(200, _JSON, body)

    def _page(self, exchange: Exchange) -> None:
        body = b"<!doctype html>\n<html><script>window.gradio_config = {};</script></html>\n"
        exchange.send(200, _HTML, body)

    def _info(self, exchange: Exchange) -> None:
        named: dict[str, object] = {f"/{name}": {} for name in self._app.chats.values()}
        exchange.json({"named_endpoints": named, "unnamed_endpoints": {}})

    def _login(self, exchange: Exchange) -> None:
        fields = exchange.request.form().fields
        given = (fields.get("username"), fields.get("password"))
        if self._settings.auth is None or given != tuple(self._settings.auth):
            raise RefusedError(400, "Incorrect credentials.")
        token = secrets.token_urlsafe(16)
        self._tokens.add(token)
        name = hashlib.sha256(str(id(self)).encode()).hexdigest()[:20]
        secure = f"access-token-{name}={token}; HttpOnly; Path=/; SameSite=none; Secure"
        plain = f"access-token-unsecure-{name}={token}; HttpOnly; Path=/; SameSite=lax"
        cookies = [("set-cookie", secure), ("set-cookie", plain)]
        exchange.json({"success": True}, headers=cookies)

    def _checked(self, exchange: Exchange) -> None:
        exchange.json(None)

    def _upload(self, exchange: Exchange) -> None:
        paths = []
        for part in exchange.request.form().files:
            folder = hashlib.sha256(part.content).hexdigest()
            path = f"/tmp/gradio/{folder}/{part.filename}"
            self._files[path] = part.content
            paths.append(path)
        if not paths:
            raise RefusedError(422, [])
        exchange.json(paths)

    def _file(self, exchange: Exchange, path: str) -> None:
        content = self._files.get(unquote(path))
        if content is None:
            raise RefusedError(403, "File not allowed: " + unquote(path))
        kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
        exchange.send(200, [("content-type", kind)], content)

    def _alive(self, exchange: Exchange, _session: str) -> None:
        exchange.stream(200, EVENTS, self._beats(), live=True)

    def _beats(self) -> Script:
        while True:
            yield b"data: ALIVE\n\n"
            yield float(self._settings.heartbeat)
