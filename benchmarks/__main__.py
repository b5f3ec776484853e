"""Measure, and print tables: ``python -m benchmarks [TABLE …]``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from . import package, replies, steps, turns, waits
from .environments import WHERE
from .measuring import Bench

_TABLES: dict[str, Callable[[Bench], None]] = {
    "tokens": replies.tokens,
    "growth": replies.growth,
    "memory": replies.memory,
    "steps": steps.steps,
    "first": turns.first,
    "lateness": waits.lateness,
    "pool": waits.pool,
    "import": package.imported,
    "install": package.installed,
    "peers": replies.peers,
}


def main() -> None:
    """Print the tables that are asked for, all of them by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(_TABLES))
    parser.add_argument("--rounds", type=int, default=7, help="how often each is run")
    parser.add_argument("--quick", action="store_true", help="one round of few tokens")
    parser.add_argument("--peers", type=Path, default=WHERE, help="where the peers are")
    chosen = parser.parse_args()
    if unknown := set(chosen.tables) - set(_TABLES):
        parser.error(f"no table {', '.join(unknown)}; there are: {', '.join(_TABLES)}")
    rounds, scale = (1, 0.01) if chosen.quick else (chosen.rounds, 1.0)
    with Bench(rounds, scale, chosen.peers) as bench:
        for name in chosen.tables or _TABLES:
            measure = _TABLES[name]
            print(f"\n{measure.__doc__}\n")
            measure(bench)


if __name__ == "__main__":
    main()
