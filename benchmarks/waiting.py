"""Streams of one contender in a process of its own: how late each token is.

python benchmarks/waiting.py CORE floor|stream|pool|merge SERVER REPLY STREAMS
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from time import monotonic, process_time
from typing import Any

import contenders

Take = Callable[[str], None]


def floor(url: str, streams: int, take: Take) -> None:
    """Bare threads around the loop that a person would write."""

    def read() -> None:
        contenders.floor(url, "chat-ui", lambda: None, take)

    threads = [threading.Thread(target=read) for _ in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def stream(url: str, streams: int, take: Take) -> None:
    """One of ours, in this thread."""
    for piece in contenders.client_of("chat-ui")(url).stream(contenders.PROMPT):
        take(piece)


def pool(url: str, streams: int, take: Take) -> None:
    """A pool whose threads read, and take where they read."""
    from c4ai_clients.threads import Pool

    client = contenders.client_of("chat-ui")(url)

    class Taking:
        """Gives streams that say what they read."""

        def stream(self, messages: Any) -> Any:
            return _Taking(client.stream(messages), take)

    with Pool(Taking(), max_workers=streams) as workers:
        for _ in workers.map([contenders.PROMPT] * streams):
            pass


class _Taking:
    """A stream whose ``reply()`` takes each piece first."""

    def __init__(self, of: Any, take: Take) -> None:
        self._of, self._take = of, take

    def reply(self) -> Any:
        for piece in self._of:
            self._take(piece)
        return self._of.reply()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        self._of.cancel()

    def cancel(self) -> None:
        self._of.cancel()


def merge(url: str, streams: int, take: Take) -> None:
    """A pool whose threads hand every event to this one."""
    from c4ai_clients.events import Text
    from c4ai_clients.threads import Pool

    client = contenders.client_of("chat-ui")(url)
    asked = {i: client.stream(contenders.PROMPT) for i in range(streams)}
    with Pool(max_workers=streams) as workers:
        for _, event in workers.merge(asked):
            if isinstance(event, Text):
                take(event.text)


_WAYS = {way.__name__: way for way in (floor, stream, pool, merge)}


def main() -> None:
    """Measure what the arguments say, and print it as JSON."""
    core, name, server, wanted, streams = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    late: list[float] = []

    def take(piece: str) -> None:
        late.append(1000 * (monotonic() - float(piece)))

    contenders.client_of("chat-ui")  # imported beforehand
    start = process_time()
    _WAYS[name](f"{server}/{wanted}", int(streams), take)
    cpu = process_time() - start
    expected = int(wanted.split(",")[1]) * int(streams)
    if len(late) != expected:
        raise AssertionError(f"{len(late)} tokens came of {expected}")
    late.sort()
    print(json.dumps({"cpu": cpu, "p50": late[len(late) // 2], "p99": late[int(0.99 * len(late))]}))


if __name__ == "__main__":
    main()
