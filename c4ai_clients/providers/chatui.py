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

import base64
import json
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..client import ChatClient, Model, Models
from ..clocks import Call
from ..conversation import Conversation, is_id
from ..decoding import jsonl, loads, sse
from ..errors import (
    AuthError,
    C4AIError,
    CancelledError,
    IncompleteReplyError,
    ProtocolError,
    ServerError,
    StatusError,
    TimedOutError,
    UsageError,
    quote,
)
from ..events import Event, File, Finish, Started, Text
from ..messages import FileLike, Message, Messages, as_prompt, image_upload, images_of
from ..stream import Stream, Turn
from .chatui_conversation import delete, id_of
from .chatui_server import Server, refusal
from .chatui_tree import Branch, final_text, messages_of, root_of
from .chatui_updates import Thinking, beyond, read

if TYPE_CHECKING:
    from ..http_answer import Answer

__all__ = ["C4AICommand", "ChatUI"]

_logger = logging.getLogger("c4ai_clients")

_FILE_LIMIT = 10 << 20
_SAVING = 0.25
_POLL = 0.5
_LEFT = (CancelledError, TimedOutError, GeneratorExit, KeyboardInterrupt)


class ChatUI(ChatClient):
    """A client of any chat-ui server, 2024 to today.

    Seen: servers of 2025-03 and 2026-08 (recordings B and C). ``base_url`` is
    needed; the other settings are those of :class:`~c4ai_clients.ChatClient`.
    """

    provider = "chat-ui"
    label = "HuggingFace chat-ui"
    acts = frozenset({"ask", "regenerate", "edit", "continue"})

    _asked_server: Server | None = None
    _takes_json: bool = False

    @property
    def _server(self) -> Server:
        """What is found out about the server, once, where it matters."""
        if self._asked_server is None:
            self._asked_server = Server(self._transport)
        return self._asked_server

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state["rest"].pop("_asked_server", None)
        return state

    def stream(
        self,
        messages: Messages,
        *,
        model: str | None = None,
        system: str | None = None,
        conversation: Conversation | None = None,
        files: Iterable[FileLike] = (),
        timeout: Any = None,
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
            self._known(row["id"], str(row.get("modelId") or row.get("model") or ""), cookies)
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
        opened = self._known(id, "", dict(session.cookies) if session is not None else {})
        call = Call(self.timeout)
        found = self._server.conversation(call, opened)
        with self._transport.described(call, "conversation"):
            tree = messages_of(found)
        told = found.get("json", found)
        opened.model = str(told.get("modelId") or told.get("model") or self.model or "")
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

    def _known(self, id: str, model: str, cookies: dict[str, str]) -> Conversation:  # noqa: A002
        known = Conversation(self, model=model)
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
        for upload in turn.uploads:
            if len(upload.data) > _FILE_LIMIT:
                raise UsageError(
                    f"{upload.name} has {len(upload.data):,} bytes; the server takes 10 MB a file"
                )

    def _events(self, turn: Turn) -> Iterator[Event]:
        conversation, call = turn.conversation, turn.call
        if turn.uploads:
            self._check_multimodal(turn)
        if turn.act == "continue" and self._server.era(call) == "C":
            raise UsageError(
                "this server no longer lets an answer go on, and would take it for an empty "
                "question; ask for the rest in words"
            )
        if len(turn.history) < _before(conversation):
            conversation.id = None  # the server knows that question only inside another
        begins = conversation.id is None
        if begins:
            self._create(turn)
        yield Started(conversation)
        data = self._question(turn, begins)
        try:
            try:
                yield from self._asked(turn, data)
            except IncompleteReplyError as error:
                if turn.done or not turn.options["resume"] or not self._server.goes_on(call):
                    raise
                yield from self._resumed(turn, data, error)
        except _LEFT:
            if not turn.done:
                self._stop(turn, data)
            raise

    def _asked(self, turn: Turn, data: dict[str, Any]) -> Iterator[Event]:
        """Post the message, and once more where the server has not taken it."""
        for again in (True, False):
            answered = False
            try:
                with self._posted(turn, data) as answer:
                    answered = True
                    updates = jsonl(answer.chunks())
                    yield from read(updates, self._file(turn), turn.said.text, self._thinking(turn))
                return
            except IncompleteReplyError:
                if answered or not again or self._heard(turn):
                    raise
            except StatusError as error:
                # Servers of 2024-02 to 2024-06 read the message as a JSON body.
                unread = error.status == 500 and "Internal Error" in error.body
                if not unread or not again or turn.uploads or self._heard(turn):
                    raise
                self._takes_json = not self._takes_json

    def _posted(self, turn: Turn, data: dict[str, Any]) -> AbstractContextManager[Answer]:
        body: dict[str, Any] = {"json": data} if self._takes_json else {"files": _parts(turn, data)}
        return self._transport.open(
            turn.call,
            "POST",
            f"/conversation/{turn.conversation.id}",
            phase="message",
            cookies=turn.conversation.cookies,
            refusal=refusal,
            **body,
        )

    def _question(self, turn: Turn, begins: bool) -> dict[str, Any]:
        """Return what the message says: what is asked, and where in the tree.

        What was said before the conversation began on the server, which is in
        no message of its own there, goes into its first question.
        """
        conversation = turn.conversation
        before = conversation.state["before"] = _before(conversation)
        ids, root = self._ids(turn, [] if begins else conversation.messages[before:])
        at = len(turn.history) - before
        act = turn.act if ids else "ask"
        data = {
            "inputs": as_prompt([*turn.history, turn.message]) if at == 0 else turn.prompt,
            "id": "",
            "is_retry": act in ("regenerate", "edit"),
            "is_continue": act == "continue",
            "web_search": turn.options["web_search"],
            "tools": turn.options["tools"],
            "generationId": str(uuid.uuid4()),
        }
        if not ids:
            data["id"] = root
        elif act == "regenerate" and at + 1 < len(ids):
            data["id"] = ids[at + 1]
        elif act in ("regenerate", "edit") and at < len(ids):
            data["id"] = ids[at]
        elif act in ("ask", "continue"):
            data["id"] = ids[-1]
        else:
            raise ProtocolError(
                "the server does not show the message that is to be asked again",
                phase="conversation",
            )
        return data

    def _ids(self, turn: Turn, said: list[Message]) -> tuple[list[str], str]:
        """Return the ids of what has been *said* there, and that of the root.

        They are read again after each turn, since an answer does not tell
        them; and once more where the answer is not in the tree yet.
        """
        conversation = turn.conversation
        branch = Branch(conversation.state)
        ids = branch.known(said)
        root = conversation.state.get("root")
        if len(ids) == len(said) and (said or root):
            return ids, str(root)
        for last_try in (False, True):
            tree = messages_of(self._server.conversation(turn.call, conversation))
            if not tree:
                raise ProtocolError("the conversation shows no messages", phase="conversation")
            ids = branch.grow(said, tree)
            if len(ids) == len(said):
                break
            if last_try:
                ids = [*ids, tree[-1]["id"]]
            else:
                turn.call.sleep(_SAVING)
        conversation.state["root"] = tree[0]["id"]
        return ids, str(tree[0]["id"])

    def _heard(self, turn: Turn) -> bool:
        """Tell whether the server may have taken a message that it did not answer.

        Its tree knows, a moment later: the message is saved before the first
        byte of the answer is sent (seen: B and C).
        """
        turn.call.sleep(_SAVING)
        try:
            tree = messages_of(self._server.conversation(turn.call, turn.conversation))
        except _LEFT:
            raise
        except C4AIError:
            return True
        return bool(Branch(turn.conversation.state).new(tree))

    def _create(self, turn: Turn) -> None:
        """Make the conversation, on terms that are accepted where that is asked for."""
        conversation, call = turn.conversation, turn.call
        if not turn.model:
            turn.model = conversation.model = self._first_model(call)
        wanted: dict[str, Any] = {"model": turn.model}
        if turn.system is not None:
            wanted["preprompt"] = turn.system
        how: dict[str, Any] = {"cookies": conversation.cookies, "refusal": refusal}
        try:
            made = self._transport.fetch(
                call, "POST", "/conversation", phase="create", json=wanted, **how
            )
        except AuthError as error:
            if error.status != 405:
                raise self._server.explained(call, error) from error
            accepted = {"ethicsModalAccepted": True}
            try:
                self._transport.fetch(
                    call, "POST", "/settings", phase="settings", json=accepted, **how
                )
            except StatusError as refused:
                raise self._server.explained(call, refused) from refused
            _logger.info("the server's terms were accepted: %s", self.base_url)
            made = self._transport.fetch(
                call, "POST", "/conversation", phase="create", json=wanted, **how
            )
        except ServerError as error:
            raise self._server.explained(call, error) from error
        conversation.id = id_of(made)
        root = root_of(made)
        conversation.state = {"before": len(turn.history), "root": root}
        if root is not None:
            Branch(conversation.state).see([root])

    def _first_model(self, call: Call) -> str:
        listed = [model.id for model in self._server.models(call) if not model.unlisted]
        if not listed:
            raise ProtocolError("the server lists no models: name one with model=…")
        return listed[0]

    def _check_multimodal(self, turn: Turn) -> None:
        """Refuse files that the model would silently not be shown."""
        try:
            offered = self._server.offered or self._server.models(turn.call)
        except (StatusError, ProtocolError):
            return
        for model in offered:
            if model.id == turn.model and model.multimodal is False:
                takes = [other.id for other in offered if other.multimodal]
                raise UsageError(
                    f"{model.id} reads text only, and would not be shown your files; "
                    + (
                        f"these take files: {', '.join(takes)}"
                        if takes
                        else "none here takes files"
                    )
                )

    def _resumed(
        self, turn: Turn, data: dict[str, Any], error: IncompleteReplyError
    ) -> Iterator[Event]:
        """Give the rest of an answer that was cut, without a gap or a repeat.

        Servers of 2026-07 and later stream it again from its beginning; of
        older ones the saved answer is read, once it is complete.

        Raises:
            IncompleteReplyError: The server does not have it; *error* itself.
        """
        try:
            yield from self._streamed_again(turn, data)
        except (StatusError, ProtocolError, IncompleteReplyError):
            if not turn.done:
                yield from self._saved(turn, error)

    def _streamed_again(self, turn: Turn, data: dict[str, Any]) -> Iterator[Event]:
        with self._transport.open(
            turn.call,
            "GET",
            f"/conversation/{turn.conversation.id}/stream",
            phase="message",
            params={"generationId": data["generationId"], "fromSeq": "0"},
            cookies=turn.conversation.cookies,
            authorize=False,
        ) as answer:
            updates = (loads(data) for data, name in sse(answer.chunks()) if name == "update")
            events = read(updates, self._file(turn), turn.said.text, self._thinking(turn))
            yield from beyond(events, turn.said.text(), turn.thought.text())
        if not turn.done:
            raise IncompleteReplyError("the answer did not become complete")

    def _saved(self, turn: Turn, error: IncompleteReplyError) -> Iterator[Event]:
        idle, before = turn.call.timeout.idle, turn.said.text()
        end = None if idle is None else monotonic() + idle
        branch = Branch(turn.conversation.state)
        while end is None or monotonic() < end:
            tree = messages_of(self._server.conversation(turn.call, turn.conversation))
            answers = [row for row in branch.new(tree) if row.get("from") == "assistant"]
            if not answers:
                raise error
            text, complete, stopped = final_text(answers[-1])
            if turn.options["split_thinking"]:
                text = Thinking.without(text)
            if complete:
                if not text.startswith(before.rstrip()):
                    raise error
                if rest := text[len(before) :]:
                    yield Text(rest)
                yield Finish("interrupted" if stopped else "stop", text)
                return
            turn.call.sleep(_POLL)
        raise error

    def _stop(self, turn: Turn, data: dict[str, Any]) -> None:
        """Tell a server that would go on without us; elsewhere hanging up is the stop."""
        self._transport.goodbye(
            "POST",
            f"/conversation/{turn.conversation.id}/stop-generating",
            phase="stop",
            turn=turn.call,
            wanted=self._server.goes_on,
            json={"generationId": data["generationId"]},
            cookies=dict(turn.conversation.cookies),
        )

    def _thinking(self, turn: Turn) -> Thinking | None:
        return Thinking() if turn.options["split_thinking"] else None

    def _file(self, turn: Turn) -> Callable[[str, str, str], File]:
        """Return what makes the event of a file, read from the conversation's own server."""
        conversation = turn.conversation

        def made(sha: str, name: str, mime: str) -> File:
            path = f"/conversation/{conversation.id}/output/{sha}"
            cookies = dict(conversation.cookies)
            return File(
                name=name,
                mime=mime,
                url=self.base_url + path,
                reader=lambda: self._download(path, phase="file", cookies=cookies),
            )

        return made

    def _delete(self, conversation: Conversation) -> None:
        delete(self, conversation, refusal)


def _before(conversation: Conversation) -> int:
    """Return how many messages are only inside the first question that the server knows."""
    before = conversation.state.get("before")
    return before if type(before) is int and before >= 0 else 0


def _ids(tools: Sequence[str]) -> list[str]:
    if isinstance(tools, str) or not all(isinstance(tool, str) for tool in tools):
        raise UsageError("tools is a list of the server's tool ids: write tools=[…]")
    return list(tools)


def _parts(turn: Turn, data: dict[str, Any]) -> list[tuple[str, tuple[str | None, str, str]]]:
    """Return the multipart body: ``data``, and files as Base64 text under a prefixed name."""
    parts: list[tuple[str, tuple[str | None, str, str]]] = [
        ("data", (None, json.dumps(data), "application/json"))
    ]
    for upload in turn.uploads:
        body = base64.b64encode(upload.data).decode("ascii")
        parts.append(("files", (f"base64;{upload.name}", body, upload.mime)))
    return parts


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
