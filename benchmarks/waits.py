"""How late tokens are, and what many streams at once cost.

Each token of a paced reply is the time of its sending, so its lateness is known
to the reader exactly.
"""

from __future__ import annotations

from .measuring import Bench, over, spread, table
from .server import Asked

_RATE = 50.0
_POOLED = 200


def lateness(bench: Bench) -> None:
    """Lateness of one stream at 50 tokens a second, in milliseconds."""
    rows = []
    for framing in ("chunked", "close", "gzip"):
        asked = Asked("chat-ui", bench.tokens(200) // 4, 1, framing, _RATE)
        told = [
            bench.run("waiting.py", "stream", bench.url, asked.path()[1:], 1)
            for _ in range(bench.rounds)
        ]
        rows.append(
            [framing, *(spread((each[name] for each in told), ".2f") for name in ("p50", "p99"))]
        )
    table(["body", "p50 ms", "p99 ms"], *rows)


def pool(bench: Bench) -> None:
    """200 streams of 200 tokens at 50 a second: ratios to bare threads around the floor loop."""
    asked = Asked(
        "chat-ui", bench.tokens(200) // 4 if bench.scale < 1 else 200, 1, "chunked", _RATE
    )
    streams = max(10, int(_POOLED * bench.scale))
    used: dict[str, list[dict[str, float]]] = {"floor": [], "pool": [], "merge": []}
    for _ in range(bench.rounds):
        for name, told in used.items():
            told.append(bench.run("waiting.py", name, bench.url, asked.path()[1:], streams))
    rows = []
    for name in used:
        ratios = (
            over([each[what] for each in used[name]], [each[what] for each in used["floor"]])
            for what in ("cpu", "p99")
        )
        figures = (spread(each[what] for each in used[name]) for what in ("cpu", "p50", "p99"))
        rows.append([name, *figures, *map(spread, ratios)])
    table(["how", "CPU s", "p50 ms", "p99 ms", "CPU", "p99"], *rows)
