"""The message tree of a chat-ui conversation, as its servers tell it; pure, no I/O.

A conversation is a tree since 2024-02: its root is a system message, a new
message names its parent, and an answer that is asked for again is a sibling.
The list of messages is in the order in which they were made (seen: B and C).
"""

from __future__ import annotations

import json
from typing import Any
from zlib import crc32

from ..conversation import is_id
from ..decoding import count, string
from ..errors import NotFoundError, ProtocolError, quote
from ..messages import Message, text_of
from .sveltekit import nodes

__all__ = ["Branch", "final_text", "from_page", "messages_of", "root_of", "unwrapped"]


def unwrapped(found: Any) -> Any:
    """Return a conversation without the superjson that it comes in since 2025-06."""
    inner = found.get("json") if isinstance(found, dict) else None
    return inner if isinstance(inner, dict) else found


def messages_of(found: Any) -> list[dict[str, Any]]:
    """Return the messages of a conversation as a server tells it.

    Raises:
        ProtocolError: It tells none; quotes what it tells.
    """
    found = unwrapped(found)
    messages = found.get("messages") if isinstance(found, dict) else None
    if not isinstance(messages, list):
        raise ProtocolError(
            f"the conversation cannot be read: {quote(found)}", phase="conversation"
        )
    return [
        message for message in messages if isinstance(message, dict) and is_id(message.get("id"))
    ]


def root_of(made: dict[str, Any]) -> str | None:
    """Return the root's id from the answer to create, where it is told (since 2026-07)."""
    told = made.get("conversation")
    try:
        found = json.loads(told)["json"]["rootMessageId"] if isinstance(told, str) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if is_id(found) else None


def from_page(page: Any) -> dict[str, Any]:
    """Read the conversation from a SvelteKit page's data.

    Servers until 2025-06 tell errors in a node, under an HTTP status of 200.
    """
    node = nodes(page)[-1]
    if isinstance(node.told, dict) and node.told.get("type") == "error":
        raise NotFoundError(
            "the server does not know this conversation: its session was lost; begin a new one",
            status=count(node.told.get("status")) or 404,
            body=quote(node.told.get("error")),
        )
    return {"messages": node.rows("messages", "id", "from", "content")}


def final_text(message: dict[str, Any]) -> tuple[str, bool, bool]:
    """Return a stored answer's text, whether it is complete, and whether it was stopped."""
    content = message.get("content")
    updates = message.get("updates")
    for update in updates if isinstance(updates, list) else []:
        if isinstance(update, dict) and update.get("type") == "finalAnswer":
            text = update.get("text")
            said = text if isinstance(text, str) else content
            return string(said), isinstance(said, str), update.get("interrupted") is True
    return string(content), False, False


class Branch:
    """Which messages of the server's are those of a conversation of ours.

    Kept in the conversation's state, so that it is saved with it. The content
    of each message is kept as a checksum: where what has been said is another,
    because a question was asked again, the ids from there on are read anew.
    """

    def __init__(self, state: dict[str, Any]) -> None:
        kept = state.get("tree")
        self._state = state
        kept = kept if isinstance(kept, dict) else {}
        self._path = [row for row in _list(kept.get("path")) if isinstance(row, list)]
        self._seen = [name for name in _list(kept.get("seen")) if isinstance(name, str)]

    def known(self, messages: list[Message]) -> list[str]:
        """Return the ids of *messages*, as far as they are known."""
        ids = []
        for row, message in zip(self._path, messages, strict=False):
            if row[1:] != [_checksum(message)] or not is_id(row[0]):
                break
            ids.append(row[0])
        return ids

    def grow(self, messages: list[Message], tree: list[dict[str, Any]]) -> list[str]:
        """Find the ids of *messages* among what is new in *tree*; return those now known."""
        ids = self.known(messages)
        fresh = [row for row in tree if row["id"] not in self._seen and row["id"] not in ids]
        for message in messages[len(ids) :]:
            while fresh and fresh[0].get("from") != message["role"]:
                fresh.pop(0)
            if not fresh:
                break
            ids.append(fresh.pop(0)["id"])
        self._path = [[name, _checksum(said)] for name, said in zip(ids, messages, strict=False)]
        if len(ids) == len(messages):
            self.see(row["id"] for row in tree)
        else:
            self._keep()
        return ids

    def see(self, ids: Any) -> None:
        """Take note of messages that are there now: none of them is new any more."""
        self._seen = list(ids)
        self._keep()

    def new(self, tree: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the messages that came since :meth:`see`."""
        return [row for row in tree if row["id"] not in self._seen]

    def is_all(self, found: Any) -> bool:
        """Tell whether a conversation holds what was there at :meth:`see`, and nothing else.

        Nothing of it is passed over: what cannot be read may be a new message.
        """
        found = unwrapped(found)
        rows = _list(found.get("messages")) if isinstance(found, dict) else []
        names = [row.get("id") if isinstance(row, dict) else None for row in rows]
        return names != [] and names == self._seen

    def _keep(self) -> None:
        self._state["tree"] = {"path": self._path, "seen": self._seen}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _checksum(message: Message) -> int:
    return crc32(text_of(message).encode("utf-8", "surrogatepass"))
