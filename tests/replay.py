"""The recordings of real servers in ``tests/captures``, and a server that answers with them.

    with replay("chatui/A/first_and_second_turn") as server:
        H2O(server.url)

They were made by other clients, so the requests need not be the same here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from c4ai_clients.emulator.replay import Exchange, Replay, exchanges

__all__ = ["CAPTURES", "Exchange", "Replay", "recorded", "replay"]

CAPTURES = Path(__file__).parent / "captures"


def recorded(case: str) -> list[Exchange]:
    """Read a recording, such as ``"gradio/5.50.0/first_turn"``, in the order of its requests."""
    return exchanges(CAPTURES / f"{case}.jsonl")


@contextlib.contextmanager
def replay(case: str, *, pace: float = 0.0) -> Iterator[Replay]:
    """Serve a recording, named as in :func:`recorded`."""
    server = Replay(recorded(case), pace)
    try:
        yield server
    finally:
        server.stop()
