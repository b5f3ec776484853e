"""chat-ui of summer 2023, which passes text-generation-inference through.

Settings are posted with a Referer of the server's own origin, a conversation
is made, and a message is answered with TGI's own events; the last has
``generated_text``. The conversation is a flat list whose ids the client makes.
A turn is stored when it is complete, whether or not the client is still there;
of a turn that failed nothing is stored.
"""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from c4ai_clients.emulator.chatui_tree import Moment, Undefined, devalue, now
from c4ai_clients.emulator.h2o_turn import Asked, Talk, Turn
from c4ai_clients.emulator.replies import Answer, Model, ModelFailedError
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
from c4ai_clients.emulator.wire import (
    Exchange,
    Headers,
    Service,
    compact,
    join_halves,
    utf8,
)

__all__ = ["H2O"]

_TGI = [
    ("access-control-allow-origin", "*"),
    ("cache-control", "no-cache"),
    ("content-type", "text/event-stream"),
    ("vary", "origin"),
    ("x-accel-buffering", "no"),
    ("x-compute-type", "1-emulated"),
]
_ERROR_TYPES = {422: "validation", 429: "overloaded"}


@dataclass
class _Session:
    """What belongs to one cookie."""

    talks: dict[str, Talk] = field(default_factory=dict)
    accepted: str | None = None


class H2O(Service):
    """One chat-ui of 2023."""

    keepalive = b":\n\n"
    headers = (("Keep-Alive", "timeout=5"),)

    def __init__(
        self,
        model: Model,
        settings: Settings,
        *,
        pace: float = 0.0,
        goodbye: Callable[[str], None],
        protocol: str = "h2o",
        scheme: str = "http",
    ) -> None:
        """Begin without any session."""
        self.protocol = protocol
        self._scheme = scheme
        self._model = model
        self._settings = settings
        self._pace = pace
        self._goodbye = goodbye
        self._lock = threading.RLock()
        self._sessions: dict[str, _Session] = {}
        self._attempts = Attempts(settings.messages_per_minute, late=True)

    def step(self, method: str, path: str) -> str:
        """Name what a request is for, from its first line alone."""
        return step_of(_ROUTES, method, path)

    def refusal(self, status: int) -> tuple[Headers, bytes]:
        """Give headers and body with which a real server refuses."""
        said = {404: "Conversation not found", 429: TOO_MANY}
        return JSON, compact({"message": said.get(status, "Internal Error")})

    def answer(self, exchange: Exchange) -> None:
        """Answer one request."""
        request = exchange.request
        name = request.cookies().get("hf-chat") or str(uuid.uuid4())
        visit = Visit(exchange, name, days=365, on_get=True)
        if self._turned_away(visit):
            return
        try:
            if visit.routed(_ROUTES, self):
                return
            if request.path == "/conversation":
                visit.send(302, [("location", "/")], chunked=True)
            elif re.fullmatch("/conversation/[^/]+", request.path):
                text = f"{request.method} method not allowed".encode()
                plain = [("content-type", "text/plain;charset=UTF-8")]
                visit.send(405, [("allow", "POST, PATCH, DELETE"), *plain], text)
            else:
                status = 200 if request.path == "/" else 404
                visit.send(status, [("content-type", "text/html")], page())
        except RefusedError as refused:
            visit.refused(refused.status, refused.message)
        except BrokenError:
            visit.refused(500, "Internal Error")

    def _turned_away(self, visit: Visit) -> bool:
        """Apply the hooks, which come before any route; True if they answered."""
        request = visit.exchange.request
        if request.method in ("GET", "HEAD"):
            return False
        if request.method == "POST" and request.content_type() in FORMS:
            referer = request.header("referer")
            if not referer:
                return visit.hooked(403, "Non-JSON form requests need to have a referer")
            parts = urlsplit(referer)
            if not parts.netloc:
                visit.exchange.send(500, *self.refusal(500))
                return True
            own = (self._scheme, request.header("host"))
            if (parts.scheme, parts.netloc) != own:
                return visit.hooked(403, "Invalid referer for POST request")
        needed = self._settings.disclaimer and request.path != "/settings"
        if needed and not self._session(visit).accepted:
            return visit.hooked(405, "You need to accept the welcome modal first")
        return False

    def _session(self, visit: Visit) -> _Session:
        with self._lock:
            return self._sessions.setdefault(visit.name, _Session())

    def _talk(self, visit: Visit, talk_id: str) -> Talk:
        if not re.fullmatch("[0-9a-f]{24}", talk_id):
            raise BrokenError
        talk = self._session(visit).talks.get(talk_id)
        if talk is None:
            raise RefusedError(404, "Conversation not found")
        return talk

    def _save_settings(self, visit: Visit) -> None:
        request = visit.exchange.request
        fields = request.form().fields if request.content_type() in FORMS else {}
        model = fields.get("activeModel", self._settings.h2o_models[0])
        if not fields or model not in self._settings.h2o_models:
            error = {"type": "error", "error": {"message": "Internal Error"}}
            visit.send(500, JSON, compact(error))
            return
        if fields.get("ethicsModalAccepted"):
            self._session(visit).accepted = now()
        back = request.header("referer")
        if "text/html" in request.header("accept"):
            visit.send(303, [("location", back)], chunked=True)
            return
        answer = {"type": "redirect", "status": 303, "location": back}
        visit.send(200, JSON, compact(answer))

    def _create(self, visit: Visit) -> None:
        model = visit.posted_object().get("model")
        if model not in self._settings.h2o_models:
            raise BrokenError
        session = self._session(visit)
        talk = Talk(f"Untitled {len(session.talks) + 1}", str(model))
        session.talks[talk.id] = talk
        visit.json({"conversationId": talk.id})

    def _message(self, visit: Visit, talk_id: str) -> None:
        talk = self._talk(visit, talk_id)
        self._attempts.add(visit.name)
        asked = Asked.read(visit.posted_object())
        history = talk.messages
        if asked.retry:
            ids = [each["id"] for each in history]
            if asked.id in ids:
                history = history[: ids.index(asked.id)]
        chat = [{"role": x["from"], "content": x["content"]} for x in history]
        chat.append({"role": "user", "content": asked.inputs})
        answer = visit.exchange.failing(self._model.ask(asked.inputs, chat))
        refused = re.fullmatch(r"([45]\d\d) (.*)", answer.error or "", re.DOTALL)
        if refused and answer.error_after == 0:
            status = int(refused[1])
            kind = _ERROR_TYPES.get(status, "generation")
            body = compact({"error": refused[2], "error_type": kind})
            visit.send(status, JSON, body, chunked=True)
            return
        if not asked.stream:
            self._whole(visit, answer)
            return
        script = Turn(talk, history, asked, answer, self._pace).script()
        visit.exchange.stream(200, _TGI + visit.cookie(), script, survives=True)

    def _whole(self, visit: Visit, answer: Answer) -> None:
        try:
            text = join_halves("".join(answer.said()))
        except ModelFailedError as failure:
            body = compact({"error": str(failure), "error_type": "generation"})
            visit.send(500, JSON, body, chunked=True)
            return
        visit.json([{"generated_text": text}])

    def _summarize(self, visit: Visit, talk_id: str) -> None:
        talk = self._talk(visit, talk_id)
        talk.title = talk.summary or talk.title
        visit.json({"title": talk.title})

    def _stop(self, visit: Visit, talk_id: str) -> None:
        talk = self._talk(visit, talk_id)
        self._goodbye("stop")
        talk.stopped_at = time.monotonic()
        visit.send(200, [], chunked=True)

    def _delete(self, visit: Visit, talk_id: str) -> None:
        talk = self._talk(visit, talk_id)
        self._goodbye("delete")
        del self._session(visit).talks[talk.id]
        visit.send(200, [], chunked=True)

    def _patch(self, visit: Visit, talk_id: str) -> None:
        talk = self._talk(visit, talk_id)
        talk.title = str(visit.posted_object().get("title") or talk.title)
        visit.send(200, [], chunked=True)

    def _page_data(self, visit: Visit, talk_id: str = "") -> None:
        query = visit.exchange.request.query
        mask = query.get("x-sveltekit-invalidated", "1_1")
        layout, _, wanted = mask.partition("_")
        skip = '{"type":"skip"}'
        nodes = [self._layout(visit) if layout == "1" else skip]
        if wanted == "1":
            nodes.append(self._page(visit, talk_id) if talk_id else "null")
        else:
            nodes.append(skip)
        text = f'{{"type":"data","nodes":[{",".join(nodes)}]}}\n'
        headers = [("cache-control", "private, no-store"), *JSON]
        visit.send(200, headers, utf8(text))

    def _layout(self, visit: Visit) -> str:
        session = self._session(visit)
        models = [
            {
                "id": name,
                "name": name,
                "websiteUrl": Undefined(),
                "datasetName": Undefined(),
                "displayName": name,
                "description": Undefined(),
                "promptExamples": Undefined(),
                "parameters": {},
            }
            for name in self._settings.h2o_models
        ]
        data = {
            "conversations": [
                {"id": talk.id, "title": talk.title, "model": talk.model}
                for talk in reversed(session.talks.values())
            ],
            "settings": {
                "shareConversationsWithModelAuthors": True,
                "ethicsModalAcceptedAt": session.accepted and Moment(session.accepted),
                "activeModel": self._settings.h2o_models[0],
                "searchEnabled": False,
            },
            "models": models,
            "oldModels": [],
            "user": Undefined(),
            "requiresLogin": False,
        }
        uses = '{"dependencies":["conversation:list"],"url":1}'
        return f'{{"type":"data","data":{devalue(data, _ESCAPED)},"uses":{uses}}}'

    def _page(self, visit: Visit, talk_id: str) -> str:
        try:
            talk = self._talk(visit, talk_id)
        except RefusedError as refused:
            with self._lock:
                foreign = any(talk_id in each.talks for each in self._sessions.values())
            status = 403 if foreign else refused.status
            said = NOT_YOURS if foreign else f"{refused.message}."
            return f'{{"type":"error","error":{{"message":"{said}"}},"status":{status}}}'
        except BrokenError:
            return '{"type":"error","error":{"message":"Internal Error"}}'
        data = {
            "messages": talk.messages,
            "title": talk.title,
            "model": talk.model,
            "searches": {},
        }
        host = visit.exchange.request.header("host")
        page = f"{self._scheme}://{host}/conversation/conversation"
        uses = f'{{"dependencies":["{page}"],"params":["id"]}}'
        return f'{{"type":"data","data":{devalue(data, _ESCAPED)},"uses":{uses}}}'


_ESCAPED = "<>/\u2028\u2029"
_ID = "([^/]+)"
_ROUTES: tuple[Route, ...] = (
    ("POST", "/settings", "settings", H2O._save_settings),
    ("POST", "/conversation", "create", H2O._create),
    ("POST", f"/conversation/{_ID}", "message", H2O._message),
    ("POST", f"/conversation/{_ID}/summarize", "summarize", H2O._summarize),
    ("POST", f"/conversation/{_ID}/stop-generating", "stop", H2O._stop),
    ("DELETE", f"/conversation/{_ID}", "delete", H2O._delete),
    ("PATCH", f"/conversation/{_ID}", "other", H2O._patch),
    ("GET", f"/conversation/{_ID}/__data.json", "conversation", H2O._page_data),
    ("GET", "/__data.json", "models", H2O._page_data),
)
