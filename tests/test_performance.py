"""What a token costs, counted so that a busy machine changes nothing; and the benchmarks run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Lines, calls and returns that Python executes for a token that is a chunk of its
# own; the same on 3.10 to 3.13 but for one. Who makes a reply cheaper lowers them.
MOST = {
    "chat-ui": 85.0,
    "autonomous": 101.8,
    "h2o": 89.0,
    "gradio-full": 247.1,
    "gradio-4": 145.9,
    "gradio-5": 146.0,
    "gradio-6": 146.4,
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


def test_benchmarks__print_a_table() -> None:
    """The command that docs/performance.md tells prints a table of every reply, read exactly."""
    printed = benchmark("benchmarks", "--quick", "memory")

    assert MOST.keys() <= {row.split(" ")[1] for row in printed.splitlines() if row[:1] == "|"}
