"""One turn of chat-ui: its place in the tree, how it is asked, and how a cut answer is read on.

The rules of ``docs/reliability.md`` as they are kept here: the message goes out a
second time only where the server's tree shows that it has not taken it, and what
is read on has neither gap nor repeat.
"""

from __future__ import annotations

import base64
import functools
import json
import logging
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..client import ChatClient
from ..conversation import Conversation
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
)
from ..events import Event, File, Finish, Started, Text
from ..messages import Message, as_prompt
from ..stream import Turn
from .chatui_conversation import id_of
from .chatui_server import Server, refusal
from .chatui_tree import Branch, final_text, messages_of, root_of
from .chatui_updates import Thinking, beyond, read

if TYPE_CHECKING:
    from ..http_answer import Answer

__all__ = ["Question"]

_logger = logging.getLogger("c4ai_clients")

# Seconds. How long a server takes to show what it has taken, and at the most.
_SAVING = 0.25
_SAVING_LATE = 1.0
_POLL = 0.5
_LEFT = (CancelledError, TimedOutError, GeneratorExit, KeyboardInterrupt)


class Question:
    """A turn on its way.

    Args:
        client: Whose turn it is.
        server: What is known of its server.
        turn: What is asked.
    """

    def __init__(self, client: ChatClient, server: Server, turn: Turn) -> None:
        self._client = client
        self._transport = client._transport
        self._server = server
        self._turn = turn
        self._call = turn.call
        self._conversation = turn.conversation
        self._generation = str(uuid.uuid4())

    def events(self) -> Iterator[Event]:
        """Ask, and yield what comes of it."""
        turn, conversation = self._turn, self._conversation
        # What comes before "before" the server knows only inside another question.
        begins = conversation.id is None or len(turn.history) < _before(conversation)
        if begins and not turn.model:
            turn.model = conversation.model = self._first_model()
        if turn.uploads:
            self._check_multimodal()
        if turn.act == "continue" and self._server.era(self._call) == "C":
            raise UsageError(
                "this server no longer lets an answer go on, and would take it for an empty "
                "question; ask for the rest in words"
            )
        if begins:
            self._create()
        yield Started(conversation)
        data = self._data(begins)
        try:
            try:
                yield from self._asked(data)
            except IncompleteReplyError as error:
                if turn.done or not turn.options["resume"] or not self._server.goes_on(self._call):
                    raise
                yield from self._resumed(error)
        except _LEFT:
            if not turn.done:
                self._stop()
            raise

    def _asked(self, data: dict[str, Any]) -> Iterator[Event]:
        """Post the message, and once more where the server has not taken it."""
        for may_repeat in (True, False):
            answered, as_json = False, self._server.takes_json
            try:
                with self._posted(data, as_json) as answer:
                    answered = True
                    yield from self._told(jsonl(answer.chunks()))
                return
            except IncompleteReplyError:
                if answered or not may_repeat or self._heard(_SAVING, _SAVING_LATE):
                    raise
            except StatusError as error:
                unread = error.status == 500 and "Internal Error" in error.body
                if not unread or not may_repeat or self._turn.uploads or self._heard(_SAVING):
                    raise
                self._server.takes_json = not as_json

    def _posted(self, data: dict[str, Any], as_json: bool) -> AbstractContextManager[Answer]:
        body: dict[str, Any] = {"json": data} if as_json else {"files": _parts(self._turn, data)}
        return self._transport.open(
            self._call,
            "POST",
            f"/conversation/{self._conversation.id}",
            phase="message",
            cookies=self._conversation.cookies,
            refusal=refusal,
            **body,
        )

    def _told(self, updates: Any) -> Iterator[Event]:
        """Turn a server's updates into events."""
        turn = self._turn
        thinking = Thinking() if turn.options["split_thinking"] else None
        return read(updates, self._file, turn.said.text, thinking)

    def _data(self, begins: bool) -> dict[str, Any]:
        """Return what the message says: what is asked, and where in the tree.

        What was said before the conversation began on the server, which is in
        no message of its own there, goes into its first question.
        """
        turn, conversation = self._turn, self._conversation
        before = conversation.state["before"] = _before(conversation)
        ids, root = self._ids([] if begins else conversation.messages[before:])
        at = len(turn.history) - before
        act = turn.act if ids else "ask"
        again = ids[at : at + 2]  # the question that is asked again, and its answer
        if not ids:
            parent = root
        elif act in ("ask", "continue"):
            parent = ids[-1]
        elif again:
            parent = again[-1] if act == "regenerate" else again[0]
        else:
            raise ProtocolError(
                "the server does not show the message that is to be asked again",
                phase="conversation",
            )
        return {
            "inputs": as_prompt([*turn.history, turn.message]) if at == 0 else turn.prompt,
            "id": parent,
            "is_retry": act in ("regenerate", "edit"),
            "is_continue": act == "continue",
            "web_search": turn.options["web_search"],
            "tools": turn.options["tools"],
            "generationId": self._generation,
        }

    def _ids(self, said: list[Message]) -> tuple[list[str], str]:
        """Return the ids of what has been *said* there, and that of the root.

        They are read again after each turn, since an answer does not tell
        them; and once more where the answer is not in the tree yet.
        """
        state = self._conversation.state
        branch = Branch(state)
        ids = branch.known(said)
        root = state.get("root")
        if len(ids) == len(said) and (said or root):
            return ids, str(root)
        for last_try in (False, True):
            tree = self._tree()
            if not tree:
                raise ProtocolError("the conversation shows no messages", phase="conversation")
            ids = branch.grow(said, tree)
            if len(ids) == len(said):
                break
            if last_try:
                ids = [*ids, tree[-1]["id"]]
            else:
                self._call.sleep(_SAVING)
        state["root"] = tree[0]["id"]
        return ids, str(tree[0]["id"])

    def _tree(self) -> list[dict[str, Any]]:
        return messages_of(self._server.conversation(self._call, self._conversation))

    def _heard(self, *waits: float) -> bool:
        """Tell whether the server may have taken a message that it did not answer.

        Its tree knows: the message is saved before the first byte of the answer
        is sent (seen: B and C). Only a tree that can be read, and is as it was
        before, shows that it was not; it is asked after each of *waits* seconds.
        """
        branch = Branch(self._conversation.state)
        for wait in waits:
            self._call.sleep(wait)
            try:
                found = self._server.conversation(self._call, self._conversation)
            except _LEFT:
                raise
            except C4AIError:
                return True
            if not branch.is_all(found):
                return True
        return False

    def _create(self) -> None:
        """Make the conversation, on terms that are accepted where that is asked for."""
        turn, conversation, call = self._turn, self._conversation, self._call
        wanted: dict[str, Any] = {"model": turn.model}
        if turn.system is not None:
            wanted["preprompt"] = turn.system
        create = functools.partial(self._prepared, "/conversation", "create", wanted)
        try:
            made = create()
        except (AuthError, ServerError) as error:
            if error.status != 405:
                raise self._server.explained(call, error) from error
            self._accept_terms()
            made = create()
        conversation.id = id_of(made)
        root = root_of(made)
        conversation.state = {"before": len(turn.history), "root": root}
        if root is not None:
            Branch(conversation.state).see([root])

    def _accept_terms(self) -> None:
        try:
            self._prepared("/settings", "settings", {"ethicsModalAccepted": True})
        except StatusError as error:
            raise self._server.explained(self._call, error) from error
        _logger.info("the server's terms were accepted: %s", self._client.base_url)

    def _prepared(self, path: str, phase: str, body: dict[str, Any]) -> Any:
        """Return what a step that prepares the question is answered with."""
        return self._transport.fetch(
            self._call,
            "POST",
            path,
            phase=phase,
            json=body,
            cookies=self._conversation.cookies,
            refusal=functools.partial(refusal, model=body.get("model", "")),
        )

    def _first_model(self) -> str:
        listed = [model.id for model in self._server.models(self._call) if not model.unlisted]
        if not listed:
            raise ProtocolError("the server lists no models: name one with model=…")
        return listed[0]

    def _check_multimodal(self) -> None:
        """Refuse files that the model would silently not be shown."""
        try:
            offered = self._server.offered or self._server.models(self._call)
        except (StatusError, ProtocolError):
            return
        for model in offered:
            if model.id == self._turn.model and model.multimodal is False:
                takes = [other.id for other in offered if other.multimodal]
                raise UsageError(
                    f"{model.id} reads text only, and would not be shown your files; "
                    + (
                        f"these take files: {', '.join(takes)}"
                        if takes
                        else "none here takes files"
                    )
                )

    def _resumed(self, error: IncompleteReplyError) -> Iterator[Event]:
        """Give the rest of an answer that was cut, without a gap or a repeat.

        Servers of 2026-07 and later stream it again from its beginning; of
        older ones the saved answer is read, once it is complete.

        Raises:
            IncompleteReplyError: The server does not have it; *error* itself.
        """
        try:
            yield from self._streamed_again()
        except (StatusError, ProtocolError, IncompleteReplyError):
            if not self._turn.done:
                yield from self._saved(error)

    def _streamed_again(self) -> Iterator[Event]:
        turn = self._turn
        with self._transport.open(
            self._call,
            "GET",
            f"/conversation/{self._conversation.id}/stream",
            phase="message",
            params={"generationId": self._generation, "fromSeq": "0"},
            cookies=self._conversation.cookies,
            authorize=False,
        ) as answer:
            updates = (loads(data) for data, name in sse(answer.chunks()) if name == "update")
            yield from beyond(self._told(updates), turn.said.text(), turn.thought.text())
        if not turn.done:
            raise IncompleteReplyError("the answer did not become complete")

    def _saved(self, error: IncompleteReplyError) -> Iterator[Event]:
        idle, before = self._call.timeout.idle, self._turn.said.text()
        end = None if idle is None else monotonic() + idle
        branch = Branch(self._conversation.state)
        while end is None or monotonic() < end:
            answers = [row for row in branch.new(self._tree()) if row.get("from") == "assistant"]
            if not answers:
                raise error
            text, complete, stopped = final_text(answers[-1])
            if self._turn.options["split_thinking"]:
                text = Thinking.without(text)
            if complete:
                if not text.startswith(before.rstrip()):
                    raise error
                if rest := text[len(before) :]:
                    yield Text(rest)
                yield Finish("interrupted" if stopped else "stop", text)
                return
            self._call.sleep(_POLL)
        raise error

    def _stop(self) -> None:
        """Tell a server that would go on without us; elsewhere hanging up is the stop."""
        self._transport.goodbye(
            "POST",
            f"/conversation/{self._conversation.id}/stop-generating",
            phase="stop",
            turn=self._call,
            wanted=self._server.goes_on,
            json={"generationId": self._generation},
            cookies=dict(self._conversation.cookies),
        )

    def _file(self, sha: str, name: str, mime: str) -> File:
        """Return the event of a file, which is read from the conversation's own server."""
        client = self._client
        path = f"/conversation/{self._conversation.id}/output/{sha}"
        cookies = dict(self._conversation.cookies)
        return File(
            name=name,
            mime=mime,
            url=client.base_url + path,
            reader=lambda: client._download(path, phase="file", cookies=cookies),
        )


def _before(conversation: Conversation) -> int:
    """Return how many messages are only inside the first question that the server knows."""
    before = conversation.state.get("before")
    return before if type(before) is int and before >= 0 else 0


def _parts(turn: Turn, data: dict[str, Any]) -> list[tuple[str, tuple[str | None, str, str]]]:
    """Return the multipart body: ``data``, and files as Base64 text under a prefixed name."""
    parts: list[tuple[str, tuple[str | None, str, str]]] = [
        ("data", (None, json.dumps(data), "application/json"))
    ]
    for upload in turn.uploads:
        body = base64.b64encode(upload.data).decode("ascii")
        parts.append(("files", (f"base64;{upload.name}", body, upload.mime)))
    return parts
