"""``Conversation``: what has been said, and how to go on."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import stat
import tempfile
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeGuard

from . import markup
from .decoding import parsed
from .errors import ProtocolError, UsageError, quote
from .messages import Message, checked, text_of
from .secret import Secret

if TYPE_CHECKING:
    from .client import ChatClient
    from .messages import Messages
    from .stream import Reply, Stream, Turn

__all__ = ["Act", "Conversation", "Revision", "is_id"]

_FORMAT = 1
_LIMIT = 256 << 20
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")

Act = Literal["ask", "regenerate", "edit", "continue"]


def is_id(value: object) -> TypeGuard[str]:
    """Tell whether *value* may be an id of a server's: it becomes a part of paths."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


class Revision(NamedTuple):
    """A conversation of which the question at index *at* is asked again."""

    conversation: Conversation
    act: Act
    at: int


class Conversation:
    """What has been said, and how to go on.

    Attributes:
        messages: ``{"role", "content"}`` each, without the system prompt; an
            answer that did not become complete has ``"interrupted": True``.
        system: The system prompt, or None.
        model: The server's own name of the model.
        id: The server's id for it, or None.
        title: The server's title for it, or None where none has come.
        client: The client to go on with, or None.
        provider: The provider of the client that began it.
        url: The server that it is with, the ``base_url`` of that client.
        state: What the provider needs to go on; plain values.
        cookies: The server's cookies; sent to no other server, and shown nowhere.
        keep: Whether the server is to keep it; where it keeps none, no matter.
    """

    def __init__(
        self, client: ChatClient | None, *, system: str | None = None, model: str = ""
    ) -> None:
        self.client = client
        self.provider = client.provider if client is not None else ""
        self.url = client.base_url if client is not None else ""
        self.system = system
        self.model = model
        self.id: str | None = None
        self.title: str | None = None
        self.messages: list[Message] = []
        self.state: dict[str, Any] = {}
        self.cookies: dict[str, str] = {}
        self.keep = False
        self._lock = threading.RLock()  # a stream's finalizer may take it again
        self._reader: weakref.ref[Stream] | None = None

    def __repr__(self) -> str:
        model = f" with {self.model}" if self.model else ""
        title = f" {quote(self.title)!r}" if self.title else ""
        return f"<Conversation {self.id or 'new'}{title}{model}: {len(self.messages)} messages>"

    def _repr_html_(self) -> str:
        parts = [markup.small(repr(self)[1:-1])]
        if self.system is not None:
            parts.append("<b>System</b>" + markup.plain(self.system))
        for said in self._said():
            asked = said["role"] != "assistant"
            words = markup.plain(text_of(said)) if asked else markup.html(text_of(said))
            parts.append(f"<b>{'User' if asked else 'Assistant'}</b>{words}")
            if said.get("interrupted"):
                parts.append(markup.small("Interrupted."))
        return "".join(parts)

    def stream(self, messages: Messages, **options: Any) -> Stream:
        """Ask the next question; takes what the client's ``stream`` takes.

        Raises:
            UsageError: Another stream of this conversation is not over; there
                is no client; or it cannot be sent as asked.
        """
        return self._client().stream(messages, conversation=self, **options)

    def chat(self, messages: Messages, **options: Any) -> Reply:
        """Ask the next question and return the whole reply."""
        return self.stream(messages, **options).reply()

    def regenerate(self, **options: Any) -> Stream:
        """Ask the last question again; the new answer takes the old one's place.

        Args:
            **options: What the client's ``stream`` takes.

        Raises:
            UsageError: Nothing has been asked yet.
        """
        return self._again("regenerate", None, None, options)

    def edit(self, messages: Messages, *, at: int | None = None, **options: Any) -> Stream:
        """Ask *messages* in the place of an earlier question; what followed that is left.

        Args:
            messages: The new question.
            at: The index in ``messages`` of the question to replace; the last
                one by default.
            **options: What the client's ``stream`` takes.

        Raises:
            UsageError: There is no question at that index.
        """
        return self._again("edit", messages, at, options)

    def continue_(self, **options: Any) -> Stream:
        """Have the last answer go on where it stopped; only the rest is streamed.

        Only chat-ui until 2025-09 can do that (seen: recordings B).

        Args:
            **options: What the client's ``stream`` takes.

        Raises:
            UsageError: There is no answer yet, or the server cannot do it.
        """
        return self._again("continue", None, None, options)

    def fork(self, at: int | None = None) -> Conversation:
        """Return a second conversation that goes on from here, or from message *at*.

        Args:
            at: How many messages to keep; all by default.

        Raises:
            UsageError: There are not so many.
        """
        count = len(self.messages)
        if at is not None and (type(at) is not int or not 0 <= at <= count):
            raise UsageError(f"there are {count} messages: fork at 0 to {count}, not {at!r}")
        other = Conversation(self.client, system=self.system, model=self.model)
        other.messages = copy.deepcopy(self.messages[:at])
        other.keep = self.keep
        return other

    def delete(self) -> None:
        """Delete it on the server.

        Raises:
            UsageError: The provider keeps no conversations (AutonomousAI, Gradio).
            C4AIError: The server has not deleted it.
        """
        self._client()._delete(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to *path* as JSON, readable by its owner only.

        The file is written beside and moved into place, so a conversation
        saved there before is never lost halfway. What stands in it is told in
        ``docs/conversations.md``; it holds the server's cookies.

        Raises:
            UsageError: It cannot be written there, or what is there is no
                regular file, but a link, a device or a pipe.
        """
        record = {
            "format": _FORMAT,
            "provider": self.provider,
            "url": self.url,
            "id": self.id,
            "title": self.title,
            "model": self.model,
            "system": self.system,
            "messages": self.messages,
            "state": self.state,
            "cookies": self.cookies,
            "keep": self.keep,
        }
        target = os.fsdecode(path)
        try:
            _check_regular(target)
            _write(target, record)
        except OSError as error:
            raise UsageError(f"cannot write {target}: {error.strerror}") from error

    def export(self) -> str:
        """Return it as Markdown: who said what, in order, and what was interrupted."""
        parts = [f"_{self.provider or 'a server'}, {self.model or 'its model'}_"]
        if self.system is not None:
            parts.append("> " + self.system.replace("\n", "\n> "))
        for said in self._said():
            cut = " (interrupted)" if said.get("interrupted") else ""
            parts.append(f"**{said['role'].capitalize()}{cut}**\n\n{text_of(said)}")
        return markup.whole("\n\n".join(parts) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str], client: ChatClient | None = None) -> Conversation:
        """Read a conversation that :meth:`save` wrote.

        Args:
            path: Where it lies.
            client: What to go on with; needed before the next question.

        Raises:
            UsageError: The file cannot be read, holds something else, or
                belongs to another server or protocol than *client*.
        """
        name = os.fspath(path)
        record = _read(name)
        written = record.get("format") if isinstance(record, dict) else None
        if type(written) is int and written > _FORMAT:
            raise UsageError(
                f"{name} was saved by a newer c4ai_clients (its format is {written}, the newest "
                f"known here {_FORMAT}): pip install --upgrade c4ai-clients"
            )
        if written != _FORMAT:
            raise UsageError(f"{name} holds no saved conversation")
        loaded = cls(None)
        for key, fits in _FIELDS.items():
            value = record.get(key)
            if not fits(value):
                raise UsageError(f"{name} holds no saved conversation: {key} is wrong")
            setattr(loaded, key, value)
        if not loaded.url and (loaded.id or loaded.cookies):
            raise UsageError(f"{name} does not say whose its id and cookies are")
        loaded.messages = [
            checked(said, at) | ({"interrupted": True} if said.get("interrupted") is True else {})
            for at, said in enumerate(loaded.messages)
        ]
        loaded.client = client
        if client is not None:
            loaded.check(client)
        return loaded

    def check(self, client: ChatClient) -> None:
        """Refuse a client of another server or protocol: ids and cookies are not its business.

        A protocol's class and its presets, such as ``ChatUI`` and ``C4AICommand``
        or ``Gradio`` and ``Qwen``, go on with each other's conversations.

        Raises:
            UsageError: The conversation belongs elsewhere, or *client* is none.
        """
        from .client import ChatClient  # which imports this module

        if not isinstance(client, ChatClient):
            given: Any = client  # not shown: a URL may hold a login
            kind = (
                f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
            )
            raise UsageError(f'client is a client, such as ChatUI("https://…"), not {kind}')
        if self.url and self.url != client.base_url:
            raise UsageError(
                f"this conversation is with {self.url}, the client with {client.base_url}: "
                "begin a new one, or use a client for that server"
            )
        if self.provider and self.provider not in client._speakers():
            raise UsageError(
                f"this conversation is of the provider {self.provider}, the client of "
                f"{client.provider}, which speaks another protocol: begin a new one"
            )

    def __getstate__(self) -> dict[str, Any]:
        kept = self.__dict__.copy()
        for name in ("_lock", "_reader", "cookies"):
            del kept[name]
        return kept

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.cookies = {}
        self._lock = threading.RLock()  # a stream's finalizer may take it again
        self._reader = None

    def _again(
        self, act: Act, messages: Messages | None, at: int | None, options: dict[str, Any]
    ) -> Stream:
        questions = [i for i, said in enumerate(self._said()) if said["role"] == "user"]
        if not questions:
            raise UsageError("nothing has been asked in this conversation yet: use stream()")
        if at is None:
            at = questions[-1]
        elif at not in questions:
            raise UsageError(f"message {at} is no question; those are {questions}")
        if act == "continue" and self.messages[-1]["role"] != "assistant":
            raise UsageError("there is no answer that could go on: use stream()")
        asked = [self.messages[at]] if messages is None else messages
        revision: Any = Revision(self, act, at)
        return self._client().stream(asked, conversation=revision, **options)

    def _said(self) -> list[Message]:
        """Return the messages, looked at: anybody may have written into the list."""
        for at, said in enumerate(self.messages):
            try:
                checked(said, at)
            except UsageError as error:
                raise UsageError(f"in the conversation, {error.args[0]}") from None
        return self.messages

    def _client(self) -> ChatClient:
        if self.client is None:
            raise UsageError("give the client to go on with: Conversation.load(path, client)")
        return self.client

    def _busy_with(self) -> Stream | None:
        stream = self._reader() if self._reader is not None else None
        return stream if stream is not None and not (stream._over or stream.done) else None

    def _check_free(self) -> None:
        if self._busy_with() is not None:
            raise UsageError(
                "this conversation is busy with another stream, which leaving its loop does not "
                "end: read it to its end or cancel() it"
            )

    def _begin(self, stream: Stream) -> None:
        """Bind *stream*'s turn to this conversation."""
        with self._lock:
            if self._busy_with() is not stream:
                self._check_free()
            self._reader = weakref.ref(stream)

    def _end(self, stream: Stream) -> None:
        with self._lock:
            if stream._title is not None:
                self.title = stream._title.title
            if self._reader is not None and self._reader() in (stream, None):
                self._reader = None

    def _remember(self, turn: Turn, text: str, *, interrupted: bool) -> None:
        """Add a turn to what has been said, in the place that it was asked for."""
        text = turn.begun + text
        answer: Message = {"role": "assistant", "content": text}
        if interrupted:
            answer["interrupted"] = True
        self.messages = [*turn.history, turn.message, answer]


def _check_regular(path: str) -> None:
    """Refuse what is there and is no regular file: moving ours into its place would destroy it."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a directory"}
        what = kinds.get(stat.S_IFMT(mode), "no regular file")
        raise UsageError(f"cannot write {path}: it is {what}; name another file")


def _write(target: str, record: dict[str, Any]) -> None:
    handle, beside = tempfile.mkstemp(  # made with mode 0600
        prefix=".c4ai-", suffix=".json", dir=os.path.dirname(target) or "."
    )
    try:
        with os.fdopen(handle, "w", encoding="ascii") as opened:
            json.dump(record, opened, indent=1)
            opened.flush()
            os.fsync(handle)  # or the move may be on the disk before the words are
        os.replace(beside, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        raise


def _read(name: str) -> Any:
    """Return a file's JSON, its cookies as secrets."""
    try:
        with open(name, "rb") as opened:
            data = opened.read(_LIMIT + 1)
        record = parsed(data) if len(data) <= _LIMIT else None
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}") from error
    except ProtocolError:
        data = b""  # it may hold cookies, and stands in a traceback's variables
        raise UsageError(
            f"{name} holds no saved conversation: it is not JSON, or nested too deep"
        ) from None
    if isinstance(record, dict) and _is_jar(record.get("cookies")):
        record["cookies"] = {key: Secret(value) for key, value in record["cookies"].items()}
    return record


def _is_jar(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "provider": _is_text,
    "url": _is_text,
    "id": lambda value: value is None or is_id(value),
    "title": _is_text_or_none,  # missing in files that were saved before there was one
    "model": _is_text,
    "system": _is_text_or_none,
    "messages": lambda value: isinstance(value, list),
    "state": lambda value: isinstance(value, dict),
    "cookies": _is_jar,
    "keep": lambda value: isinstance(value, bool),
}
