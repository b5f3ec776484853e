"""What can go wrong, by name, and which request it happens to.

In the middle of an answer, at a byte of it:

* ``cut``: an orderly end there, without the rest of the framing.
* ``reset``: the same by a reset.
* ``stall``: nothing for `seconds`, then the rest.
* ``drip``: the rest byte by byte, one every `seconds`.
* ``keepalives``: the protocol's keep-alives for `seconds`, then the rest.
* ``raw``: the bytes of `body` instead of all that would follow, then `again`
  for as long as the client reads; then the connection ends.

In place of the answer, so that the message is not processed:

* ``status``, ``rate_limit``: a refusal as a real server of that protocol says it.
* ``html``, ``empty``, ``json``, ``garbage``: a 200 that is no answer.
* ``unread``: the body is never read; the socket stays open for `seconds`.
* ``deaf``: the connection ends without a byte of reply.

Around an answer that is otherwise right:

* ``informational``: 1xx answers before it.
* ``length``: a Content-Length larger than the body.
* ``close``: the connection ends behind it, unannounced.
* ``tail``: its body stays open for `seconds` after the protocol's end mark.
* ``upstream``: the model fails after `at` tokens, in the protocol's own way.
* ``slow_queue``: Gradio's queue moves for `seconds` before it starts.

A fault counts the requests of its own step from the moment it was added, so
``nth=2`` is the second one that it has seen. The earliest added fault that is
due wins.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

__all__ = ["KINDS", "Fault", "Faults"]

KINDS = frozenset(
    {
        "close",
        "cut",
        "deaf",
        "drip",
        "empty",
        "garbage",
        "html",
        "informational",
        "json",
        "keepalives",
        "length",
        "rate_limit",
        "raw",
        "reset",
        "slow_queue",
        "stall",
        "status",
        "tail",
        "unread",
        "upstream",
    }
)


@dataclass
class Fault:
    """One thing that goes wrong, at one step.

    Args:
        kind: One of `KINDS`.
        step: The step it happens to, as in `Request.step`.
        at: Bytes of body after which it happens, counted as they go into the
            framing (so compressed bytes where the body is gzip); ``0`` is right
            after the headers, ``None`` before the status line, and beyond the
            end it never happens. For "upstream" the tokens said before, for
            "informational" how many are sent.
        nth: The first request of that step which it happens to.
        times: To how many requests in a row.
        seconds: How long, for the kinds that take time.
        status: For "status", and for "informational".
        headers: Further response headers, such as Retry-After.
        body: The body in place of the usual one; for "deaf", ``b"processed"``
            has the message processed all the same.
        again: For "raw", what is sent without end.
    """

    kind: str
    step: str = "message"
    at: int | None = None
    nth: int = 1
    times: int = 1
    seconds: float | None = None
    status: int | None = None
    headers: Mapping[str, str] | None = None
    body: bytes | None = None
    again: bytes = b""
    fired: int = field(default=0, init=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what does not exist: it would silently never happen, or as something else."""
        if self.kind not in KINDS:
            known = ", ".join(sorted(KINDS))
            raise ValueError(f"no fault is called {self.kind!r}; there are {known}")
        if self.status is not None and not 100 <= self.status <= 599:
            raise ValueError(f"status is one of HTTP's, 100 to 599, not {self.status}")


class Faults:
    """The faults of one emulator, and how many requests each has seen."""

    def __init__(self) -> None:
        """Begin without any."""
        self._lock = threading.Lock()
        self._seen: list[tuple[Fault, list[int]]] = []

    def add(self, fault: Fault) -> Fault:
        """Add a fault; it counts requests from here on."""
        with self._lock:
            self._seen.append((fault, [0]))
        return fault

    def due(self, meets: Callable[[Fault], bool]) -> Fault | None:
        """Count one request and give the fault that it meets, if any."""
        found: Fault | None = None
        with self._lock:
            for fault, seen in self._seen:
                if not meets(fault):
                    continue
                seen[0] += 1
                last = fault.nth + fault.times - 1
                if found is None and fault.nth <= seen[0] <= last:
                    found = fault
                    fault.fired += 1
        return found
