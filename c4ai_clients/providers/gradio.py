"""Any Gradio chat app, and the Qwen2.5 Space, over Gradio's queue.

1. ``GET /config``, once per client, tells the protocol, the prefix of all other
   paths, and the listener that chats. Where a login is wanted, ``POST /login``
   comes first; files go ahead of the message by ``POST /upload``.
2. ``POST /queue/join`` with ``data``, ``fn_index`` and a session hash asks; from
   4.9 on this is the message, and is answered with an ``event_id``.
3. ``GET /queue/data?session_hash=`` streams: ``estimation``, ``process_starts``,
   ``process_generating`` (the outputs' values; from 4.17 on only the first are
   whole, later ones are edits), and ``process_completed``, which ends the reply.
4. In 4.0 to 4.8 ``GET /queue/join`` is the stream, and ``POST /queue/data`` the
   message, sent when the stream asks for it with ``send_data``; 3.50 says the
   same over a websocket. ``/call/NAME`` is asked where the queue is closed.

Seen on servers of 3.50, 4.2, 4.16, 4.19, 4.21, 4.44, 5.50 and 6.31.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import secrets
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from time import monotonic
from typing import Any, ClassVar

from ..client import ChatClient
from ..clocks import Call, TimeoutLike
from ..conversation import Conversation
from ..decoding import DEPTH, parsed
from ..errors import (
    AuthError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    ServerError,
    StatusError,
    UsageError,
)
from ..events import Event, File, Started
from ..messages import FileLike, Messages, as_prompt, images_of
from ..secret import hidden
from ..stream import Stream, Turn
from .gradio_chat import Chat, Input, describe, sendable, written
from .gradio_config import CONFIG_LIMIT, find_chat
from .gradio_files import placed, shown, uploaded
from .gradio_messages import Telling, refusal
from .gradio_queue import CALL_SINCE, Question, Said, called, joined, old_joined, sent
from .gradio_websocket import talked

__all__ = ["Gradio", "Qwen"]

_HASH = re.compile(r"[a-z0-9]{10}")

_logger = logging.getLogger("c4ai_clients")


class Gradio(ChatClient):
    """A client of any Gradio app that chats; it finds the chat by itself.

    A system prompt goes into the app's input for it; where the app has none it
    is written into the first prompt, which is all that such an app reads.

    Seen: real servers of 3.50, 4.2, 4.16, 4.19, 4.21, 4.44, 5.50 and 6.31.

    Args:
        base_url: The app, such as ``https://name.hf.space``.
        api_name: The listener to ask, where the app has several chats.
        fn_index: The same by number.
        auth: User and password, where the app itself wants a login. A Space
            that is private wants a token, as ``api_key``.
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
        auth: tuple[str, str] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(base_url, **settings)
        self.api_name = api_name
        self.fn_index = fn_index
        self._login = _login(auth)
        self._cookies: dict[str, str] = {}
        self._found: Chat | None = None
        self._begin()

    def _begin(self) -> None:
        """Let the next who needs the app's chat ask for it."""
        self._pid = os.getpid()
        self._busy = False
        self._finding = threading.Condition()

    def stream(
        self,
        messages: Messages,
        *,
        model: str | None = None,
        system: str | None = None,
        conversation: Conversation | None = None,
        files: Iterable[FileLike] = (),
        timeout: TimeoutLike = None,
        inputs: Mapping[str, Any] | Mapping[int, Any] | None = None,
    ) -> Stream:
        """Ask, and give the reply as it comes; see :meth:`ChatClient.stream`.

        Args:
            messages: What to ask.
            model: Which model, where the app has an input labelled so.
            system: The system prompt; the app's own by default.
            conversation: What to go on with.
            files: Paths, bytes or open files, where the app takes files.
            timeout: For this turn.
            inputs: Values for the app's other inputs by their labels, such as
                ``{"Temperature": 0.2}``, or by their numbers, ``{4: 0.2}``;
                :meth:`describe` lists them.
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
        for name in ("_pid", "_finding", "_busy", "_login", "_cookies"):
            del state["rest"][name]
        if self._login is not None:
            state["missing"] = (*state["missing"], "auth")
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._login = None
        self._cookies = {}
        self._begin()

    def _check(self, turn: Turn) -> None:
        for url in images_of(turn.message):
            if not url.startswith("data:"):
                raise UsageError(
                    f"{self.provider} takes images with the question, not their URLs: "
                    "give files=[…], or a data: URL",
                    provider=self.provider,
                )
        if self._found is not None:
            placed(self._found, turn)

    def _events(self, turn: Turn) -> Iterator[Event]:
        return self._answer(turn) if self._login is None else self._logged_in(turn)

    def _logged_in(self, turn: Turn) -> Iterator[Event]:
        """Answer; where our login has ended the server took nothing, so ask again."""
        with contextlib.closing(self._answer(turn)) as events:
            try:
                begun = next(events)
            except AuthError as error:
                if error.status not in (401, 403):
                    raise
            else:
                yield begun
                yield from events
                return
        with self._finding:
            self._found = None
            self._cookies = {}
        yield from self._answer(turn)

    def _answer(self, turn: Turn) -> Generator[Event, None, None]:
        conversation = turn.conversation
        try:
            chat = self._chat(turn.call)
            conversation.cookies.update(self._cookies)
            session, history, data = self._asked(turn, chat)
            question = Question(turn, chat, data, session, self._transport, self.strict)
            telling = Telling(
                chat,
                history,
                file=lambda file: self._file(turn, chat, file),
                keep=lambda value: self._keep(question, value),
                look=turn.call.check,
            )
            said = self._said(question)
            yield Started(conversation)
            yield from telling.events(said)
        except (NotFoundError, ProtocolError, ServerError) as error:
            if error.phase == "message" and getattr(error, "status", 500) in (404, 500):
                # The app is another one by now, or was asleep: look again next time.
                self._found = None
            raise

    def _said(self, question: Question) -> Said:
        """Ask in the way that the app's version wants; return what it says."""
        chat = question.chat
        if chat.protocol == "ws":
            return sent(talked(question))
        if chat.protocol == "sse":
            return sent(old_joined(question))
        try:
            return sent(joined(question))
        except StatusError as error:
            closed = error.phase == "message" and error.status in (403, 404, 405)
            if not (closed and chat.name and chat.version >= CALL_SINCE):
                raise
            refused = error
        # The queue's own endpoint is closed; the same listener has a second door.
        try:
            return sent(called(question))
        except StatusError as error:
            if error.phase == "message":
                raise refused from error
            raise

    def _chat(self, call: Call) -> Chat:
        """Return the app's chat; its config is asked for once, by the first who needs it."""
        if self._pid != os.getpid():  # whoever asks in the parent process asks for that alone
            self._begin()

        def wake() -> None:
            with self._finding:
                self._finding.notify_all()

        call.on_cancel(wake)
        try:
            with self._finding:
                while self._busy:
                    start = monotonic()
                    self._finding.wait(call.before_wait())
                    call.waited(monotonic() - start)
                if self._found is not None:
                    return self._found
                self._busy = True
        finally:
            call.forget(wake)
        try:
            self._found = found = self._find(call)
            return found
        finally:
            with self._finding:
                self._busy = False
                self._finding.notify_all()

    def _find(self, call: Call) -> Chat:
        if self._login is not None and not self._cookies:
            self._log_in(call, *self._login)
        config = self._transport.fetch(
            call,
            "GET",
            "/config",
            phase="config",
            limit=CONFIG_LIMIT,
            cookies=self._cookies,
            refusal=refusal,
        )
        with self._transport.described(call, "config"):
            return find_chat(config, api_name=self.api_name, fn_index=self.fn_index)

    def _log_in(self, call: Call, user: str, password: str) -> None:
        """Log in; the answer's cookies are the login from then on."""
        cookies: dict[str, str] = {}
        self._transport.fetch(
            call,
            "POST",
            "/login",
            phase="login",
            data={"username": user, "password": password},
            cookies=cookies,
            refusal=refusal,
        )
        self._cookies = cookies

    def _asked(self, turn: Turn, chat: Chat) -> tuple[str, list[Any], list[Any]]:
        """Return session, history and data of a turn.

        What the server gave last goes back to it unchanged. Where that is not
        there, or no longer is what has been said, the history is written anew.
        """
        state, said = turn.conversation.state, turn.history
        fits = state.get("fn_index") == chat.fn_index and state.get("said") == len(said)
        kept = state.get("session")
        goes_on = fits and chat.has("state") and isinstance(kept, str) and _HASH.fullmatch(kept)
        session = str(kept) if goes_on else secrets.token_hex(5)
        asked = [*said, turn.message]
        unsaid = turn.system if not chat.has("system") else None
        history: list[Any] = []
        if chat.has("history"):
            if fits and isinstance(state.get("history"), list):
                history = sendable(state["history"])
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
        settings = self._set(turn, chat)
        files = uploaded(self._transport, turn, chat)
        return session, history, chat.data(prompt, history, turn.system, settings, files)

    def _set(self, turn: Turn, chat: Chat) -> dict[int, Any]:
        """Return the values of settings by position."""
        chosen = {chat.setting(name): value for name, value in turn.options["inputs"].items()}
        if turn.model:
            chosen[chat.setting("model")] = turn.model
        return chosen

    def _keep(self, question: Question, value: Any) -> None:
        """Remember in the conversation what the server needs to go on."""
        chat, turn = question.chat, question.turn
        state: dict[str, Any] = {"fn_index": chat.fn_index, "said": len(turn.history) + 2}
        if chat.has("state") and question.in_session:
            state["session"] = question.session
        if chat.has("history") and isinstance(value, list):
            state["history"] = value
        turn.conversation.state = state

    def _file(self, turn: Turn, chat: Chat, file: dict[str, Any]) -> File:
        cookies = dict(turn.conversation.cookies)
        return shown(
            file,
            self.base_url,
            chat.prefix,
            lambda path: self._download(path, phase="file", cookies=cookies),
        )


def _labelled(inputs: Mapping[str, Any] | Mapping[int, Any] | None) -> dict[str, Any]:
    """Return inputs as JSON holds them, each checked."""
    if inputs is not None and not isinstance(inputs, Mapping):
        raise UsageError('inputs is a mapping of labels or numbers to values: {"Temperature": 0.2}')
    checked = {}
    for name, value in (inputs or {}).items():
        if type(name) is not int and not isinstance(name, str):
            raise UsageError(f"an input is named by its label or number, not {name!r}")
        try:
            checked[str(name)] = parsed(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError, RecursionError, ProtocolError) as error:
            raise UsageError(
                f"the input {name!r} cannot be sent as JSON: give text, a finite number, True, "
                f"False, None, or lists and dicts of these, at most {DEPTH} deep"
            ) from error
    return checked


def _login(auth: object) -> tuple[str, str] | None:
    """Return user and password, checked; an error shows neither."""
    if auth is None:
        return None
    if not isinstance(auth, (tuple, list)) or [type(part) for part in auth] != [str, str]:
        raise UsageError('auth is a pair of strings: auth=("user", "password")')
    return hidden((auth[0], auth[1]))


class Qwen(Gradio):
    """The Qwen2.5 Space, or any app in its layout.

    Seen: an app in that layout, on six versions of Gradio; the Space itself was
    never recorded. The settings are those of :class:`Gradio`.
    """

    provider = "qwen"
    label = "Qwen2.5"
    default_url = "https://qwen-qwen2-5.hf.space"
    default_model = "qwen-qwen2-5"
    built_in_models = ("qwen-qwen2-5",)
    model_aliases = {"qwen-2.5": "qwen-qwen2-5"}
    _model_hint = "; its sizes are no models: name one with size="
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
        timeout: TimeoutLike = None,
        inputs: Mapping[str, Any] | Mapping[int, Any] | None = None,
        size: str | None = None,
    ) -> Stream:
        """Ask, and give the reply as it comes; see :meth:`ChatClient.stream`.

        Args:
            messages: What to ask.
            model: Which model.
            system: The system prompt; Qwen's own by default.
            conversation: What to go on with.
            files: Paths, bytes or open files, where the app takes files.
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
