"""CPU and memory of reading one reply: per token, as it grows, and beside peers."""

from __future__ import annotations

from . import wire
from .measuring import PEERS, Bench, over, spread, table
from .server import Asked

_SHOWN = {"stream": "`for piece in …`", "events": "`.events()`"}
# Values that are whole each time cost by their bytes, so fewer tokens are read.
_COUNTS = {"gradio-full": 2000}
_PEERS = (("hugchat", "chat-ui"), ("openai", "autonomous"), ("gradio_client", "gradio-6"))


def tokens(bench: Bench) -> None:
    """CPU per token, as a ratio to the floor: one token a chunk (c1), and 64 (c64)."""
    rows = []
    for protocol in wire.TEXTS:
        for grouped in (1, 64):
            asked = Asked(protocol, bench.tokens(_COUNTS.get(protocol, 20_000)), grouped)
            used: dict[str, list[float]] = {"floor": [], "stream": [], "events": []}
            for _ in range(bench.rounds):
                for name, seconds in used.items():
                    seconds.append(bench.read(name, asked)["cpu"])
            floor = used["floor"]
            rows.append(
                [
                    f"{protocol} c{grouped}",
                    f"{1e6 * min(floor) / asked.tokens:.1f} µs",
                    *(spread(over(used[name], floor)) for name in _SHOWN),
                ]
            )
    table(["reply", "floor", *_SHOWN.values()], *rows)


def growth(bench: Bench) -> None:
    """CPU per token of a reply ten times as long, as a ratio; of whole values, per byte."""
    rows = []
    for protocol in wire.TEXTS:
        short, long = (
            Asked(protocol, bench.tokens(count))
            for count in ((1000, 4000) if protocol == "gradio-full" else (10_000, 100_000))
        )
        costs: list[list[float]] = [[], []]
        for _ in range(bench.rounds):
            for asked, per_unit in zip((short, long), costs, strict=True):
                per_unit.append(bench.read("stream", asked)["cpu"] / _units(asked))
        grown = spread(over(costs[1], costs[0]))
        rows.append([protocol, f"{short.tokens:,} to {long.tokens:,}", grown])
    table(["reply", "tokens", "cost of one, longer against shorter"], *rows)


def _units(asked: Asked) -> int:
    """Return how many tokens a reply has, or bytes where each value is whole."""
    if asked.protocol != "gradio-full":
        return asked.tokens
    sizes = [len(token) for token in wire.tokens(asked.tokens)]
    return sum(size * (asked.tokens - i) for i, size in enumerate(sizes))


def memory(bench: Bench) -> None:
    """Memory above the start while 100,000 tokens are read and dropped, in MB."""
    rows = []
    for protocol in wire.TEXTS:
        asked = Asked(protocol, bench.tokens(4000 if protocol == "gradio-full" else 100_000))
        runs = [bench.read("stream", asked, keep=False)["grown"] for _ in range(bench.rounds)]
        rows.append([protocol, f"{asked.tokens:,}", spread((size / 1e6 for size in runs), ".1f")])
    table(["reply", "tokens", "MB"], *rows)


def peers(bench: Bench) -> None:
    """CPU per token of other clients, one token a chunk, as a ratio to the floor."""
    rows = []
    for name, protocol in _PEERS:
        if bench.python(name) is None:
            rows.append(
                [name, protocol, "not installed: python -m benchmarks.environments", "", ""]
            )
            continue
        asked = Asked(protocol, bench.tokens(5000))
        used: dict[str, list[float]] = {"floor": [], "stream": [], name: []}
        grown = []
        for _ in range(bench.rounds):
            for each, seconds in used.items():
                told = bench.read(each, asked)
                seconds.append(told["cpu"])
            grown.append(told["grown"] / 1e6)
        peer, ours = (spread(over(used[each], used["floor"]), ".1f") for each in (name, "stream"))
        rows.append([name, protocol, peer, ours, spread(grown, ".0f")])
    table(["peer", "reply", "peer", "ours", "the peer's memory, MB"], *rows)


assert {name for name, _ in _PEERS} == set(PEERS)
