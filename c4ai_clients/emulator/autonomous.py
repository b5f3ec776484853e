"""AutonomousAI's server side, from what public clients of it sent and read.

One POST a message: the whole history as base64 of JSON in, OpenAI's chunks as
server-sent events out, ended by ``data: [DONE]``. No real server could be
recorded, so where public accounts differ a setting chooses.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import time
from typing import Any

from c4ai_clients.emulator.replies import Answer, Model, ModelFailedError
from c4ai_clients.emulator.settings import Settings
from c4ai_clients.emulator.wire import (
    Exchange,
    Headers,
    Script,
    Service,
    compact,
    join_halves,
)

__all__ = ["Autonomous"]

_JSON = [("content-type", "application/json")]
_AGENTS = {
    "/api/v1/ai/chat": ("llama", "qwen_coder"),
    "/api/v1/ai/chat-hermes": ("hermes",),
    "/api/v1/ai/chat-vision": ("vision",),
    "/api/v1/ai/summary": ("summary",),
}


class _BadRequestError(Exception):
    """The body is not what it must be."""


class Autonomous(Service):
    """One AutonomousAI server."""

    protocol = "autonomous"
    keepalive = b": keep-alive\n\n"

    def __init__(self, model: Model, settings: Settings, *, pace: float = 0.0) -> None:
        """Take the model; nothing else is kept."""
        self._model = model
        self._settings = settings
        self._pace = pace

    def step(self, method: str, path: str) -> str:
        """Name what a request is for, from its first line alone."""
        return "message" if method == "POST" and path in _AGENTS else "other"

    def refusal(self, status: int) -> tuple[Headers, bytes]:
        """Give headers and body in OpenAI's form of an error."""
        said = {401: "Unauthorized", 429: "Rate limit reached"}
        return _JSON, _error(said.get(status, "The server had an error"), status)

    def answer(self, exchange: Exchange) -> None:
        """Answer one request."""
        path = exchange.request.path
        if self.step(exchange.request.method, path) != "message":
            status = 405 if path in _AGENTS else 404
            exchange.send(status, _JSON, _error("Not found", status))
            return
        try:
            chat, agent, streamed = _read(exchange)
        except _BadRequestError as bad:
            exchange.send(400, _JSON, _error(str(bad), 400))
            return
        prompt = _last(chat)
        plain = [{"role": x["role"], "content": _text(x["content"])} for x in chat]
        answer = exchange.failing(self._model.ask(prompt, plain))
        if self._settings.error_way == "json" and answer.error is not None:
            exchange.send(200, _JSON, _error(answer.error, 500))
        elif streamed:
            headers = [
                ("content-type", "text/event-stream; charset=utf-8"),
                ("cache-control", "no-cache"),
            ]
            exchange.stream(200, headers, self._script(answer, agent))
        else:
            self._whole(exchange, answer, agent)

    def _script(self, answer: Answer, agent: str) -> Script:
        base = {
            "id": f"chatcmpl-{secrets.token_hex(8)}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": agent,
        }
        yield _chunk(base, {"role": "assistant", "content": ""})
        count = 0
        try:
            for token in answer.thought():
                yield _chunk(base, {"reasoning_content": token})
            for token in answer.said():
                if self._pace:
                    yield float(self._pace)
                count += 1
                yield _chunk(base, {"content": token})
        except ModelFailedError as failure:
            named = b"event: error\n" if self._settings.error_way == "event" else b""
            yield named + b"data: " + _error(str(failure), 500) + b"\n\n"
            return
        yield self._finish(base, answer.finish)
        if self._settings.usage:
            usage = {"prompt_tokens": 1, "completion_tokens": count}
            total = {**usage, "total_tokens": count + 1}
            yield b"data: " + compact({**base, "choices": [], "usage": total}) + b"\n\n"
        yield b"data: [DONE]\n\n"

    def _finish(self, base: dict[str, Any], reason: str) -> bytes:
        choice: dict[str, Any] = {"index": 0, "delta": {}}
        top: dict[str, Any] = {}
        if self._settings.finish_at == "top":
            top = {"finish_reason": reason}
        else:
            choice["finish_reason"] = reason
        return b"data: " + compact({**base, "choices": [choice], **top}) + b"\n\n"

    def _whole(self, exchange: Exchange, answer: Answer, agent: str) -> None:
        try:
            text = join_halves("".join(answer.said()))
        except ModelFailedError as failure:
            exchange.send(500, _JSON, _error(str(failure), 500))
            return
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": answer.finish}
        body = {
            "id": f"chatcmpl-{secrets.token_hex(8)}",
            "object": "chat.completion",
            "model": agent,
            "choices": [choice],
        }
        exchange.json(body)


def _read(exchange: Exchange) -> tuple[list[dict[str, Any]], str, bool]:
    """Read messages, agent and whether the answer is to be streamed."""
    request = exchange.request
    try:
        body = request.json()
    except ValueError as error:
        raise _BadRequestError("the body is not JSON") from error
    if not isinstance(body, dict) or not isinstance(body.get("messages"), str):
        raise _BadRequestError("messages must be a base64 string")
    try:
        chat = json.loads(base64.b64decode(body["messages"], validate=True))
    except (binascii.Error, ValueError) as error:
        raise _BadRequestError("messages is not base64 of JSON") from error
    if not isinstance(chat, list) or not chat:
        raise _BadRequestError("messages must hold a list")
    for each in chat:
        if not isinstance(each, dict) or not {"role", "content"} <= each.keys():
            raise _BadRequestError("a message has role and content")
    agent = body.get("aiAgent")
    if agent not in _AGENTS[request.path]:
        raise _BadRequestError(f"no agent is called {agent!r} here")
    return chat, str(agent), bool(body.get("stream"))


def _text(content: object) -> str:
    """Give a content's text; parts that are none are left out."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))


def _last(chat: list[dict[str, Any]]) -> str:
    said = [each for each in chat if each["role"] == "user"] or chat
    return _text(said[-1]["content"])


def _chunk(base: dict[str, Any], delta: dict[str, Any]) -> bytes:
    choice = {"index": 0, "delta": delta}
    return b"data: " + compact({**base, "choices": [choice]}) + b"\n\n"


def _error(message: str, code: int) -> bytes:
    kind = "invalid_request_error" if code == 400 else "server_error"
    return compact({"error": {"message": message, "type": kind, "code": code}})
