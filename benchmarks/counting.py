"""What Python executes for one token: ``python -m benchmarks.counting`` prints it as JSON.

Counted are the events that ``sys.settrace`` gives: lines, calls and returns. They
are the same on every supported Python and however busy the machine is, so a
test bounds them.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from types import FrameType
from typing import Any

from . import wire
from .contenders import PROMPT, client_of
from .server import Asked, Pacer, reply, serve

_TOKENS = 1000


def events(address: str, asked: Asked) -> float:
    """Return the trace events for each token after the first."""
    reply(asked)  # made beforehand
    count = 0

    def traced(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += 1
        return traced

    options = {"keep": True} if asked.protocol == "h2o" else {}
    with client_of(asked.protocol)(address + asked.path()) as client:
        pieces = client.stream(PROMPT, **options)
        next(pieces)
        sys.settrace(traced)
        try:
            for _ in pieces:
                pass
        finally:
            sys.settrace(None)
        if pieces.text != wire.text(asked.tokens):
            raise AssertionError(f"another text of {asked}")
    return count / (asked.tokens - 1)


def main() -> None:
    """Count for every protocol; the server is a thread, which is not traced."""
    listener = socket.create_server(("127.0.0.1", 0))
    pacer = Pacer()

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection, pacer), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    counts = {name: events(address, Asked(name, _TOKENS)) for name in wire.TEXTS}
    print(json.dumps({name: round(count, 1) for name, count in counts.items()}))


if __name__ == "__main__":
    main()
