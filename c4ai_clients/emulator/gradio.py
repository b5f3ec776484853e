"""Gradio's queue, server side, 4.2 to 6.31, as it was recorded.

A message joins the queue under a session hash, and that session's event stream
tells how it goes: estimation, process_starts, process_generating (whole values
or edits), process_completed. Whoever loses the stream has lost the answer: the
session is gone. How versions differ is in `gradio_versions`.
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from c4ai_clients.emulator.faults import Fault
from c4ai_clients.emulator.gradio_config import chat_functions, config, outputs
from c4ai_clients.emulator.gradio_job import GR_ERROR, Job
from c4ai_clients.emulator.gradio_versions import VERSIONS
from c4ai_clients.emulator.replies import Answer, Model, ModelFailedError
from c4ai_clients.emulator.settings import Settings
from c4ai_clients.emulator.wire import (
    Exchange,
    GoneError,
    Headers,
    Script,
    Service,
    compact,
)

__all__ = ["Gradio"]

_JSON = [("content-type", "application/json")]
_SSE = [("content-type", "text/event-stream; charset=utf-8")]
_TEXT = [("content-type", "text/plain; charset=utf-8")]
_HTML = [("content-type", "text/html; charset=utf-8")]
_AT_JOIN = frozenset({"status", "rate_limit", "html", "json", "garbage", "deaf", "unread"})
_TICK = 0.02


class _RefusedError(Exception):
    """FastAPI's way of saying no: a status and a detail."""

    def __init__(self, status: int, detail: object) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail


@dataclass
class _Session:
    """What waits under one session hash."""

    waiting: list[Job] = field(default_factory=list)
    chat: list[dict[str, str]] = field(default_factory=list)


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
        self._form = settings.chatbot or self._version.chatbot
        self.keepalive = self._version.heartbeat()
        self._model = model
        self._settings = settings
        self._pace = pace
        self._goodbye = goodbye
        self._scheme = scheme
        self._chats = chat_functions(self._version, settings)
        self._lock = threading.RLock()
        self._sessions: dict[str, _Session] = {}
        self._jobs: dict[str, Job] = {}
        self._calls: dict[str, Job] = {}
        self._files: dict[str, bytes] = {}
        self._tokens: set[str] = set()

    def step(self, method: str, path: str) -> str:
        """Name what a request is for, from its first line alone."""
        for wanted, pattern, name, _ in _ROUTES:
            bare = path.removeprefix(self._version.prefix)
            if method == wanted and re.fullmatch(pattern, bare):
                if self._version.protocol == "sse" and bare.startswith("/queue/"):
                    # In that version the stream is joined, then the data is sent.
                    return "stream" if method == "GET" else "join"
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
            known = False
            for method, pattern, name, route in _ROUTES:
                prefix = "" if name in _BARE else self._version.prefix
                found = re.fullmatch(re.escape(prefix) + pattern, request.path)
                known = known or found is not None
                if found and method == request.method:
                    self._admit(exchange, name)
                    route(self, exchange, *found.groups())
                    return
            status = 405 if known else 404
            said = "Method Not Allowed" if known else "Not Found"
            raise _RefusedError(status, said)
        except _RefusedError as refused:
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
            raise _RefusedError(401, detail if self._version.auth_object else said)

    def _config(self, exchange: Exchange) -> None:
        root = f"{self._scheme}://{exchange.request.header('host')}"
        body = compact(config(self._version, self._settings, root))
        exchange.send(200, _JSON, body)

    def _page(self, exchange: Exchange) -> None:
        exchange.send(200, _HTML, b"<!doctype html>\n<html><body></body></html>\n")

    def _info(self, exchange: Exchange) -> None:
        named: dict[str, object] = {f"/{name}": {} for name in self._chats.values()}
        exchange.json({"named_endpoints": named, "unnamed_endpoints": {}})

    def _login(self, exchange: Exchange) -> None:
        fields = exchange.request.form().fields
        given = (fields.get("username"), fields.get("password"))
        if self._settings.auth is None or given != tuple(self._settings.auth):
            raise _RefusedError(400, "Incorrect credentials.")
        token = secrets.token_urlsafe(16)
        self._tokens.add(token)
        name = hashlib.sha256(str(id(self)).encode()).hexdigest()[:20]
        secure = f"access-token-{name}={token}; HttpOnly; Path=/; SameSite=none; Secure"
        plain = f"access-token-unsecure-{name}={token}; HttpOnly; Path=/; SameSite=lax"
        cookies = [("set-cookie", secure), ("set-cookie", plain)]
        exchange.json({"success": True}, headers=cookies)

    def _checked(self, exchange: Exchange) -> None:
        exchange.json(None)

    def _join(self, exchange: Exchange) -> None:
        if self._version.protocol == "sse":
            raise _RefusedError(405, "Method Not Allowed")
        body = _body(exchange)
        number = _function(body)
        session_hash = body.get("session_hash")
        if session_hash is None:
            raise _RefusedError(400, "Session hash not found.")
        if session_hash == "":
            raise _RefusedError(500, None)
        limit = self._settings.queue_size
        with self._lock:
            size = sum(not job.started for job in self._jobs.values())
            if limit is not None and size >= limit:
                said = f"Queue is full. Max size is {limit} and size is {size}."
                raise _RefusedError(503, said)
            session = self._sessions.setdefault(str(session_hash), _Session())
        job = self._job(exchange, body["data"], number, session)
        with self._lock:
            self._jobs[job.id] = job
            session.waiting.append(job)
        exchange.json({"event_id": job.id})

    def _job(self, exchange: Exchange, data: list[Any], number: int, session: _Session) -> Job:
        """Give the model what was joined with; this is where it is processed."""
        width = outputs(self._version, self._settings, number)
        if width is None:
            raise _RefusedError(500, None)
        job = Job(self._version, self._form, None, width=width, pace=self._pace)
        job.show_error = self._settings.show_error
        if number not in self._chats:
            return job
        wrong = self._wrong(data)
        if wrong is not None:
            job.answer = Answer(error=wrong, error_after=0)
            return job
        job.prompt = str(data[0] or "")
        if self._settings.layout == "qwen":
            job.system = data[2]
            job.history = list(data[1] or [])
            chat = self._chat(job.history, str(data[2] or ""))
        else:
            job.form = "text"
            chat = session.chat
        chat = [*chat, {"role": "user", "content": job.prompt}]
        job.answer = exchange.failing(self._model.ask(job.prompt, chat))
        if job.form == "text":
            session.chat = chat
        return job

    def _wrong(self, data: list[Any]) -> str | None:
        """Say what the app's function would trip over; "" has no text."""
        if self._settings.layout != "qwen":
            return None if len(data) >= 2 else ""
        if len(data) < 4:
            return ""
        history, size = data[1], data[3]
        sizes = list(self._settings.sizes)
        if self._version.checks_radio and size is not None and size not in sizes:
            kind = type(size)
            said = f"Value: {size!r} (type: {kind}) is not in the list of choices: "
            return f"{GR_ERROR}{said}{sizes}"
        if history is None:
            return None
        if not isinstance(history, list):
            return ""
        return None if all(self._fits(each) for each in history) else ""

    def _fits(self, item: object) -> bool:
        if self._form == "tuples":
            return isinstance(item, list) and len(item) == 2
        if not isinstance(item, dict) or "role" not in item:
            return False
        wanted = list if self._form == "blocks" else str
        return isinstance(item.get("content"), wanted)

    def _chat(self, history: list[Any], system: str) -> list[dict[str, str]]:
        """Give the history in OpenAI's form."""
        said = [{"role": "system", "content": system}] if system else []
        for item in history:
            if isinstance(item, list):
                said.append({"role": "user", "content": str(item[0] or "")})
                said.append({"role": "assistant", "content": str(item[1] or "")})
                continue
            content = item["content"]
            if isinstance(content, list):
                content = "".join(str(part.get("text", "")) for part in content)
            said.append({"role": str(item["role"]), "content": content})
        return said

    def _stream(self, exchange: Exchange) -> None:
        if self._version.protocol == "sse":
            raise _RefusedError(405, "Method Not Allowed")
        query = exchange.request.query
        if "session_hash" not in query:
            missing = {"type": "missing", "loc": ["query", "session_hash"]}
            said = {"msg": "Field required", "input": None}
            raise _RefusedError(422, [{**missing, **said}])
        name = query["session_hash"]
        with self._lock:
            session = self._sessions.get(name)
        if session is None:
            exchange.stream(200, _SSE, self._no_session(), live=True)
            return
        with self._lock:
            live = not session.waiting
        script = self._beating(self._told(exchange, name, session))
        exchange.stream(200, _SSE, script, live=live)

    def _no_session(self) -> Script:
        said: dict[str, object] = {"message": self._version.unknown_session}
        if self._version.flags_session:
            said["session_not_found"] = True
        if self._version.compact:
            said = {"event_id": None, **said, "success": False}
        else:
            said = {"success": False, **said}
        yield self._version.event(msg="unexpected_error", **said)
        # The real server raises here, and the body never gets its last chunk.
        raise GoneError("session not found")

    def _told(self, exchange: Exchange, name: str, session: _Session) -> Script:
        """Tell all calls of a session in turn, also those that join meanwhile."""
        done = False
        running: list[tuple[Job, Script]] = []
        fault = exchange.fault
        slow = fault is not None and fault.kind == "slow_queue"
        waiting = float(fault.seconds or 1.0) if fault and slow else 0.0
        try:
            while not done:
                with self._lock:
                    joined, session.waiting = session.waiting, []
                for job in joined:
                    if job.answer:
                        job.answer = exchange.failing(job.answer)
                    running.append((job, job.events(waiting)))
                if not running:
                    yield _TICK
                for item in list(running):
                    piece = next(item[1], None)
                    if piece is None:
                        running.remove(item)
                        self._jobs.pop(item[0].id, None)
                        done = not running and not session.waiting
                    else:
                        yield piece
            if self._version.close_stream:
                yield self._version.event(msg="close_stream", event_id=None)
        finally:
            if not done:
                with self._lock:
                    self._sessions.pop(name, None)
                for job, script in running:
                    self._jobs.pop(job.id, None)
                    script.close()

    def _beating(self, script: Script) -> Script:
        """Put a heartbeat where a stream would be silent for too long."""
        silent = 0.0
        try:
            for piece in script:
                if isinstance(piece, bytes):
                    silent = 0.0
                    yield piece
                    continue
                yield piece
                silent += piece
                if silent >= self._settings.heartbeat:
                    silent = 0.0
                    yield self.keepalive
        finally:
            script.close()

    def _old_join(self, exchange: Exchange) -> None:
        """Join as in 4.0 to 4.8: the stream first, the data after it."""
        if self._version.protocol != "sse":
            raise _RefusedError(405, "Method Not Allowed")
        number = exchange.request.query.get("fn_index", "")
        if not number.isdigit():
            raise _RefusedError(422, [])
        width = outputs(self._version, self._settings, int(number))
        if width is None:
            raise _RefusedError(500, None)
        job = Job(self._version, self._form, None, width=width)
        self._jobs[job.id] = job
        script = self._beating(self._old_told(exchange, job))
        exchange.stream(200, _SSE, script, live=True)

    def _old_told(self, exchange: Exchange, job: Job) -> Script:
        fault = exchange.fault
        slow = fault is not None and fault.kind == "slow_queue"
        script = job.events(float(fault.seconds or 1.0) if fault and slow else 0.0)
        try:
            for piece in script:
                yield piece
                if isinstance(piece, bytes) and b'"rank": 0' in piece:
                    yield self._version.event(msg="send_data", event_id=job.id)
                    while not job.started:
                        yield _TICK
                    if job.answer:
                        job.answer = exchange.failing(job.answer)
        finally:
            script.close()
            self._jobs.pop(job.id, None)

    def _old_data(self, exchange: Exchange) -> None:
        if self._version.protocol != "sse":
            raise _RefusedError(405, "Method Not Allowed")
        body = _body(exchange)
        job = self._jobs.get(str(body.get("event_id")))
        if job is None:
            raise _RefusedError(500, None)
        made = self._job(exchange, body["data"], _function(body), _Session())
        for name in ("form", "answer", "prompt", "system", "history", "pace"):
            setattr(job, name, getattr(made, name))
        job.show_error = made.show_error
        job.started = True
        exchange.json(None)

    def _cancel(self, exchange: Exchange) -> None:
        if not self._version.cancel:
            raise _RefusedError(404, "Not Found")
        body = _body(exchange, "session_hash", "fn_index", "event_id")
        self._goodbye("cancel")
        job = self._jobs.get(str(body["event_id"]))
        if job:
            job.cancelled = True
        exchange.json({"success": True})

    def _reset(self, exchange: Exchange) -> None:
        body = _body(exchange, "event_id")
        self._goodbye("reset")
        job = self._jobs.get(str(body["event_id"]))
        if job and self._version.reset == "silence":
            job.silent = True
        exchange.json({"success": True})

    def _upload(self, exchange: Exchange) -> None:
        paths = []
        for part in exchange.request.form().files:
            folder = hashlib.sha256(part.content).hexdigest()
            path = f"/tmp/gradio/{folder}/{part.filename}"
            self._files[path] = part.content
            paths.append(path)
        if not paths:
            raise _RefusedError(422, [])
        exchange.json(paths)

    def _file(self, exchange: Exchange, path: str) -> None:
        content = self._files.get(unquote(path))
        if content is None:
            raise _RefusedError(403, "File not allowed: " + unquote(path))
        kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
        exchange.send(200, [("content-type", kind)], content)

    def _called(self, exchange: Exchange, name: str) -> None:
        if not self._version.call:
            raise _RefusedError(404, "Not Found")
        numbers = [number for number, each in self._chats.items() if each == name]
        body = _body(exchange)
        if not numbers:
            raise _RefusedError(500, None)
        job = self._job(exchange, body["data"], numbers[0], _Session())
        self._calls[job.id] = job
        exchange.json({"event_id": job.id})

    def _call_told(self, exchange: Exchange, _name: str, event_id: str) -> None:
        job = self._calls.pop(event_id, None)
        if job is None:
            exchange.stream(200, _SSE, self._no_call(), live=True)
        else:
            exchange.stream(200, _SSE, self._call_events(job))

    def _no_call(self) -> Script:
        said = json.dumps(self._version.unknown_session)
        yield f"event: error\ndata: {said}\n\n".encode()
        raise GoneError("session not found")

    def _call_events(self, job: Job) -> Script:
        last: list[Any] = [None] * job.width
        try:
            for value in job.values():
                if value is None:
                    if self._pace:
                        yield float(self._pace)
                    continue
                last = value
                yield f"event: generating\ndata: {json.dumps(value)}\n\n".encode()
        except ModelFailedError as failure:
            said = str(failure)
            told = said.startswith(GR_ERROR) or self._settings.show_error
            text = said.removeprefix(GR_ERROR) if told else None
            data = {"error": text} if self._version.cached else None
            yield f"event: error\ndata: {json.dumps(data)}\n\n".encode()
            return
        yield f"event: complete\ndata: {json.dumps(last)}\n\n".encode()

    def _alive(self, exchange: Exchange, _session: str) -> None:
        exchange.stream(200, _SSE, self._beats(), live=True)

    def _beats(self) -> Script:
        while True:
            yield b"data: ALIVE\n\n"
            yield float(self._settings.heartbeat)


def _body(exchange: Exchange, *needed: str) -> dict[str, Any]:
    """Read a JSON body as FastAPI does, with its way of complaining."""
    request = exchange.request
    try:
        typed = request.content_type() == "application/json"
        body = request.json() if typed else request.body.decode("utf-8", "replace")
    except json.JSONDecodeError as error:
        wrong = {"type": "json_invalid", "loc": ["body", error.pos], "input": {}}
        more = {"msg": "JSON decode error", "ctx": {"error": error.msg}}
        raise _RefusedError(422, [{**wrong, **more}]) from error
    if not isinstance(body, dict):
        kind = {"type": "model_attributes_type", "loc": ["body"]}
        said = "Input should be a valid dictionary or object to extract fields from"
        raise _RefusedError(422, [{**kind, "msg": said, "input": body}])
    missing = [name for name in needed or ("data",) if name not in body]
    if missing:
        detail = {"type": "missing", "msg": "Field required", "input": body}
        said_of = [{**detail, "loc": ["body", name]} for name in missing]
        raise _RefusedError(422, said_of)
    if not needed and not isinstance(body["data"], list):
        wrong = {"type": "list_type", "loc": ["body", "data"]}
        said = "Input should be a valid list"
        raise _RefusedError(422, [{**wrong, "msg": said, "input": body["data"]}])
    return body


def _function(body: dict[str, Any]) -> int:
    number = body.get("fn_index")
    if number is None:
        raise _RefusedError(400, "No function index provided.")
    if isinstance(number, str) and not number.lstrip("-").isdigit():
        wrong = {"type": "int_parsing", "loc": ["body", "fn_index"], "input": number}
        said = "Input should be a valid integer, unable to parse string as an integer"
        raise _RefusedError(422, [{**wrong, "msg": said}])
    return int(number)


_BARE = frozenset({"config", "login", "page"})
_ROUTES: tuple[tuple[str, str, str, Callable[..., None]], ...] = (
    ("GET", "/config/?", "config", Gradio._config),
    ("GET", "/", "page", Gradio._page),
    ("POST", "/login/?", "login", Gradio._login),
    ("GET", "/info/?", "other", Gradio._info),
    ("GET", "/login_check/?", "other", Gradio._checked),
    ("POST", "/queue/join", "join", Gradio._join),
    ("GET", "/queue/data", "stream", Gradio._stream),
    ("GET", "/queue/join", "stream", Gradio._old_join),
    ("POST", "/queue/data", "join", Gradio._old_data),
    ("POST", "/cancel", "cancel", Gradio._cancel),
    ("POST", "/reset/?", "reset", Gradio._reset),
    ("POST", "/upload", "upload", Gradio._upload),
    ("GET", "/file=(.+)", "file", Gradio._file),
    ("POST", "/call/([^/]+)", "call", Gradio._called),
    ("GET", "/call/([^/]+)/([^/]+)", "call", Gradio._call_told),
    ("GET", "/heartbeat/([^/]+)", "other", Gradio._alive),
)
