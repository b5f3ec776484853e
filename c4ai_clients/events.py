"""What a reply is made of.

A provider turns each thing that its server says into one of these small
values, and drops nothing in silence: what we do not know is :class:`Unknown`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Union

__all__ = [
    "Event",
    "File",
    "Finish",
    "Queued",
    "Reasoning",
    "Sources",
    "Started",
    "Status",
    "Text",
    "Title",
    "ToolCall",
    "ToolResult",
    "Unknown",
    "Usage",
]


@dataclass(slots=True)
class Text:
    """A piece of the answer; the pieces joined are the answer."""

    text: str


@dataclass(slots=True)
class Reasoning:
    """A piece of what the model thinks before it answers."""

    text: str


@dataclass(slots=True)
class Title:
    """The server's title for the conversation; may come after the answer."""

    title: str


@dataclass(slots=True)
class Status:
    """A word about progress, such as ``started`` or ``keepAlive``."""

    status: str
    message: str = ""


@dataclass(slots=True)
class Queued:
    """A place in the server's queue.

    Attributes:
        position: How many are ahead of us; 0 is next.
        size: How many wait in all, or None.
        eta: The server's guess in seconds, or None.
    """

    position: int
    size: int | None = None
    eta: float | None = None


@dataclass(slots=True)
class Sources:
    """Pages that the answer draws on, as the server gave them.

    Attributes:
        sources: One dict a page, with ``link`` and often ``title``.
    """

    sources: list[dict[str, Any]]


@dataclass(slots=True)
class ToolCall:
    """The model uses a tool."""

    id: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class ToolResult:
    """What a tool answered, or the error that it ended in."""

    id: str
    outputs: list[Any] = field(default_factory=list)
    error: str | None = None


@dataclass(slots=True)
class File:
    """A file that the answer brings.

    Attributes:
        name: The server's name for it.
        mime: Its media type, or ``""``.
        url: Where it lies on the conversation's own server.
    """

    name: str
    reader: Callable[[], bytes] = field(repr=False, compare=False)
    mime: str = ""
    url: str = ""

    def read(self) -> bytes:
        """Return the file's bytes, asked from the conversation's own server."""
        return self.reader()


@dataclass(slots=True)
class Started:
    """The turn has its conversation, a ``Conversation``, and is under way."""

    conversation: Any


@dataclass(slots=True)
class Usage:
    """What the turn cost, in tokens; None where the server does not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None


@dataclass(slots=True)
class Finish:
    """The protocol's own end mark: the reply is complete.

    Attributes:
        reason: ``stop``, ``length``, ``interrupted`` or the server's own word.
        text: The whole answer in the server's own words, where it sends that.
    """

    reason: str = "stop"
    text: str | None = field(default=None, repr=False)


@dataclass(slots=True)
class Unknown:
    """Something that the server said and that we do not know."""

    raw: Any


Event = Union[
    Text,
    Reasoning,
    Title,
    Status,
    Queued,
    Sources,
    ToolCall,
    ToolResult,
    File,
    Started,
    Usage,
    Finish,
    Unknown,
]
