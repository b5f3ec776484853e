"""Many streams at once, without asyncio: one in the background, or a pool of them.

Knows no HTTP: whatever has a ``stream`` method is a client here.

Rules that this file keeps:

1. Its threads are daemons, named for what they do. They hold no reference to
   what the caller holds, so dropping that ends them.
2. Whoever waits, waits on a queue, a lock or a socket that somebody wakes;
   nothing is looked at again and again.
3. What threads have read ahead is bounded for each stream.
4. Leaving a ``with`` cancels what still runs: no answer is waited for.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent import futures
from functools import partial
from time import monotonic
from typing import Any, Literal, Protocol, TypeVar, overload

from .ahead import EVENTS, Ahead, background, check_stream
from .errors import C4AIError, CancelledError, UsageError, check_count
from .events import Event
from .stream import Reply, Stream

__all__ = ["Future", "Pool", "background"]

_CLOSING = 0.9

_Key = TypeVar("_Key")
_Result = TypeVar("_Result")
_OnError = Literal["raise", "return"]


class _Client(Protocol):
    """What a pool asks of a client."""

    @property
    def stream(self) -> Callable[..., Stream]: ...


def check_client(client: object) -> None:
    """Refuse what cannot be asked, such as the URL of a server."""
    if isinstance(client, type) or not callable(getattr(client, "stream", None)):
        # Not shown: a URL may hold a login.
        what = f"the class {client.__name__}" if isinstance(client, type) else type(client).__name__
        raise UsageError(f"a client is asked, not {what}: make one, such as ChatUI(url)")


class Future(futures.Future[_Result]):
    """What will come of a prompt that was given to a :class:`Pool`.

    A ``concurrent.futures.Future`` whose ``cancel()`` also ends a reply that
    is on its way, at once. One that was cancelled ends in
    :class:`~c4ai_clients.CancelledError`.
    """

    def __init__(
        self,
        pool: object,
        begin: Callable[[], Stream],
        read: Callable[[Stream], _Result],
        wait: Callable[[threading.Event], None],
        wake: Callable[[], None],
    ) -> None:
        super().__init__()
        self._pool: object = pool  # which ends its threads when it is dropped
        self._begin = begin
        self._read = read
        self._wait = wait
        self._wake = wake
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._stream: Stream | None = None
        self._settled = False

    def cancel(self) -> bool:
        """Cancel it, also while the reply comes; False where it has ended already."""
        if super().cancel():
            self._pool = None
            return True
        with self._lock:
            if self._settled:
                return False
            self._stop.set()
            stream = self._stream
        if stream is not None:
            stream.cancel()
        self._wake()
        return True

    def cancelled(self) -> bool:
        """Tell whether it was cancelled, before it began or after."""
        return super().cancelled() or (self._settled and self._stop.is_set())

    def result(self, timeout: float | None = None) -> _Result:
        """Return the result, waiting at most *timeout* seconds for it.

        Raises:
            C4AIError: What came of it instead.
            TimeoutError: It has not come yet.
        """
        self._check_process()
        try:
            return super().result(timeout)
        except futures.CancelledError as error:
            raise _ours(error) from None

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the error that came of it, or None, waiting at most *timeout* seconds."""
        self._check_process()
        try:
            return super().exception(timeout)
        except futures.CancelledError as error:
            return _ours(error)

    def _check_process(self) -> None:
        if not self._settled and self._pid != os.getpid():
            raise UsageError("this answer comes to the process that asked; ask again in this one")

    def run(self) -> None:
        """Ask and read; a pool's threads call this."""
        if not self.set_running_or_notify_cancel():
            return
        result: Any = None
        failure: BaseException | None = None
        try:
            self._wait(self._stop)
            with self._begin() as stream:
                with self._lock:
                    self._stream = stream
                    stopped = self._stop.is_set()
                if stopped:
                    stream.cancel()
                result = self._read(stream)
        except BaseException as error:  # noqa: BLE001 - handed to whoever asks for the result
            failure = error
        with self._lock:
            self._settled = True
            if self._stop.is_set() and not isinstance(failure, CancelledError):
                failure = CancelledError(
                    "cancelled", partial=self._stream.text if self._stream is not None else ""
                )
        self._pool = self._stream = None
        if failure is not None:
            self.set_exception(failure)
        else:
            self.set_result(result)


def _ours(error: futures.CancelledError) -> CancelledError:
    if isinstance(error, CancelledError):
        return error
    return CancelledError("cancelled before it began")


class _Rate:
    """When each request may begin, so that there are never more than so many a minute."""

    def __init__(self, a_minute: float | None) -> None:
        self._gap = 60 / a_minute if a_minute else 0.0
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self, stop: threading.Event) -> None:
        """Wait for the next turn, or until *stop* is set."""
        if not self._gap:
            return
        with self._lock:
            begin = max(monotonic(), self._next)
            self._next = begin + self._gap
        if stop.wait(begin - monotonic()):
            raise CancelledError("cancelled")


class _Workers:
    """Daemon threads that do futures in order; made as those come, ended by ``close()``."""

    def __init__(self, most: int) -> None:
        self.pid = os.getpid()
        self._most = most
        self._lock = threading.RLock()  # a finalizer may close what this thread uses
        self._futures: queue.SimpleQueue[Future[Any] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._running: set[Future[Any]] = set()
        self._unfinished = 0
        self._growing = False  # a thread has been started, and will start the next one
        self._closed = False

    def do(self, *futures: Future[Any]) -> None:
        """Have threads do them, new ones where all are busy and there may be more."""
        with self._lock:
            if self._closed:
                raise UsageError("this pool is closed: make a new one")
            self._unfinished += len(futures)
            for future in futures:
                self._futures.put(future)
            if not self._growing:
                self._grow()

    def _grow(self) -> None:
        """Start a thread where all are busy; it starts the next one, before its own work.

        Whoever asks for many at once would wait for each thread to begin, while
        those before it take the interpreter.
        """
        self._growing = not self._closed and len(self._threads) < min(self._most, self._unfinished)
        if self._growing:
            name = f"c4ai-pool-{len(self._threads) + 1}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # there can be no more; those that there are do it all
                self._growing = False
                if not self._threads:
                    raise
            else:
                self._threads.append(thread)

    def close(self) -> None:
        """Cancel all that is unfinished, and wait for the threads, less than a second in all."""
        if self.pid != os.getpid():
            return  # after a fork: the threads are the parent's
        with self._lock:
            if self._closed:
                return
            self._closed = True
            running, threads = list(self._running), list(self._threads)
        for future in running:
            future.cancel()
        for _ in threads:
            self._futures.put(None)
        end = monotonic() + _CLOSING
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, end - monotonic()))

    def _work(self) -> None:
        with self._lock:
            self._grow()
        while (future := self._futures.get()) is not None:
            with self._lock:
                self._running.add(future)
                closed = self._closed
            if closed:
                future.cancel()
            future.run()
            with self._lock:
                self._running.discard(future)
                self._unfinished -= 1
            del future


class Pool:
    """Threads that ask many prompts at once.

    Leaving its ``with``, ``close()`` and the interpreter's exit cancel what is
    unfinished; that takes less than a second even where every server is
    silent. A pool that is dropped ends once its futures have ended. In a child
    after a fork it makes its threads anew.

    Args:
        client: Whom to ask; each call may name another. Threads share it.
        max_workers: How many replies may be on their way at once.
        rate: How many may begin in a minute, evenly spaced; None is no limit.

    Raises:
        UsageError: A setting cannot be used.
    """

    def __init__(
        self, client: _Client | None = None, max_workers: int = 8, rate: float | None = None
    ) -> None:
        check_count("max_workers", max_workers)
        if client is not None:
            check_client(client)
        number = isinstance(rate, (int, float)) and not isinstance(rate, bool)
        if rate is not None and not (number and rate > 0):
            raise UsageError(f"rate={rate!r}: give requests a minute, or None for no limit")
        self._client = client
        self._max_workers = max_workers
        self._limit = rate
        self._start()

    def _start(self) -> None:
        self._rate = _Rate(self._limit)
        self._workers = _Workers(self._max_workers)
        weakref.finalize(self, self._workers.close)

    def submit(
        self, messages: Any, *, client: _Client | None = None, **options: Any
    ) -> Future[Reply]:
        """Ask, and return the future of the reply.

        Args:
            messages: What the client's ``stream`` takes.
            client: Whom to ask; the pool's own client by default.
            **options: What the client's ``stream`` takes.

        Raises:
            UsageError: The pool is closed, or has no client. Whatever is wrong
                with the question itself comes out of the future.
        """
        asked = client if client is not None else self._client
        if asked is None:
            raise UsageError("whom to ask? Give client=, or Pool(client)")
        check_client(asked)
        return self._do(
            lambda: asked.stream(messages, **options), lambda stream: stream.reply(), lambda: None
        )

    @overload
    def map(
        self,
        prompts: Iterable[Any],
        *,
        ordered: bool = True,
        on_error: Literal["raise"] = "raise",
        client: _Client | None = None,
        **options: Any,
    ) -> Iterator[Reply]: ...

    @overload
    def map(
        self,
        prompts: Iterable[Any],
        *,
        ordered: bool = True,
        on_error: _OnError,
        client: _Client | None = None,
        **options: Any,
    ) -> Iterator[Reply | C4AIError]: ...

    def map(
        self,
        prompts: Iterable[Any],
        *,
        ordered: bool = True,
        on_error: _OnError = "raise",
        client: _Client | None = None,
        **options: Any,
    ) -> Iterator[Reply | C4AIError]:
        """Ask each of *prompts*, and yield the replies.

        Prompts are taken as there is room for them, so there may be any number.
        Leaving the loop cancels what is on its way.

        Args:
            prompts: Each one what the client's ``stream`` takes.
            ordered: Whether replies come in the order of the prompts, or as
                they end.
            on_error: What becomes of a prompt that fails: ``raise`` ends the
                loop, ``return`` yields the error in the reply's place.
            client: Whom to ask; the pool's own client by default.
            **options: For all prompts, what the client's ``stream`` takes.

        Raises:
            UsageError: At the call: one prompt is given in the place of several.
        """
        _check_on_error(on_error)
        if isinstance(prompts, (str, bytes, Mapping)):
            raise UsageError(f"map() takes several prompts, not {prompts!r:.80}: write [prompt]")
        asked = (self.submit(prompt, client=client, **options) for prompt in prompts)
        return _outcomes(self._in_order(asked) if ordered else self._as_they_end(asked), on_error)

    def _in_order(self, asked: Iterable[Future[Reply]]) -> Generator[Future[Reply], None, None]:
        """Yield futures in their order, each at the latest when it has ended."""
        under_way: deque[Future[Reply]] = deque()
        try:
            for future in asked:
                under_way.append(future)
                while under_way and (
                    under_way[0].done() or len(under_way) >= 4 * self._max_workers
                ):
                    yield under_way.popleft()
            while under_way:
                yield under_way.popleft()
        finally:
            _cancel(under_way)

    def _as_they_end(self, asked: Iterable[Future[Reply]]) -> Generator[Future[Reply], None, None]:
        """Yield futures as they end."""
        under_way: set[Future[Reply]] = set()
        ended: queue.SimpleQueue[Future[Reply]] = queue.SimpleQueue()
        try:
            for future in asked:
                under_way.add(future)
                future.add_done_callback(ended.put)  # type: ignore[arg-type]
                while len(under_way) >= 2 * self._max_workers or not ended.empty():
                    under_way.discard(first := ended.get())
                    yield first
            while under_way:
                under_way.discard(first := ended.get())
                yield first
        finally:
            _cancel(under_way)

    @overload
    def merge(
        self, streams: Mapping[_Key, Stream], *, on_error: Literal["raise"] = "raise"
    ) -> Iterator[tuple[_Key, Event]]: ...

    @overload
    def merge(
        self, streams: Mapping[_Key, Stream], *, on_error: _OnError
    ) -> Iterator[tuple[_Key, Event | C4AIError]]: ...

    def merge(
        self, streams: Mapping[_Key, Stream], *, on_error: _OnError = "raise"
    ) -> Iterator[tuple[_Key, Event | C4AIError]]:
        """Yield ``(key, event)`` of all *streams* as they come.

        As many as the pool has threads are read at once. Each may be a few
        events ahead of the loop and no more, so a fast one cannot keep the
        others waiting. Leaving the loop cancels them all.

        Args:
            streams: What to read, by the names to give out.
            on_error: What becomes of a stream that fails: ``raise`` ends the
                loop, ``return`` yields ``(key, error)`` as its last.

        Raises:
            UsageError: At the call: these are no streams by name.
        """
        _check_on_error(on_error)
        if not isinstance(streams, Mapping):
            raise UsageError(
                f"merge() takes streams by name, {{name: stream}}, not {streams!r:.80}"
            )
        for stream in streams.values():
            check_stream(stream)
        return self._merged(dict(streams), on_error)

    def _merged(
        self, streams: dict[_Key, Stream], on_error: _OnError
    ) -> Iterator[tuple[_Key, Event | C4AIError]]:
        ahead: Ahead[_Key] = Ahead()
        reading: list[Future[None]] = []
        try:
            for key, stream in streams.items():
                read = ahead.reader(key, EVENTS)
                reading.append(self._future(partial(_itself, stream), read, ahead.close))
                reading[-1].add_done_callback(partial(_end, ahead, key))
            self._workers.do(*reading)
            left = len(reading)
            while left:
                key, event = ahead.take()
                if event is None:
                    left -= 1
                elif isinstance(event, BaseException):
                    left -= 1
                    if on_error == "raise" or not isinstance(event, C4AIError):
                        raise event
                    yield key, event
                else:
                    yield key, event
        finally:
            ahead.close()
            _cancel(reading)
            for stream in streams.values():
                stream.cancel()

    def close(self) -> None:
        """Cancel what is unfinished and end the threads, in less than a second."""
        self._workers.close()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Pool of {self._max_workers} for {self._client!r}>"

    def _do(
        self,
        begin: Callable[[], Stream],
        read: Callable[[Stream], _Result],
        wake: Callable[[], None],
    ) -> Future[_Result]:
        future = self._future(begin, read, wake)
        self._workers.do(future)
        return future

    def _future(
        self,
        begin: Callable[[], Stream],
        read: Callable[[Stream], _Result],
        wake: Callable[[], None],
    ) -> Future[_Result]:
        if self._workers.pid != os.getpid():
            self._start()
        return Future(self, begin, read, self._rate.wait, wake)


def _itself(stream: Stream) -> Stream:
    return stream


def _end(ahead: Ahead[_Key], key: _Key, future: futures.Future[None]) -> None:
    ahead.end(key, future.exception())


def _check_on_error(on_error: str) -> None:
    if on_error not in ("raise", "return"):
        raise UsageError(f"on_error={on_error!r}: say 'raise' or 'return'")


def _outcomes(
    ended: Generator[Future[Reply], None, None], on_error: _OnError
) -> Iterator[Reply | C4AIError]:
    with contextlib.closing(ended):  # at once: a traceback that is kept would keep it open
        for future in ended:
            try:
                outcome: Reply | C4AIError = future.result()
            except C4AIError as error:
                if on_error == "raise":
                    raise
                outcome = error
            yield outcome


def _cancel(unfinished: Iterable[Future[Any]]) -> None:
    for future in unfinished:
        future.cancel()
