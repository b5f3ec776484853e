"""What a reply is made of.

A provider turns each thing that its server says into one of these small
values, and drops nothing in silence: what we do not know is :class:`Unknown`.

Where a kind was seen is said with it: chat-ui B and C are the recordings of
2025-03 and 2026-08, A and A2 those of 2023 (by ``H2O``); Gradio is that of eight
versions from 3.50 to 6.31. Of AutonomousAI nothing was recorded.
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
    """A piece of what the model thinks before it answers.

    Seen: chat-ui B, and C between ``<think>`` tags; AutonomousAI's is a guess.
    """

    text: str


@dataclass(slots=True)
class Title:
    """The server's title for the conversation; may come after the answer.

    Seen: chat-ui B and C; H2O's is asked for (``title=True``; seen: A).
    """

    title: str


@dataclass(slots=True)
class Status:
    """A word about progress.

    Attributes:
        status: chat-ui's own word, such as ``started``, ``keepAlive`` or
            ``finished``, or ``webSearch``, ``tool``, ``reasoning`` or ``router``
            (seen: B and C; ``tool`` with its progress: C); Gradio's ``started``,
            ``log`` or ``progress``.
        message: What more is said of it, or ``""``.
    """

    status: str
    message: str = ""


@dataclass(slots=True)
class Queued:
    """A place in the server's queue (Gradio, all versions).

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
    """Pages that the answer draws on, as the server gave them (seen: chat-ui B).

    Attributes:
        sources: One dict a page, with ``link`` and often ``title``.
    """

    sources: list[dict[str, Any]]


@dataclass(slots=True)
class ToolCall:
    """The model uses a tool.

    Seen: chat-ui B and C; AutonomousAI's is a guess.

    Attributes:
        id: The server's id for the call; a :class:`ToolResult` names it.
        name: The tool's name.
        arguments: What the model gave it, by name.
    """

    id: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class ToolResult:
    """What a tool answered, or the error that it ended in (seen: chat-ui B and C).

    Attributes:
        id: The id of its :class:`ToolCall`.
        outputs: What it answered, as the server gave it.
        error: What went wrong in the server's words, or None.
    """

    id: str
    outputs: list[Any] = field(default_factory=list)
    error: str | None = None


@dataclass(slots=True)
class File:
    """A file that the answer brings.

    Seen: Gradio, all versions; chat-ui's is read in its public history.

    Attributes:
        name: The server's name for it.
        reader: What :meth:`read` calls.
        mime: Its media type, or ``""``.
        url: Where it lies on the conversation's own server.
    """

    name: str
    reader: Callable[[], bytes] = field(repr=False, compare=False)
    mime: str = ""
    url: str = ""

    def read(self) -> bytes:
        """Return the file's bytes, asked from the conversation's own server.

        Raises:
            C4AIError: They cannot be had, or are more than 1 GiB.
        """
        return self.reader()


@dataclass(slots=True)
class Started:
    """The turn has its conversation, a ``Conversation``, and is under way."""

    conversation: Any


@dataclass(slots=True)
class Usage:
    """What the turn cost, in tokens; None where the server does not say.

    AutonomousAI and text-generation-inference (``H2O``) may say so; in no
    recording one does.
    """

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

# What an answer is made of: the clocks wait for it, and the first of it ends the wait for a reply.
CONTENT = (Text, Reasoning, ToolCall, Sources, File)
