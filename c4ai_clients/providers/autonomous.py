"""AutonomousAI: the whole exchange as Base64 of JSON in, OpenAI's chunks out.

1. ``POST /api/v1/ai/…``, a path for each kind of model, asks: the body is
   ``{"messages", "threadId", "stream", "aiAgent"}``, and ``messages`` is Base64
   of the UTF-8 JSON list of all messages. The server keeps no conversations.
2. The answer is server-sent events, one ``data: {chunk}`` each, with the text
   in ``choices[0].delta.content``; a ``finish_reason``, at the top level or in
   the choice, or ``data: [DONE]`` ends the reply. With ``"stream": false`` it is
   one JSON body with ``choices[0].message.content``.
3. Lines that are not JSON are passed over, as its public clients did.

Nothing was ever recorded: this is what public clients sent and read in early
2025, so answers are read generously, and what one is shows in its first bytes.
"""

from __future__ import annotations

import base64
import itertools
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from ..client import ChatClient
from ..clocks import TimeoutLike
from ..conversation import Conversation
from ..decoding import Halves, count, loads, outside_strings, sse_objects, string
from ..errors import IncompleteReplyError, ModelError, ProtocolError, UsageError, quote
from ..events import Event, Finish, Reasoning, Started, Text, ToolCall, Unknown, Usage
from ..messages import FileLike, Message, Messages, images_of, text_of
from ..stream import Stream, Turn

__all__ = ["AutonomousAI"]

_PATHS = {
    "llama": "/api/v1/ai/chat",
    "qwen_coder": "/api/v1/ai/chat",
    "hermes": "/api/v1/ai/chat-hermes",
    "vision": "/api/v1/ai/chat-vision",
    "summary": "/api/v1/ai/summary",
}
_DONE: Mapping[str, Any] = MappingProxyType({"[DONE]": True})
_LIMIT = 4 << 20
_BLANK = b"\xef\xbb\xbf \t\r\n"

_logger = logging.getLogger("c4ai_clients")


class AutonomousAI(ChatClient):
    """A client of AutonomousAI.

    Nothing was ever recorded: it does what public clients did in early 2025.

    Args:
        base_url: The server.
        country_code: Sent as ``country-code``.
        time_zone: Sent as ``time-zone``.
        origin: Sent as ``Origin``.
        referer: Sent as ``Referer``.
        headers: Sent with every request, over those four and our own.
        **settings: The settings of :class:`~c4ai_clients.ChatClient`.
    """

    provider = "autonomous"
    label = "AutonomousAI"
    default_url = "https://chatgpt.autonomous.ai"
    default_model = "llama"
    built_in_models = tuple(_PATHS)
    model_aliases = {
        "llama-3.3-70b": "llama",
        "qwen-2.5-coder-32b": "qwen_coder",
        "hermes-3": "hermes",
        "llama-3.2-90b": "vision",
        "llama-3.2-70b": "summary",
    }

    def __init__(
        self,
        base_url: str | None = None,
        *,
        country_code: str = "US",
        time_zone: str = "America/New_York",
        origin: str = "https://www.autonomous.ai",
        referer: str = "https://www.autonomous.ai/",
        headers: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        own = {
            "country-code": country_code,
            "time-zone": time_zone,
            "origin": origin,
            "referer": referer,
        }
        super().__init__(base_url, headers={**own, **(headers or {})}, **settings)

    def stream(
        self,
        messages: Messages,
        *,
        model: str | None = None,
        system: str | None = None,
        conversation: Conversation | None = None,
        files: Iterable[FileLike] = (),
        timeout: TimeoutLike = None,
        streamed: bool = True,
    ) -> Stream:
        """Ask, and give the reply as it comes; see :meth:`ChatClient.stream`.

        Args:
            messages: What to ask; the model ``vision`` takes image parts.
            model: Which model.
            system: The system prompt.
            conversation: What to go on with; all of it is sent.
            files: None can be sent here.
            timeout: For this turn.
            streamed: Ask for the answer piece by piece; in one otherwise.
        """
        if not isinstance(streamed, bool):
            raise UsageError(f"streamed={streamed!r}: give True or False")
        return self._stream(
            messages,
            model=model,
            system=system,
            conversation=conversation,
            files=files,
            timeout=timeout,
            options={"streamed": streamed},
        )

    def _check(self, turn: Turn) -> None:
        turn.model = self.get_model(turn.model)  # a saved conversation may name any
        if turn.uploads:
            raise UsageError(
                f"{self.provider} takes no files; give images as image_url parts of a message"
            )
        if turn.model != "vision" and any(map(images_of, [*turn.history, turn.message])):
            raise UsageError(f"the model {turn.model!r} takes no images; ask model='vision'")

    def _events(self, turn: Turn) -> Iterator[Event]:
        conversation = turn.conversation
        yield Started(conversation)
        with self._transport.open(
            turn.call,
            "POST",
            _PATHS[turn.model],
            phase="message",
            json=_question(turn),
            cookies=conversation.cookies,
        ) as answer:
            first, chunks = _first(answer.chunks())
            typed = answer.content_type == "application/json"
            # No line of an event stream begins with a brace, and no JSON as its lines do.
            if first in (b"{", b"[") or (typed and first not in b"deir:"):
                yield from _read([_single(_whole(chunks))])
            else:
                yield from _read(self._chunks(turn, sse_objects(chunks)))

    def _chunks(
        self, turn: Turn, events: Iterable[dict[str, Any] | tuple[str, str]]
    ) -> Iterator[Mapping[str, Any]]:
        """Yield each event's JSON, or ``_DONE``; pass over what is neither."""
        for event in events:
            if type(event) is dict:
                yield event
                continue
            told, name = event
            for data in _records(told) if "\n" in told else (told,):
                if not data or data.isspace():
                    continue
                try:
                    chunk = _DONE if data.strip() == "[DONE]" else loads(data)
                except ProtocolError as error:
                    if name == "error":
                        raise ModelError(quote(data)) from error
                    if self.strict:
                        raise
                    turn.skipped += 1
                    _logger.warning("%s: passed over a line: %s", self.provider, error)
                    continue
                if name == "error":
                    said = chunk.get("error") or chunk.get("message") or data
                    chunk = {**chunk, "error": said}
                yield chunk


def _question(turn: Turn) -> dict[str, Any]:
    """Return the body that asks; JSON in ASCII is UTF-8, and holds lone surrogates too."""
    said = [] if turn.system is None else [{"role": "system", "content": turn.system}]
    said += map(_plain, [*turn.history, turn.message])
    return {
        "messages": base64.b64encode(json.dumps(said).encode("ascii")).decode("ascii"),
        "threadId": turn.model,
        "stream": turn.options["streamed"],
        "aiAgent": turn.model,
    }


def _plain(message: Message) -> Message:
    """Return role and content; parts only where there are images."""
    content = message["content"] if images_of(message) else text_of(message)
    return {"role": message["role"], "content": content}


def _first(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return the first byte that is not blank, and all chunks."""
    start = b""
    for chunk in chunks:
        start = (start + chunk).lstrip(_BLANK)
        if start:
            break
    return start[:1], itertools.chain([start], chunks)


def _whole(chunks: Iterable[bytes]) -> dict[str, Any]:
    """Return a body that is one JSON object.

    Raises:
        IncompleteReplyError: It was cut: an object ends with its own brace.
        ProtocolError: It is something else; quotes it.
    """
    read = bytearray()
    for chunk in chunks:
        read += chunk
        if len(read) > _LIMIT:
            raise ProtocolError(f"the answer is longer than {_LIMIT:,} bytes")
    body = bytes(read).strip(_BLANK)
    try:
        return loads(body)
    except ProtocolError as error:
        if outside_strings(body, b"{") > outside_strings(body, b"}"):
            raise IncompleteReplyError(f"the answer was cut: {quote(body)}") from error
        raise


def _single(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body that is the whole reply, as one chunk with its end mark.

    Raises:
        ProtocolError: It is no reply; quotes it.
    """
    if body.get("error"):
        return body
    choice = _choice(body)
    message = choice.get("message")
    if not isinstance(message, dict) or (
        message.get("content") is None and not _reason(body, choice)
    ):
        raise ProtocolError(f"expected a reply with a message, got: {quote(body)}")
    return {**body, "finish_reason": _reason(body, choice) or "stop"}


def _records(data: str) -> list[str]:
    """Return an event's records; some servers leave out the blank line between two."""
    rows = data.split("\n")
    return rows if all(row[:1] in ("{", "[") for row in rows) else [data]


def _read(chunks: Iterable[Mapping[str, Any]]) -> Iterator[Event]:
    """Turn a reply's chunks into events."""
    halves = Halves()
    complete = False
    for chunk in chunks:
        if not complete and (text := _only_text(chunk)) is not None:
            if text := halves.join(text):
                yield Text(text)
            continue
        if chunk.get("error"):
            raise ModelError(_complaint(chunk["error"]))
        usage = _usage(chunk.get("usage"))
        if complete:
            if chunk is not _DONE:
                yield usage or Unknown(chunk)
            continue
        choice = _choice(chunk)
        reason = "stop" if chunk is _DONE else _reason(chunk, choice)
        delta = choice.get("message") if choice.get("delta") is None else choice["delta"]
        if delta is not None:
            yield from _said(delta, halves)
        elif not (usage or reason or choice):
            yield Unknown(chunk)
        if usage:
            yield usage
        if reason:
            if rest := halves.rest():
                yield Text(rest)
            yield Finish(reason)
            complete = True


def _only_text(chunk: Mapping[str, Any]) -> str | None:
    """Return the text of a chunk that says nothing but that, as nearly all do; else None."""
    try:
        (choice,) = chunk["choices"]
        delta = choice["delta"]
        text = delta["content"]
    except (LookupError, TypeError, ValueError):
        return None
    if type(text) is not str or len(delta) != 1 or choice.get("index", 0) != 0:
        return None
    if choice.get("finish_reason") or chunk.get("finish_reason"):
        return None
    return None if chunk.get("error") or chunk.get("usage") is not None else text


def _choice(chunk: Mapping[str, Any]) -> dict[str, Any]:
    """Return our choice, ``{}`` where there is none; no other is mixed into it.

    Raises:
        ProtocolError: Text may be hidden in what we cannot read; quotes it.
    """
    choices = chunk.get("choices") or []
    if not isinstance(choices, list) or not all(isinstance(each, dict) for each in choices):
        raise ProtocolError(f"expected choices, got: {quote(chunk)}")
    for choice in choices:
        index = choice.get("index")
        if type(index) is not int or index == 0:
            return choice  # type: ignore[no-any-return]
    return {}


def _reason(chunk: Mapping[str, Any], choice: dict[str, Any]) -> str | None:
    """Return the finish reason: public clients read it outside the choice, OpenAI's inside."""
    for place in (chunk, choice):
        reason = place.get("finish_reason")
        if isinstance(reason, str) and reason:
            return reason
    return None


def _said(delta: Any, halves: Halves) -> Iterator[Event]:
    """Turn what a delta, or a whole message, says into events."""
    rest = dict(delta) if isinstance(delta, dict) else {"content": delta}
    rest.pop("role", None)
    thought = [rest.pop(name, None) for name in ("reasoning_content", "reasoning")]
    content, calls = rest.pop("content", None), rest.pop("tool_calls", None)
    thoughts = [each for each in thought if isinstance(each, str) and each]
    if thoughts:
        yield Reasoning(thoughts[0])
    if content is not None and not isinstance(content, str):
        raise ProtocolError(f"expected text, got: {quote(delta)}")
    if text := halves.join(content or ""):
        yield Text(text)
    yield from map(_tool, calls if isinstance(calls, list) else [])
    if any(rest.values()):
        yield Unknown(delta)


def _tool(call: Any) -> Event:
    """Return a call that came whole; what streams in parts is for no tool of ours."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        return Unknown(call)
    try:
        arguments = loads(string(function.get("arguments")))
    except ProtocolError:
        return Unknown(call)
    return ToolCall(string(call.get("id")), function["name"], arguments)


def _usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    return Usage(*(count(usage.get(name)) for name in names))


def _complaint(error: Any) -> str:
    said = error.get("message") if isinstance(error, dict) else error
    return quote(said if isinstance(said, str) and said else error)
