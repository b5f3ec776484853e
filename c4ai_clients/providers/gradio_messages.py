"""What a Gradio app says while it answers, as events and errors of ours.

Pure: no I/O. Every way to ask, websocket, queue or ``/call``, gives the queue's
own messages, ``{"msg": "process_generating", …}``; this file reads them. The
words of an error are the server's own, and stand in ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..decoding import count, seconds, string
from ..errors import (
    AuthError,
    C4AIError,
    ModelError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    ServerError,
    StatusError,
    quote,
)
from ..events import Event, File, Finish, Queued, Status, Text, Unknown
from .gradio_chat import Chat
from .gradio_value import Output, files_in, held, read

if TYPE_CHECKING:
    from ..http_answer import Answer

__all__ = ["UNREAD", "WHOLE", "Telling", "refusal"]

# What stands in a message's place that could not be read.
UNREAD = "unread"
# What /call says is one of the outputs' values while they grow, each of them whole.
WHOLE = "whole"
_DIFFS = ("sse_v2", "sse_v2.1", "sse_v3")
_SHOWN = ("image", "file", "audio", "video", "gallery", "downloadbutton", "imageslider")
# The words of Spaces on borrowed GPUs, told by people who met them, not tried here.
_QUOTA = re.compile(
    r"exceeded your .*quota|zerogpu quota|reached its gpu limit|zerogpu runs limit", re.IGNORECASE
)
_AGAIN = re.compile(
    r"(?:again|retry) in (?:(\d{1,6}) days?,? )?(\d{1,6}):(\d\d):(\d\d)", re.IGNORECASE
)


class Telling:
    """One event of the queue, told in our events."""

    def __init__(
        self,
        chat: Chat,
        sent: list[Any],
        file: Callable[[dict[str, Any]], File],
        keep: Callable[[Any], None],
        look: Callable[[], object],
    ) -> None:
        """Begin.

        Args:
            chat: Whom we ask.
            sent: The history that was sent, which is no answer.
            file: Makes a file of ours from what the server says of it.
            keep: Told the answer's last value, before the reply is complete.
            look: Looks at the clocks, where a message may cost more than its bytes.
        """
        self._chat = chat
        self._edits = chat.protocol in _DIFFS
        self._output, self._width = chat.output, len(chat.outputs)
        self._answer = Output(sent, look)
        self._file = file
        self._keep = keep

    def events(self, messages: Iterable[dict[str, Any]]) -> Iterator[Event]:
        """Turn messages into events."""
        output, width = self._output, self._width
        appended = self._answer.appended if self._edits else None
        for message in messages:
            piece = None
            if appended is not None:
                try:
                    values = message["output"]["data"]
                    if message["msg"] == "process_generating" and len(values) == width:
                        piece = appended(values[output])
                except (LookupError, TypeError):
                    pass
            if piece is None:
                yield from self._told(message)
            elif piece:
                yield Text(piece)

    def _told(self, message: dict[str, Any]) -> Iterable[Event]:
        """Turn a message of any kind into events."""
        kind = message.get("msg")
        if kind in ("process_generating", WHOLE):
            values = self._values(message)
            if values is None:  # an error is on its way (seen in the source)
                self._answer.lose()
                return ()
            # The first value is whole in every version.
            if self._edits and self._answer.begun and kind != WHOLE:
                return self._answer.changes(values[self._output])
            return self._answer.becomes(values[self._output])
        if kind == "estimation" and (rank := count(message.get("rank"))) is not None:
            size, eta = count(message.get("queue_size")), seconds(message.get("rank_eta"))
            return [Queued(rank, size, eta)]
        if kind == "process_starts":
            return [Status("started")]
        if kind == "process_completed":
            return self._completed(message)
        if kind == "log":
            return [Status("log", string(message.get("log")))]
        if kind == "progress":
            return [Status("progress", _progress(message))]
        if kind == "queue_full":
            raise ServerError("the app's queue is full; try again later", status=503)
        if kind == "unexpected_error":
            raise _unexpected(message)
        if kind == UNREAD:
            self._answer.lose()  # what it changed is not known
            return ()
        return () if kind in ("heartbeat", "close_stream") else [Unknown(message)]

    def _completed(self, message: dict[str, Any]) -> Iterator[Event]:
        values = self._values(message)
        if message.get("success") is False or values is None:
            raise _failure(message)
        value = held(values[self._chat.output])
        found = read(value, self._answer.sent)
        if found is None:
            raise ProtocolError(f"the answer is in no shape of a chat: {quote(values)}")
        yield from self._answer.becomes(value)
        for file in [*found.files, *self._shown(values)]:
            yield self._file(file)
        self._keep(value)
        yield Finish(text=found.text)

    def _values(self, message: dict[str, Any]) -> list[Any] | None:
        """Return what a message says of the outputs, None where that is not one value each."""
        output = message.get("output")
        values = output.get("data") if isinstance(output, dict) else None
        if not isinstance(values, list) or self._output >= len(values):
            return None
        return values if self._width in (0, len(values)) else None

    def _shown(self, values: list[Any]) -> Iterator[dict[str, Any]]:
        """Yield the files that are shown beside the answer."""
        for i, (kind, value) in enumerate(zip(self._chat.outputs, values, strict=False)):
            if kind in _SHOWN and i != self._chat.output:
                yield from files_in(held(value))


def _progress(message: dict[str, Any]) -> str:
    """Return the words of the last unit of progress."""
    units = message.get("progress_data")
    unit = units[-1] if isinstance(units, list) and units else None
    if not isinstance(unit, dict):
        return ""
    done, of = count(unit.get("index")), count(unit.get("length"))
    counted = f"{done}/{of}" if done is not None and of is not None else ""
    return f"{string(unit.get('desc'))} {counted}".strip()


def _failure(message: dict[str, Any]) -> C4AIError:
    """Return the error of an event that failed, in the app's own words."""
    output = message.get("output")
    if not isinstance(output, dict) or (output and "error" not in output):
        return ProtocolError(f"the event ended without an answer: {quote(output)}")
    if not output:
        return ModelError("the server gave no answer: the event was cancelled there")
    said = output["error"]
    title = output.get("title") or message.get("title")
    titled = isinstance(title, str) and title.strip().lower() not in ("", "error")
    # Until 4.21 an error without words is the word None, and until 4.44 a
    # gr.Error stands in quotes.
    if said in (None, "", "None") and not titled:
        return ModelError("the app failed and does not say why (its show_error is off)")
    words = "" if said in (None, "None") else said if isinstance(said, str) else quote(said)
    if len(words) > 2 and words[0] == words[-1] and words[0] in "'\"":
        words = words[1:-1]
    if titled:
        words = f"{title}: {words}" if words else str(title)
    words = quote(words)
    if _QUOTA.search(words):
        return RateLimitError(
            f"{words}; an api_key of an account with more quota may help",
            status=429,
            body=words,
            retry_after=_again(words),
            lasting=True,
        )
    return ModelError(words)


def _again(words: str) -> float | None:
    """Return the seconds of "try again in 23:59:59"."""
    if not (found := _AGAIN.search(words)):
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _unexpected(message: dict[str, Any]) -> C4AIError:
    """Return the error of an ``unexpected_error``; a stopping server repeats it for ever."""
    words = quote(message.get("message") or "the queue failed")
    if message.get("session_not_found") is True or words.startswith("404"):
        return NotFoundError(
            f"the server does not know this session: {words}; ask again", status=404, body=words
        )
    if "stopped" in words.lower():
        return ServerError(f"{words}; ask again when it is back", status=503, body=words)
    return ModelError(words)


def refusal(answer: Answer, said: str) -> C4AIError | None:
    """Return the error of a refusal that Gradio words in its own way."""
    if answer.status == 503 and "Queue is stopped" in said:
        return ServerError(
            f"the app has stopped its queue: {said}", status=503, body=said, lasting=True
        )
    if answer.status == 400 and "Incorrect credentials" in said:
        return AuthError(
            f"the app does not take this login: {said}; is auth=(…) right?",
            status=400,
            body=said,
        )
    if answer.status == 401:
        return AuthError(
            f'the app wants a login: {said}; give auth=("user", "password"), or for a Space that '
            "is private a token as api_key",
            status=401,
            body=said,
        )
    if answer.status == 422:
        return StatusError(
            f"the app does not take what it was given: {said}", status=422, body=said
        )
    return None
