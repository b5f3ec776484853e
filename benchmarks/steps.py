"""Where a token's time goes, step by step, in Gradio's replies; there is no server in it."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from time import process_time
from typing import Any

from c4ai_clients.decoding import sse, sse_objects
from c4ai_clients.providers.gradio_config import find_chat
from c4ai_clients.providers.gradio_messages import Telling

from . import wire
from .contenders import _LOOPS
from .measuring import Bench, table

_PIECE = 1 << 16
_EVENT_LIMIT = 8 << 20


def steps(bench: Bench) -> None:
    """CPU per token of a Gradio reply that lies in memory, in µs; ours hold those below them."""
    found = {
        protocol: _of(protocol, bench.tokens(count), bench.rounds)
        for protocol, count in (("gradio-full", 2000), ("gradio-4", 20_000))
    }
    rows = [[name, *(f"{column[name]:.1f}" for column in found.values())] for name in _STEPS]
    table(["step", *found], *rows)


_STEPS = (
    "the floor's loop",
    "its `json.loads`",
    "ours, up to the events",
    "messages read from the stream",
    "events cut out of it",
)


def _of(protocol: str, count: int, rounds: int) -> dict[str, float]:
    _, each, _ = wire.records(protocol, wire.tokens(count))
    body = b"".join(each)
    pieces = [body[i : i + _PIECE] for i in range(0, len(body), _PIECE)]
    data = [event[len(b"data: ") :] for event in each]
    chat = find_chat(wire.config(protocol), api_name=None, fn_index=None)

    def told() -> Iterator[Any]:
        telling = Telling(chat, [], file=_nothing, keep=_nothing)
        return iter(telling.events(sse_objects(pieces, _EVENT_LIMIT)))

    runs: tuple[Callable[[], Any], ...] = (
        lambda: _LOOPS[protocol](iter(pieces), _nothing),
        lambda: _run(map(json.loads, data)),
        lambda: _run(told()),
        lambda: _run(sse_objects(pieces, _EVENT_LIMIT)),
        lambda: _run(sse(pieces, _EVENT_LIMIT)),
    )
    least = [min(_seconds(run) for _ in range(rounds)) for run in runs]
    return {name: 1e6 * used / count for name, used in zip(_STEPS, least, strict=True)}


def _seconds(run: Callable[[], Any]) -> float:
    start = process_time()
    run()
    return process_time() - start


def _run(steps: Iterator[Any]) -> None:
    deque(steps, maxlen=0)


def _nothing(given: Any) -> Any:
    return None
