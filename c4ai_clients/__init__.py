"""Blocking clients for chat servers: replies as plain iterators, no asyncio."""

import logging

from ._version import __version__
from .client import ChatClient, Model
from .clocks import Timeout
from .conversation import Conversation
from .detect import connect
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

logging.getLogger(__name__).addHandler(logging.NullHandler())
