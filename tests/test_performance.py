"""What a token costs, counted so that a busy machine changes nothing; and the benchmarks run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from c4ai_clients.decoding import jsonl, sse_objects

ROOT = Path(__file__).parents[1]
# Lines, calls and returns that Python executes for a token that is a chunk of its
# own; the same on 3.10 to 3.13. Who makes a reply cheaper lowers them.
MOST = {
    "chat-ui": 73.7,
    "autonomous": 85.4,
    "h2o": 76.8,
    "gradio-full": 217.9,
    "gradio-4": 95.1,
    "gradio-5": 95.1,
    "gradio-6": 95.4,
}
ROOM = 1.5  # for reads that the system cuts otherwise; a lock costs two, a generator three


def benchmark(module: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert 0 == done.returncode
    return done.stdout


@pytest.fixture(scope="module")
def counts() -> dict[str, float]:
    """What each protocol's reply of 1,000 tokens costs a token."""
    return dict(json.loads(benchmark("benchmarks.counting")))


@pytest.mark.parametrize("protocol", MOST)
def test_token__executes_no_more_than_it_did(counts: dict[str, float], protocol: str) -> None:
    """No layer, lock or log call has come between the socket and the loop."""
    assert counts[protocol] <= MOST[protocol] + ROOM


@pytest.mark.parametrize(
    ("read", "record", "most"),
    [(jsonl, b'{"a": 1}\n', 42.0), (sse_objects, b'data: {"a": 1}\n\n', 65.0)],
)
def test_record__that_comes_alone_executes_no_more_than_it_did(
    read: Callable[[list[bytes]], Iterator[Any]], record: bytes, most: float
) -> None:
    """Nor does a record that comes by itself, as all do of a server that is slower than we are."""
    count = 0

    def traced(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += 1
        return traced

    records = read([record] * 1000)
    sys.settrace(traced)
    try:
        found = sum(1 for _ in records)
    finally:
        sys.settrace(None)

    assert 1000 == found
    assert count / 1000 <= most + ROOM


def test_benchmarks__print_a_table() -> None:
    """The command that docs/performance.md tells prints a table of every reply, read exactly."""
    printed = benchmark("benchmarks", "--quick", "memory")

    assert MOST.keys() <= {row.split(" ")[1] for row in printed.splitlines() if row[:1] == "|"}
