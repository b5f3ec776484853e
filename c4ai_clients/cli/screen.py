"""How an answer is shown while it comes."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from ..events import Event, Finish, Queued, Reasoning, Status, Text
from ..markup import clean
from ..stream import Reply, Stream
from .terminal import is_terminal, tell

if TYPE_CHECKING:  # rich is loaded where there is a terminal
    from rich.console import Console
    from rich.status import Status as Spinner
    from rich.text import Text as Words

__all__ = ["Screen"]


class Screen:
    """Shows answers: their text on standard output, the rest on standard error.

    Args:
        whole: Whether an answer is shown only when it is complete.
        as_json: Whether it is shown as a line of JSON.
        spins: Whether words about progress may be drawn over.
    """

    def __init__(self, whole: bool, as_json: bool, *, spins: bool) -> None:
        self.whole = whole or as_json
        self.as_json = as_json
        self.terminal = is_terminal(sys.stdout)
        self._console: Console | None = None
        if is_terminal(sys.stderr):
            from rich.console import Console

            self._console = Console(stderr=True)
        self._dim = "" if self._console is None or self._console.no_color else "dim"
        self._spins = spins and self._console is not None and not self._console.is_dumb_terminal
        self._spinner: Spinner | None = None
        self._title: str | None = None
        self._line: Any = None  # the stream that left the terminal's line open
        self._said = False

    def show(self, stream: Stream) -> None:
        """Show one answer as it comes."""
        self._said = False
        self.words("waiting for the answer")
        try:
            for event in stream.events():
                self._event(event)
                if isinstance(event, Finish) and not self.whole:
                    break
            for _ in stream:  # waits less long for a late title than events() does
                pass
            reply = stream.reply()
            if self.whole:
                self._answer(json.dumps(reply.to_dict()) if self.as_json else reply.text)
            self._said = True
        except KeyboardInterrupt:
            # ^C stands in the terminal's line now; a spinner wipes its own away.
            if self._console is not None and self._spinner is None:
                self._line = self._line or sys.stderr
            raise KeyboardInterrupt("on a line of its own") from None
        finally:
            self._settle()
        self._after(reply)

    def words(self, words: str) -> None:
        """Show what is going on, until there is something better to show."""
        if self._console is None or not self._spins or self._said or self._line:
            return
        if self._spinner is None:
            self._spinner = self._console.status(self._dimmed(words))
            self._spinner.start()
        self._spinner.update(self._dimmed(words))

    def note(self, words: str) -> None:
        """Show a line of words, where there is a terminal for them."""
        if self._console is not None:
            self._console.print(self._dimmed(words), soft_wrap=True)

    def read(self, mark: str) -> str | None:
        """Return the line that is typed at *mark*, None at the end of input."""
        try:
            if self.terminal:
                return input(mark)
            print(mark, end="", file=sys.stderr, flush=True)  # the answers go elsewhere
            return sys.stdin.readline() or None
        except EOFError:
            print(file=sys.stderr)
            return None

    def _event(self, event: Event) -> None:
        if isinstance(event, Text):
            if not self.whole:
                self._answer(event.text)
        elif isinstance(event, Reasoning):
            self._thought(event.text)
        elif isinstance(event, Queued):
            size = "" if event.size is None else f" of {event.size}"
            eta = "" if event.eta is None else f", about {event.eta:.0f} s"
            self.words(f"in the queue, place {event.position + 1}{size}{eta}")
        elif isinstance(event, Status) and event.message:
            self.words(event.message)

    def _dimmed(self, words: str) -> Words:
        from rich.text import Text as Words

        return Words(clean(words), self._dim)

    def _answer(self, text: str) -> None:
        self._still()
        if self._line is sys.stderr:
            self._end_line()
        text = clean(text) if self.terminal else text
        if text:
            # Noted first: Ctrl-C may come as soon as it is printed.
            self._said = True
            self._line = sys.stdout if self.terminal and not text.endswith("\n") else None
            print(text, end="", flush=True)

    def _thought(self, text: str) -> None:
        if self._console is None:
            return
        self._still()
        if self._line is sys.stdout:
            self._end_line()
        self._console.print(self._dimmed(text), end="", soft_wrap=True)
        self._line = sys.stderr

    def _still(self) -> None:
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None

    def _end_line(self) -> None:
        if self._line is not None:
            print(file=self._line, flush=True)
            self._line = None

    def _settle(self) -> None:
        """End the line, however the answer ended; an answer in a pipe has one newline more."""
        self._still()
        self._end_line()
        if self._said and not self.terminal:
            print(flush=True)

    def _after(self, reply: Reply) -> None:
        if reply.rewritten and not self.whole:
            tell("the server rewrote its answer at the end; --no-stream prints what it made of it")
        if reply.title and reply.title != self._title:
            self.note(f"title: {reply.title}")
            self._title = reply.title
        if reply.finish_reason in ("length", "interrupted"):
            self.note(f"the answer is cut: {reply.finish_reason}")
