"""What a chat-ui says while it answers, as events; pure, no I/O.

One branch a kind of update, as seen in the recordings of 2025-03 and 2026-08
and read in the public history from 2024 on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..conversation import is_id
from ..decoding import Halves, seconds, string
from ..errors import IncompleteReplyError, ModelError, ProtocolError, quote
from ..events import (
    Event,
    File,
    Finish,
    Reasoning,
    Sources,
    Status,
    Text,
    Title,
    ToolCall,
    ToolResult,
    Unknown,
)

__all__ = ["Thinking", "beyond", "read"]


def read(
    updates: Iterable[dict[str, Any]],
    file: Callable[[str, str, str], File],
    given: Callable[[], str],
    thinking: Thinking | None = None,
) -> Iterator[Event]:
    """Turn a reply's updates into events.

    Args:
        updates: The JSON lines.
        file: Makes the event of a file, from sha, name and mime.
        given: Tells the text that has been given so far.
        thinking: Parts inline reasoning from the text, where that is wanted.
    """
    halves = Halves()
    for update in updates:
        kind, subtype = update.get("type"), update.get("subtype")
        if kind == "stream" and isinstance(update.get("token"), str):
            # Tokens are padded to 16 units with NULs, to hide their length.
            text = halves.join(update["token"].rstrip("\0"))
            if thinking is not None:
                yield from thinking.parted(text)
            elif text:
                yield Text(text)
        elif kind == "stream" and update.get("token") is not None:
            raise ProtocolError(f"expected text, got: {quote(update)}")
        elif kind == "status" and update.get("status") == "error":
            raise ModelError(_failure(update, given()))
        elif kind == "status" and isinstance(update.get("status"), str):
            yield Status(update["status"], string(update.get("message")))
        elif kind == "title" and isinstance(update.get("title"), str):
            yield Title(update["title"])
        elif kind == "reasoning" and subtype == "stream" and isinstance(update.get("token"), str):
            if update["token"]:
                yield Reasoning(update["token"])
        elif kind == "reasoning" and subtype == "status":
            yield Status("reasoning", string(update.get("status")))
        elif kind == "webSearch":
            yield _searched(update)
        elif kind == "tool":
            yield _tool(update)
        elif kind == "file" and is_id(sha := update.get("sha")):
            yield file(sha, string(update.get("name")) or sha, string(update.get("mime")))
        elif kind == "routerMetadata":
            told = (string(update.get(key)) for key in ("route", "model", "provider"))
            yield Status("router", " ".join(filter(None, told)))
        elif kind == "finalAnswer":
            if thinking is not None:
                yield from thinking.parted(halves.rest(), last=True)
            elif rest := halves.rest():
                yield Text(rest)
            yield _finish(update, thinking)
        elif isinstance(kind, str):
            yield Unknown(update)
        else:
            raise ProtocolError(f"expected an update of a reply, got: {quote(update)}")


def _finish(update: dict[str, Any], thinking: Thinking | None) -> Finish:
    final = update.get("text")
    if not isinstance(final, str):
        final = None
    elif thinking is not None:
        final = thinking.without(final)
    return Finish("interrupted" if update.get("interrupted") is True else "stop", final)


def _failure(update: dict[str, Any], given: str) -> str:
    """Return what the server says of its failure.

    Servers of 2025-10 and later silently ask a model that fails once more, so
    what has been said comes twice before they give up (seen: era C).
    """
    said = quote(update.get("message") or "the model failed")
    half = len(given) // 2
    if half and given[:half] == given[half:]:
        said += "; the server had begun again, so the text so far is there twice"
    return said


def _searched(update: dict[str, Any]) -> Event:
    sources = update.get("sources")
    if update.get("subtype") == "sources" and isinstance(sources, list):
        return Sources([page for page in sources if isinstance(page, dict)])
    said = string(update.get("message")) or string(update.get("subtype"))
    return Status("webSearch", " ".join([said, *_strings(update.get("args"))]))


def _strings(value: Any) -> list[str]:
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []


def _tool(update: dict[str, Any]) -> Event:
    subtype, name = update.get("subtype"), string(update.get("uuid"))
    call, result = update.get("call"), update.get("result")
    if subtype == "call" and isinstance(call, dict):
        arguments = call.get("parameters")
        return ToolCall(
            name, string(call.get("name")), arguments if isinstance(arguments, dict) else {}
        )
    if subtype == "result" and isinstance(result, dict):
        outputs = result.get("outputs")
        sound = result.get("status") == "success"
        failed = None if sound else string(result.get("message")) or "failed"
        return ToolResult(name, outputs if isinstance(outputs, list) else [], failed)
    if subtype == "error":
        return ToolResult(name, [], string(update.get("message")) or "failed")
    if subtype == "eta" and (eta := seconds(update.get("eta"))) is not None:
        return Status("tool", f"{name}: about {eta} s")
    if subtype == "progress":
        told = {key: value for key, value in update.items() if key not in ("type", "subtype")}
        return Status("tool", quote(told))
    return Unknown(update)


_OPEN, _CLOSE = "<think>", "</think>"
# Where Thinking is: before the opening tag, between the two, in the white space behind the
# closing one, and where all is text.
_BEFORE, _INSIDE, _BEHIND, _BEYOND = "before", "inside", "behind", "beyond"


class Thinking:
    """Parts ``<think>…</think>`` at an answer's beginning from its text.

    Servers from 2025-09 on, and of 2024, leave a model's reasoning in the text
    between these tags (seen: era C). White space behind the closing tag goes
    with the reasoning.
    """

    def __init__(self) -> None:
        self._state = _BEFORE
        self._blank: list[str] = []  # white space before what may be the opening tag
        self._held = ""  # what may be the first part of a tag

    def parted(self, text: str, *, last: bool = False) -> Iterator[Event]:
        """Yield a token's reasoning and text; half a tag waits for its other half.

        Args:
            text: The token.
            last: Whether nothing follows.
        """
        text, self._held = self._held + text, ""
        if self._state == _BEFORE:
            begun = text.lstrip()
            self._blank.append(text[: len(text) - len(begun)])
            if not last and begun.startswith(_OPEN):
                self._state = _INSIDE
                text = begun[len(_OPEN) :]
            elif not last and _OPEN.startswith(begun):
                self._held = begun
                return
            else:
                self._state = _BEYOND
                text = "".join(self._blank) + begun
        if self._state == _INSIDE:
            before, found, text = text.partition(_CLOSE)
            if not found and not last:
                begun = _begun(_CLOSE, before)
                before, self._held = before[: len(before) - len(begun)], begun
            if before:
                yield Reasoning(before)
            if not found:
                return
            self._state = _BEHIND
        if self._state == _BEHIND:
            text = text.lstrip()
            if text:
                self._state = _BEYOND
        if text:
            yield Text(text)

    @staticmethod
    def without(final: str) -> str:
        """Return a final text without its reasoning."""
        return re.sub(r"^\s*<think>.*?(</think>\s*|$)", "", final, count=1, flags=re.DOTALL)


def _begun(tag: str, text: str) -> str:
    """Return how much of *tag*, but not all of it, *text* ends in."""
    ends = (tag[:length] for length in range(len(tag) - 1, 0, -1))
    return next((end for end in ends if text.endswith(end)), "")


def beyond(events: Iterable[Event], text: str, reasoning: str) -> Iterator[Event]:
    """Yield what *events*, which begin anew, have beyond the *text* and *reasoning* given before.

    Raises:
        IncompleteReplyError: They tell another answer than the one given.
    """
    given = {Text: text, Reasoning: reasoning}
    told = {Text: 0, Reasoning: 0}
    for event in events:
        if isinstance(event, (Text, Reasoning)):
            kind, at = type(event), told[type(event)]
            known = given[kind][at : at + len(event.text)]
            if not event.text.startswith(known):
                raise IncompleteReplyError("the server gives another answer than it gave before")
            told[kind] += len(event.text)
            if rest := event.text[len(known) :]:
                yield kind(rest)
        elif isinstance(event, Finish) or told[Text] >= len(text):
            yield event
