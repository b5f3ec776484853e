"""The clocks of one turn, its cancel mark, and the socket that keeps both.

Every wait of a turn, for a connection, a byte, or the next try, asks its
:class:`Call` how long it may last; so one place decides when a turn is over.
Standard library only; :mod:`~c4ai_clients.transport` puts it under requests.

Rules that this file keeps:

1. Time counts only while we wait for the server; a slow reader uses up no
   clock but ``total``, which is wall time.
2. Content restarts ``idle``; bytes do not. A server that sends a byte or a
   keep-alive now and then gains nothing by it.
3. ``cancel()`` may come from any thread. The mark is set first, then what the
   turn waits on is woken, so whoever wakes finds the mark.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from time import monotonic
from typing import Any, Union

from .errors import CancelledError, ProtocolError, TimedOutError, UsageError

__all__ = ["Call", "Clocked", "Timeout"]

# Bytes. A server that sends as fast as we read never has us wait, so what
# brings no content is bounded by its size too; a Gradio event holds a whole history.
_BARREN = 32 << 20


@dataclass(frozen=True)
class Timeout:
    """How long to wait, in seconds; None for a field is no limit.

    Attributes:
        connect: For name, all addresses, proxy and TLS together.
        first: From the message sent until the first content (text, reasoning,
            a tool call, sources or a file); it stands still in a queue. The
            answer to a preparing step has as long.
        idle: Between pieces of content, and for progress while sending.
        queue: In the server's queue, whether one moves up in it or not.
        total: Wall time for the whole turn, retries included.
    """

    connect: float | None = 10
    first: float | None = 120
    idle: float | None = 60
    queue: float | None = 600
    total: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 < value <= _LONGEST:
                raise UsageError(
                    f"timeout {field.name}={value!r}: give seconds above 0, or None for no limit"
                )

    @classmethod
    def of(cls, value: TimeoutLike, default: Timeout | None = None) -> Timeout:
        """Return *value* as a Timeout; a number sets connect, first and idle."""
        if value is None:
            return default or cls()
        if isinstance(value, Timeout):
            return value
        if not isinstance(value, (int, float)):
            raise UsageError(f"timeout={value!r}: give seconds, or Timeout(connect=…, idle=…)")
        return cls(connect=value, first=value, idle=value)


TimeoutLike = Union[Timeout, float, None]

# What a socket takes at the most is about 292 years; this is one, and enough.
_LONGEST = 31_536_000

_HINTS = {
    "connect": "could not connect within {limit:g} s: is the server up, and the URL right?",
    "first": "no answer within {limit:g} s: is the server busy? Allow more with Timeout(first=…)",
    "idle": "the server went silent for {limit:g} s; allow more with Timeout(idle=…)",
    "queue": "still in the server's queue after {limit:g} s; allow more with Timeout(queue=…)",
    "total": "not done within {limit:g} s; allow more with Timeout(total=…)",
}


class Call:
    """One turn: how long each of its waits may last, and whether it goes on.

    Attributes:
        cancelled: Whether ``cancel()`` was called.
        fresh: Set to True with each piece of content; read at the next wait.
        attempts: How often the request under way has been tried.
        withheld: Gives what no error of the request under way may quote.
    """

    def __init__(self, timeout: Timeout) -> None:
        self.timeout = timeout
        self.cancelled = False
        self.fresh = False
        self.attempts = 0
        self.withheld: Callable[[], Iterable[str]] = tuple
        self._pid = os.getpid()
        # Reentrant: a signal's handler may cancel while its thread holds it.
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._wakers: list[Callable[[], None]] = []
        self._end = None if timeout.total is None else monotonic() + timeout.total
        self._kind = "first"
        self._left = self._first_left = timeout.first
        self._queue_left = timeout.queue

    def begin(self) -> None:
        """Belong to this process from now on, be it a child of the one that made it."""
        self._pid = os.getpid()

    @property
    def elsewhere(self) -> bool:
        """Whether it runs in the process that this one was forked from."""
        return self._pid != os.getpid()

    def _check_process(self) -> None:
        """Keep hands off a socket that the parent process reads."""
        if self.elsewhere:
            raise UsageError("this reply comes to the process that asked; ask again in this one")

    def sent(self) -> None:
        """Start ``first``: a request is on its way; one sent in the tail stays in it."""
        if self._kind != "tail":
            self._queue_left = self.timeout.queue
            self._watch("first", self.timeout.first)

    def queued(self) -> None:
        """Go on with ``queue``; ``first`` stands still meanwhile."""
        if self._kind == "first":
            self._first_left = self._left
            self._watch("queue", self._queue_left)

    def left_queue(self) -> None:
        """Go on with ``first``; ``queue`` stands still, should we come back to it."""
        if self._kind == "queue":
            self._queue_left = self._left
            self._watch("first", self._first_left)

    def tail(self, seconds: float) -> None:
        """Allow *seconds* for what follows the end mark."""
        self._watch("tail", seconds)

    def _watch(self, kind: str, left: float | None) -> None:
        self._kind, self._left = kind, left

    @contextlib.contextmanager
    def briefly(self, seconds: float) -> Iterator[None]:
        """Allow *seconds* within the block, and no more than the clock that runs would."""
        kind, left = self._kind, self._left
        self._watch("rest", seconds if left is None else min(left, seconds))
        try:
            yield
        finally:
            self._watch(kind, left)

    def before_wait(self) -> float | None:
        """Return how long the next wait may last; None is no limit.

        Raises:
            CancelledError: The turn was cancelled.
            TimedOutError: A clock has run out.
            UsageError: It runs in the parent process.
        """
        if self._pid != os.getpid():
            self._check_process()
        if self.cancelled:
            raise self.cancelled_error()
        if self.fresh:
            self.fresh = False
            if self._kind != "tail":
                self._watch("idle", self.timeout.idle)
        left = self._left
        if self._end is not None:
            rest = self._end - monotonic()
            left = rest if left is None else min(left, rest)
        if left is not None and left <= 0:
            raise self.timed_out()
        return left

    def check(self) -> None:
        """Refuse to go on where nobody waits any more; for work that waits for nothing.

        Raises:
            CancelledError: The turn was cancelled.
            TimedOutError: ``total`` ran out.
        """
        if self.cancelled:
            raise self.cancelled_error()
        if self._end is not None and monotonic() >= self._end:
            raise self.timed_out("total")

    def sending(self) -> float | None:
        """Return how long the next step of sending may take."""
        self._check_process()
        limit = self.timeout.idle
        if self._end is not None:
            rest = self._end - monotonic()
            if rest <= 0:
                raise self.timed_out("total")
            limit = rest if limit is None else min(limit, rest)
        return limit

    def waited(self, seconds: float) -> None:
        """Take *seconds* off the clock that runs."""
        if self._left is not None:
            self._left -= seconds

    def check_barren(self, size: int) -> None:
        """Refuse to read on where *size* bytes have brought no content."""
        if size > _BARREN:
            raise ProtocolError(f"more than {_BARREN:,} bytes came without any content in them")

    def timed_out(self, kind: str | None = None) -> TimedOutError:
        """Return the error of the clock *kind*, or of the one that ran out."""
        if self._end is not None and monotonic() >= self._end - 0.001:
            kind = "total"
        kind = kind or self._kind
        limit = getattr(self.timeout, kind, None) or 0.0
        hint = _HINTS.get(kind, "the server kept the answer open")
        return TimedOutError(hint.format(limit=limit), kind=kind)

    def cancelled_error(self) -> CancelledError:
        """Return the error for whoever reads on after ``cancel()``."""
        return CancelledError("cancelled")

    def cancel(self) -> None:
        """Mark the turn as over and wake whatever waits for it."""
        self.cancelled = True
        self._over.set()
        if self.elsewhere:
            return  # whatever waits, waits in the parent process, and goes on
        with self._lock:
            wakers = list(self._wakers)
        for wake in wakers:
            wake()

    def on_cancel(self, wake: Callable[[], None]) -> None:
        """Have *wake* called by ``cancel()``; at once where it was called already."""
        with self._lock:
            self._wakers.append(wake)
        if self.cancelled:
            wake()

    def forget(self, wake: Callable[[], None]) -> None:
        """Take back what was given to :meth:`on_cancel`."""
        with self._lock:
            if wake in self._wakers:
                self._wakers.remove(wake)

    def sleep(self, seconds: float) -> None:
        """Wait before a next try; ends early by ``cancel()`` and by ``total``.

        Nothing is tried again in the tail: the reply is complete without it.
        """
        if self._kind == "tail":
            raise self.timed_out()
        end = monotonic() + seconds
        cut = self._end is not None and self._end < end
        limit = self._end if self._end is not None and cut else end
        if self._over.wait(max(0.0, limit - monotonic())):
            raise self.cancelled_error()
        if cut:
            raise self.timed_out("total")

    def aside(
        self, work: Callable[[], None], wake: Callable[[], None], undo: Callable[[], None]
    ) -> None:
        """Do *work*, which nothing can end, beside us, within ``connect``.

        A name look-up and a connect cannot be interrupted, so a thread does
        them. Where the turn ends first, *wake* is called to shorten them, the
        thread is left to find its end alone, and then calls *undo*.
        """
        limit = self.timeout.connect
        if self._end is not None:
            rest = max(0.0, self._end - monotonic())
            limit = rest if limit is None else min(limit, rest)
        woken = threading.Event()
        lock = threading.Lock()
        errors: list[BaseException] = []
        finished = given_up = False

        def run() -> None:
            nonlocal finished
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - handed to the waiting thread
                errors.append(error)
            with lock:
                finished = True
                late = given_up
            if late:
                undo()
            woken.set()

        self.on_cancel(woken.set)
        try:
            if not self.cancelled:
                threading.Thread(target=run, name="c4ai-connect", daemon=True).start()
                woken.wait(limit)
        finally:
            self.forget(woken.set)
            with lock:
                given_up = True
                in_time = finished
            if not in_time:
                wake()
        if self.cancelled:
            if in_time:
                undo()
            raise self.cancelled_error()
        if not in_time:
            raise self.timed_out("connect")
        if errors:
            raise errors[0]


class Clocked:
    """A connected socket whose every wait is measured by the call that uses it.

    Stands where http.client expects a socket; it has just the methods that
    http.client and urllib3 use.

    Attributes:
        received: Bytes read since the request was sent or content came.
        ended: Whether the peer closed while the present request was read.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.RLock()
        self._call: Call | None = None
        self._set: float | None = sock.gettimeout()
        self.received = 0
        self.ended = False

    def serve(self, call: Call) -> None:
        """Work for *call* from now on; its ``cancel()`` ends our waits."""
        self.release(self._call)
        with self._lock:
            self._call = call
        self.received = 0
        self.ended = False
        call.on_cancel(self.abort)

    def release(self, call: Call | None) -> None:
        """Serve *call* no more: its ``cancel()`` does not reach this socket."""
        with self._lock:
            if call is None or self._call is not call:
                return
            self._call = None
        call.forget(self.abort)

    def abort(self) -> None:
        """Wake whoever waits on this socket, from any thread."""
        with self._lock:
            if self._call is None or not self._call.cancelled:
                return
            with contextlib.suppress(OSError):  # already gone, so nobody waits on it
                self.shutdown(socket.SHUT_RDWR)

    def recv_into(self, buffer: memoryview) -> int:
        """Read what has come, waiting as long as the call allows."""
        call = self._call
        if call is None:
            return self._sock.recv_into(buffer)
        if call.fresh:
            self.received = 0
        limit = call.before_wait()
        if limit != self._set:
            self._allow(limit)
        start = monotonic()
        try:
            count = self._sock.recv_into(buffer)
        except TimeoutError:
            call.waited(monotonic() - start)
            raise call.timed_out() from None
        except OSError:
            if call.cancelled:
                raise call.cancelled_error() from None
            raise
        call.waited(monotonic() - start)
        if not count:
            if call.cancelled:
                raise call.cancelled_error()
            self.ended = True
        self.received += count
        call.check_barren(self.received)
        return count

    def sendall(self, data: Any) -> None:
        """Send all of *data*; each step of progress has ``idle`` seconds."""
        call = self._call
        if call is None:
            return self._sock.sendall(data)
        rest = memoryview(data).cast("B")
        while rest:
            if call.cancelled:
                raise call.cancelled_error()
            self._allow(call.sending())
            try:
                sent = self._sock.send(rest)
            except TimeoutError:
                raise call.timed_out("idle") from None
            except OSError:
                if call.cancelled:
                    raise call.cancelled_error() from None
                raise
            rest = rest[sent:]
        return None

    def _allow(self, seconds: float | None) -> None:
        """Set the socket's timeout, unless it is as good as set."""
        now = self._set
        if seconds is not None and now is not None and now - 0.02 < seconds < now + 0.02:
            return
        self._sock.settimeout(seconds)
        self._set = seconds

    def makefile(self, mode: str = "rb", buffering: int | None = None) -> io.BufferedReader:
        """Return a reader over :meth:`recv_into`."""
        return io.BufferedReader(_Reader(self))

    def settimeout(self, seconds: float | None) -> None:
        """Leave the timeout to the call; urllib3 sets its own before each request."""

    def shutdown(self, how: int) -> None:
        """Shut the socket down.

        Not as TLS does it, which first forgets that there is TLS: whoever sends
        just then would go on in the clear, and a reader take ciphertext for text.
        """
        sock: Any = self._sock
        while not isinstance(sock, socket.socket):  # TLS within TLS, through a proxy
            sock = sock.socket
        socket.socket.shutdown(sock, how)

    def pending(self) -> int:
        """Return the bytes that TLS has decrypted and nobody has read."""
        tls: Any = getattr(self._sock, "sslobj", self._sock)
        return tls.pending() if hasattr(tls, "pending") else 0

    def fileno(self) -> int:
        """Return the socket's file descriptor."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close, once nobody reads any more.

        http.client closes before the body is read where the server will close
        behind it; whoever reads on is still measured.
        """
        self._sock.close()


class _Reader(io.RawIOBase):
    """Reads through a :class:`Clocked`; keeps its socket open as makefile() does."""

    def __init__(self, clocked: Clocked) -> None:
        self._clocked = clocked
        self._hold = clocked._sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._clocked.recv_into(buffer)

    def close(self) -> None:
        if not self.closed:
            self._hold.close()
        super().close()
