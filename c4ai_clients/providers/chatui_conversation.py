"""A conversation on a chat-ui server of any year: how it gets its id, and how it goes.

``POST /conversation`` answers ``{"conversationId"}``, and ``DELETE`` of
``/conversation/{id}`` ends it (seen: recordings A to C).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..conversation import is_id
from ..errors import ProtocolError, ServerError, StatusError, quote

if TYPE_CHECKING:
    from ..client import ChatClient
    from ..conversation import Conversation
    from ..http_answer import Answer

__all__ = ["delete", "id_of", "not_made"]


def id_of(made: Any) -> str:
    """Return the id from the answer to create.

    Raises:
        ProtocolError: There is none that may be one; quotes the answer.
    """
    name = made.get("conversationId") if isinstance(made, dict) else None
    if not is_id(name):
        raise ProtocolError(f"the server gave no conversation id: {quote(made)}", phase="create")
    return name


def not_made(answer: Answer, said: str, model: str) -> StatusError:
    """Return the error of a conversation that was refused in words that say nothing.

    Whatever is wrong with a request is a 500 in 2023 and a 400 since, an
    unknown model too.
    """
    kind = ServerError if answer.status >= 500 else StatusError
    return kind(
        f"{said}: does it offer the model {model!r}? models() lists those that it does",
        status=answer.status,
        body=said,
    )


def delete(client: ChatClient, conversation: Conversation, refusal: Any) -> None:
    """Delete a conversation on the server, where it is on one."""
    if conversation.id is None:
        return
    client._fetch(
        "DELETE",
        f"/conversation/{conversation.id}",
        phase="delete",
        cookies=conversation.cookies,
        refusal=refusal,
    )
    conversation.id = None
    conversation.state.clear()
