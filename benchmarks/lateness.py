"""How late a clock or a cancel() is: medians, in milliseconds.

Run it from the root of the repository, with the extra ``[test]`` installed:

    python benchmarks/lateness.py

Each row is a turn against the emulator whose server never gives what is waited
for. A clock's lateness is the time of its error beyond its limit; a cancel's is
the time from ``cancel()``, called by another thread, to the reader's error.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import peers

from c4ai_clients import C4AICommand, C4AIError, Qwen, RetryPolicy, Timeout
from c4ai_clients.emulator import Answer, Emulator

ROUNDS = 15
LIMIT = 0.2
NEVER = RetryPolicy.none()


def ended(stream: object, cancel_after: float | None = None) -> tuple[float, float]:
    """Read a stream to its error; return when that came, and when cancel() was called."""
    called = [0.0]

    def cancel() -> None:
        called[0] = time.monotonic()
        stream.cancel()  # type: ignore[attr-defined]

    timer = threading.Timer(cancel_after or 0, cancel)
    if cancel_after is not None:
        timer.start()
    try:
        for _ in stream:  # type: ignore[attr-defined]
            pass
    except C4AIError:
        at = time.monotonic()
    else:
        raise AssertionError("the reply came all the same")
    if cancel_after is not None:
        timer.join()
    return at, called[0]


def clock(kind: str) -> float:
    """Return how late the clock *kind* was, in seconds."""
    if kind == "connect":
        with peers.never_accepting() as address:
            client = C4AICommand(f"http://{address}", retry=NEVER, timeout=Timeout(connect=LIMIT))
            start = time.monotonic()
            return ended(client.stream("Hi"))[0] - start - LIMIT
    protocol, step, at = "chat-ui", "message", 0
    if kind == "queue":
        protocol, step = "gradio", "stream"
    elif kind == "idle":
        at = 300
    with Emulator((protocol,), replies=lambda prompt: Answer(tokens=["one "] * 20)) as emulator:
        fault = "slow_queue" if kind == "queue" else "stall"
        emulator.fail(fault, step=step, at=at if fault == "stall" else None, seconds=20)
        kind_of = Qwen if kind == "queue" else C4AICommand
        with kind_of(emulator.url(protocol), timeout=Timeout(**{kind: LIMIT})) as client:
            stream = client.stream("Hi")
            start = time.monotonic()
            if kind == "idle":
                next(stream)
                start = time.monotonic()
            return ended(stream)[0] - start - LIMIT


def cancelled(phase: str) -> float:
    """Return how long after cancel() the reader woke, in seconds."""
    if phase == "connect":
        with peers.never_accepting() as address:
            at, called = ended(C4AICommand(f"http://{address}").stream("Hi"), LIMIT)
            return at - called
    with Emulator(("chat-ui",)) as emulator:
        emulator.fail("stall", at=None if phase == "headers" else 0, seconds=20)
        with C4AICommand(emulator.url("chat-ui")) as client:
            at, called = ended(client.stream("Hi"), LIMIT)
            return at - called


def main() -> None:
    """Print the table."""
    print("| what | median ms | worst ms |\n|---|---|---|")
    rows = [(f"Timeout({kind}=…)", clock, kind) for kind in KINDS]
    rows += [(f"cancel() in {phase}", cancelled, phase) for phase in PHASES]
    for title, measure, what in rows:
        late = sorted(1000 * measure(what) for _ in range(ROUNDS))
        print(f"| {title} | {statistics.median(late):.1f} | {late[-1]:.1f} |")


KINDS = ("connect", "first", "idle", "queue", "total")
PHASES = ("connect", "headers", "body")

if __name__ == "__main__":
    main()
