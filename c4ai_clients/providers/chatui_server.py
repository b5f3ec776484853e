"""What a chat-ui server is, and what it tells of itself and of a conversation.

Which kind of server it is gets asked once, and only where it matters: a plain
turn works by what the server answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..client import Model
from ..clocks import Call
from ..conversation import Conversation
from ..decoding import string
from ..errors import (
    AuthError,
    C4AIError,
    CancelledError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    StatusError,
    TimedOutError,
    UsageError,
    quote,
)
from .chatui_conversation import not_made
from .chatui_tree import from_page
from .sveltekit import nodes

if TYPE_CHECKING:
    from ..http_answer import Answer
    from ..transport import Transport

__all__ = ["Server", "refusal"]

_LASTING_LIMITS = ("more than", "maximum number", "before login")


class Server:
    """A chat-ui server, as far as it has been asked.

    Attributes:
        offered: The models that it has listed.
        takes_json: Whether it reads a message as a JSON body, as servers of
            2024-02 to 2024-06 do.
    """

    def __init__(self, transport: Transport) -> None:
        self.offered: tuple[Model, ...] = ()
        self.takes_json = False
        self._transport = transport
        self._era = ""

    def models(self, call: Call) -> list[Model]:
        """Return the models that it lists (``GET /api/models``, since 2024-01)."""
        try:
            listed = self._told_openly(call, "/api/models", phase="models")
        except (NotFoundError, ProtocolError) as error:
            raise self.explained(call, error) from error
        with self._transport.described(call, "models"):
            if not isinstance(listed, list):
                raise ProtocolError(f"the server lists no models: {quote(listed)}")
        models = [_model(row) for row in listed if isinstance(row, dict)]
        self.offered = tuple(model for model in models if model.id)
        return list(self.offered)

    def conversation(self, call: Call, conversation: Conversation) -> Any:
        """Read a conversation: plain JSON since 2024-01, a page's data before."""
        how: dict[str, Any] = {
            "phase": "conversation",
            "cookies": conversation.cookies,
            "refusal": refusal,
            # With a session there is no need of a key here, and servers of
            # 2026 answer 500 to one that is not their own.
            "authorize": not conversation.cookies,
        }
        try:
            return self._transport.fetch(
                call, "GET", f"/api/conversation/{conversation.id}", **how
            ) or self._page(call, conversation, how)
        except NotFoundError as error:
            if "Conversation not found" in error.body:
                raise
            return self._page(call, conversation, how)
        except ProtocolError:
            # Servers before 2026 answer an unknown path with a page.
            return self._page(call, conversation, how)

    def _page(self, call: Call, conversation: Conversation, how: dict[str, Any]) -> Any:
        try:
            page = self._transport.fetch(
                call,
                "GET",
                f"/conversation/{conversation.id}/__data.json",
                params={"x-sveltekit-invalidated": "01"},
                first_line=True,
                **how,
            )
        except ProtocolError as error:
            raise self.explained(call, error) from error
        found = from_page(page)
        if not found["messages"]:
            unread = ProtocolError("the conversation cannot be read", phase="conversation")
            raise self.explained(call, unread)
        return found

    def era(self, call: Call) -> str:
        """Return "A" for servers of 2023, "B" until 2025-06, "C" from then on, or ""."""
        if not self._era:
            config = self._probed(call, "/api/v2/public-config")
            if isinstance(config, dict) and "json" in config:
                self._era = "C"
            elif isinstance(self._probed(call, "/api/models"), list):
                self._era = "B"
            elif "requiresLogin" in nodes(self._probed(call, "/__data.json"))[0]:  # later: no more
                self._era = "A"
        return self._era

    def _probed(self, call: Call, path: str) -> Any:
        try:
            return self._told_openly(call, path, phase="era", preparing=False, first_line=True)
        except (StatusError, ProtocolError):
            return None

    def _told_openly(self, call: Call, path: str, **how: Any) -> Any:
        """Return what a server tells anybody, under the key only where it asks for one.

        Servers of 2026 answer 500 here to a key that is not their own, and a
        private Space answers nothing without one.
        """
        try:
            return self._transport.fetch(call, "GET", path, authorize=False, **how)
        except (AuthError, NotFoundError, ProtocolError):
            if self._transport.settings.api_key is None:
                raise
            return self._transport.fetch(call, "GET", path, **how)

    def explained(self, call: Call, error: C4AIError) -> C4AIError:
        """Return *error*, or one that says more where the server is of 2023."""
        try:
            of_2023 = self.era(call) == "A"
        except (CancelledError, TimedOutError):
            raise
        except C4AIError:
            return error
        if not of_2023:
            return error
        return UsageError(
            f"this is a chat-ui of 2023: use H2O({self._transport.base_url!r}, …) for it",
            provider=self._transport.settings.provider,
            phase=error.phase,
        )

    def goes_on(self, call: Call) -> bool:
        """Tell whether the server goes on with an answer that nobody reads."""
        try:
            return self.era(call) == "C"
        except (CancelledError, TimedOutError):
            raise
        except C4AIError:
            return False


def _model(row: dict[str, Any]) -> Model:
    def flag(*names: str) -> bool | None:
        return next((row[name] for name in names if isinstance(row.get(name), bool)), None)

    name = string(row.get("id"))
    return Model(
        id=name,
        label=string(row.get("displayName")) or name,
        description=string(row.get("description")),
        multimodal=flag("multimodal"),
        tools=flag("tools", "supportsTools"),
        reasoning=flag("reasoning", "supportsReasoning"),
        unlisted=flag("unlisted") is True,
        raw=row,
    )


def refusal(answer: Answer, said: str, model: str = "") -> C4AIError | None:
    """Return the error of a refusal that chat-ui words in its own way.

    Args:
        answer: The refusal.
        said: The beginning of its body.
        model: The model that was asked for, where a conversation was to be made.
    """
    known: dict[str, Any] = {"status": answer.status, "body": said}
    if answer.status == 405 and "modal" in said:
        return AuthError(
            "the server wants its terms accepted first (its welcome page)", lasting=True, **known
        )
    if answer.status == 404 and "onversation not found" in said:
        return NotFoundError(
            "the server does not know this conversation: its session was lost; begin a new one",
            **known,
        )
    if answer.status == 429 and any(words in said for words in _LASTING_LIMITS):
        return RateLimitError(
            f"{said}: begin another conversation, or log in", lasting=True, **known
        )
    if answer.status == 400 and model:
        return not_made(answer, said, model)
    return None
