"""HuggingFace chat-ui, 2024 to today.

1. ``POST /conversation`` makes a conversation and sets the session cookie.
2. ``GET /api/conversation/{id}`` tells the message tree; the newest message of
   ours is the parent of the next, and a new tree has a system message as root.
3. ``POST /conversation/{id}``, multipart field ``data``, asks.
4. The answer is JSON lines, whatever the content type says; ``finalAnswer``
   ends the reply, and a title may follow it.
5. Where the answer was cut, a server of 2025-09 or later goes on without us:
   what was missed is read from it afterwards.

Seen on servers of 2025-03 and 2026-08 (recordings B and C); what others do is
read in the public history. ``docs/chat-ui.md`` tells which does what.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..client import ChatClient, Model, Models
from ..clocks import Call, TimeoutLike
from ..conversation import Conversation, is_id
from ..decoding import string
from ..errors import ProtocolError, UsageError, quote
from ..events import Event
from ..messages import FileLike, Messages, image_upload, images_of
from ..stream import Stream, Turn
from .chatui_conversation import delete
from .chatui_server import Server, refusal
from .chatui_tree import Branch, messages_of, unwrapped
from .chatui_turn import Question

__all__ = ["C4AICommand", "ChatUI"]

_FILE_LIMIT = 10 << 20


class ChatUI(ChatClient):
    """A client of any chat-ui server, 2024 to today.

    Seen: servers of 2025-03 and 2026-08 (recordings B and C). ``base_url`` is
    needed; the other settings are those of :class:`~c4ai_clients.ChatClient`.
    """

    provider = "chat-ui"
    label = "HuggingFace chat-ui"
    _model_hint = "; models() learns what else the server lists"
    acts = frozenset({"ask", "regenerate", "edit", "continue"})

    @functools.cached_property
    def _server(self) -> Server:
        """What is found out about the server, once, where it matters."""
        return Server(self._transport)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state["rest"].pop("_server", None)
        return state

    def stream(
        self,
        messages: Messages,
        *,
        model: str | None = None,
        system: str | None = None,
        conversation: Conversation | None = None,
        files: Iterable[FileLike] = (),
        timeout: TimeoutLike = None,
        web_search: bool = False,
        tools: Sequence[str] = (),
        split_thinking: bool = False,
        resume: bool = True,
    ) -> Stream:
        """Ask, and give the reply as it comes; see :meth:`ChatClient.stream`.

        Args:
            messages: What to ask.
            model: Which model.
            system: The system prompt; the server's own for the model by default.
            conversation: What to go on with.
            files: Files to send along, at most 10 MB each.
            timeout: For this turn.
            web_search: Have the server search the web first (until 2025-09).
            tools: Ids of the server's tools that the model may use (likewise).
            split_thinking: Give what stands between ``<think>`` and
                ``</think>`` as ``Reasoning``, not as text.
            resume: Read on where the connection broke and the server has not
                stopped; else that is an ``IncompleteReplyError`` at once.
        """
        return self._stream(
            messages,
            model=model,
            system=system,
            conversation=conversation,
            files=files,
            timeout=timeout,
            options={
                "web_search": bool(web_search),
                "tools": _ids(tools),
                "split_thinking": bool(split_thinking),
                "resume": bool(resume),
            },
        )

    def models(self) -> list[Model]:
        """Return the models that the server lists (``GET /api/models``)."""
        listed = Models(self._server.models(Call(self.timeout)))
        self._listed = tuple(model.id for model in listed)
        return listed

    def conversations(self, session: Conversation | None = None) -> list[Conversation]:
        """Return the session's conversations, newest first, as the server lists them.

        Their messages are not read; :meth:`open` does that. A session is a
        cookie: the client's own (``cookies=``), or that of a conversation.

        Args:
            session: The conversation whose session is meant.
        """
        cookies = dict(session.cookies) if session is not None else {}
        call, phase = Call(self.timeout), "conversations"
        listed = self._transport.fetch(
            call, "GET", "/api/conversations", phase=phase, cookies=cookies, authorize=False
        )
        with self._transport.described(call, phase):
            if not isinstance(listed, list):
                raise ProtocolError(f"the server lists no conversations: {quote(listed)}")
        return [
            self._known(row["id"], row, cookies)
            for row in listed
            if isinstance(row, dict) and is_id(row.get("id"))
        ]

    def open(self, id: str, session: Conversation | None = None) -> Conversation:  # noqa: A002
        """Return a conversation of the session's, with what was said on its newest branch.

        Args:
            id: The server's id for it.
            session: As for :meth:`conversations`.
        """
        if not is_id(id):
            raise UsageError(f"{id!r} is no id of a conversation")
        opened = self._known(id, {}, dict(session.cookies) if session is not None else {})
        call = Call(self.timeout)
        found = self._server.conversation(call, opened)
        with self._transport.described(call, "conversation"):
            tree = messages_of(found)
        told = unwrapped(found)
        _describe(opened, told)
        opened.model = opened.model or self.model or ""
        if tree and tree[0].get("from") == "system":
            opened.system = str(tree[0].get("content") or "") or None
        line = tree[-1].get("ancestors") if tree else None
        if isinstance(line, list):  # of a tree with siblings, the newest branch
            tree = [row for row in tree if row["id"] in (*line, tree[-1]["id"])]
        opened.messages = [
            {"role": row["from"], "content": str(row.get("content") or "")}
            for row in tree
            if row.get("from") in ("user", "assistant")
        ]
        Branch(opened.state).grow(opened.messages, tree)
        return opened

    def delete_all(self, session: Conversation | None = None) -> None:
        """Delete all conversations of the session, one by one where the server has no other way.

        Args:
            session: As for :meth:`conversations`.
        """
        for listed in self.conversations(session):
            listed.delete()

    def _known(self, id: str, told: dict[str, Any], cookies: dict[str, str]) -> Conversation:  # noqa: A002
        known = Conversation(self)
        _describe(known, told)
        known.id, known.cookies, known.keep = id, dict(cookies), True
        return known

    def _check(self, turn: Turn) -> None:
        for index, url in enumerate(images_of(turn.message)):
            upload = image_upload(url, index)
            if upload is None:
                raise UsageError(
                    f"{self.provider} takes images as data: URLs or as files=[…], not by URL"
                )
            turn.uploads.append(upload)
        if not turn.prompt:
            raise UsageError(f"{self.provider} takes no image without words: say something with it")
        for upload in turn.uploads:
            if len(upload.data) > _FILE_LIMIT:
                raise UsageError(
                    f"{upload.name} has {len(upload.data):,} bytes; the server takes 10 MB a file"
                )

    def _events(self, turn: Turn) -> Iterator[Event]:
        return Question(self, self._server, turn).events()

    def _delete(self, conversation: Conversation) -> None:
        delete(self, conversation, refusal)


def _describe(conversation: Conversation, told: dict[str, Any]) -> None:
    """Take over what a server tells of a conversation besides its messages."""
    conversation.model = str(told.get("modelId") or told.get("model") or "")
    conversation.title = string(told.get("title")) or None


def _ids(tools: Sequence[str] | None) -> list[str]:
    if tools is None:
        return []
    listed = isinstance(tools, Iterable) and not isinstance(tools, str)
    if not listed or not all(isinstance(tool, str) for tool in tools):
        raise UsageError("tools is a list of the server's tool ids: write tools=[…]")
    return list(tools)


class C4AICommand(ChatUI):
    """CohereForAI's C4AI Command Space, or any chat-ui that serves its models.

    The Space itself was never recorded; it ran the chat-ui of 2025-03, and a
    server of that version was (recordings B).
    """

    provider = "c4ai-command"
    label = "CohereForAI C4AI Command"
    default_url = "https://cohereforai-c4ai-command.hf.space"
    default_model = "command-a-03-2025"
    built_in_models = (
        "command-a-03-2025",
        "command-r-plus-08-2024",
        "command-r-08-2024",
        "command-r7b-12-2024",
        "command-r7b-arabic-02-2025",
    )
    model_aliases = {
        "command-a": "command-a-03-2025",
        "command-r-plus": "command-r-plus-08-2024",
        "command-r": "command-r-08-2024",
        "command-r7b": "command-r7b-12-2024",
    }
