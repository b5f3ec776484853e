"""Gradio's queue: calls that wait, and the streams that tell how they go.

Whoever loses the stream has lost the answer: the session is gone. From 4.9 on
a call joins by itself and the session's stream tells of all its calls; before,
the stream is opened first and asks for the data. Beside the queue stands the
REST way, which gives whole values.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from c4ai_clients.emulator.gradio_app import App, RefusedError, function_of, posted
from c4ai_clients.emulator.gradio_job import GR_ERROR, Job
from c4ai_clients.emulator.replies import ModelFailedError
from c4ai_clients.emulator.wire import Exchange, GoneError, Script

__all__ = ["EVENTS", "Queue"]

EVENTS = [("content-type", "text/event-stream; charset=utf-8")]

_TICK = 0.02


@dataclass
class _Session:
    """What waits under one session hash."""

    waiting: list[Job] = field(default_factory=list)
    chat: list[dict[str, str]] = field(default_factory=list)


class Queue:
    """The queue of one server."""

    def __init__(self, app: App, goodbye: Callable[[str], None]) -> None:
        """Begin without any session."""
        self._app = app
        self._version = app.version
        self._settings = app.settings
        self._goodbye = goodbye
        self._lock = threading.RLock()
        self._sessions: dict[str, _Session] = {}
        self._jobs: dict[str, Job] = {}
        self._calls: dict[str, Job] = {}

    def join(self, exchange: Exchange) -> None:
        """Take a call into the queue."""
        body = posted(exchange)
        number = function_of(body)
        session_hash = body.get("session_hash")
        if session_hash is None:
            raise RefusedError(400, "Session hash not found.")
        if session_hash == "":
            raise RefusedError(500, None)
        if self._full():
            limit = self._settings.queue_size
            said = f"Queue is full. Max size is {limit} and size is {limit}."
            raise RefusedError(503, said)
        with self._lock:
            session = self._sessions.setdefault(str(session_hash), _Session())
        job = self._app.call(exchange, body["data"], number, session.chat)
        with self._lock:
            self._jobs[job.id] = job
            session.waiting.append(job)
        exchange.json({"event_id": job.id})

    def _full(self) -> bool:
        limit = self._settings.queue_size
        with self._lock:
            size = sum(not job.started for job in self._jobs.values())
        return limit is not None and size >= limit

    def stream(self, exchange: Exchange) -> None:
        """Tell a session how its calls go."""
        query = exchange.request.query
        if "session_hash" not in query:
            missing = {"type": "missing", "loc": ["query", "session_hash"]}
            said = {"msg": "Field required", "input": None}
            raise RefusedError(422, [{**missing, **said}])
        name = query["session_hash"]
        with self._lock:
            session = self._sessions.get(name)
        if session is None:
            exchange.stream(200, EVENTS, self._no_session(), live=True)
            return
        with self._lock:
            live = not session.waiting
        script = self._beating(self._told(exchange, name, session))
        exchange.stream(200, EVENTS, script, live=live)

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
                    yield self._version.heartbeat()
        finally:
            script.close()

    def old_join(self, exchange: Exchange) -> None:
        """Join as in 4.0 to 4.8: the stream first, the data after it."""
        number = exchange.request.query.get("fn_index", "")
        if not number.isdigit():
            raise RefusedError(422, [])
        width = self._app.width(int(number))
        if self._full():
            exchange.stream(200, EVENTS, self._turned_away(), live=True)
            return
        job = Job(self._version, "", None, width=width)
        self._jobs[job.id] = job
        script = self._beating(self._old_told(exchange, job))
        exchange.stream(200, EVENTS, script, live=True)

    def _turned_away(self) -> Script:
        yield self._version.event(msg="queue_full")

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

    def old_data(self, exchange: Exchange) -> None:
        """Take the data that a stream of 4.0 to 4.8 asked for."""
        body = posted(exchange)
        job = self._jobs.get(str(body.get("event_id")))
        if job is None:
            raise RefusedError(500, None)
        made = self._app.call(exchange, body["data"], function_of(body), [])
        for name in ("form", "answer", "prompt", "system", "history", "pace"):
            setattr(job, name, getattr(made, name))
        job.show_error = made.show_error
        job.started = True
        exchange.json(None)

    def cancel(self, exchange: Exchange) -> None:
        """End a call with an empty output."""
        if not self._version.cancel:
            raise RefusedError(404, "Not Found")
        body = posted(exchange, "session_hash", "fn_index", "event_id")
        self._goodbye("cancel")
        job = self._jobs.get(str(body["event_id"]))
        if job:
            job.cancelled = True
        exchange.json({"success": True})

    def reset(self, exchange: Exchange) -> None:
        """Do what this version does to a call that is reset."""
        body = posted(exchange, "event_id")
        self._goodbye("reset")
        job = self._jobs.get(str(body["event_id"]))
        ignored = self._version.reset == "nothing"
        if job and not ignored:
            job.silent = True
        exchange.json({"success": job is not None or ignored})

    def called(self, exchange: Exchange, name: str) -> None:
        """Take a call of the REST way."""
        if not self._version.call:
            raise RefusedError(404, "Not Found")
        numbers = [number for number, each in self._app.chats.items() if each == name]
        body = posted(exchange)
        if not numbers:
            raise RefusedError(500, None)
        job = self._app.call(exchange, body["data"], numbers[0], [])
        self._calls[job.id] = job
        exchange.json({"event_id": job.id})

    def call_told(self, exchange: Exchange, _name: str, event_id: str) -> None:
        """Tell how a call of the REST way goes."""
        job = self._calls.pop(event_id, None)
        if job is None:
            exchange.stream(200, EVENTS, self._no_call(), live=True)
        else:
            exchange.stream(200, EVENTS, self._call_events(job))

    def _no_call(self) -> Script:
        said = json.dumps(self._version.unknown_session)
        yield f"event: error\ndata: {said}\n\n".encode()
        raise GoneError("session not found")

    def _call_events(self, job: Job) -> Script:
        last: list[Any] = [None] * job.width
        try:
            for value in job.values():
                if value is None:
                    if self._app.pace:
                        yield float(self._app.pace)
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
