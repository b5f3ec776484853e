"""A talk in the terminal: a line that is typed is asked, or is a command."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import platformdirs

from ..client import ChatClient
from ..conversation import Conversation
from ..errors import C4AIError, UsageError
from ..stream import Stream
from .screen import Screen
from .servers import LOCAL, LOCAL_URL
from .terminal import tell

__all__ = ["Session", "Talk", "state_of"]

_KEPT_LINES = 2000
_FENCE = '"""'
_AT_ONCE = 0.5  # seconds
_LEAVE = ("/quit", "/exit", "quit", "exit")


@dataclass
class Session:
    """A client, where its answers go, and the conversation, if it is kept.

    Attributes:
        path: The file that the conversation is kept in.
        local: Whether the client's server is an emulator that ends with the command.
        seen: The state of that file, as :func:`state_of` tells, when the
            conversation was last read from it or written to it.
        next: What the next question takes beside its text.
        options: What every question takes, options of the provider's own.
    """

    client: ChatClient
    screen: Screen
    path: str | None = None
    seen: object = None
    local: bool = False
    conversation: Conversation | None = None
    next: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    _told: bool = False

    def ask(self, question: str) -> None:
        """Ask, show the answer, and keep what came of it."""
        self.show(self.client.stream(question, conversation=self.conversation, **self.given))

    @property
    def given(self) -> dict[str, Any]:
        """What is given with the next question."""
        return {**self.options, **self.next}

    def show(self, stream: Stream) -> None:
        """Show an answer, and keep what came of it."""
        if self.local and not self._told:
            tell(LOCAL)
            self._told = True
        asked, self.next = self.next, {}
        try:
            with stream:
                self.screen.show(stream)
        except BaseException:
            if not stream.text:
                self.next = asked  # to be sent with the next try
            raise
        finally:
            # One that another model began is empty until that has answered.
            if self.conversation is not None and stream.conversation.messages:
                self.conversation = stream.conversation
                self.keep()

    def keep(self) -> None:
        """Write the conversation to its file, if that is as it was left here."""
        if self.path and self.conversation is not None:
            with _alone_beside(self.path):
                if state_of(self.path) != self.seen:
                    raise UsageError(
                        f"{self.path} has been written by somebody else, whose words are left "
                        "there: this turn is not kept. In a talk, /save FILE keeps it"
                    )
                self.save(self.path)

    def save(self, path: str) -> None:
        """Write the conversation to *path*, where it is kept from now on."""
        kept = self.conversation or self.client.conversation()
        if self.local:  # the emulator's address and ids are nobody's tomorrow
            kept = kept.fork()
            kept.url = LOCAL_URL
        kept.save(path)
        self.path, self.seen = path, state_of(path)


def state_of(path: str | None) -> object:
    """Return what is another after each writing of a file, None where there is none."""
    try:
        told = os.stat(path or "")
    except OSError:
        return None
    return told.st_ino, told.st_mtime_ns


@contextlib.contextmanager
def _alone_beside(path: str) -> Iterator[None]:
    """Hold off who else keeps a conversation in that directory, where the system can.

    The file itself would be the wrong lock: another file takes its place.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):  # Windows, and some file systems
            import fcntl

            directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
            stack.callback(os.close, directory)
            fcntl.flock(directory, fcntl.LOCK_EX)
        yield


class Talk:
    """Reads what is typed until that ends.

    The methods named ``do_`` are its commands; their docstrings are the help.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._screen = session.screen
        self._client = session.client

    def run(self) -> None:
        """Ask what is typed until ``/quit`` or the end of input.

        Raises:
            KeyboardInterrupt: Ctrl-C came twice at an empty prompt.
        """
        with _interruptible() as interruptible, _line_editing(self._completions) as remember:
            self._screen.note(
                f"{self._client.provider}, {self._client.base_url}; "
                "/help tells what there is, /quit or Ctrl-D ends"
            )
            leaving, stopped_at = False, 0.0
            while True:
                try:
                    interruptible()
                    typed = self._screen.read("> ")
                except KeyboardInterrupt:
                    # One that comes right behind an answer was pressed to stop that.
                    empty = not _half_typed() and time.monotonic() - stopped_at > _AT_ONCE
                    if leaving and empty:
                        raise
                    leaving = empty
                    self._screen.note("\nCtrl-C again, Ctrl-D or /exit ends" if empty else "")
                    continue
                leaving = False
                if typed is None or typed.rstrip().lower() in _LEAVE:
                    return
                remember()
                try:
                    interruptible()
                    self._do(typed)
                except KeyboardInterrupt as error:
                    stopped_at = time.monotonic()
                    # Without words of the screen's it is the line of ^C that ends here.
                    stopped = "stopped; what came of the answer is kept" if error.args else ""
                    self._screen.note(stopped)
                except C4AIError as error:
                    tell(str(error))

    def _fenced(self, line: str) -> str:
        """Return the lines from a fence to the next; nothing where input ends before that."""
        lines = [line.rstrip("\n")[len(_FENCE) :]]
        while not lines[-1].endswith(_FENCE):
            more = self._screen.read(". ")
            if more is None:
                return ""
            lines.append(more.rstrip("\n"))
        return "\n".join(lines).removesuffix(_FENCE)

    def _do(self, typed: str) -> None:
        if typed.startswith(_FENCE):
            typed = " " + self._fenced(typed)  # as text, even where it begins like a command
        command = re.match(r"/([a-zA-Z]+)(?:\s+(.*))?\Z", typed.rstrip(), re.DOTALL)
        if command is None:
            if typed.strip():
                self._session.ask(typed.strip())
            return
        does = getattr(self, f"do_{command[1].lower()}", None)
        if does is None:
            raise UsageError(
                f"no command /{command[1]}: /help lists them; "
                "a line that begins with a space is asked as it is"
            )
        does(command[2] or "")

    @property
    def _conversation(self) -> Conversation:
        return self._session.conversation or self._client.conversation()

    def _set(self, **settings: Any) -> None:
        self._session.next = {**self._session.next, **settings}

    def do_regenerate(self, _: str) -> None:
        """/regenerate: ask the last question again; the new answer takes the old one's place."""
        self._session.show(self._conversation.regenerate(**self._session.given))

    def do_continue(self, _: str) -> None:
        """/continue: have the last answer go on where it stopped."""
        self._session.show(self._conversation.continue_(**self._session.given))

    def do_edit(self, text: str) -> None:
        """/edit [TEXT]: put the last question in other words; without TEXT it is there to edit."""
        asked = [m["content"] for m in self._conversation.messages if m["role"] == "user"]
        if not asked:
            raise UsageError("nothing has been asked yet")
        if not text:
            with _typed_already(asked[-1] if isinstance(asked[-1], str) else ""):
                text = (self._screen.read("edit> ") or "").strip()
        if text:
            self._session.show(self._conversation.edit(text, **self._session.given))

    def do_model(self, name: str) -> None:
        """/model [NAME]: ask another model from now on; without NAME the models are listed."""
        now = self._session.next.get("model") or self._conversation.model
        if not name:
            for model in self._client.models():
                self._screen.note(f"{'*' if model.id == now else ' '} {model.id}")
            return
        self._client.models()  # the server may know more than is built in
        self._set(model=self._client.get_model(name))
        self._screen.note(f"the next question goes to {self._session.next['model']}")

    def do_system(self, text: str) -> None:
        """/system [TEXT]: give another system prompt; without TEXT the present one is shown."""
        if text:
            self._set(system=text)
        now = self._session.next.get("system", self._conversation.system)
        self._screen.note(f"the system prompt is: {now}" if now else "there is no system prompt")

    def do_file(self, path: str) -> None:
        """/file [PATH]: send a file along with the next question; without PATH none goes along."""
        if not path:
            self._set(files=())
            self._screen.note("no file goes along with the next question")
            return
        path = os.path.expanduser(path)
        if not os.path.isfile(path):
            raise UsageError(f"there is no file {path!r}")
        self._set(files=(*self._session.next.get("files", ()), path))
        self._screen.note(f"{os.path.basename(path)} goes along with the next question")

    def do_save(self, path: str) -> None:
        """/save FILE: keep the conversation in FILE from now on; FILE.md is written once."""
        path = os.path.expanduser(path) or self._session.path or ""
        if not path:
            raise UsageError("in which file? /save FILE")
        if path != self._session.path and os.path.lexists(path):
            raise UsageError(f"{path} is there already: name a new file")
        if path.endswith(".md"):
            self._export(path)
        else:
            self._session.save(path)
        self._screen.note(f"saved in {path}")

    def do_new(self, _: str) -> None:
        """/new: begin a new conversation with the same model and system prompt."""
        self._session.conversation = self._conversation.fork(0)
        self._session.path = None

    def do_help(self, _: str) -> None:
        """/help: show this."""
        told = [getattr(self, f"do_{name}").__doc__.split(": ") for name in _COMMANDS]
        for command, does in (*told, ("/quit, /exit", "end; so does Ctrl-D.")):
            self._screen.note(f"{command:<15} {does}")
        self._screen.note(f"{_FENCE:<15} begins a question of several lines, and ends it")
        self._screen.note(f"{'Ctrl-C':<15} stops an answer; what came of it is kept")
        self._screen.note(
            f"{'':<15} at the prompt it drops what is typed; twice at an empty one ends"
        )

    def _export(self, path: str) -> None:
        try:
            with open(path, "w", encoding="utf-8") as opened:
                opened.write(self._conversation.export())
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error

    def _completions(self, line: str, word: str) -> list[str]:
        """Return what *word*, the last one of *line*, may become."""
        command, space, _ = line.partition(" ")
        if not space:
            names = (f"/{name} " for name in (*_COMMANDS, "quit", "exit"))
        elif command in ("/file", "/save"):
            found = glob.iglob(glob.escape(os.path.expanduser(word)) + "*")
            return sorted(f"{name}/" if os.path.isdir(name) else name for name in found)
        elif command == "/model":
            listed = (*self._client.built_in_models, *self._client.model_aliases)
            names = (name for name in dict.fromkeys(listed))
        else:
            return []
        return [name for name in names if name.startswith(word)]


_COMMANDS = tuple(name.removeprefix("do_") for name in vars(Talk) if name.startswith("do_"))


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
    """Yield what lets the next Ctrl-C through, that one alone.

    Whoever presses it again while an answer is being stopped wants nothing more.
    """
    through = False

    def let_through() -> None:
        nonlocal through
        through = True

    def interrupt(*_: object) -> None:
        nonlocal through
        if through:
            through = False
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield let_through
    finally:
        signal.signal(signal.SIGINT, before)


def _half_typed() -> str:
    """Return what stood in the line that was interrupted."""
    try:
        import readline
    except ImportError:
        return ""
    return readline.get_line_buffer()


@contextlib.contextmanager
def _line_editing(completions: Callable[[str, str], list[str]]) -> Iterator[Callable[[], None]]:
    """Give ``input()`` line editing, completion and a history that lasts, where Python can.

    Yields what puts the line typed last into the history's file.
    """
    try:
        import readline
    except ImportError:
        yield lambda: None
        return
    history = platformdirs.user_state_path("c4ai_clients") / "history"
    with contextlib.suppress(OSError):
        history.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        history.touch(mode=0o600)
        readline.read_history_file(history)
        if readline.get_current_history_length() > _KEPT_LINES:
            readline.set_history_length(_KEPT_LINES // 2)
            readline.write_history_file(history)

    def remember() -> None:
        with contextlib.suppress(OSError, AttributeError):  # editline cannot append
            readline.append_history_file(1, history)

    def complete(word: str, state: int) -> str | None:
        found = completions(readline.get_line_buffer(), word)
        return found[state] if state < len(found) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" ")
    readline.parse_and_bind("tab: complete")
    readline.parse_and_bind("set enable-bracketed-paste on")  # lines that are pasted stay one text
    yield remember


@contextlib.contextmanager
def _typed_already(text: str) -> Iterator[None]:
    """Have the next line begin with *text*, there to be edited."""
    try:
        import readline
    except ImportError:
        raise UsageError("say it in one line: /edit TEXT") from None
    readline.set_startup_hook(lambda: readline.insert_text(text))
    try:
        yield
    finally:
        readline.set_startup_hook()
