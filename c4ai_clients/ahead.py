"""A stream in the background, and what threads have read of streams ahead.

Rules that this file keeps:

1. What was read and not yet taken is bounded for each stream.
2. A reading thread holds no reference to what the caller holds: dropping that
   ends it.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from .errors import C4AIError, CancelledError, UsageError, check_count
from .events import Event, Finish, Text
from .pieces import Pieces
from .stream import Reply, Stream

__all__ = ["Ahead", "background", "check_stream"]

EVENTS = 64

_Key = TypeVar("_Key")


class Ahead(Generic[_Key]):
    """Events that threads have read and nobody has taken yet, in order of arrival."""

    def __init__(self) -> None:
        self._ready: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._room: list[threading.Semaphore] = []
        self._closed = False

    def reader(self, key: _Key, size: int) -> Callable[[Stream], None]:
        """Return what reads a stream into here, at most *size* events ahead of the taker."""
        room = threading.Semaphore(size)
        self._room.append(room)

        def read(stream: Stream) -> None:
            for event in stream.events():
                room.acquire()
                if self._closed:
                    return
                self._ready.put((key, event, room))

        return read

    def end(self, key: _Key, error: BaseException | None) -> None:
        """Say that nothing more comes of *key*, and what error it ended in."""
        self._ready.put((key, error, None))

    def take(self, timeout: float | None = None) -> tuple[_Key, Event | BaseException | None]:
        """Return the next event and whose it is; None or an error is that one's end.

        Raises:
            queue.Empty: Nothing came within *timeout* seconds.
            CancelledError: It was closed.
        """
        key, event, room = self._ready.get(timeout=timeout)
        if self._closed:
            self._ready.put((key, None, None))  # for whoever else takes
            raise CancelledError("cancelled")
        if room is not None:
            room.release()
        return key, event

    def close(self) -> None:
        """Wake the readers, who then stop, and whoever takes."""
        self._closed = True
        for room in self._room:
            room.release()
        self._ready.put((None, None, None))


def background(stream: Stream, *, ahead: int = EVENTS) -> Stream:
    """Have a thread read *stream* ahead, and return the same iterator over what it read.

    It begins at once. Whoever reads the result slowly holds the thread back,
    and with it the server; ``cancel()``, leaving a ``with`` and dropping the
    result end both.

    Args:
        stream: What to read; read it nowhere else from now on.
        ahead: How many events may wait to be taken.

    Raises:
        UsageError: It is no stream.
    """
    check_stream(stream)
    check_count("ahead", ahead)
    return _Background(stream, ahead)


def check_stream(stream: object) -> None:
    """Refuse what cannot be read, such as a prompt."""
    if not isinstance(stream, Stream):
        raise UsageError(f"a stream is read, not {stream!r:.80}: give client.stream(…)")


class _Background(Stream):
    """A stream that a thread reads; takes what that has read."""

    def __init__(self, stream: Stream, ahead: int) -> None:
        super().__init__(stream._turn, stream._open)
        self.done = stream.done
        self._said = Pieces(stream.text)  # what was read ahead is in the turn already
        self._stream = stream
        self._read: Ahead[None] = Ahead()
        self._taking = threading.Lock()
        self._pid = os.getpid()
        threading.Thread(
            target=_read_ahead,
            args=(stream, self._read, self._read.reader(None, ahead)),
            name="c4ai-background",
            daemon=True,
        ).start()

    def cancel(self) -> None:
        """Hang up, from any thread, at any moment; a complete reply stays complete."""
        if not self._over:
            self._stream.cancel()
            self._read.close()

    close = cancel

    def _next(self, tail: float) -> Event | None:
        """Return the next event, or None at the end."""
        if self._pid != os.getpid():
            raise UsageError("this reply comes to the process that asked; ask again in this one")
        if not self._taking.acquire(blocking=False):
            raise UsageError("another thread is reading this stream")
        try:
            if self._over:
                if isinstance(self._error, CancelledError):
                    raise self._error
                return None
            try:
                _, event = self._read.take(tail if self.done else None)
            except queue.Empty:
                self._stream.cancel()
                event = None
            except CancelledError as error:
                event = error
            if event is None or isinstance(event, BaseException):
                self._end_with(event)
                return None
            self.done = self.done or isinstance(event, Finish)
            if isinstance(event, Text):
                self._said.add(event.text)
            return event
        finally:
            self._taking.release()

    def _end_with(self, error: BaseException | None) -> None:
        """Be over, as the stream itself is over."""
        self._over = True
        if error is None or (self.done and isinstance(error, C4AIError)):
            return
        if isinstance(error, C4AIError):
            self._error = self._described(error)
        raise error

    def _reply(self) -> Reply:
        return self._stream._reply()


def _read_ahead(stream: Stream, ahead: Ahead[None], read: Callable[[Stream], None]) -> None:
    try:
        read(stream)
    except BaseException as error:  # noqa: BLE001 - handed to whoever takes
        ahead.end(None, error)
    else:
        ahead.end(None, stream._error)
