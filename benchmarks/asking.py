"""Turns of one contender in a process of its own: CPU from asking to the first token.

python benchmarks/asking.py CORE floor|stream SERVER PROTOCOL TURNS
"""

from __future__ import annotations

import json
import os
import sys
from time import process_time
from typing import Any

import contenders


def floor(session: Any, url: str, protocol: str) -> float:
    """Ask as a person would write it; return the CPU seconds to the first token."""
    start = process_time()
    response = contenders.asked(session, url, protocol)
    chunks = response.raw.stream(65536, decode_content=True)
    first = b""
    for chunk in chunks:
        first += chunk
        if b"end" in first:
            break
    used = process_time() - start
    for _ in chunks:  # so that the connection is kept
        pass
    return used


def stream(client: Any, url: str, protocol: str) -> float:
    """Ask our client."""
    start = process_time()
    options = {"keep": True} if protocol == "h2o" else {}
    pieces = client.stream(contenders.PROMPT, **options)
    next(pieces)
    used = process_time() - start
    for _ in pieces:
        pass
    return used


def main() -> None:
    """Measure what the arguments say, and print it as JSON."""
    import requests

    core, name, server, protocol, turns = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    url = f"{server}/{protocol},1,1,chunked,0"
    if name == "floor":
        run, asking = floor, requests.Session()
    else:
        run, asking = stream, contenders.client_of(protocol)(url)
    for _ in range(5):
        run(asking, url, protocol)
    before = requests.get(server + "/connections", timeout=10).json()
    cpu = sum(run(asking, url, protocol) for _ in range(int(turns)))
    after = requests.get(server + "/connections", timeout=10).json()
    print(json.dumps({"cpu": cpu, "connections": after - before - 1}))


if __name__ == "__main__":
    main()
