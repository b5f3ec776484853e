"""chat-ui of summer 2023, which passes text-generation-inference through.

Settings are posted with a Referer of the server's own origin, a conversation
is made, and a message is answered with TGI's own events; the last has
``generated_text``. The conversation is a flat list whose ids the client makes.
A turn is stored when it is complete, whether or not the client is still there;
of a turn that failed nothing is stored.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from c4ai_clients.emulator.chatui_message import is_uuid
from c4ai_clients.emulator.chatui_tree import Undefined, devalue
from c4ai_clients.emulator.replies import Answer, Model, ModelFailedError
from c4ai_clients.emulator.settings import Settings
from c4ai_clients.emulator.sveltekit import (
    FORMS,
    JSON,
    BrokenError,
    RefusedError,
    Route,
    Visit,
    page,
    step_of,
)
from c4ai_clients.emulator.wire import (
    Exchange,
    GoneError,
    Headers,
    Script,
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
_TOO_MANY = "You are sending too many messages. Try again later."
_NOT_YOURS = (
    "You don't have access to this conversation. If someone gave you this link, "
    "ask them to use the 'share' feature instead."
)
_ERROR_TYPES = {422: "validation", 429: "overloaded"}


@dataclass
class _Talk:
    """One conversation, a flat list."""

    title: str
    model: str
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    messages: list[dict[str, Any]] = field(default_factory=list)
    stopped_at: float = 0.0
    summary: str = ""


@dataclass
class _Session:
    """What belongs to one cookie."""

    talks: dict[str, _Talk] = field(default_factory=dict)
    accepted: bool = False


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
        self._attempts: dict[str, list[float]] = {}

    def step(self, method: str, path: str) -> str:
        """Name what a request is for, from its first line alone."""
        return step_of(_ROUTES, method, path)

    def refusal(self, status: int) -> tuple[Headers, bytes]:
        """Give headers and body with which a real server refuses."""
        said = {404: "Conversation not found", 429: _TOO_MANY}
        return JSON, compact({"message": said.get(status, "Internal Error")})

    def rate_limit(self) -> tuple[int, Headers, bytes]:
        """Give the answer of a real server that is asked too often."""
        return (429, *self.refusal(429))

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
                visit.send(405, [("content-type", "text/plain;charset=UTF-8")], text)
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

    def _talk(self, visit: Visit, talk_id: str) -> _Talk:
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
            self._session(visit).accepted = True
        back = request.header("referer")
        if "text/html" in request.header("accept"):
            visit.send(303, [("location", back)], chunked=True)
            return
        answer = {"type": "redirect", "status": 303, "location": back}
        visit.send(200, JSON, compact(answer))

    def _create(self, visit: Visit) -> None:
        model = _posted(visit).get("model")
        if model not in self._settings.h2o_models:
            raise BrokenError
        session = self._session(visit)
        talk = _Talk(f"Untitled {len(session.talks) + 1}", str(model))
        session.talks[talk.id] = talk
        visit.json({"conversationId": talk.id})

    def _message(self, visit: Visit, talk_id: str) -> None:
        talk = self._talk(visit, talk_id)
        self._count_attempt(visit)
        asked = _Asked.read(_posted(visit))
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
        events = self._events(talk, history, asked, answer)
        script = self._paced(events)
        visit.exchange.stream(200, _TGI + visit.cookie(), script, survives=True)

    def _count_attempt(self, visit: Visit) -> None:
        """Refuse above the limit, which this version counts one too late."""
        limit = self._settings.messages_per_minute
        if limit is None:
            return
        with self._lock:
            recent = self._attempts.setdefault(visit.name, [])
            recent[:] = [each for each in recent if each > time.monotonic() - 60]
            if len(recent) > limit:
                raise RefusedError(429, _TOO_MANY)
            recent.append(time.monotonic())

    def _whole(self, visit: Visit, answer: Answer) -> None:
        try:
            text = join_halves("".join(answer.said()))
        except ModelFailedError as failure:
            body = compact({"error": str(failure), "error_type": "generation"})
            visit.send(500, JSON, body, chunked=True)
            return
        visit.json([{"generated_text": text}])

    def _paced(self, events: Iterator[bytes]) -> Script:
        for event in events:
            if self._pace:
                yield float(self._pace)
            yield event

    def _events(
        self,
        talk: _Talk,
        history: list[dict[str, Any]],
        asked: _Asked,
        answer: Answer,
    ) -> Iterator[bytes]:
        """Give TGI's events, and store the turn when it is complete."""
        started = time.monotonic()
        text = ""
        token: str | None = None
        number = 0
        try:
            for following in answer.said():
                if token is not None:
                    yield _event(number, token)
                number, token = number + 1, following
                text += token
                if talk.stopped_at > started:
                    self._store(talk, history, asked, answer, text)
                    # What this version does on stop-generating: no last chunk.
                    raise GoneError("stopped")
        except ModelFailedError as failure:
            if token is not None:
                yield _event(number, token)
            error = {"error": str(failure), "error_type": "generation"}
            yield b"data:" + compact(error) + b"\n\n"
            return
        whole = join_halves(text) if answer.final is None else answer.final
        self._store(talk, history, asked, answer, whole)
        if answer.finish == "length" and token is not None:
            yield _event(number, token, whole)
            return
        if token is not None:
            yield _event(number, token)
        yield _event(0, "</s>", whole, special=True)

    def _store(
        self,
        talk: _Talk,
        history: list[dict[str, Any]],
        asked: _Asked,
        answer: Answer,
        text: str,
    ) -> None:
        said = {"from": "assistant", "content": text.strip(), "webSearchId": asked.search}
        question = {"content": asked.inputs, "from": "user", "id": asked.id}
        talk.messages = [*history, question, {**said, "id": asked.response_id}]
        talk.summary = answer.title or f"About {asked.inputs[:40]}"

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
        talk.title = str(_posted(visit).get("title") or talk.title)
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
            {"id": name, "name": name, "displayName": name, "parameters": {}}
            for name in self._settings.h2o_models
        ]
        data = {
            "conversations": [
                {"id": talk.id, "title": talk.title, "model": talk.model}
                for talk in reversed(session.talks.values())
            ],
            "settings": {
                "shareConversationsWithModelAuthors": True,
                "ethicsModalAcceptedAt": None,
                "activeModel": self._settings.h2o_models[0],
                "searchEnabled": False,
            },
            "models": models,
            "oldModels": [],
            "user": Undefined(),
            "requiresLogin": False,
        }
        return f'{{"type":"data","data":{devalue(data, _ESCAPED)},"uses":{{}}}}'

    def _page(self, visit: Visit, talk_id: str) -> str:
        try:
            talk = self._talk(visit, talk_id)
        except RefusedError as refused:
            foreign = any(talk_id in each.talks for each in self._sessions.values())
            status = 403 if foreign else refused.status
            said = _NOT_YOURS if foreign else f"{refused.message}."
            return f'{{"type":"error","error":{{"message":"{said}"}},"status":{status}}}'
        except BrokenError:
            return '{"type":"error","error":{"message":"Internal Error"}}'
        data = {
            "messages": talk.messages,
            "title": talk.title,
            "model": talk.model,
            "searches": {},
        }
        return f'{{"type":"data","data":{devalue(data, _ESCAPED)},"uses":{{}}}}'


@dataclass(frozen=True)
class _Asked:
    """A message as it was posted."""

    inputs: str
    id: str
    response_id: str
    retry: bool
    stream: bool
    search: str | None

    @classmethod
    def read(cls, data: dict[str, Any]) -> _Asked:
        """Read and check it; whatever is wrong is a 500 in this version."""
        inputs, options = data.get("inputs"), data.get("options")
        if not isinstance(inputs, str) or not isinstance(options, dict):
            raise BrokenError
        ids = [options.get("id"), options.get("response_id")]
        if not inputs.strip() or any(x is not None and not is_uuid(x) for x in ids):
            raise BrokenError
        retry, search = options.get("is_retry", False), options.get("web_search_id", "")
        if not isinstance(retry, bool) or search != "":
            # No web search is emulated, so no id of one is known.
            raise BrokenError
        return cls(
            inputs=inputs.strip(),
            id=ids[0] or str(uuid.uuid4()),
            response_id=ids[1] or str(uuid.uuid4()),
            retry=retry,
            stream=bool(data.get("stream")),
            search=options.get("web_search_id"),
        )


def _event(number: int, text: str, whole: str | None = None, *, special: bool = False) -> bytes:
    """Write one of TGI's events; there is no space after the colon."""
    token = {
        "id": 2 if special else 1000 + number,
        "text": text,
        "logprob": -0.1 if special else -0.25 * number,
        "special": special,
    }
    event = {"token": token, "generated_text": whole, "details": None}
    return b"data:" + compact(event) + b"\n\n"


def _posted(visit: Visit) -> dict[str, Any]:
    data = visit.posted_json()
    if not isinstance(data, dict):
        raise BrokenError
    return data


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
