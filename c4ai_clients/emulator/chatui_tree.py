"""What chat-ui stores: sessions, and conversations that are trees.

A conversation's root is a system message which exists from the start, so even
the first turn has a parent. Three ways of reading one are written here: plain
JSON, SvelteKit's devalue and superjson.
"""

from __future__ import annotations

import json
import secrets
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from c4ai_clients.emulator.wire import join_halves

__all__ = [
    "Generation",
    "Message",
    "Moment",
    "Promised",
    "Session",
    "Thread",
    "Undefined",
    "devalue",
    "now",
]


class Undefined:
    """JavaScript's undefined, which devalue writes as -1."""


class Promised:
    """A value that devalue sends later, in a chunk of its own."""


@dataclass(frozen=True)
class Moment:
    """A JavaScript date."""

    iso: str


def now() -> str:
    """Give the time as chat-ui writes it."""
    stamp = datetime.now(timezone.utc)
    return f"{stamp:%Y-%m-%dT%H:%M:%S}.{stamp.microsecond // 1000:03d}Z"


def _uuid() -> str:
    return str(uuid.uuid4())


@dataclass
class Message:
    """One node of the tree."""

    sender: str
    content: str
    id: str = field(default_factory=_uuid)
    created: str = field(default_factory=now)
    updated: str = field(default_factory=now)
    ancestors: list[str] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    files: list[dict[str, str]] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)
    reasoning: str = ""
    interrupted: bool | None = None
    generation: str = ""

    def plain(self) -> dict[str, Any]:
        """Give it as ``GET /api/conversation/{id}`` does."""
        shown = {
            "content": self.content,
            "from": self.sender,
            "id": self.id,
            "createdAt": self.created,
            "updatedAt": self.updated,
        }
        if self.sender == "user":
            return {**shown, "files": self.files}
        if self.sender == "system":
            return shown
        thought = {"reasoning": self.reasoning} if self.reasoning else {}
        return {**shown, "updates": self.updates, **thought}

    def full(self) -> dict[str, Any]:
        """Give it with its place in the tree."""
        shown: dict[str, Any] = {
            "id": self.id,
            "from": self.sender,
            "content": self.content,
            "createdAt": self.created,
            "updatedAt": self.updated,
            "children": self.children,
            "ancestors": self.ancestors,
        }
        if self.sender == "user":
            shown["files"] = self.files
        if self.sender == "assistant":
            shown["updates"] = self.updates
            if self.reasoning:
                shown["reasoning"] = self.reasoning
            if self.interrupted is not None:
                shown["interrupted"] = self.interrupted
        return shown


@dataclass
class Generation:
    """One turn's answer, as a client that comes later can follow it."""

    id: str
    updates: list[dict[str, Any]] = field(default_factory=list)
    status: str = ""


class Thread:
    """One conversation."""

    def __init__(self, model: str, preprompt: str) -> None:
        """Begin with the system message."""
        self.id = secrets.token_hex(12)
        self.model = model
        self.preprompt = preprompt
        self.title = "New Chat"
        self.updated = now()
        self.messages: list[Message] = [Message("system", preprompt)]
        self.files: dict[str, tuple[str, bytes]] = {}
        self.stopped_at = 0.0
        self.seen: int | None = None
        self.generation = Generation("")

    def find(self, message_id: str) -> Message | None:
        """Give a message by its id."""
        return next((each for each in self.messages if each.id == message_id), None)

    def add(self, parent: Message, message: Message) -> Message:
        """Put a message under another one."""
        message.ancestors = [*parent.ancestors, parent.id]
        parent.children.append(message.id)
        self.messages.append(message)
        return message

    def branch(self, leaf: Message) -> list[dict[str, str]]:
        """Give what leads to a message, in OpenAI's form."""
        wanted = [*leaf.ancestors, leaf.id]
        found = [each for each in self.messages if each.id in wanted]
        return [
            {"role": each.sender, "content": each.content}
            for each in found
            if each.content or each.sender != "system"
        ]

    def stop(self, seen: int | None) -> None:
        """Ask the running turn to end, trimmed to what the client has seen."""
        self.seen = seen
        self.stopped_at = time.monotonic()

    def listed(self) -> dict[str, Any]:
        """Give its row in the list of conversations."""
        return {
            "_id": self.id,
            "id": self.id,
            "title": self.title,
            "updatedAt": self.updated,
            "model": self.model,
            "modelId": self.model,
        }

    def plain(self) -> dict[str, Any]:
        """Give it as ``GET /api/conversation/{id}`` does."""
        return {
            "id": self.id,
            "title": self.title,
            "updatedAt": self.updated,
            "modelId": self.model,
            "messages": [message.plain() for message in self.messages],
        }

    def plain_v2(self) -> dict[str, Any]:
        """Give the same as later versions do: every message has updates."""
        shown = self.plain()
        if len(self.messages) > 1:
            shown["messages"] = [{"updates": [], **each} for each in shown["messages"]]
        return shown

    def page(self) -> dict[str, Any]:
        """Give it as the data of its page."""
        messages = []
        for message in self.messages:
            shown = message.full()
            for key in ("createdAt", "updatedAt"):
                shown[key] = Moment(shown[key])
            messages.append(shown)
        return {
            "messages": messages,
            "title": self.title,
            "model": self.model,
            "preprompt": self.preprompt,
            "rootMessageId": self.messages[0].id,
            "assistant": None,
            "shared": False,
        }

    def superjson(self) -> dict[str, Any]:
        """Give it as ``GET /api/v2/conversations/{id}`` does."""
        dates: dict[str, list[str]] = {}
        for index, _ in enumerate(self.messages):
            dates[f"messages.{index}.createdAt"] = ["Date"]
            dates[f"messages.{index}.updatedAt"] = ["Date"]
        shown = {
            "messages": [self._v2(message) for message in self.messages],
            "title": self.title,
            "model": self.model,
            "preprompt": self.preprompt,
            "rootMessageId": self.messages[0].id,
            "id": self.id,
            "updatedAt": self.updated,
            "modelId": self.model,
            "shared": False,
            "deployedSpaces": None,
        }
        values = {**dates, "updatedAt": ["Date"], "deployedSpaces": ["undefined"]}
        return {"json": shown, "meta": {"values": values, "v": 1}}

    def _v2(self, message: Message) -> dict[str, Any]:
        shown = message.full()
        if len(self.messages) > 1:
            shown["updates"] = message.updates
        if message.generation:
            shown["generationId"] = message.generation
            shown["materializedSeq"] = len(message.updates)
        return shown


class Session:
    """What belongs to one cookie."""

    def __init__(self) -> None:
        """Begin without conversations."""
        self.threads: dict[str, Thread] = {}
        self.accepted = False


def devalue(value: Any, escaped: str = "<\u2028\u2029") -> str:
    """Write a value as SvelteKit does: a flat list of values and their indices.

    Args:
        value: What to write.
        escaped: The characters that HTML or old JavaScript mind; earlier
            versions escaped more of them.

    >>> devalue({"a": ["x", "x"], "b": Undefined()})
    '[{"a":1,"b":-1},[2,2],"x"]'
    """
    flat: list[str] = []
    seen: dict[tuple[type, Any], int] = {}

    def place(item: Any) -> int:
        if isinstance(item, Undefined):
            return -1
        simple = item is None or isinstance(item, str | int | float)
        key = (type(item), item if simple else id(item))
        if key in seen:
            return seen[key]
        index = seen[key] = len(flat)
        flat.append("")
        flat[index] = text(item)
        return index

    def text(item: Any) -> str:
        if isinstance(item, Promised):
            # A promise is its number, and a number is written like any other value.
            return f'["Promise",{place(1)}]'
        if isinstance(item, Moment):
            return f'["Date","{item.iso}"]'
        if isinstance(item, list):
            return f"[{','.join(str(place(each)) for each in item)}]"
        if isinstance(item, dict):
            pairs = (f"{_quoted(key, escaped)}:{place(each)}" for key, each in item.items())
            return f"{{{','.join(pairs)}}}"
        return _quoted(item, escaped)

    place(value)
    return f"[{','.join(flat)}]"


def _quoted(value: Any, escaped: str) -> str:
    """Write a primitive."""
    if isinstance(value, str):
        value = join_halves(value)
    written = json.dumps(value, ensure_ascii=False)
    for character in escaped:
        written = written.replace(character, f"\\u{ord(character):04X}")
    return written
