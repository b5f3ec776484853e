"""``Stream``, one reply while it comes, and ``Reply``, one that is complete.

Rules that this file keeps:

1. Nothing is sent before the first piece is asked for.
2. ``for``, ``events()`` and ``reply()`` share one cursor.
3. A reply is complete when its protocol says so (``Finish``). What happens to
   the connection afterwards changes nothing.
4. However a stream ends, what came of the answer stays: in ``text``, in the
   error's ``partial``, and in the conversation.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from . import markup
from .clocks import Call
from .errors import C4AIError, CancelledError, IncompleteReplyError, UsageError
from .events import (
    CONTENT,
    Event,
    File,
    Finish,
    Queued,
    Reasoning,
    Sources,
    Status,
    Text,
    Title,
    ToolCall,
    Usage,
)
from .messages import Message, Upload, text_of
from .pieces import Pieces
from .secret import withhold

if TYPE_CHECKING:
    from .conversation import Act, Conversation

__all__ = ["Reply", "Stream", "Timing", "Turn"]

_KEPT = (Reasoning, Sources, File, ToolCall)
_TAIL_OF_FOR = 0.3
_TAIL_OF_EVENTS = 5.0

_logger = logging.getLogger("c4ai_clients")


@dataclass
class Turn:
    """One question on its way: what a provider needs to ask it.

    Attributes:
        call: Its clocks and its cancel mark.
        conversation: Where it belongs; holds what was said before.
        message: The user's new message.
        history: What was said before, system messages left out.
        system: The system prompt, or None.
        model: The server's own name of the model.
        uploads: Files to send along.
        options: The provider's own options.
        act: Whether it is a new question, or one that is asked again.
        begun: What there is already of an answer that goes on.
        done: Whether its reply is complete; set by the stream.
        skipped: Lines of the answer that were no records and were passed over.
        said: What has been given of the answer's text; written by the stream.
        thought: What has been given of its reasoning.
    """

    call: Call
    conversation: Conversation
    message: Message
    history: list[Message]
    system: str | None
    model: str
    uploads: list[Upload] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    act: Act = "ask"
    begun: str = ""
    done: bool = False
    skipped: int = 0
    said: Pieces = field(default_factory=Pieces)
    thought: Pieces = field(default_factory=Pieces)

    @property
    def prompt(self) -> str:
        """The new question's text."""
        return text_of(self.message)


@dataclass(frozen=True)
class Timing:
    """Where the time went.

    Attributes:
        first_token: Seconds from the first ``next`` to the first content, or None.
        total: Seconds from the first ``next`` to the end.
        attempts: How often the last request was tried.
    """

    first_token: float | None
    total: float
    attempts: int


@dataclass(frozen=True)
class Reply:
    """A complete answer.

    Attributes:
        text: The server's own final text where the protocol sends one, else
            the joined pieces. A bare right-trim of the pieces does not count.
        rewritten: Whether that final text differs from the pieces.
        reasoning: What the model thought before it answered.
        title: The server's title for the conversation.
        finish_reason: ``stop``, ``length``, or the server's own word.
        model: The server's own name of the model.
        usage: Tokens used, where the server says so.
        sources: Pages that the answer draws on.
        files: Files that the answer brings.
        tool_calls: Tools that the model used.
        conversation: Where to go on.
        skipped: Lines that were no records and were passed over.
        timing: Seconds to the first content and in all, and attempts.
    """

    text: str
    rewritten: bool = False
    reasoning: str = ""
    title: str | None = None
    finish_reason: str = "stop"
    model: str = ""
    usage: Usage | None = None
    sources: list[dict[str, Any]] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)
    conversation: Conversation | None = field(default=None, repr=False, compare=False)
    skipped: int = 0
    timing: Timing = field(default=Timing(None, 0.0, 0), compare=False)

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return markup.answer(
            self.text, title=self.title, reasoning=self.reasoning, sources=self.sources
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the reply as plain values that JSON can hold."""
        return {
            "text": self.text,
            "rewritten": self.rewritten,
            "reasoning": self.reasoning,
            "title": self.title,
            "finish_reason": self.finish_reason,
            "model": self.model,
            "usage": None if self.usage is None else asdict(self.usage),
            "sources": self.sources,
            "files": [{"name": f.name, "mime": f.mime, "url": f.url} for f in self.files],
            "tool_calls": [asdict(call) for call in self.tool_calls],
            "conversation": None if self.conversation is None else self.conversation.id,
            "skipped": self.skipped,
            "timing": asdict(self.timing),
        }


class Stream:
    """One reply, as it comes: an iterator over pieces of its text.

    One reader at a time; ``cancel()`` from any thread. Leaving a ``with``,
    ``close()``, or dropping the stream hangs up.

    Attributes:
        conversation: The conversation that this turn belongs to.
        done: Whether the reply is complete.
    """

    def __init__(self, turn: Turn, events: Callable[[Turn], Iterator[Event]]) -> None:
        self.conversation = turn.conversation
        self.done = False
        self._turn = turn
        self._call = turn.call
        self._open = events
        self._events: Any = None
        self._over = False
        self._flowing = False  # text comes, and there is nothing else to look at
        self._tailing = False
        self._settled = False
        self._error: BaseException | None = None
        self._said = turn.said
        self._ahead: deque[Event] = deque()
        self._seen: list[Event] = []
        self._title: Title | None = None
        self._usage: Usage | None = None
        self._finish = Finish()
        self._started = self._first = self._ended = 0.0

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> str:
        while True:
            event = self._next(_TAIL_OF_FOR)
            if type(event) is Text:
                return event.text
            if event is None:
                raise StopIteration

    def events(self) -> Iterator[Event]:
        """Yield everything that the server says, typed; also what follows the answer."""
        while (event := self._next(_TAIL_OF_EVENTS)) is not None:
            yield event

    def reply(self) -> Reply:
        """Read to the end and return the whole reply; may be repeated.

        Raises:
            C4AIError: The reply did not become complete; the same error again
                where it was raised before.
        """
        while self._next(_TAIL_OF_EVENTS) is not None:
            pass
        if self._error is not None:
            raise self._error
        if not self.done:
            raise self._described(self._call.cancelled_error())
        return self._reply()

    @property
    def text(self) -> str:
        """What has been given of the answer so far."""
        return self._said.text()

    def cancel(self) -> None:
        """Hang up, from any thread, at any moment; a complete reply stays complete.

        Whoever reads on gets ``CancelledError``.
        """
        if self._over:
            return
        self._call.cancel()
        self._hang_up()

    close = cancel

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def __del__(self) -> None:
        if not getattr(self, "_over", True):
            self.cancel()

    def __repr__(self) -> str:
        state = "done" if self.done else "over" if self._over else "open"
        return f"<Stream of {self._turn.model or 'a model'}: {state}, {len(self.text)} characters>"

    def _next(self, tail: float) -> Event | None:
        """Return the next event, or None at the end.

        Args:
            tail: How long to wait for what follows the end mark, in seconds.
        """
        if not self._flowing:
            if self._ahead:
                return self._given(self._ahead.popleft())
            if self._over:
                self._end()
                return None
            if self._events is None:
                self._begin()
            if self.done and not self._tailing:
                self._tailing = True
                self._call.tail(tail)
        try:
            for event in self._events:
                if not self._flowing and self._call.cancelled:
                    raise self._call.cancelled_error()  # it came too late to be closed
                if type(event) is not Text:
                    return self._noted(event)
                if event.text:
                    if not self._flowing:
                        self._first = self._first or monotonic()
                        self._flowing = not self.done
                    self._call.fresh = True
                    said = self._said
                    said.append(event.text)
                    if len(said) > said.most:
                        said.pack()
                    return event
        except BaseException as error:
            if type(error) is ValueError and getattr(self._events, "gi_running", False):
                if self._call.cancelled:  # whoever cancels is closing it
                    raise self._described(self._call.cancelled_error()) from None
                raise UsageError("another thread is reading this stream") from None
            if self._failed(error):
                return None
            raise
        self._end()
        return None

    def _begin(self) -> None:
        """Take the conversation and open the provider's events."""
        self._call.begin()
        self.conversation._begin(self)
        self._started = monotonic()
        self._events = self._open(self._turn)

    def _noted(self, event: Event) -> Event:
        """Keep what the reply will tell, and let the clocks know."""
        self._flowing = False
        if isinstance(event, Finish):
            return self._finished(event)
        if isinstance(event, CONTENT):
            self._call.fresh = True
            self._first = self._first or monotonic()
            if isinstance(event, Reasoning):
                self._turn.thought.add(event.text)
        elif isinstance(event, Queued):
            self._call.queued()
        elif isinstance(event, Status) and event.status == "started":
            self._call.left_queue()
        return self._given(event)

    def _given(self, event: Event) -> Event:
        if type(event) is Text:
            self._said.add(event.text)
        elif isinstance(event, _KEPT):
            self._seen.append(event)
        elif isinstance(event, Title):  # of these the last holds, and a server may send many
            self._title = event
        elif isinstance(event, Usage):
            self._usage = event
        return event

    def _finished(self, finish: Finish) -> Event:
        """The reply is complete; give what its final text has beyond the pieces."""
        self.done = self._turn.done = True
        self._finish = finish
        self._ended = monotonic()
        text = self.text
        if finish.text is not None and finish.text.startswith(text) and finish.text != text:
            self._ahead.append(Text(finish.text[len(text) :]))
        self._ahead.append(finish)
        self._settle(interrupted=False, text=self._whole(text)[0])
        return self._given(self._ahead.popleft())

    def _whole(self, pieces: str) -> tuple[str, bool]:
        """Return the reply's text, and whether it is another than its *pieces*.

        The server's own final text holds, but for a bare right-trim of the pieces.
        """
        final = self._finish.text
        if final is None or final == pieces or final == pieces.rstrip():
            return pieces, False
        return final, not final.startswith(pieces)

    def _end(self) -> None:
        """Raise where the provider has nothing more to say, or nobody may ask, too early."""
        if not self._over:
            self._over = True
            self.conversation._end(self)
            if not self.done:
                error = IncompleteReplyError("the reply ended before it was complete; ask again")
                self._failed(error)
                raise error
        elif self._call.cancelled and not self.done and self._error is None:
            raise self._described(self._call.cancelled_error())

    def _failed(self, error: BaseException) -> bool:
        """Keep what came, and tell whether the reply is complete all the same."""
        self._hang_up()
        if self.done:
            _logger.debug("after the reply was complete: %s", error)
            return isinstance(error, C4AIError)
        if isinstance(error, C4AIError):
            self._described(error)
            self._error = error if not isinstance(error, CancelledError) else None
        self._settle(interrupted=True, text=self.text)
        return False

    def _described(self, error: C4AIError) -> C4AIError:
        withhold(error, self._call.withheld())
        error.partial = error.partial or self.text
        error.provider = error.provider or self.conversation.provider
        error.phase = error.phase or "message"
        error.attempts = error.attempts or self._call.attempts
        return error

    def _hang_up(self) -> None:
        """Close what is open, unless a reader is inside, who will close it."""
        self._flowing = False
        if self._events is None:
            self._over = True
            return
        try:
            self._events.close()
        except ValueError:
            return  # a reader is inside; the call's cancel wakes it
        self._over = True
        if not self.done:
            self._settle(interrupted=True, text=self.text)
        self.conversation._end(self)

    def _settle(self, *, interrupted: bool, text: str) -> None:
        """Have the conversation remember the turn, once; nothing stays of an unanswered one."""
        if not self._settled and (text or not interrupted):
            self._settled = True
            self.conversation._remember(self._turn, text, interrupted=interrupted)

    def _reply(self) -> Reply:
        text, rewritten = self._whole(self.text)
        seen = self._seen
        return Reply(
            text=text,
            rewritten=rewritten,
            reasoning="".join(event.text for event in seen if isinstance(event, Reasoning)),
            title=None if self._title is None else self._title.title,
            finish_reason=self._finish.reason,
            model=self._turn.model,
            usage=self._usage,
            sources=[
                page for event in seen if isinstance(event, Sources) for page in event.sources
            ],
            files=[event for event in seen if isinstance(event, File)],
            tool_calls=[event for event in seen if isinstance(event, ToolCall)],
            conversation=self.conversation,
            skipped=self._turn.skipped,
            timing=Timing(
                first_token=self._first - self._started if self._first else None,
                total=self._ended - self._started,
                attempts=self._call.attempts,
            ),
        )
