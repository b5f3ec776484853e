"""When a request is sent again: the waits computed, not slept."""

from __future__ import annotations

import logging
import threading
import time

import pytest
import tenacity

from c4ai_clients import RetryPolicy, Timeout
from c4ai_clients.clocks import Call
from c4ai_clients.errors import (
    AuthError,
    C4AIError,
    CancelledError,
    ConnectError,
    IncompleteReplyError,
    ModelError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    ServerError,
    StatusError,
    TimedOutError,
    UsageError,
)
from c4ai_clients.retrying import RetryLike, repeatable, run

CASES = [
    # the error, after a preparing step, after the message itself
    (ConnectError("x"), True, True),
    (ConnectError("x", lasting=True), False, False),
    (IncompleteReplyError("x"), True, False),
    (RateLimitError("x", status=429), True, True),
    (RateLimitError("x", status=429, lasting=True), False, False),
    (ServerError("x", status=503), True, True),
    (ServerError("x", status=500), True, False),
    (ServerError("x", status=502), True, False),
    (ServerError("x", status=504), True, False),
    (StatusError("x", status=408), True, False),
    (StatusError("x", status=425), True, False),
    (StatusError("x", status=400), False, False),
    (AuthError("x", status=401), False, False),
    (NotFoundError("x", status=404), False, False),
    (TimedOutError("x", kind="first"), False, False),
    (ProtocolError("x"), False, False),
    (ModelError("x"), False, False),
    (CancelledError("x"), False, False),
    (UsageError("x"), False, False),
    (KeyboardInterrupt(), False, False),
]


@pytest.mark.parametrize(("error", "preparing", "message"), CASES)
def test_repeatable(error: BaseException, preparing: bool, message: bool) -> None:
    """Only what the server cannot have taken is repeated."""
    assert preparing is repeatable(error, preparing=True)
    assert message is repeatable(error, preparing=False)


def attempts_of(
    errors: list[C4AIError], retry: RetryLike, timeout: Timeout | None = None
) -> tuple[int, list[float]]:
    """Run attempts that fail with *errors*, then succeed; return their number and the holds."""
    made = 0
    holds: list[float] = []

    def attempt() -> str:
        nonlocal made
        made += 1
        if len(errors) >= made:
            raise errors[made - 1]
        return "done"

    try:
        run(attempt, retry, Call(timeout or Timeout()), preparing=True, hold=holds.append)
    except C4AIError:
        made = -made
    return made, holds


def test_run__as_often_as_the_policy_says() -> None:
    """The last error comes out when the attempts are used up."""
    policy = RetryPolicy(attempts=3, wait_initial=0)

    assert (3, []) == attempts_of([ConnectError("x")] * 2, policy)
    assert (-3, []) == attempts_of([ConnectError("x")] * 3, policy)
    assert (-1, []) == attempts_of([ConnectError("x")], RetryPolicy.none())


def test_run__waits_with_full_jitter() -> None:
    """Waits are drawn between 0 and a bound that doubles up to its own bound."""
    waits: list[float] = []
    policy = RetryPolicy(
        attempts=6, wait_initial=0.008, wait_max=0.02, on_wait=lambda s, e: waits.append(s)
    )
    for _ in range(20):
        attempts_of([ConnectError("x")] * 5, policy)

    for tries, bound in enumerate([0.008, 0.016, 0.02, 0.02, 0.02]):
        drawn = waits[tries::5]
        assert 0 <= min(drawn) < bound / 2 < max(drawn) <= bound


def test_run__retry_after_is_a_lower_bound() -> None:
    """What the server asks for is waited at least; above the limit the error comes at once."""
    waits: list[float] = []
    policy = RetryPolicy(wait_initial=0, retry_after_max=1, on_wait=lambda s, e: waits.append(s))

    assert (2, []) == attempts_of([ServerError("x", status=503, retry_after=0.05)], policy)
    assert [0.05] == waits
    assert (-1, []) == attempts_of([ServerError("x", status=503, retry_after=1.5)], policy)


def test_run__a_429_without_retry_after() -> None:
    """It waits as long as the policy says for that, and all of the client's requests do."""
    policy = RetryPolicy(wait_initial=0, wait_unsaid=0.05)

    assert (2, [0.05]) == attempts_of([RateLimitError("x", status=429)], policy)


def test_run__no_try_begins_after_the_budget() -> None:
    """A wait that would end beyond the budget of seconds is not begun."""
    start = time.monotonic()
    policy = RetryPolicy(total=0.2, wait_initial=0)

    assert (-1, []) == attempts_of([ServerError("x", status=503, retry_after=5)], policy)
    assert time.monotonic() - start < 2


def test_run__the_budget_begins_with_the_first_try() -> None:
    """What the first attempt takes counts, too."""
    made: list[float] = []

    def attempt() -> None:
        made.append(time.monotonic())
        time.sleep(0.03)
        raise ConnectError("x")

    policy = RetryPolicy(total=0.02, wait_initial=0)
    with pytest.raises(ConnectError):
        run(attempt, policy, Call(Timeout()), preparing=True, hold=lambda seconds: None)

    assert 1 == len(made)


def test_run__total_ends_a_wait() -> None:
    """A wait ends with the turn's own total."""
    start = time.monotonic()
    errors: list[C4AIError] = [ServerError("x", status=503, retry_after=30)]
    with pytest.raises(TimedOutError) as caught:
        run(
            lambda: (_ for _ in ()).throw(errors[0]),
            RetryPolicy(),
            Call(Timeout(total=0.2)),
            preparing=True,
            hold=lambda seconds: None,
        )

    assert "total" == caught.value.kind
    assert time.monotonic() - start < 2


def test_run__total_that_ends_a_wait_tells_what_for() -> None:
    """Whoever reads that it took too long reads why it did."""

    def attempt() -> None:
        raise RateLimitError("the server answered 429", status=429)

    with pytest.raises(
        TimedOutError, match=r"not done within 0\.1 s.*the server answered 429"
    ) as caught:
        run(attempt, None, Call(Timeout(total=0.1)), preparing=True, hold=lambda seconds: None)

    assert "total" == caught.value.kind
    assert isinstance(caught.value.__cause__, RateLimitError)


def test_run__cancel_ends_a_wait_at_once() -> None:
    """Nobody waits for a try that nobody wants."""
    call = Call(Timeout())
    threading.Timer(0.1, call.cancel).start()
    start = time.monotonic()

    def attempt() -> None:
        raise ServerError("x", status=503, retry_after=30)

    with pytest.raises(CancelledError):
        run(attempt, RetryPolicy(), call, preparing=True, hold=lambda seconds: None)
    assert time.monotonic() - start < 2


def test_run__a_policy_of_the_callers_own() -> None:
    """A tenacity policy gives stop and wait; what may be repeated stays ours."""
    theirs = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(2), retry=tenacity.retry_always, reraise=False
    )

    assert (-2, []) == attempts_of([ConnectError("x")] * 5, theirs)
    assert (-1, []) == attempts_of([AuthError("x", status=401)], theirs)


def test_run__each_wait_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever looks at the log sees why nothing happens."""
    with caplog.at_level(logging.INFO, "c4ai_clients"):
        attempts_of([ConnectError("it is down")], RetryPolicy(wait_initial=0))

    assert "it is down" in caplog.text


@pytest.mark.parametrize(
    "settings",
    [{"attempts": 0}, {"attempts": 1.5}, {"attempts": True}, {"total": -1}, {"wait_max": "1"}],
)
def test_policy__refuses_what_makes_no_sense(settings: dict[str, object]) -> None:
    """A setting that cannot work is refused by name."""
    with pytest.raises(UsageError, match=next(iter(settings))):
        RetryPolicy(**settings)  # type: ignore[arg-type]
