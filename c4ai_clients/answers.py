"""Several answers while they come, for whoever draws them.

Rules that this file keeps:

1. One thread reads each stream and notes what came; only the caller's own
   thread is ever given anything, so only that one draws.
2. What is drawn is the newest state, at most so many times a second, and the
   last of it always.
3. Leaving cancels what still runs, and waits until its conversations hold what
   came.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from .errors import C4AIError, UsageError
from .events import CONTENT, Event, Finish, Queued, Reasoning, Title
from .threads import Future, Pool

if TYPE_CHECKING:
    from .client import ChatClient
    from .messages import Messages
    from .stream import Reply, Stream

__all__ = ["Answer", "Answers"]

_CLOCK = 1.0  # where nothing comes, the seconds that a picture shows go on


@dataclass(frozen=True)
class Answer:
    """What has come of one answer so far.

    Attributes:
        label: Whose answer it is.
        text: Its text; the server's own final text once it is complete.
        reasoning: What the model thought before it answered.
        title: The server's title for the conversation, or None.
        queued: The place in the server's queue while it waits there, or None.
        first_token: Seconds from asking to the first content, or None.
        total: Seconds from asking until now, or until it ended.
        reply: The complete reply, or None.
        error: What ended it instead, or None.
    """

    label: str
    text: str = ""
    reasoning: str = ""
    title: str | None = None
    queued: Queued | None = None
    first_token: float | None = None
    total: float = 0.0
    reply: Reply | None = None
    error: C4AIError | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.reply is not None or self.error is not None


class Answers:
    """Several answers while they come.

    A context manager: leaving it cancels what still runs, in less than a
    second, and keeps what came. For example::

        with Answers.ask("Why is the sky blue?", clients) as answers:
            for now in answers.frames():
                draw(now)  # list[Answer], in the order of the clients

    Args:
        streams: What to read, by label; read them nowhere else. An error
            stands for one that could not be asked.
    """

    def __init__(self, streams: Mapping[str, Stream | C4AIError]) -> None:
        self._readings = [
            _Unasked(label, stream) if isinstance(stream, C4AIError) else _Reading(label, stream)
            for label, stream in streams.items()
        ]
        self._changed = threading.Event()
        self._pool = Pool(max_workers=max(1, len(self._readings)))

    @classmethod
    def ask(
        cls,
        messages: Messages,
        clients: Iterable[ChatClient] | Mapping[str, ChatClient],
        **options: Any,
    ) -> Answers:
        """Ask several clients the same; nothing is sent before :meth:`frames` is read.

        Args:
            messages: What every client's ``stream`` takes.
            clients: Whom to ask. Without labels of the caller's own they are
                told apart by name, then model, then URL, then number.
            **options: For all of them, what their ``stream`` takes.

        Raises:
            UsageError: There is nobody to ask, or one of them cannot be asked so.
        """
        given = clients.values() if isinstance(clients, Mapping) else clients
        whom = list(given) if isinstance(given, Iterable) else []
        if not whom or not all(hasattr(each, "stream") for each in whom):
            raise UsageError("whom to ask? Give clients: [client, …], or {label: client, …}")
        asked = dict(clients) if isinstance(clients, Mapping) else _labelled(whom)
        return cls({label: each.stream(messages, **options) for label, each in asked.items()})

    def now(self) -> list[Answer]:
        """Return what has come of each so far, in their order."""
        return [reading.answer() for reading in self._readings]

    def frames(self, rate: float = 15.0) -> Iterator[list[Answer]]:
        """Yield what has come so far, until all have ended.

        The first at once, the others where something came or a second went by;
        the last holds every end. Whoever draws slowly is given fewer.

        Args:
            rate: How many to yield in a second at most.
        """
        for reading in self._readings:
            reading.begin(self._pool, self._changed)
        try:
            while True:
                ended = all(reading.ended for reading in self._readings)
                drawing = monotonic()
                yield self.now()
                if ended:
                    return
                drawn = monotonic()
                # Where drawing takes long, the readers are left half of the time.
                sleep(max(0.0, drawing + 1 / rate - drawn, min(drawn - drawing, _CLOCK)))
                self._changed.wait(_CLOCK)
                self._changed.clear()
        finally:
            self.close()

    def close(self) -> None:
        """Cancel what still runs, and wait until it has ended, less than a second in all."""
        self._pool.close()

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Reading:
    """One stream, and what its thread has noted of it."""

    def __init__(self, label: str, stream: Stream) -> None:
        self._label = label
        self._stream = stream
        self._future: Future[Reply] | None = None
        self._reasoning: list[str] = []
        self._title: str | None = None
        self._queued: Queued | None = None
        self._began = self._first = self._end = 0.0

    @property
    def ended(self) -> bool:
        return self._future is not None and self._future.done()

    def begin(self, pool: Pool, changed: threading.Event) -> None:
        """Have a thread of *pool* read it, once; *changed* is set whenever something came."""
        if self._future is None:
            read = partial(self._read, changed)
            self._future = pool._do(lambda: self._stream, read, lambda: None)
            self._future.add_done_callback(lambda _: changed.set())

    def answer(self) -> Answer:
        reply, error = None, None
        if self._future is not None and self._future.done():
            try:
                reply = self._future.result()
            except C4AIError as failure:
                error = failure
        end = self._end or (monotonic() if self._began else 0.0)
        return Answer(
            label=self._label,
            text=self._stream.text if reply is None else reply.text,
            reasoning="".join(self._reasoning),
            title=self._title,
            queued=self._queued,
            first_token=self._first - self._began if self._first else None,
            total=end - self._began,
            reply=reply,
            error=error,
        )

    def _read(self, changed: threading.Event, stream: Stream) -> Reply:
        self._began = monotonic()
        try:
            for event in stream.events():
                self._note(event)
                changed.set()
            return stream.reply()
        finally:
            self._end = self._end or monotonic()

    def _note(self, event: Event) -> None:
        if isinstance(event, CONTENT):
            self._first = self._first or monotonic()
            self._queued = None
        if isinstance(event, Reasoning):
            self._reasoning.append(event.text)
        elif isinstance(event, Title):
            self._title = event.title
        elif isinstance(event, Queued):
            self._queued = event
        elif isinstance(event, Finish):
            self._end = monotonic()


class _Unasked:
    """One that could not be asked: it has ended before it began."""

    ended = True

    def __init__(self, label: str, error: C4AIError) -> None:
        self._answer = Answer(label, error=error)

    def begin(self, pool: Pool, changed: threading.Event) -> None:
        """Read nothing."""

    def answer(self) -> Answer:
        return self._answer


def _labelled(clients: list[ChatClient]) -> dict[str, ChatClient]:
    """Return *clients* by labels as short as tell them apart."""
    labels: list[str] = []
    for words in (1, 2, 3):
        labels = [
            ", ".join(
                word
                for word in (each.label or type(each).__name__, each.model, each.base_url)[:words]
                if word
            )
            for each in clients
        ]
        if len(set(labels)) == len(labels):
            return dict(zip(labels, clients, strict=True))
    return {
        f"{label}, {n}": each
        for n, (label, each) in enumerate(zip(labels, clients, strict=True), 1)
    }
