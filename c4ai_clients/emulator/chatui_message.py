"""A message as it is posted to chat-ui: checked, and put in its place.

Checks come in the server's order, and say what it says.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from c4ai_clients.emulator.chatui_eras import Era
from c4ai_clients.emulator.chatui_tree import Message, Thread
from c4ai_clients.emulator.request import Form, Request
from c4ai_clients.emulator.sveltekit import BrokenError, RefusedError

__all__ = ["Posted", "is_uuid", "placed"]

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_FILE_LIMIT = 10 * 1024 * 1024


def is_uuid(value: object) -> bool:
    """Say whether a value is a UUID, as text."""
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


@dataclass(frozen=True)
class Posted:
    """The ``data`` field, read, and the files beside it."""

    inputs: str | None
    id: str | None
    retry: bool
    go_on: bool
    search: bool
    generation: str
    files: tuple[tuple[dict[str, str], bytes | None], ...]

    @classmethod
    def read(cls, request: Request, era: Era, limit: int | None) -> Posted:
        """Read and check what was posted.

        Raises:
            RefusedError: Where the server says what is wrong.
            BrokenError: Where it only says 500.
        """
        if era.json_body:
            if request.content_type() != "application/json":
                raise RefusedError(500, "Internal Error")
            form = Form({"data": request.body.decode("utf-8", "replace")}, ())
        elif request.content_type() in (
            "multipart/form-data",
            "application/x-www-form-urlencoded",
        ):
            form = request.form()
        else:
            raise BrokenError
        if "data" not in form.fields:
            raise RefusedError(400, "Invalid request")
        data = _loaded(form.fields["data"])
        _check_types(data, era)
        inputs = data.get("inputs")
        files = tuple(_file(part) for part in _uploads(form))
        if inputs is not None and limit is not None and len(inputs) > limit:
            raise RefusedError(400, "Message too long.")
        return cls(
            inputs=None if inputs is None else inputs.replace("\r\n", "\n"),
            id=data.get("id"),
            retry=bool(data.get("is_retry")),
            go_on=bool(data.get("is_continue")) and era.turn_options,
            search=bool(data.get("web_search")) and era.turn_options,
            generation=str(data.get("generationId") or ""),
            files=files,
        )


def _loaded(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise BrokenError from error
    if not isinstance(data, dict):
        raise BrokenError
    return data


def _check_types(data: dict[str, Any], era: Era) -> None:
    inputs = data.get("inputs", "x")
    if not isinstance(inputs, str) or not inputs:
        raise BrokenError
    if "id" in data and not is_uuid(data["id"]):
        raise BrokenError
    flags = ["is_retry"]
    if era.turn_options:
        flags += ["is_continue", "web_search"]
        tools = data.get("tools", [])
        if not isinstance(tools, list) or not all(isinstance(x, str) for x in tools):
            raise BrokenError
    if any(not isinstance(data.get(flag, False), bool) for flag in flags):
        raise BrokenError


def _uploads(form: Form) -> list[tuple[str, str, bytes]]:
    return [
        (part.filename, part.content_type, part.content)
        for part in form.files
        if part.name == "files"
    ]


def _file(part: tuple[str, str, bytes]) -> tuple[dict[str, str], bytes | None]:
    filename, mime, content = part
    kind, separator, name = filename.partition(";")
    if not separator or kind not in ("base64", "hash"):
        raise BrokenError
    if kind == "hash":
        value = content.decode("latin-1")
        return {"type": "hash", "value": value, "mime": mime, "name": name}, None
    try:
        raw = base64.b64decode(content, validate=False)
    except binascii.Error as error:
        raise BrokenError from error
    if len(raw) > _FILE_LIMIT:
        raise RefusedError(413, "File too large, should be <10MB")
    # The name that it gets is the hash of the file read as text, torn or not.
    sha = hashlib.sha256(raw.decode("utf-8", "replace").encode()).hexdigest()
    return {"type": "hash", "value": sha, "mime": mime, "name": name}, raw


def placed(thread: Thread, posted: Posted) -> tuple[Message, str]:
    """Put the turn in the tree, and give the answer's message and the prompt.

    Raises:
        RefusedError: A message is not there, or not where it must be.
        BrokenError: There is no such parent.
    """
    if posted.go_on:
        return _continued(thread, posted)
    if posted.retry and posted.id:
        return _again(thread, posted)
    parent = thread.find(posted.id) if posted.id else None
    if parent is None:
        raise BrokenError
    return _asked(thread, parent, posted)


def _continued(thread: Thread, posted: Posted) -> tuple[Message, str]:
    message = thread.find(posted.id or "")
    if message is None:
        raise BrokenError
    if message.children or message.sender != "assistant":
        raise RefusedError(400, "Can only continue the last message")
    question = thread.find(message.ancestors[-1])
    return message, question.content if question else ""


def _again(thread: Thread, posted: Posted) -> tuple[Message, str]:
    message = thread.find(posted.id or "")
    if message is None:
        raise RefusedError(404, "Message not found")
    parent = thread.find(message.ancestors[-1]) if message.ancestors else None
    if parent is None:
        raise RefusedError(500, "Failed to create message")
    if message.sender == "assistant":
        return thread.add(parent, Message("assistant", "")), parent.content
    if posted.inputs is None:
        raise RefusedError(500, "Failed to create message")
    return _asked(thread, parent, posted)


def _asked(thread: Thread, parent: Message, posted: Posted) -> tuple[Message, str]:
    question = Message("user", posted.inputs or "")
    for shown, raw in posted.files:
        question.files.append(shown)
        if raw is not None:
            thread.files[shown["value"]] = (shown["mime"], raw)
    thread.add(parent, question)
    return thread.add(question, Message("assistant", "")), question.content
