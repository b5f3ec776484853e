"""CPU from asking to the first token, on a warm client."""

from __future__ import annotations

from .measuring import Bench, over, spread, table

_TURNS = 200


def first(bench: Bench) -> None:
    """CPU to the first token, as a ratio to a `requests.Session` that sends the same requests."""
    rows = []
    turns = max(20, int(_TURNS * bench.scale))
    for protocol in ("chat-ui", "autonomous", "h2o", "gradio-4"):
        used: dict[str, list[float]] = {"floor": [], "stream": []}
        connections = 0
        for _ in range(bench.rounds):
            for name, seconds in used.items():
                told = bench.run("asking.py", name, bench.url, protocol, turns)
                seconds.append(told["cpu"])
            connections = max(connections, told["connections"])
        rows.append(
            [
                protocol,
                f"{1e6 * min(used['floor']) / turns:.0f} µs",
                spread(over(used["stream"], used["floor"])),
                connections,
            ]
        )
    table(["reply", "floor", "ours", "new connections"], *rows)
