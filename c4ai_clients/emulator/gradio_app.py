"""The chat app on an emulated Gradio server: what a listener is called with.

It looks at its inputs as the Qwen2.5 Space and `gr.ChatInterface` do, and says
what they say when those are wrong. Being called is where a message is processed.
"""

from __future__ import annotations

import json
import re
from typing import Any

from c4ai_clients.emulator.gradio_config import chat_functions, outputs
from c4ai_clients.emulator.gradio_job import GR_ERROR, Job
from c4ai_clients.emulator.gradio_versions import Version
from c4ai_clients.emulator.replies import Answer, Model
from c4ai_clients.emulator.settings import Settings
from c4ai_clients.emulator.wire import Exchange

__all__ = ["App", "RefusedError", "function_of", "posted"]


class RefusedError(Exception):
    """FastAPI's way of saying no: a status and a detail."""

    def __init__(self, status: int, detail: object) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail


class App:
    """One chat app.

    Args:
        version: The Gradio under it.
        model: What answers.
        settings: Its layout and what it accepts.
        pace: Seconds before each value.
    """

    def __init__(self, version: Version, model: Model, settings: Settings, pace: float) -> None:
        """Look up which listeners chat."""
        self.version = version
        self.settings = settings
        self.pace = pace
        self.chats = chat_functions(version, settings)
        self._form = settings.chatbot or version.chatbot
        self._model = model

    def width(self, number: int) -> int:
        """Say how many outputs a listener has; there must be one."""
        width = outputs(self.version, self.settings, number)
        if width is None:
            raise RefusedError(500, None)
        return width

    def call(
        self, exchange: Exchange, data: list[Any], number: int, said: list[dict[str, str]]
    ) -> Job:
        """Give the model what a listener was called with.

        Args:
            exchange: The request, whose fault may be the model's.
            data: The inputs.
            number: The listener.
            said: What this session said before, for an app that keeps it; what
                is said now is put there.
        """
        width = self.width(number)
        job = Job(self.version, self._form, None, width=width, pace=self.pace)
        job.show_error = self.settings.show_error
        if number not in self.chats:
            return job
        wrong = self._wrong(data)
        if wrong is not None:
            job.answer = Answer(error=wrong, error_after=0)
            return job
        job.prompt = str(data[0] or "")
        if self.settings.layout == "qwen":
            job.system = data[2]
            job.history = list(data[1] or [])
            chat = self._chat(job.history, str(data[2] or ""))
        else:
            job.form = "text"
            chat = said
        chat = [*chat, {"role": "user", "content": job.prompt}]
        job.answer = exchange.failing(self._model.ask(job.prompt, chat))
        if job.form == "text":
            said[:] = chat
        return job

    def _wrong(self, data: list[Any]) -> str | None:
        """Say what the app's function would trip over; "" has no text."""
        if self.settings.layout != "qwen":
            return None if len(data) >= 2 else ""
        if len(data) < 4:
            return ""
        history, size = data[1], data[3]
        sizes = list(self.settings.sizes)
        if self.version.checks_radio and size is not None and size not in sizes:
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
                parts = [part for part in content if isinstance(part, dict)]
                content = "".join(str(part.get("text", "")) for part in parts)
            said.append({"role": str(item["role"]), "content": content})
        return said


def posted(exchange: Exchange, *needed: str) -> dict[str, Any]:
    """Read a JSON body as FastAPI does, with its way of complaining."""
    request = exchange.request
    body: Any = request.body.decode("utf-8", "replace")
    try:
        if request.content_type() == "application/json":
            body = json.loads(body)
    except json.JSONDecodeError as error:
        wrong = {"type": "json_invalid", "loc": ["body", error.pos], "input": {}}
        more = {"msg": "JSON decode error", "ctx": {"error": error.msg}}
        raise RefusedError(422, [{**wrong, **more}]) from error
    if not isinstance(body, dict):
        kind = {"type": "model_attributes_type", "loc": ["body"]}
        said = "Input should be a valid dictionary or object to extract fields from"
        raise RefusedError(422, [{**kind, "msg": said, "input": body}])
    missing = [name for name in needed or ("data",) if name not in body]
    if missing:
        detail = {"type": "missing", "msg": "Field required", "input": body}
        said_of = [{**detail, "loc": ["body", name]} for name in missing]
        raise RefusedError(422, said_of)
    if not needed and not isinstance(body["data"], list):
        wrong = {"type": "list_type", "loc": ["body", "data"]}
        said = "Input should be a valid list"
        raise RefusedError(422, [{**wrong, "msg": said, "input": body["data"]}])
    return body


def function_of(body: dict[str, Any]) -> int:
    """Give the listener that a body names."""
    number = body.get("fn_index")
    if number is None:
        raise RefusedError(400, "No function index provided.")
    text = str(int(number) if isinstance(number, float) and number.is_integer() else number)
    if not re.fullmatch("-?[0-9]{1,9}", text):
        wrong = {"type": "int_parsing", "loc": ["body", "fn_index"], "input": number}
        said = "Input should be a valid integer, unable to parse string as an integer"
        raise RefusedError(422, [{**wrong, "msg": said}])
    return int(text)
