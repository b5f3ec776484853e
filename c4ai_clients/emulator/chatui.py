"""chat-ui's server side, late 2024 to 2026, as it was recorded.

A conversation is made by ``POST /conversation``, read back for the id of its
last message by one of three ways, and asked by a multipart ``POST
/conversation/{id}``, which answers with JSON lines. Sessions are cookies; what
belongs to one is a 404 to all others. How versions differ is in
`chatui_eras`, what is stored in `chatui_tree`, what is streamed in
`chatui_turn`.
"""

from __future__ import annotations

import re
import secrets
import threading
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from c4ai_clients.emulator.chatui_eras import ERAS
from c4ai_clients.emulator.chatui_message import Posted, placed
from c4ai_clients.emulator.chatui_pages import (
    data_json,
    models_list,
    models_v2,
    public_config,
)
from c4ai_clients.emulator.chatui_tree import Session, Thread
from c4ai_clients.emulator.chatui_turn import KEEPALIVE, Turn, followed
from c4ai_clients.emulator.replies import Model
from c4ai_clients.emulator.settings import Settings
from c4ai_clients.emulator.sveltekit import (
    FORMS,
    JSON,
    NOT_YOURS,
    TOO_MANY,
    Attempts,
    BrokenError,
    RefusedError,
    Route,
    Visit,
    page,
    step_of,
)
from c4ai_clients.emulator.wire import Exchange, Headers, Service, compact

__all__ = ["ChatUI"]

_HTML = [("content-type", "text/html")]
_CORS = [
    ("access-control-allow-origin", "*"),
    ("access-control-allow-methods", "GET, POST, PUT, PATCH, DELETE, OPTIONS"),
    ("access-control-allow-headers", "Content-Type, Authorization"),
]
_VARY = ("vary", "Accept")
_CACHED = [("cache-control", "private, max-age=60")]


class ChatUI(Service):
    """One chat-ui server."""

    protocol = "chat-ui"
    keepalive = KEEPALIVE
    headers = (("Keep-Alive", "timeout=5"),)

    def __init__(
        self,
        model: Model,
        settings: Settings,
        *,
        era: str = "B",
        pace: float = 0.0,
        goodbye: Callable[[str], None],
    ) -> None:
        """Begin without any session."""
        if era not in ERAS:
            raise ValueError(f"no era is called {era!r}; there are A, A2, {', '.join(ERAS)}")
        self.era = ERAS[era]
        self._model = model
        self._settings = settings
        self._pace = pace
        self._goodbye = goodbye
        self._lock = threading.RLock()
        self._sessions: dict[str, Session] = {}
        self._attempts = Attempts(settings.messages_per_minute)

    def step(self, method: str, path: str) -> str:
        """Name what a request is for, from its first line alone."""
        return step_of(_ROUTES, method, path)

    def refusal(self, status: int) -> tuple[Headers, bytes]:
        """Give headers and body with which a real server refuses."""
        said = {
            401: "You have to be logged in.",
            403: "Forbidden",
            404: "Conversation not found",
            429: TOO_MANY,
        }.get(status)
        body = {"message": said or "An error occurred"}
        if not said:
            body["errorId"] = str(uuid.uuid4())
        return JSON, compact(body)

    def answer(self, exchange: Exchange) -> None:
        """Answer one request."""
        name = exchange.request.cookies().get("hf-chat") or str(uuid.uuid4())
        shared = self.era.cors and exchange.request.path.startswith("/api/")
        visit = Visit(exchange, name, days=14, headers=_CORS if shared else None)
        try:
            if self._turned_away(visit):
                return
            if not visit.routed(_ROUTES, self):
                self._elsewhere(visit)
        except RefusedError as refused:
            visit.refused(refused.status, refused.message)
        except BrokenError:
            headers, body = self.refusal(500)
            visit.send(500, headers, body)

    def _turned_away(self, visit: Visit) -> bool:
        """Apply the hooks, which come before any route; True if they answered."""
        request = visit.exchange.request
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return False
        if request.method == "POST" and request.content_type() in FORMS:
            origin = request.header("origin")
            if origin == "null":
                headers, body = self.refusal(500)
                visit.exchange.send(500, headers, body)
                return True
            if not origin:
                return visit.hooked(403, "Non-JSON form requests need to have an origin")
            if urlsplit(origin).netloc != request.header("host"):
                return visit.hooked(403, "Invalid referer for POST request")
        if self._settings.login_required:
            if self.era.login_redirect and request.path == "/conversation":
                where = "http://127.0.0.1/oauth/authorize?client_id=x"
                visit.send(302, [("location", where)], chunked=True)
                return True
            return visit.hooked(401, "You have to be logged in.")
        if self._settings.disclaimer and not self._session(visit).accepted:
            if request.path.startswith(("/settings", "/api/v2/user/settings")):
                return False
            return visit.hooked(405, "You need to accept the welcome modal first")
        return False

    def _session(self, visit: Visit) -> Session:
        with self._lock:
            return self._sessions.setdefault(visit.name, Session())

    def _thread(self, visit: Visit, thread_id: str) -> Thread:
        if not re.fullmatch("[0-9a-f]{24}", thread_id):
            raise BrokenError
        thread = self._session(visit).threads.get(thread_id)
        if thread is None:
            raise RefusedError(404, "Conversation not found")
        return thread

    def _elsewhere(self, visit: Visit) -> None:
        request = visit.exchange.request
        if request.path == "/conversation" and request.method == "GET":
            visit.exchange.send(302, [("location", "/")], chunked=True)
        elif request.path == "/":
            visit.exchange.send(200, _HTML, page(), chunked=True)
        elif re.fullmatch("/conversation/[^/]+", request.path):
            html = "text/html" in request.header("accept")
            if request.method == "GET" and html:
                visit.exchange.send(200, [*_HTML, _VARY], page(), chunked=True)
            else:
                text = f"{request.method} method not allowed".encode()
                headers = [("allow", "POST, PATCH, DELETE"), _VARY]
                visit.exchange.send(405, headers, text)
        else:
            status = self.era.unknown_path
            visit.send(status, _HTML, page(), chunked=status == 200)

    def _create(self, visit: Visit) -> None:
        data = visit.posted_json()
        model = data.get("model") if isinstance(data, dict) else None
        preprompt = data.get("preprompt") if isinstance(data, dict) else None
        if not isinstance(preprompt, str | None) or not isinstance(model, str):
            raise RefusedError(400, "Invalid request")
        if not isinstance(data.get("fromShare", ""), str):
            raise RefusedError(400, "Invalid request")
        settings = self._settings
        session = self._session(visit)
        if (
            settings.max_conversations is not None
            and len(session.threads) >= settings.max_conversations
        ):
            said = "You have reached the maximum number of conversations."
            raise RefusedError(429, f"{said} Delete some to continue.")
        if model in settings.unlisted:
            said = "Can't start a conversation with an unlisted model"
            raise RefusedError(400, said)
        if model not in settings.models:
            raise RefusedError(400, "Invalid request")
        thread = Thread(model, settings.preprompt if preprompt is None else preprompt)
        session.threads[thread.id] = thread
        answer = {"conversationId": thread.id}
        if self.era.full_create:
            answer["conversation"] = compact(thread.superjson()).decode()
        visit.json(answer)

    def _page_data(self, visit: Visit, thread_id: str = "") -> None:
        request = visit.exchange.request
        mask = request.query.get("x-sveltekit-invalidated", "11")
        headers = [("cache-control", "private, no-store")]
        if thread_id:
            # The same address is a page and answers posts.
            headers.append(_VARY)
        if not self.era.data_json:
            wanted = mask.ljust(2, "0")
            skip = [None if each == "1" else {"type": "skip"} for each in wanted]
            body = compact({"type": "data", "nodes": skip}) + b"\n"
            visit.exchange.send(200, JSON + headers, body)
            return
        session = self._session(visit)
        shown = self._shown(visit, thread_id) if thread_id else None
        host = request.header("host")
        kind, text = data_json(session, self._settings, host, shown, mask)
        streamed = kind != "application/json"
        head = [("content-type", kind), *headers]
        visit.exchange.send(200, head, text.encode(), chunked=streamed)

    def _shown(self, visit: Visit, thread_id: str) -> Thread | dict[str, Any]:
        thread = self._session(visit).threads.get(thread_id)
        if thread:
            return thread
        if self._foreign(thread_id):
            return {"message": NOT_YOURS, "status": 403}
        if len(thread_id) == 7:
            return {"message": "Conversation not found", "status": 404}
        if re.fullmatch("[0-9a-f]{24}", thread_id):
            return {"message": "Conversation not found.", "status": 404}
        return {"message": "An error occurred", "errorId": str(uuid.uuid4())}

    def _foreign(self, thread_id: str) -> bool:
        with self._lock:
            return any(thread_id in each.threads for each in self._sessions.values())

    def _plain(self, visit: Visit, thread_id: str) -> None:
        try:
            thread = self._thread(visit, thread_id)
            shown = thread.plain_v2() if self.era.api_v2 else thread.plain()
            visit.json(self._with_old_keys(shown))
        except RefusedError as refused:
            visit.json({"message": refused.message}, status=refused.status)

    def _v2(self, visit: Visit, thread_id: str) -> None:
        if not self.era.api_v2:
            self._elsewhere(visit)
            return
        method = visit.exchange.request.method
        thread = self._session(visit).threads.get(thread_id)
        if thread is None:
            self._v2_refused(visit, thread_id)
        elif method == "DELETE":
            self._goodbye("delete")
            del self._session(visit).threads[thread_id]
            visit.json({"json": {"success": True}})
        elif method == "PATCH":
            self._retitle(visit, thread)
            visit.json({"json": {"success": True}})
        else:
            visit.json(thread.superjson())

    def _v2_refused(self, visit: Visit, thread_id: str) -> None:
        if self._foreign(thread_id):
            status, said = 403, NOT_YOURS
        elif re.fullmatch("[0-9a-f]{24}", thread_id):
            status, said = 404, "Conversation not found."
        elif len(thread_id) == 7:
            status, said = 404, "Conversation not found"
        else:
            status, said = 400, "Invalid conversation ID format"
        if self.era.v2_plain_errors:
            plain = [("content-type", "text/plain")]
            visit.exchange.send(500, plain, said.encode(), chunked=True)
            return
        raise RefusedError(status, said)

    def _message(self, visit: Visit, thread_id: str) -> None:
        thread = self._thread(visit, thread_id)
        settings = self._settings
        self._attempts.add(visit.name)
        if settings.max_messages is not None and len(thread.messages) > settings.max_messages:
            said = f"This conversation has more than {settings.max_messages} messages."
            raise RefusedError(429, f"{said} Start a new one to continue")
        request = visit.exchange.request
        posted = Posted.read(request, self.era, settings.max_message_length)
        message, prompt = placed(thread, posted)
        chat = thread.branch(message)[:-1]
        turn = Turn(
            era=self.era,
            thread=thread,
            message=message,
            answer=visit.exchange.failing(self._model.ask(prompt, chat)),
            prompt=prompt,
            first=len(message.ancestors) == 2 and thread.title == "New Chat",
            search=posted.search,
            generation=posted.generation or str(uuid.uuid4()),
            pace=self._pace,
        )
        headers = [("content-type", self.era.content_type), *visit.cookie()]
        survives = self.era.survives
        visit.exchange.stream(200, headers, turn.script(), survives=survives)

    def _stop(self, visit: Visit, thread_id: str) -> None:
        thread = self._thread(visit, thread_id)
        self._goodbye("stop")
        seen = None
        if visit.exchange.request.content_type() == "application/json":
            data = visit.posted_object()
            wanted = data.get("seenContentLength")
            seen = wanted if isinstance(wanted, int) else None
        thread.stop(seen)
        visit.send(200, [], chunked=True)

    def _follow(self, visit: Visit, thread_id: str) -> None:
        if not self.era.resume:
            self._elsewhere(visit)
            return
        request = visit.exchange.request
        thread = self._thread(visit, thread_id)
        last = request.header("last-event-id") or request.query.get("fromSeq", "0")
        first = int(last) if last.isdigit() else 0
        wanted = request.query.get("generationId", "")
        script = followed(thread.generation, wanted, first)
        headers = [
            ("cache-control", "no-cache, no-transform"),
            ("content-type", "text/event-stream"),
            ("x-accel-buffering", "no"),
        ]
        visit.exchange.stream(200, headers, script, live=True)

    def _save_settings(self, visit: Visit) -> None:
        data = visit.posted_object()
        accepted = data.get("ethicsModalAccepted", data.get("welcomeModalSeen"))
        if accepted is not None:
            self._session(visit).accepted = bool(accepted)
        visit.send(200, [], chunked=True)

    def _models(self, visit: Visit) -> None:
        if visit.exchange.request.path == "/api/models":
            visit.json(models_list(self._settings, tools=not self.era.api_v2))
        elif self.era.api_v2:
            visit.json(models_v2(self._settings), headers=_CACHED)
        else:
            self._elsewhere(visit)

    def _listed(self, visit: Visit) -> None:
        session = self._session(visit)
        if visit.exchange.request.method == "DELETE":
            if not self.era.delete_all:
                text = b"DELETE method not allowed"
                visit.exchange.send(405, [("allow", "GET")], text)
                return
            count = len(session.threads)
            session.threads.clear()
            if visit.exchange.request.path == "/api/conversations":
                visit.send(200, [], chunked=True)
            else:
                visit.json({"json": count})
            return
        threads = sorted(session.threads.values(), key=lambda each: each.updated)
        rows = [self._with_old_keys(thread.listed()) for thread in reversed(threads)]
        if visit.exchange.request.query.get("p", "0") != "0":
            # All fit on the first page.
            rows = []
        if visit.exchange.request.path == "/api/conversations":
            visit.json(rows)
        elif self.era.api_v2:
            visit.json(_listed_v2(rows))
        else:
            self._elsewhere(visit)

    def _with_old_keys(self, row: dict[str, Any]) -> dict[str, Any]:
        if self.era.api_v2:
            return row
        return {**row, "assistantId": None, "modelTools": False}

    def _delete(self, visit: Visit, thread_id: str) -> None:
        thread = self._thread(visit, thread_id)
        self._goodbye("delete")
        del self._session(visit).threads[thread.id]
        visit.send(200, [], chunked=True)

    def _patch(self, visit: Visit, thread_id: str) -> None:
        self._retitle(visit, self._thread(visit, thread_id))
        visit.send(200, [], chunked=True)

    def _retitle(self, visit: Visit, thread: Thread) -> None:
        title = visit.posted_object().get("title")
        thread.title = title if isinstance(title, str) else thread.title

    def _share(self, visit: Visit, thread_id: str) -> None:
        self._thread(visit, thread_id)
        name = secrets.token_hex(4)[:7]
        host = visit.exchange.request.header("host")
        url = f"https://{host}/r/{name}"
        key = self.era.share_key
        visit.json({key: url if key == "url" else name})

    def _output(self, visit: Visit, thread_id: str, sha: str) -> None:
        stored = self._thread(visit, thread_id).files.get(sha)
        if stored is None:
            raise RefusedError(404, "File not found")
        visit.exchange.send(200, [("content-type", stored[0])], stored[1])

    def _about(self, visit: Visit, what: str) -> None:
        if what == "user":
            visit.json({"message": "Must be signed in"}, status=401)
        elif not self.era.api_v2:
            self._elsewhere(visit)
        elif what == "v2/public-config":
            visit.json({"json": public_config()}, headers=_CACHED)
        elif what == "v2/feature-flags":
            login = self._settings.login_required
            flags = {"enableAssistants": False, "loginEnabled": login, "isAdmin": False}
            visit.json({"json": {**flags, "transcriptionEnabled": False}})
        else:
            visit.json({"json": None})

    def _health(self, visit: Visit) -> None:
        headers = [("content-type", "text/plain;charset=UTF-8")]
        visit.exchange.send(200, headers, b"OK", chunked=True)


def _listed_v2(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Give conversations as superjson, which says what was no plain JSON."""
    shown: dict[str, Any] = {"json": {"conversations": rows, "hasMore": False}}
    if rows:
        name = ["custom", "ObjectId"]
        values: dict[str, Any] = {}
        same = {}
        for index, _ in enumerate(rows):
            at = f"conversations.{index}"
            values.update({f"{at}._id": [name], f"{at}.id": [name], f"{at}.updatedAt": ["Date"]})
            same[f"{at}._id"] = [f"{at}.id"]
        shown["meta"] = {"values": values, "referentialEqualities": same, "v": 1}
    return shown


_ID = "([^/]+)"
_ROUTES: tuple[Route, ...] = (
    ("POST", "/conversation", "create", ChatUI._create),
    ("GET", f"/conversation/{_ID}/__data.json", "conversation", ChatUI._page_data),
    ("GET", f"/api/conversation/{_ID}", "conversation", ChatUI._plain),
    ("GET", f"/api/v2/conversations/{_ID}", "conversation", ChatUI._v2),
    ("POST", f"/conversation/{_ID}", "message", ChatUI._message),
    ("POST", f"/conversation/{_ID}/stop-generating", "stop", ChatUI._stop),
    ("GET", f"/conversation/{_ID}/stream", "resume", ChatUI._follow),
    ("POST", "/settings", "settings", ChatUI._save_settings),
    ("POST", "/api/v2/user/settings", "settings", ChatUI._save_settings),
    ("GET", "/api/models", "models", ChatUI._models),
    ("GET", "/api/v2/models", "models", ChatUI._models),
    ("GET", "/api/conversations", "conversations", ChatUI._listed),
    ("GET", "/api/v2/conversations", "conversations", ChatUI._listed),
    ("DELETE", "/api/conversations", "delete", ChatUI._listed),
    ("DELETE", "/api/v2/conversations", "delete", ChatUI._listed),
    ("DELETE", f"/conversation/{_ID}", "delete", ChatUI._delete),
    ("DELETE", f"/api/v2/conversations/{_ID}", "delete", ChatUI._v2),
    ("PATCH", f"/conversation/{_ID}", "other", ChatUI._patch),
    ("PATCH", f"/api/v2/conversations/{_ID}", "other", ChatUI._v2),
    ("POST", f"/conversation/{_ID}/share", "other", ChatUI._share),
    ("GET", f"/conversation/{_ID}/output/{_ID}", "file", ChatUI._output),
    ("GET", "/__data.json", "conversations", ChatUI._page_data),
    (
        "GET",
        "/api/(user|v2/user|v2/public-config|v2/feature-flags)",
        "other",
        ChatUI._about,
    ),
    ("GET", "/healthcheck", "other", ChatUI._health),
)
