"""Everything about an emulator that a test may want to set, with its default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["C4AI_MODELS", "H2O_MODELS", "Settings"]

C4AI_MODELS = (
    "command-a-03-2025",
    "command-r-plus-08-2024",
    "command-r-08-2024",
    "command-r7b-12-2024",
    "command-r7b-arabic-02-2025",
)
H2O_MODELS = (
    "h2oai/h2ogpt-gm-oasst1-en-2048-falcon-40b-v1",
    "h2oai/h2ogpt-gm-oasst1-en-2048-falcon-7b-v2",
)


@dataclass(frozen=True)
class Settings:
    """What `Emulator` takes by keyword besides its own arguments.

    Args:
        models: The models that chat-ui lists, the default first.
        unlisted: Models of chat-ui that exist and are not listed.
        multimodal: Models of chat-ui that look at files.
        preprompt: The default system prompt of chat-ui's models.
        h2o_models: The models of H2O, the default first.
        disclaimer: Every write is refused with 405 until the welcome modal is
            accepted (chat-ui, H2O).
        login_required: Every write is refused with 401 (chat-ui).
        messages_per_minute: Above it, 429 (chat-ui, H2O of era A2).
        max_message_length: Above it, 400 (chat-ui).
        max_messages: Messages in one conversation, above it 429 (chat-ui).
        max_conversations: Above it, 429 (chat-ui).
        finish_at: Where AutonomousAI puts the finish reason: "top" or "choice".
        usage: Whether AutonomousAI sends a chunk of usage before ``[DONE]``.
        error_way: How AutonomousAI says that the model failed: "data",
            "event" or "json".
        layout: Gradio's app: "qwen" or "chat_interface".
        chatbot: Format of Gradio's chatbot, "tuples" or "messages"; None is
            the version's own.
        sizes: The choices of the Qwen layout's radio, the first is chosen.
        auth: User name and password that Gradio's login wants.
        show_error: Whether Gradio tells the text of an exception.
        queue_size: Joins waiting at once in Gradio's queue, above it 503.
        heartbeat: Seconds between Gradio's heartbeats.
        upstream_model: The model that is asked for with `upstream`.
    """

    models: Sequence[str] = C4AI_MODELS
    unlisted: Sequence[str] = ()
    multimodal: Sequence[str] = ()
    preprompt: str = ""
    h2o_models: Sequence[str] = H2O_MODELS
    disclaimer: bool = False
    login_required: bool = False
    messages_per_minute: int | None = None
    max_message_length: int | None = None
    max_messages: int | None = None
    max_conversations: int | None = None
    finish_at: str = "top"
    usage: bool = False
    error_way: str = "data"
    layout: str = "qwen"
    chatbot: str | None = None
    sizes: Sequence[str] = ("72B", "32B", "14B", "7B", "3B", "1.5B", "0.5B")
    auth: tuple[str, str] | None = field(default=None, repr=False)
    show_error: bool = False
    queue_size: int | None = None
    heartbeat: float = 15.0
    upstream_model: str | None = None
