"""Runs in processes of their own, one contender after the other, and their ratios.

The server has one core, the clients another. Contenders take turns within each
round, and a ratio is taken within a round, since a shared machine changes its
pace between them.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from . import wire
from .server import Asked

_HERE = Path(__file__).parent
PEERS = ("hugchat", "gradio_client", "openai")


class Bench:
    """The server, and what is run against it.

    Args:
        rounds: How often each contender is run.
        scale: What each number of tokens is multiplied by.
        peers: Where ``python -m benchmarks.environments`` has put the peers, if it has.
    """

    def __init__(self, rounds: int, scale: float = 1.0, peers: Path | None = None) -> None:
        self.rounds = rounds
        self.scale = scale
        self._peers = peers
        cores = sorted(os.sched_getaffinity(0))
        self.core, self._server_core = cores[0], cores[-1]

    def __enter__(self) -> Bench:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.server", str(self._server_core)],
            cwd=_HERE.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._server.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._server.stdout.readline())}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.communicate()

    def tokens(self, count: int) -> int:
        return max(200, int(count * self.scale))

    def python(self, name: str) -> str | None:
        """Return the Python that has what a contender needs; None where there is none."""
        if name not in PEERS:
            return sys.executable
        python = self._peers / name / "bin" / "python" if self._peers else None
        return str(python) if python is not None and python.exists() else None

    def run(self, script: str, *words: object, python: str | None = None) -> Any:
        """Return what a script in this directory, pinned to the clients' core, tells as JSON."""
        done = subprocess.run(
            [python or sys.executable, str(_HERE / script), str(self.core), *map(str, words)],
            stdout=subprocess.PIPE,
            check=True,
            timeout=600,
        )
        return json.loads(done.stdout)

    def read(self, name: str, asked: Asked, *, keep: bool = True) -> dict[str, Any]:
        """Have a contender read a reply, which it must give exactly."""
        how = "keep" if keep else "drop"
        told: dict[str, Any] = self.run(
            "contenders.py", name, self.url, asked.path()[1:], how, python=self.python(name)
        )
        text = wire.text(asked.tokens).encode()
        if told["digest"] != hashlib.sha256(text).hexdigest():
            raise AssertionError(f"{name} returned another text of {asked}")
        return told


def spread(values: Iterable[float], form: str = ".2f") -> str:
    """Return the median, and in brackets the least and the greatest."""
    found = sorted(values)
    if len(found) == 1:
        return f"{found[0]:{form}}"
    return f"{statistics.median(found):{form}} ({found[0]:{form}} to {found[-1]:{form}})"


def over(values: Sequence[float], floors: Sequence[float]) -> list[float]:
    """Return the ratios, round by round."""
    return [value / floor for value, floor in zip(values, floors, strict=True)]


def table(*rows: Sequence[object]) -> None:
    """Print a Markdown table; the first row is its head."""
    head, *others = rows
    for row in (head, ["---"] * len(head), *others):
        print("| " + " | ".join(map(str, row)) + " |")
