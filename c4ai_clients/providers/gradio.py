"""Any Gradio chat app, and the Qwen2.5 Space, over Gradio's queue.

1. ``GET /config``, once per client, tells the protocol, the prefix of all other
   paths, and the listener that chats.
2. ``POST /queue/join`` with ``data``, ``fn_index`` and a session hash asks; from
   4.9 on this is the message, and is answered with an ``event_id``.
3. ``GET /queue/data?session_hash=`` streams: ``estimation``, ``process_starts``,
   ``process_generating`` (the outputs' values; from 4.17 on only the first are
   whole, later ones are edits), and ``process_completed``, which ends the reply.
4. In 4.0 to 4.8 ``GET /queue/join`` is the stream, and ``POST /queue/data`` the
   message, sent when the stream asks for it with ``send_data``.

Seen on servers of 4.2, 4.16, 4.19, 4.21, 4.44, 5.50 and 6.31 (recordings).
"""

from __future__ import annotations

import logging
import re
import secrets
import string
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar
from urllib.parse import quote as percent

from ..client import ChatClient
from ..clocks import Call
from ..conversation import Conversation
from ..decoding import loads, sse
from ..errors import (
    AuthError,
    C4AIError,
    ModelError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    ServerError,
    StatusError,
    UsageError,
    quote,
)
from ..events import Event, File, Finish, Queued, Started, Status, Unknown
from ..messages import FileLike, Messages, as_prompt, images_of
from ..stream import Stream, Turn
from .gradio_chat import Chat, Input, describe, find_chat, written
from .gradio_value import Answer, held, read

__all__ = ["Gradio", "Qwen"]

_DIFFS = ("sse_v2", "sse_v2.1", "sse_v3")
_PROTOCOLS = ("sse", "sse_v1", *_DIFFS)
_CANCEL_SINCE = (4, 31)
# process_completed holds the whole conversation, not the new reply alone.
_EVENT_LIMIT = 32 << 20
_HASH = re.compile(r"[a-z0-9]{10}")
_LETTERS = string.ascii_lowercase + string.digits

_logger = logging.getLogger("c4ai_clients")


class Gradio(ChatClient):
    """A client of any Gradio app that chats; it finds the chat by itself.

    A system prompt goes into the app's input for it; where the app has none it
    is written into the first prompt, which is all that such an app reads.

    Args:
        base_url: The app, such as ``https://name.hf.space``.
        api_name: The listener to ask, where the app has several chats.
        fn_index: The same by number.
        **settings: See :class:`ChatClient`.
    """

    provider = "gradio"
    label = "Gradio chat app"

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_name: str | None = None,
        fn_index: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(base_url, **settings)
        self.api_name = api_name
        self.fn_index = fn_index
        self._found: Chat | None = None
        self._asking = threading.Lock()

    def stream(
        self,
        messages: Messages,
        *,
        model: str | None = None,
        system: str | None = None,
        conversation: Conversation | None = None,
        files: Iterable[FileLike] = (),
        timeout: Any = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> Stream:
        """Ask, and give the reply as it comes; see :meth:`ChatClient.stream`.

        Args:
            messages: What to ask.
            model: Which model, where the app has an input labelled so.
            system: The system prompt; the app's own by default.
            conversation: What to go on with.
            files: Not taken yet.
            timeout: For this turn.
            inputs: Values for the app's other inputs by their labels, such as
                ``{"Temperature": 0.2}``; :meth:`describe` lists them.
        """
        return self._stream(
            messages,
            model=model,
            system=system,
            conversation=conversation,
            files=files,
            timeout=timeout,
            options={"inputs": _labelled(inputs)},
        )

    def describe(self) -> str:
        """Say in words what was found in the app: its chat, and what goes into it."""
        return describe(self._chat(Call(self.timeout)))

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        del state["rest"]["_asking"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._asking = threading.Lock()

    def _check(self, turn: Turn) -> None:
        if turn.uploads or images_of(turn.message):
            raise UsageError(f"{self.provider} sends no files yet: ask in words")

    def _events(self, turn: Turn) -> Iterator[Event]:
        conversation = turn.conversation
        chat = self._chat(turn.call)
        session, history, data = self._asked(turn, chat)
        answer = Answer(history)
        asked = {
            "data": data,
            "event_data": None,
            "fn_index": chat.fn_index,
            "session_hash": session,
        }
        if chat.protocol == "sse":
            yield Started(conversation)
            yield from self._old_events(turn, chat, asked, answer)
            return
        event = self._join(turn, chat, {**asked, "trigger_id": chat.trigger_id})
        over = False
        try:
            yield Started(conversation)
            with self._transport.open(
                turn.call,
                "GET",
                f"{chat.prefix}/queue/data",
                phase="stream",
                params={"session_hash": session},
                headers={"Accept": "text/event-stream"},
                cookies=conversation.cookies,
                refusal=_refusal,
            ) as reply:
                for message in self._messages(turn, reply.chunks()):
                    # An app may have more events in our session; ours is one.
                    if message.get("event_id") not in (None, event) or over:
                        continue
                    over = message.get("msg") in ("process_completed", "unexpected_error")
                    yield from self._told(turn, chat, session, answer, message)
        finally:
            if not over and chat.version >= _CANCEL_SINCE:
                self._transport.goodbye(
                    "POST",
                    f"{chat.prefix}/cancel",
                    phase="cancel",
                    json={"session_hash": session, "fn_index": chat.fn_index, "event_id": event},
                    cookies=dict(conversation.cookies),
                )

    def _old_events(
        self, turn: Turn, chat: Chat, asked: dict[str, Any], answer: Answer
    ) -> Iterator[Event]:
        """Tell the protocol of 4.0 to 4.8, where the stream asks for the message."""
        cookies = turn.conversation.cookies
        session = asked["session_hash"]
        over = False
        with self._transport.open(
            turn.call,
            "GET",
            "/queue/join",
            phase="stream",
            params={"fn_index": str(chat.fn_index), "session_hash": session},
            headers={"Accept": "text/event-stream"},
            cookies=cookies,
            refusal=_refusal,
        ) as reply:
            for message in self._messages(turn, reply.chunks()):
                kind = message.get("msg")
                if over:
                    continue
                if kind == "send_data":
                    self._transport.fetch(
                        turn.call,
                        "POST",
                        "/queue/data",
                        phase="message",
                        preparing=False,
                        json={**asked, "event_id": message.get("event_id")},
                        cookies=cookies,
                        refusal=_refusal,
                    )
                elif kind == "queue_full":
                    raise ServerError("the app's queue is full; try again later", status=503)
                else:
                    over = kind == "process_completed"
                    yield from self._told(turn, chat, session, answer, message)

    def _chat(self, call: Call) -> Chat:
        """Return the app's chat; its config is asked for once, by the first who needs it."""
        while not self._asking.acquire(timeout=0.05):
            call.before_wait()
        try:
            if self._found is None:
                self._found = self._find(call)
            return self._found
        finally:
            self._asking.release()

    def _find(self, call: Call) -> Chat:
        config = self._transport.fetch(call, "GET", "/config", phase="config", refusal=_refusal)
        try:
            chat = find_chat(config, api_name=self.api_name, fn_index=self.fn_index)
        except UsageError as error:
            error.provider, error.phase = self.provider, "config"
            raise
        if chat.protocol not in _PROTOCOLS:
            raise UsageError(
                f"this app's queue speaks {chat.protocol}, which is not spoken here yet; "
                f"spoken are {', '.join(_PROTOCOLS)} (Gradio 4.0 to 6)",
                provider=self.provider,
                phase="config",
            )
        return chat

    def _join(self, turn: Turn, chat: Chat, asked: dict[str, Any]) -> str:
        """Send the message; return the event's id."""
        try:
            joined = self._transport.fetch(
                turn.call,
                "POST",
                f"{chat.prefix}/queue/join",
                phase="message",
                preparing=False,
                json=asked,
                cookies=turn.conversation.cookies,
                refusal=_refusal,
            )
        except (NotFoundError, ProtocolError):
            # The app is another one by now, or was asleep: look again next time.
            self._found = None
            raise
        event = joined.get("event_id") if isinstance(joined, dict) else None
        if not isinstance(event, str) or not event:
            raise ProtocolError(f"the queue gave no event id: {quote(joined)}", phase="message")
        return event

    def _asked(self, turn: Turn, chat: Chat) -> tuple[str, list[Any], list[Any]]:
        """Return session, history and data of a turn.

        What the server gave last goes back to it unchanged. Where that is not
        there, or no longer is what has been said, the history is written anew.
        """
        state, said = turn.conversation.state, turn.history
        fits = state.get("fn_index") == chat.fn_index and state.get("said") == len(said)
        kept = state.get("session")
        goes_on = fits and chat.has("state") and isinstance(kept, str) and _HASH.fullmatch(kept)
        session = str(kept) if goes_on else "".join(secrets.choice(_LETTERS) for _ in range(10))
        asked = [*said, turn.message]
        unsaid = turn.system if not chat.has("system") else None
        history: list[Any] = []
        if chat.has("history"):
            if fits and isinstance(state.get("history"), list):
                history = list(state["history"])
            else:
                if unsaid:
                    first = {**asked[0], "content": as_prompt(asked[:1], unsaid)}
                    asked = [first, *asked[1:]]
                history = written(chat.shape, asked[:-1])
            if not chat.has("prompt"):
                history += written(chat.shape, asked[-1:])
            prompt = as_prompt(asked[-1:])
        elif goes_on:
            prompt = turn.prompt
        else:
            prompt = as_prompt(asked, unsaid)
        return session, history, chat.data(prompt, history, turn.system, self._set(turn, chat))

    def _set(self, turn: Turn, chat: Chat) -> dict[int, Any]:
        """Return the values of settings by position."""
        chosen = {chat.setting(name): value for name, value in turn.options["inputs"].items()}
        if turn.model:
            chosen[chat.setting("model")] = turn.model
        return chosen

    def _messages(self, turn: Turn, chunks: Iterable[bytes]) -> Iterator[dict[str, Any]]:
        """Yield the stream's messages; what is none is passed over, and counted."""
        for event in sse(chunks, _EVENT_LIMIT):
            try:
                yield loads(event.data)
            except ProtocolError as error:
                if self.strict:
                    raise
                turn.skipped += 1
                _logger.warning("passed over: %s", error)

    def _told(
        self, turn: Turn, chat: Chat, session: str, answer: Answer, message: dict[str, Any]
    ) -> Iterator[Event]:
        """Turn one message of the queue into events."""
        kind = message.get("msg")
        if kind == "estimation" and type(message.get("rank")) is int:
            yield Queued(
                message["rank"],
                _number(message.get("queue_size"), int),
                _number(message.get("rank_eta"), int, float),
            )
        elif kind == "process_starts":
            yield Status("started")
        elif kind == "process_generating":
            values = _values(message)
            if values is None or chat.output >= len(values):
                return  # an error is on its way (seen in the source)
            # The first value is whole in every version.
            if chat.protocol in _DIFFS and answer.begun:
                yield from answer.changes(values[chat.output])
            else:
                yield from answer.becomes(values[chat.output])
        elif kind == "process_completed":
            yield from self._completed(turn, chat, session, answer, message)
        elif kind == "log":
            yield Status("log", str(message.get("log") or ""))
        elif kind == "progress":
            yield Status("progress", _progress(message))
        elif kind == "unexpected_error":
            raise _unexpected(message)
        elif kind not in ("heartbeat", "close_stream"):
            yield Unknown(message)

    def _completed(
        self, turn: Turn, chat: Chat, session: str, answer: Answer, message: dict[str, Any]
    ) -> Iterator[Event]:
        values = _values(message)
        if message.get("success") is False or values is None:
            raise _failure(message.get("output"))
        value = held(values[chat.output]) if chat.output < len(values) else None
        found = read(value, answer.sent) if chat.output < len(values) else None
        if found is None:
            raise ProtocolError(f"the answer is in no shape of a chat: {quote(values)}")
        yield from answer.becomes(value)
        for file in found.files:
            yield self._file(turn, chat, file)
        state: dict[str, Any] = {"fn_index": chat.fn_index, "said": len(turn.history) + 2}
        if chat.has("state"):
            state["session"] = session
        if chat.has("history") and isinstance(value, list):
            state["history"] = value
        turn.conversation.state = state
        yield Finish(text=found.text)

    def _file(self, turn: Turn, chat: Chat, file: dict[str, Any]) -> File:
        """Return a file of the answer, read from the server that was asked."""
        path = f"{chat.prefix}/file={percent(file['path'])}"
        cookies = dict(turn.conversation.cookies)
        name = file.get("orig_name") or file["path"].rpartition("/")[2]
        return File(
            name=str(name),
            mime=str(file.get("mime_type") or ""),
            url=self.base_url + path,
            reader=lambda: self._download(path, phase="file", cookies=cookies),
        )


def _labelled(inputs: Mapping[str, Any] | None) -> dict[str, Any]:
    if inputs is not None and not isinstance(inputs, Mapping):
        raise UsageError('inputs is a mapping of labels to values: {"Temperature": 0.2}')
    for name in inputs or {}:
        if not isinstance(name, str):
            raise UsageError(f"an input is named by its label, not {name!r}")
    return dict(inputs or {})


def _number(value: Any, *kinds: type) -> Any:
    return value if type(value) in kinds else None


def _values(message: dict[str, Any]) -> list[Any] | None:
    """Return what a message says of the outputs, None where it says nothing."""
    output = message.get("output")
    values = output.get("data") if isinstance(output, dict) else None
    return values if isinstance(values, list) else None


def _progress(message: dict[str, Any]) -> str:
    """Return the words of the last unit of progress."""
    units = message.get("progress_data")
    unit = units[-1] if isinstance(units, list) and units else None
    if not isinstance(unit, dict):
        return ""
    done, of = unit.get("index"), unit.get("length")
    counted = f"{done}/{of}" if done is not None and of is not None else ""
    return f"{unit.get('desc') or ''} {counted}".strip()


def _failure(output: Any) -> C4AIError:
    """Return the error of an event that failed, in the app's own words."""
    if not isinstance(output, dict) or (output and "error" not in output):
        return ProtocolError(f"the event ended without an answer: {quote(output)}")
    if not output:
        return ModelError("the server gave no answer: the event was cancelled there")
    said = output["error"]
    # Until 4.21 an error without words is the word None, and until 4.44 a
    # gr.Error stands in quotes.
    if said in (None, "", "None"):
        return ModelError("the app failed and does not say why (its show_error is off)")
    words = said if isinstance(said, str) else quote(said)
    if len(words) > 2 and words[0] == words[-1] == "'":
        words = words[1:-1]
    return ModelError(quote(words))


def _unexpected(message: dict[str, Any]) -> C4AIError:
    """Return the error of an ``unexpected_error``; a stopping server repeats it for ever."""
    words = quote(message.get("message") or "the queue failed")
    if message.get("session_not_found") is True or words.startswith("404"):
        return NotFoundError(
            f"the server does not know this session: {words}; ask again", status=404, body=words
        )
    return ModelError(words)


def _refusal(answer: Any, said: str) -> C4AIError | None:
    """Return the error of a refusal that Gradio words in its own way."""
    if answer.status == 503 and "Queue is stopped" in said:
        return ServerError(
            f"the app has stopped its queue: {said}", status=503, body=said, lasting=True
        )
    return None


class Qwen(Gradio):
    """The Qwen2.5 Space, or any app in its layout."""

    provider = "qwen"
    label = "Qwen2.5"
    default_url = "https://qwen-qwen2-5.hf.space"
    default_model = "qwen-qwen2-5"
    built_in_models = ("qwen-qwen2-5",)
    model_aliases = {"qwen-2.5": "qwen-qwen2-5"}
    default_system: ClassVar[str] = (
        "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    )
    #: The Space's numbers, for when its config does not answer.
    layout: ClassVar[Chat] = Chat(
        fn_index=3,
        trigger_id=25,
        inputs=(
            Input("prompt"),
            Input("history", "chatbot"),
            Input("system", default=default_system),
            Input("setting", "radio", default="72B"),
        ),
        output=1,
    )

    def stream(
        self,
        messages: Messages,
        *,
        model: str | None = None,
        system: str | None = None,
        conversation: Conversation | None = None,
        files: Iterable[FileLike] = (),
        timeout: Any = None,
        inputs: Mapping[str, Any] | None = None,
        size: str | None = None,
    ) -> Stream:
        """Ask, and give the reply as it comes; see :meth:`ChatClient.stream`.

        Args:
            messages: What to ask.
            model: Which model.
            system: The system prompt; Qwen's own by default.
            conversation: What to go on with.
            files: Not taken yet.
            timeout: For this turn.
            inputs: As for :class:`Gradio`.
            size: Which size of the model, such as ``"72B"`` (the default),
                ``"0.5B"`` or ``"Coder-7B"``.
        """
        if size is not None and not (isinstance(size, str) and size):
            raise UsageError(f'size is a string such as "72B", not {size!r}')
        return self._stream(
            messages,
            model=model,
            system=system,
            conversation=conversation,
            files=files,
            timeout=timeout,
            options={"inputs": _labelled(inputs), "size": size},
        )

    def _find(self, call: Call) -> Chat:
        try:
            return super()._find(call)
        except (AuthError, RateLimitError, ServerError):
            raise
        except (StatusError, ProtocolError) as error:
            _logger.info("no config, so the Space's own numbers are used: %s", error)
            return self.layout

    def _set(self, turn: Turn, chat: Chat) -> dict[int, Any]:
        chosen = {chat.setting(name): value for name, value in turn.options["inputs"].items()}
        if (size := turn.options["size"]) is None:
            return chosen
        for i, entry in enumerate(chat.inputs):
            if entry.use == "setting" and entry.kind in ("radio", "dropdown"):
                return {**chosen, i: size}
        raise UsageError("this app offers no sizes to choose from", provider=self.provider)
