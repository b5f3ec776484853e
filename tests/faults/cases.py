"""The table: what goes wrong, where, and what must come of it.

A case is one turn against the emulator with one fault in it. Its outcome is
the whole reply, or an error of one class, with a bound on how much of the
message the server may have processed. The cases stand in `turns`, `corners`,
`ways` and `limits`, and `table` has all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from c4ai_clients import C4AIError, ModelError, TimedOutError

TOKENS = ["Hello", " wörld", "! ", "😀", " ha", "ha", "[1]\n", "end"]
TEXT = "".join(TOKENS)
FRAMINGS = ("chunked", "length", "close", "gzip")


@dataclass(frozen=True)
class Provider:
    """How a provider's turn goes.

    Attributes:
        preparing: The steps before the message, each of which may be repeated.
        message: The step that is the message.
        stream: The step whose answer is the reply, where that is another.
        first: How many bytes of the reply's body come before any text.
        falls_back: Steps whose refusal does no harm.
    """

    name: str
    preparing: tuple[str, ...]
    message: str = "message"
    stream: str = "message"
    falls_back: tuple[str, ...] = ()


PROVIDERS = (
    Provider("c4ai-command", ("create", "conversation")),
    Provider("h2o", ("settings", "create")),
    Provider("autonomous", ()),
    Provider("qwen", ("config",), message="join", stream="stream", falls_back=("config",)),
)


@dataclass(frozen=True)
class Case:
    """One turn with one fault, and its outcome.

    Attributes:
        fault: What `Emulator.fail` is given.
        error: The class of the error, or None for the whole reply.
        kind: Of a TimedOutError, which clock.
        partial: Whether some of the text must have come, none may have, or either.
        processed: How often the message may have been processed.
        tries: How often the faulty step must have been asked for, where that is known.
        or_unheard: Whether the next request may go into a connection that is being
            closed just then; it may have been heard, so it is not sent again.
        emulator: Further settings of the emulator.
        way: How the client gets to the server, of `ways.WAYS`.
        words: What the error's text must say, as a pattern.
        retry_after: Of a StatusError, the least and the most that was asked for.
        part: Of which promise it is, where that does not follow from the rest.
    """

    provider: Provider
    label: str
    fault: Mapping[str, Any]
    error: type[C4AIError] | None = None
    kind: str = ""
    partial: bool | None = None
    processed: tuple[int, ...] = (0, 1)
    tries: int | None = None
    or_unheard: bool = False
    emulator: Mapping[str, Any] = field(default_factory=dict)
    way: str = ""
    words: str = ""
    retry_after: tuple[float, float] | None = None
    part: str = ""

    @property
    def promise(self) -> str:
        """Which promise of docs/reliability.md the case is for."""
        if self.part:
            return self.part
        if self.error is TimedOutError:
            return "clocks"
        if self.fault["kind"] in ("html", "garbage", "json", "empty"):
            return "no stream"
        if self.error is ModelError:
            return "one error tree"
        if self.label.partition("-")[0] in FRAMINGS:
            return "complete"
        return "sent again"

    @property
    def id(self) -> str:
        return f"{self.provider.name}-{self.fault.get('step')}-{self.label}"
