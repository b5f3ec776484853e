"""HuggingFace chat-ui, 2024 to today.

1. ``POST /conversation`` makes a conversation and sets the session cookie.
2. ``GET /api/conversation/{id}`` tells the message tree; the newest message is
   the parent of the next one, and a new tree has a system message as its root.
3. ``POST /conversation/{id}``, multipart field ``data``, asks.
4. The answer is JSON lines, whatever the content type says; ``finalAnswer``
   ends the reply, and a title may follow it.

Seen on servers of 2025-03 and 2026-08 (recordings B and C).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..client import ChatClient, Model
from ..conversation import Conversation
from ..decoding import Halves, Lines, jsonl
from ..errors import (
    AuthError,
    C4AIError,
    CancelledError,
    IncompleteReplyError,
    ModelError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    UsageError,
    quote,
)
from ..events import (
    Event,
    File,
    Finish,
    Reasoning,
    Sources,
    Started,
    Status,
    Text,
    Title,
    ToolCall,
    ToolResult,
    Unknown,
)
from ..messages import FileLike, Messages, as_prompt, image_upload, images_of
from ..stream import Stream, Turn

__all__ = ["C4AICommand", "ChatUI"]

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_FILE_LIMIT = 10 << 20
_SAVING = 0.25
_LASTING_LIMITS = ("more than", "maximum number", "before login")


class ChatUI(ChatClient):
    """A client of any chat-ui server."""

    provider = "chat-ui"
    label = "HuggingFace chat-ui"

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
        """
        return self._stream(
            messages,
            model=model,
            system=system,
            conversation=conversation,
            files=files,
            timeout=timeout,
            options={"web_search": bool(web_search), "tools": _ids(tools)},
        )

    def models(self) -> list[Model]:
        """Return the models that the server lists (``GET /api/models``)."""
        listed = self._fetch("GET", "/api/models", phase="models")
        if not isinstance(listed, list):
            raise ProtocolError("the server lists no models", provider=self.provider)
        models = [
            Model(
                id=row["id"],
                label=str(row.get("displayName") or row["id"]),
                description=str(row.get("description") or ""),
                multimodal=row.get("multimodal"),
                tools=row.get("tools", row.get("supportsTools")),
                reasoning=row.get("reasoning"),
                unlisted=bool(row.get("unlisted")),
                raw=row,
            )
            for row in listed
            if isinstance(row, dict) and isinstance(row.get("id"), str)
        ]
        self._listed = tuple(model.id for model in models)
        return models

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
        conversation = turn.conversation
        parent = None
        prompt = turn.prompt
        if conversation.id is None:
            parent = self._create(turn)
            prompt = as_prompt([*turn.history, turn.message])
        yield Started(conversation)
        parent = parent or self._newest(turn)
        answered = False
        for last_try in (False, True):
            try:
                with self._transport.open(
                    turn.call,
                    "POST",
                    f"/conversation/{conversation.id}",
                    phase="message",
                    files=_parts(turn, prompt, parent),
                    cookies=conversation.cookies,
                    refusal=_refusal,
                ) as answer:
                    answered = True
                    yield from _read(self, turn, jsonl(Lines(answer.chunks())))
                return
            except IncompleteReplyError:
                if answered or last_try or self._heard(turn, parent):
                    raise

    def _heard(self, turn: Turn, parent: str) -> bool:
        """Tell whether the server may have taken a message that it did not answer.

        Its tree knows, a moment later: the message is saved before the first
        byte of the answer is sent (seen: B and C).
        """
        turn.call.sleep(_SAVING)
        try:
            return self._newest(turn) != parent
        except CancelledError:
            raise
        except C4AIError:
            return True

    def _create(self, turn: Turn) -> str | None:
        """Make the conversation; return its root's id where the answer tells it."""
        conversation = turn.conversation
        if not turn.model:
            turn.model = conversation.model = self._first_model()
        wanted: dict[str, Any] = {"model": turn.model}
        if turn.system is not None:
            wanted["preprompt"] = turn.system
        made = self._transport.fetch(
            turn.call,
            "POST",
            "/conversation",
            phase="create",
            json=wanted,
            cookies=conversation.cookies,
            refusal=_refusal,
        )
        name = made.get("conversationId") if isinstance(made, dict) else None
        if not isinstance(name, str) or not _ID.fullmatch(name):
            raise ProtocolError(
                f"the server gave no conversation id: {quote(made)}", phase="create"
            )
        conversation.id = name
        return _root(made)

    def _first_model(self) -> str:
        listed = [model.id for model in self.models() if not model.unlisted]
        if not listed:
            raise ProtocolError("the server lists no models: name one with model=…")
        return listed[0]

    def _newest(self, turn: Turn) -> str:
        """Return the id of the conversation's newest message.

        The newest is the last of the list (seen: B and C, after retries too).
        """
        messages = self._messages(turn)
        newest = messages[-1].get("id") if messages else None
        if not isinstance(newest, str) or not _ID.fullmatch(newest):
            raise ProtocolError("the conversation has no messages with ids", phase="conversation")
        return newest

    def _messages(self, turn: Turn) -> list[dict[str, Any]]:
        """Read the message tree: plain JSON since 2024-01, a page's data before."""
        conversation = turn.conversation
        how: dict[str, Any] = {
            "phase": "conversation",
            "cookies": conversation.cookies,
            "refusal": _refusal,
        }
        try:
            found = self._transport.fetch(
                turn.call,
                "GET",
                f"/api/conversation/{conversation.id}",
                # With a session there is no need of a key here, and servers of
                # 2026 answer 500 to one that is not their own.
                authorize=not conversation.cookies,
                **how,
            )
        except NotFoundError as error:
            if "Conversation not found" in error.body:
                raise
            found = None
        except ProtocolError:
            found = None  # servers before 2026 answer an unknown path with a page
        if found is None:
            page = self._transport.fetch(
                turn.call,
                "GET",
                f"/conversation/{conversation.id}/__data.json",
                params={"x-sveltekit-invalidated": "01"},
                first_line=True,
                **how,
            )
            found = _page(page)
        messages = found.get("messages") if isinstance(found, dict) else None
        if not isinstance(messages, list):
            raise ProtocolError("the conversation cannot be read", phase="conversation")
        return [message for message in messages if isinstance(message, dict)]

    def _delete(self, conversation: Conversation) -> None:
        if conversation.id is None:
            return
        self._fetch(
            "DELETE",
            f"/conversation/{conversation.id}",
            phase="delete",
            cookies=conversation.cookies,
            refusal=_refusal,
        )
        conversation.id = None


def _ids(tools: Sequence[str]) -> list[str]:
    if isinstance(tools, str) or not all(isinstance(tool, str) for tool in tools):
        raise UsageError("tools is a list of the server's tool ids: write tools=[…]")
    return list(tools)


def _parts(turn: Turn, prompt: str, parent: str) -> list[tuple[str, tuple[str | None, str, str]]]:
    """Return the multipart body: ``data``, and files as Base64 text under a prefixed name."""
    data = {
        "inputs": prompt,
        "id": parent,
        "is_retry": False,
        "is_continue": False,
        **turn.options,
    }
    parts: list[tuple[str, tuple[str | None, str, str]]] = [
        ("data", (None, json.dumps(data), "application/json"))
    ]
    for upload in turn.uploads:
        body = base64.b64encode(upload.data).decode("ascii")
        parts.append(("files", (f"base64;{upload.name}", body, upload.mime)))
    return parts


def _read(client: ChatUI, turn: Turn, updates: Iterable[dict[str, Any]]) -> Iterator[Event]:
    """Turn a reply's updates into events."""
    halves = Halves()
    for update in updates:
        kind, subtype = update.get("type"), update.get("subtype")
        if kind == "stream" and isinstance(update.get("token"), str):
            # Tokens are padded to 16 units with NULs, to hide their length.
            text = halves.join(update["token"].rstrip("\0"))
            if text:
                yield Text(text)
        elif kind == "status" and update.get("status") == "error":
            raise ModelError(quote(str(update.get("message") or "the model failed")))
        elif kind == "status":
            yield Status(str(update.get("status")), str(update.get("message") or ""))
        elif kind == "title" and isinstance(update.get("title"), str):
            yield Title(update["title"])
        elif kind == "reasoning" and subtype == "stream" and isinstance(update.get("token"), str):
            if update["token"]:
                yield Reasoning(update["token"])
        elif kind == "reasoning" and subtype == "status":
            yield Status("reasoning", str(update.get("status") or ""))
        elif kind == "webSearch":
            yield _searched(update)
        elif kind == "tool":
            yield _tool(update)
        elif kind == "file" and isinstance(update.get("sha"), str):
            yield _file(client, turn, update)
        elif kind == "finalAnswer":
            if rest := halves.rest():
                yield Text(rest)
            final = update.get("text")
            yield Finish(
                "interrupted" if update.get("interrupted") is True else "stop",
                final if isinstance(final, str) else None,
            )
        elif isinstance(kind, str):
            yield Unknown(update)
        else:
            raise ProtocolError(f"expected an update of a reply, got: {quote(update)}")


def _searched(update: dict[str, Any]) -> Event:
    sources = update.get("sources")
    if update.get("subtype") == "sources" and isinstance(sources, list):
        return Sources([page for page in sources if isinstance(page, dict)])
    return Status("webSearch", str(update.get("message") or update.get("subtype") or ""))


def _tool(update: dict[str, Any]) -> Event:
    subtype, name = update.get("subtype"), str(update.get("uuid") or "")
    call, result = update.get("call"), update.get("result")
    if subtype == "call" and isinstance(call, dict):
        arguments = call.get("parameters")
        return ToolCall(
            name, str(call.get("name") or ""), arguments if isinstance(arguments, dict) else {}
        )
    if subtype == "result" and isinstance(result, dict):
        outputs = result.get("outputs")
        failed = (
            None if result.get("status") == "success" else str(result.get("message") or "failed")
        )
        return ToolResult(name, outputs if isinstance(outputs, list) else [], failed)
    if subtype == "error":
        return ToolResult(name, [], str(update.get("message") or "failed"))
    return Unknown(update)


def _file(client: ChatUI, turn: Turn, update: dict[str, Any]) -> Event:
    sha = update["sha"]
    if not _ID.fullmatch(sha):
        return Unknown(update)
    conversation = turn.conversation
    path = f"/conversation/{conversation.id}/output/{sha}"
    cookies = dict(conversation.cookies)
    return File(
        name=str(update.get("name") or sha),
        mime=str(update.get("mime") or ""),
        url=client.base_url + path,
        reader=lambda: client._download(path, phase="file", cookies=cookies),
    )


def _root(made: dict[str, Any]) -> str | None:
    """Return the root message's id from a create answer that tells it (since 2026-07)."""
    told = made.get("conversation")
    if not isinstance(told, str):
        return None
    try:
        found = json.loads(told)["json"]["rootMessageId"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, str) and _ID.fullmatch(found) else None


def _page(page: Any) -> Any:
    """Unflatten the last node of a SvelteKit page's data, which refers by index."""
    nodes = page.get("nodes") if isinstance(page, dict) else None
    node = nodes[-1] if isinstance(nodes, list) and nodes else None
    if not isinstance(node, dict):
        return None
    if node.get("type") == "error":
        raise NotFoundError(
            "the server does not know this conversation: its session was lost; begin a new one",
            status=int(node["status"]) if isinstance(node.get("status"), int) else 404,
            body=quote(node.get("error")),
        )
    data = node.get("data")
    if not isinstance(data, list) or not data or not isinstance(data[0], dict):
        return None

    def at(index: Any) -> Any:
        return data[index] if isinstance(index, int) and 0 <= index < len(data) else None

    rows = at(data[0].get("messages"))
    return {
        "messages": [
            {key: at(row.get(key)) for key in ("id", "from", "content")}
            for row in map(at, rows if isinstance(rows, list) else [])
            if isinstance(row, dict)
        ]
    }


def _refusal(answer: Any, said: str) -> C4AIError | None:
    """Return the error of a refusal that chat-ui words in its own way."""
    known = {"status": answer.status, "body": said}
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
    return None


class C4AICommand(ChatUI):
    """CohereForAI's C4AI Command Space, or any chat-ui that serves its models."""

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
