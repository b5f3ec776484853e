"""Blocking clients for chat servers: replies as plain iterators, no asyncio."""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__
from .errors import (
    AuthError,
    C4AIError,
    CancelledError,
    ConnectError,
    IncompleteReplyError,
    ModelError,
    ModelNotFoundError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    ReplyError,
    ServerError,
    StatusError,
    TimedOutError,
    TransportError,
    UsageError,
)

if TYPE_CHECKING:
    from .client import ChatClient, Model
    from .clocks import Timeout
    from .conversation import Conversation
    from .detect import connect
    from .messages import Messages
    from .providers.autonomous import AutonomousAI
    from .providers.chatui import C4AICommand, ChatUI
    from .providers.gradio import Gradio, Qwen
    from .providers.h2o import H2O
    from .retrying import RetryPolicy
    from .stream import Reply, Stream

__all__ = [
    "H2O",
    "AuthError",
    "AutonomousAI",
    "C4AICommand",
    "C4AIError",
    "CancelledError",
    "ChatClient",
    "ChatUI",
    "ConnectError",
    "Conversation",
    "Gradio",
    "IncompleteReplyError",
    "Messages",
    "Model",
    "ModelError",
    "ModelNotFoundError",
    "NotFoundError",
    "ProtocolError",
    "Qwen",
    "RateLimitError",
    "Reply",
    "ReplyError",
    "RetryPolicy",
    "ServerError",
    "StatusError",
    "Stream",
    "TimedOutError",
    "Timeout",
    "TransportError",
    "UsageError",
    "__version__",
    "connect",
]

# Where the other names are imported from when they are first asked for: to import
# the package costs nothing, and who uses one provider does not load them all.
_HOMES = {
    "ChatClient": "client",
    "Model": "client",
    "Timeout": "clocks",
    "Conversation": "conversation",
    "connect": "detect",
    "Messages": "messages",
    "AutonomousAI": "providers.autonomous",
    "C4AICommand": "providers.chatui",
    "ChatUI": "providers.chatui",
    "Gradio": "providers.gradio",
    "Qwen": "providers.gradio",
    "H2O": "providers.h2o",
    "RetryPolicy": "retrying",
    "Reply": "stream",
    "Stream": "stream",
}

# The modules that may be imported from, beside what stands in this one.
_MODULES = ("batch", "detect", "emulator", "errors", "events", "notebook", "recording", "threads")

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
