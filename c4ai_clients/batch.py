"""Many prompts, one file of answers, and any number of deaths in between.

Rules that this file keeps:

1. A worker gets its next prompt when its last answer is on the disk, so a
   crash costs at most one request more for each worker.
2. Only this thread writes; workers, here or on other machines, return plain
   records.
3. What went wrong with a prompt is its record; what went wrong with a worker
   ends the run, and the next one asks again.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import os
import queue
import sys
import threading
import uuid
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any, Literal, Union

from . import errors
from .client import ChatClient
from .errors import C4AIError, CancelledError, UsageError, check_count
from .options import check_options
from .prompts import Asked, Prompts, count, read
from .records import Ledger, Record, of_error, of_reply, opened, read_batch
from .threads import Future, Pool, check_client

__all__ = ["BatchSummary", "read_batch", "run_batch"]

Source = Union[ChatClient, Callable[[], ChatClient]]
_Ask = Callable[[Asked], "futures.Future[Any]"]


@dataclass(frozen=True)
class BatchSummary:
    """What came of one run of a batch.

    Attributes:
        output: Where the records are.
        done: How many replies this run has added.
        skipped: How many prompts had a record already.
        failed: How many prompts failed in this run, by the error's class.
        failed_before: How many of those skipped had failed.
        tokens: All tokens used, where the server says so; 0 otherwise.
        first_token: Seconds to the first content, as (p50, p95), or None.
        total: Seconds to the end of a reply, as (p50, p95), or None.
        seconds: How long the run took.
    """

    output: str
    done: int = 0
    skipped: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    tokens: int = 0
    first_token: tuple[float, float] | None = None
    total: tuple[float, float] | None = None
    seconds: float = 0.0
    failed_before: int = 0

    def __str__(self) -> str:
        said = [f"{self.done} done in {self.seconds:.1f} s"]
        if self.skipped:
            before = f", {self.failed_before} of them failed" if self.failed_before else ""
            said.append(f"{self.skipped} were there already{before}")
        if self.failed:
            kinds = ", ".join(f"{number} {name}" for name, number in sorted(self.failed.items()))
            said.append(f"{sum(self.failed.values())} failed ({kinds}), {self.output} says why")
        if self.tokens:
            said.append(f"{self.tokens} tokens")
        for name, seconds in (("first token", self.first_token), ("reply", self.total)):
            if seconds is not None:
                said.append(f"{name} p50 {seconds[0]:.2f} s, p95 {seconds[1]:.2f} s")
        return "; ".join(said)


def run_batch(
    prompts: Prompts,
    output: str | os.PathLike[str],
    client: Source,
    *,
    workers: int = 8,
    executor: futures.Executor | None = None,
    progress: bool = True,
    on_error: Literal["record", "raise"] = "record",
    retry_failed: bool = False,
    options: Mapping[str, Any] | None = None,
) -> BatchSummary:
    """Ask all prompts that have no record in *output* yet, and append theirs.

    Run it again after any end, and it does what is missing.

    Args:
        prompts: Strings, or dicts ``{id, prompt | messages, system, model,
            options}``, of any number; or the path of a file with such dicts as
            lines of JSON, or as a table (``.csv``); ``-`` is standard input.
        output: The file of records, one line of JSON each.
        client: Whom to ask, or a function that makes the client.
        workers: How many prompts are on their way at once.
        executor: What asks in the place of threads of our own, such as
            ``distributed.Client(…).get_executor()``. Where it has other
            processes, a client loses its key on the way there; a function
            that makes it there does not.
        progress: Whether to show it, in a terminal or a notebook.
        on_error: What becomes of a prompt that fails: ``record`` writes it
            down, ``raise`` ends the run without.
        retry_failed: Whether to ask again what failed in an earlier run, where
            its record says that this may help.
        options: For all prompts, what the client's ``stream`` takes; a
            prompt's own come first. They are no part of a prompt's id.

    Raises:
        UsageError: It cannot be done as asked; a prompt has an option that
            the client does not know.
        KeyboardInterrupt: Ctrl-C; its text says how to go on.
        C4AIError: A prompt failed, with ``on_error="raise"``.
    """
    check_count("workers", workers)
    if on_error not in ("record", "raise"):
        raise UsageError(f"on_error={on_error!r}: say 'record' or 'raise'")
    _check_apart(prompts, output)
    for_all = dict(options or {})
    with (
        _bar(prompts, progress) as bar,
        _asking(client, executor, workers, for_all) as ask,
    ):
        asked = read(prompts)
        first = list(itertools.islice(asked, 1))  # a refused file leaves no output behind
        with opened(output) as ledger:
            tally = _Tally(bar)
            missing = _missing(itertools.chain(first, asked), ledger, retry_failed, tally)
            given = (replace(each, options={**for_all, **each.options}) for each in missing)
            _Run(ledger, tally, on_error == "raise").run(given, ask, workers)
            return tally.summary(ledger.path)


def _check_apart(prompts: Prompts, output: str | os.PathLike[str]) -> None:
    if isinstance(prompts, (str, os.PathLike)):
        with contextlib.suppress(OSError):  # one of them is not there
            if os.path.samefile(prompts, output):
                raise UsageError(
                    f"{os.fspath(output)} holds the prompts: name another file for the answers"
                )


def _missing(
    prompts: Iterator[Asked], ledger: Ledger, retry_failed: bool, tally: _Tally
) -> Iterator[Asked]:
    for asked in prompts:
        if ledger.lacks(asked.id, retry_failed=retry_failed):
            yield asked
        else:
            tally.skip(ledger.failed(asked.id))


class _Run:
    """Keeps workers busy, and writes down what they bring.

    Args:
        ledger: Where to.
        tally: What counts it.
        raises: Whether a prompt that failed ends the run.
    """

    def __init__(self, ledger: Ledger, tally: _Tally, raises: bool) -> None:
        self._ledger = ledger
        self._tally = tally
        self._raises = raises
        self._writable = True
        self._under_way: dict[futures.Future[Any], Asked] = {}
        self._ended: queue.SimpleQueue[futures.Future[Any]] = queue.SimpleQueue()

    def run(self, missing: Iterator[Asked], ask: _Ask, workers: int) -> None:
        """Ask all that are missing, so many at once."""
        try:
            for asked in missing:
                future = ask(asked) if asked.error is None else _unasked(asked)
                self._under_way[future] = asked
                future.add_done_callback(self._ended.put)
                if len(self._under_way) >= workers:
                    self._take()
            while self._under_way:
                self._take()
        except BaseException as error:
            self._stop()
            if isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt(
                    f"stopped; {len(self._ledger)} records are in {self._ledger.path}: "
                    "run the same again to go on"
                ) from None
            raise

    def _take(self) -> None:
        """Wait for a future to end, and write down what came of all that have."""
        some = [self._ended.get()]
        with contextlib.suppress(queue.Empty):
            while True:
                some.append(self._ended.get_nowait())
        if (failure := self._write(some)) is not None:
            raise failure

    def _write(self, some: list[futures.Future[Any]]) -> Exception | None:
        """Write down what came of these, all at once: a disk takes long for each time.

        Returns what ends the run, where one of them says so.
        """
        records: list[Record] = []
        failure: Exception | None = None
        for future in some:
            try:
                records.append(self._outcome(self._under_way.pop(future), future))
            except Exception as error:  # noqa: BLE001 - returned when the others are written
                failure = failure or error
        try:
            self._ledger.append(records)
        except OSError:
            self._writable = False
            raise
        self._tally.add(records)
        return failure

    def _outcome(self, asked: Asked, future: futures.Future[Any]) -> Record:
        """Return the record of what came of a prompt; raise what ends the run."""
        try:
            outcome = future.result()
        except C4AIError as error:
            # What an executor's future raises, or a cancelled one, says nothing about the
            # prompt; nor does any other error, which is a mistake in somebody's code.
            told = isinstance(future, Future) and not isinstance(error, CancelledError)
            if self._raises or not told:
                raise
            return of_error(asked, error)
        record: Record = outcome if isinstance(outcome, dict) else of_reply(asked, outcome)
        if self._raises and "error" in record:
            raise _error(record)
        return record

    def _stop(self) -> None:
        """Ask no more, and write down the replies that are there already."""
        for future in self._under_way:
            future.cancel()
        if self._writable:
            ended = [f for f in self._under_way if f.done() and not f.cancelled()]
            self._write([future for future in ended if future.exception() is None])


def _unasked(asked: Asked) -> futures.Future[Any]:
    future: futures.Future[Any] = futures.Future()
    future.set_result(of_error(asked, asked.error or UsageError("cannot be asked")))
    return future


def _error(record: Record) -> C4AIError:
    """Return the error that a worker elsewhere has written down."""
    said = record["error"]
    kind = getattr(errors, said["class"], None)
    if kind is None:
        return C4AIError(f"{said['class']}: {said['text']}", partial=said["partial"])
    made: C4AIError = kind(said["text"], partial=said["partial"])
    return made


@contextlib.contextmanager
def _asking(
    client: Source, executor: futures.Executor | None, workers: int, options: Mapping[str, Any]
) -> Iterator[_Ask]:
    """Give what asks a prompt: threads of ours, or *executor*."""
    if not callable(client):
        _fit(client, options)
    if executor is not None:
        asker = _Asker(_Whom(uuid.uuid4().hex, client))
        yield lambda asked: executor.submit(asker, asked)
        return
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(_fit(client(), options)) if callable(client) else client
        pool = stack.enter_context(Pool(made, max_workers=workers))

        def ask(asked: Asked) -> futures.Future[Any]:
            _check(made, asked)
            return pool.submit(asked.messages, **asked.options)

        yield ask


def _check(client: ChatClient, asked: Asked) -> None:
    try:
        check_options(client, asked.options)
    except UsageError as error:
        raise UsageError(f"prompt {asked.index + 1}: {error}") from None


def _fit(client: ChatClient, options: Mapping[str, Any]) -> ChatClient:
    """Return *client*, where it is one that takes these options."""
    check_client(client)
    check_options(client, options)
    return client


@dataclass(frozen=True)
class _Whom:
    """Whom to ask, known again by its token wherever it is sent."""

    token: str
    client: Source = field(compare=False)


class _Asker:
    """Asks one prompt; in another process it makes its client once, at the first."""

    def __init__(self, whom: _Whom) -> None:
        self._whom = whom
        self._lock = threading.Lock()
        self._made: ChatClient | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self._whom,)

    def __call__(self, asked: Asked) -> Record:
        """Return the record of what came of it."""
        client = self._client()
        _check(client, asked)
        try:
            return of_reply(asked, client.stream(asked.messages, **asked.options).reply())
        except C4AIError as error:
            return of_error(asked, error)

    def _client(self) -> ChatClient:
        with self._lock:
            if self._made is None:
                given = self._whom.client
                made = _fit(given() if callable(given) else given, {})
                # Sends nothing; a client that lost its key on the way here says so.
                made.stream("Hello").cancel()
                self._made = made
            return self._made


@functools.lru_cache(maxsize=4)
def _arrived(whom: _Whom) -> _Asker:
    return _Asker(whom)


class _Tally:
    """Counts what a run brings, and shows it."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._began = monotonic()
        self._done = self._skipped = self._failed_before = self._tokens = 0
        self._failed: Counter[str] = Counter()
        self._first = array("d")
        self._total = array("d")

    def skip(self, failed: bool) -> None:
        """Count a prompt that has its record, and whether that is an error."""
        self._skipped += 1
        self._failed_before += failed
        if self._bar is not None and self._bar.total is not None:
            self._bar.total -= 1  # so that rate and time left are right

    def add(self, records: list[Record]) -> None:
        """Count what was written."""
        for record in records:
            if "error" in record:
                self._failed[record["error"]["class"]] += 1
                continue
            self._done += 1
            timing, usage = record["timing"], record["usage"] or {}
            self._total.append(timing["total"])
            if timing["first_token"] is not None:
                self._first.append(timing["first_token"])
            self._tokens += usage.get("total_tokens") or (
                (usage.get("prompt_tokens") or 0) + (usage.get("completion_tokens") or 0)
            )
        if self._bar is not None:
            if self._failed:
                self._bar.set_postfix(failed=sum(self._failed.values()), refresh=False)
            self._bar.update(len(records))

    def summary(self, output: str) -> BatchSummary:
        """Return what came of the run."""
        return BatchSummary(
            output=output,
            done=self._done,
            skipped=self._skipped,
            failed=dict(self._failed),
            failed_before=self._failed_before,
            tokens=self._tokens,
            first_token=_percentiles(self._first),
            total=_percentiles(self._total),
            seconds=monotonic() - self._began,
        )


def _percentiles(seconds: array[float]) -> tuple[float, float] | None:
    """Return p50 and p95: the least value that so many are not above."""
    if not seconds:
        return None
    inorder = sorted(seconds)
    p50, p95 = (inorder[math.ceil(part * len(inorder)) - 1] for part in (0.5, 0.95))
    return p50, p95


@contextlib.contextmanager
def _bar(prompts: Prompts, progress: bool) -> Iterator[Any]:
    """Give a progress bar where somebody can see it: a terminal or a notebook."""
    ipython = sys.modules.get("IPython")
    notebook = hasattr(ipython and ipython.get_ipython(), "kernel")
    if not progress or not (notebook or (sys.stderr is not None and sys.stderr.isatty())):
        yield None
        return
    try:
        from tqdm.auto import tqdm
    except ModuleNotFoundError as error:
        raise UsageError("a batch needs more: pip install 'c4ai-clients[batch]'") from error
    with tqdm(total=count(prompts), unit="reply", dynamic_ncols=True) as bar:
        yield bar
