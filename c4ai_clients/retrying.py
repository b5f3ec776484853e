"""When a request is sent again; the only file with policies.

One rule decides: only what the server cannot have taken is repeated. Steps
that prepare a turn may be repeated after anything that passes; the message
itself only where there was no connection, or on a 429 or 503, which say that
it was not taken. Once content has come nothing is repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Union

from .clocks import Call
from .errors import (
    C4AIError,
    ConnectError,
    IncompleteReplyError,
    RateLimitError,
    StatusError,
    TimedOutError,
    UsageError,
    check_count,
)

if TYPE_CHECKING:
    import tenacity

__all__ = ["RetryPolicy"]

_logger = logging.getLogger("c4ai_clients")
_Result = TypeVar("_Result")

_PREPARING = frozenset({408, 425, 429})
_MESSAGE = frozenset({429, 503})


def repeatable(error: BaseException, *, preparing: bool) -> bool:
    """Tell whether the request that ended in *error* may be sent again.

    Args:
        error: What it ended in.
        preparing: Whether the request only prepares the message.
    """
    if not isinstance(error, C4AIError) or error.lasting:
        return False
    if isinstance(error, ConnectError):
        return True
    if isinstance(error, StatusError):
        if preparing:
            return error.status in _PREPARING or error.status >= 500
        return error.status in _MESSAGE
    return isinstance(error, IncompleteReplyError) and preparing


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long to try again; makes the tenacity policy.

    Waits are drawn evenly between 0 and a bound that doubles (full jitter).

    Attributes:
        attempts: Tries in all.
        wait_initial: The first wait's upper bound, in seconds.
        wait_max: The bound's own bound, in seconds.
        total: No further try begins later than this, in seconds.
        retry_after_max: A server's ``Retry-After`` is a lower bound of the
            wait; above this many seconds the error comes at once.
        wait_unsaid: The wait after a 429 without ``Retry-After``; chat-ui
            counts messages per minute, failed attempts too.
        on_wait: Called with the seconds and the error before each wait.
    """

    attempts: int = 4
    wait_initial: float = 0.5
    wait_max: float = 30
    total: float = 300
    retry_after_max: float = 120
    wait_unsaid: float = 60
    on_wait: Callable[[float, C4AIError], None] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        check_count("retry attempts", self.attempts)
        for name in ("wait_initial", "wait_max", "total", "retry_after_max", "wait_unsaid"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 <= value < inf:
                raise UsageError(f"retry {name}={value!r}: give seconds, 0 or more")

    @classmethod
    def none(cls) -> RetryPolicy:
        """Return the policy that never tries again."""
        return cls(attempts=1)

    def retrying(self) -> tenacity.Retrying:
        """Return this policy's stop and wait as tenacity has them."""
        import tenacity

        return tenacity.Retrying(
            stop=tenacity.stop_any(
                tenacity.stop_after_attempt(self.attempts), tenacity.stop_before_delay(self.total)
            ),
            wait=tenacity.wait_random_exponential(multiplier=self.wait_initial, max=self.wait_max),
        )


RetryLike = Union[RetryPolicy, "tenacity.Retrying", None]


def run(
    attempt: Callable[[], _Result],
    retry: RetryLike,
    call: Call,
    *,
    preparing: bool,
    hold: Callable[[float], None],
) -> _Result:
    """Return what *attempt* returns, tried again as *retry* allows.

    tenacity is asked once there is an error that may pass: for each request
    that succeeds it would cost as much as its headers do.

    Args:
        attempt: One try; it counts ``call.attempts`` up.
        retry: The policy. Of a ``tenacity.Retrying`` of the caller's own, stop
            and wait are used; all else is decided here.
        call: The turn; its ``cancel()`` ends a wait at once.
        preparing: Whether the request only prepares the message.
        hold: Told how long all of the client's requests should wait.
    """
    began = monotonic()
    try:
        return attempt()
    except C4AIError as error:
        if not repeatable(error, preparing=preparing):
            raise
        again = _Again(error, began, attempt, retry, call, preparing=preparing, hold=hold)
    return again.run()


class _Again(Generic[_Result]):
    """The tries after a first one that failed, and what tenacity asks between them."""

    def __init__(
        self,
        error: C4AIError,
        began: float,
        attempt: Callable[[], _Result],
        retry: RetryLike,
        call: Call,
        *,
        preparing: bool,
        hold: Callable[[float], None],
    ) -> None:
        self._first: C4AIError | None = error
        self._failed: C4AIError = error
        self._began = began
        self._attempt = attempt
        self._call = call
        self._preparing = preparing
        self._hold = hold
        self._theirs: tenacity.BaseRetrying
        if retry is None or isinstance(retry, RetryPolicy):
            self._policy = retry or RetryPolicy()
            self._theirs = self._policy.retrying()
        else:
            self._policy, self._theirs = RetryPolicy(), retry

    def run(self) -> _Result:
        """Return what the first try returns that succeeds, or raise the last one's error."""
        retrying = self._theirs.copy(
            before=self._begin,
            wait=self._wait,
            retry=self._may_pass,
            before_sleep=self._announce,
            sleep=self._sleep,
            reraise=True,
        )
        return retrying(self._try)

    def _try(self) -> _Result:
        """Fail as the first try did, so that tenacity knows of it, and then try."""
        first, self._first = self._first, None
        if first is not None:
            raise first
        return self._attempt()

    def _begin(self, state: Any) -> None:
        """Count the time from the first try, which was made before there was a state."""
        state.start_time = self._began

    def _may_pass(self, state: Any) -> bool:
        error = state.outcome.exception()
        if error is None or not repeatable(error, preparing=self._preparing):
            return False
        asked = getattr(error, "retry_after", None)
        return asked is None or asked <= self._policy.retry_after_max

    def _wait(self, state: Any) -> float:
        error = state.outcome.exception()
        seconds = float(self._theirs.wait(state))
        if isinstance(error, StatusError):
            if error.retry_after is not None:
                seconds = max(seconds, error.retry_after)
            elif isinstance(error, RateLimitError):
                seconds = max(seconds, self._policy.wait_unsaid)
        return seconds

    def _announce(self, state: Any) -> None:
        error, seconds = state.outcome.exception(), state.upcoming_sleep
        self._failed = error
        _logger.info("waiting %.1f s, then trying again: %s", seconds, error)
        if isinstance(error, RateLimitError):
            self._hold(seconds)
        if self._policy.on_wait is not None:
            self._policy.on_wait(seconds, error)

    def _sleep(self, seconds: float) -> None:
        """Wait; where the time does not suffice, tell what there was to wait for."""
        try:
            self._call.sleep(seconds)
        except TimedOutError as error:
            words = f"{error.args[0]}; the last try ended so: {self._failed}"
            raise TimedOutError(words, kind=error.kind) from self._failed
