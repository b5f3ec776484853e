"""One call of a Gradio listener: its events, from the queue to its end."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from c4ai_clients.emulator.gradio_versions import Version, differences
from c4ai_clients.emulator.replies import Answer, ModelFailedError
from c4ai_clients.emulator.wire import Script, join_halves

__all__ = ["GR_ERROR", "Job"]

#: An Answer's error that begins so is a gr.Error, whose text is always told.
GR_ERROR = "gr.Error: "

_TICK = 0.02
_MOVES = 0.1


@dataclass
class Job:
    """One call, from joining the queue to its last value.

    Args:
        version: How it is told.
        form: The chatbot's format, or "text" for a ChatInterface.
        answer: What the model says; None for a listener that does not chat.
        prompt: What was asked.
        system: The system prompt, which the Qwen layout shows again.
        history: What the chatbot held before.
        width: How many outputs the listener has.
        pace: Seconds before each value.
        show_error: Whether the text of an exception is told.
    """

    version: Version
    form: str
    answer: Answer | None
    prompt: str = ""
    system: Any = None
    history: list[Any] = field(default_factory=list)
    width: int = 3
    pace: float = 0.0
    show_error: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    cancelled: bool = False
    silent: bool = False
    started: bool = False

    def events(self, waiting: float = 0.0) -> Script:
        """Give the events, after so many seconds of moving up in the queue."""
        yield from self._queued(waiting)
        self.started = True
        if self.cancelled:
            yield self._completed({}, True, None)
            return
        eta = {} if self.version.protocol == "sse" else {"eta": None}
        yield self.version.event(msg="process_starts", **self._named(), **eta)
        yield from self._values()

    def values(self) -> Iterator[list[Any] | None]:
        """Give what the outputs hold, value after value; None is a pause.

        Raises:
            ModelFailedError: Where the model fails.
        """
        if self.answer is None:
            yield [None] * self.width
            return
        thought = ""
        for token in self.answer.thought():
            thought += token
            if self.form not in ("tuples", "text"):
                yield None
                yield self._shown(thought, None)
        for text in self.answer.rewrites:
            yield None
            yield self._shown(thought, text)
        said = ""
        for token in self.answer.said():
            yield None
            said += token
            yield self._shown(thought, said)
        if self.answer.final is not None:
            yield self._shown(thought, self.answer.final)

    def _named(self) -> dict[str, str]:
        return {} if self.version.protocol == "sse" else {"event_id": self.id}

    def _queued(self, waiting: float) -> Script:
        moves = math.ceil(waiting / _MOVES)
        for rank in range(moves, 0, -1):
            yield self._estimation(rank, rank * _MOVES)
            yield _MOVES
            if self.cancelled:
                return
        yield self._estimation(0, None)

    def _estimation(self, rank: int, eta: float | None) -> bytes:
        more: dict[str, Any] = {"rank": rank, "queue_size": rank + 1}
        if self.version.protocol == "sse":
            more["avg_event_process_time"] = None
            more["avg_event_concurrent_process_time"] = None
        more["rank_eta"] = eta
        if self.version.protocol == "sse":
            more["queue_eta"] = 0.0
        return self.version.event(msg="estimation", **self._named(), **more)

    def _values(self) -> Script:
        last: list[Any] | None = None
        if self.answer:
            for said in self.answer.status_updates:
                yield self._log(said)
        try:
            for value in self.values():
                if value is None:
                    yield from self._paced()
                if self.cancelled:
                    yield self._completed({}, True, None)
                    return
                if self.silent and self.version.reset == "end":
                    return
                if value is None or self.answer is None:
                    last = last or value
                    continue
                yield self._generating(last, value)
                last = value
        except ModelFailedError as failure:
            title = "Error" if last is None else None
            yield self._completed(self._error(str(failure), last), False, title)
            return
        generating = self.version.done_generating and last is not None
        done = self._output(last or [None] * self.width, generating)
        yield self._completed(done, True, None)

    def _paced(self) -> Script:
        waited = 0.0
        while (waited < self.pace and not self.cancelled) or self._hushed():
            step = _TICK if self._hushed() else min(_TICK, self.pace - waited)
            yield step
            waited += step

    def _hushed(self) -> bool:
        return self.silent and self.version.reset == "silence"

    def _shown(self, thought: str, text: str | None) -> list[Any]:
        if self.form == "text":
            return [join_halves(text or ""), None]
        turn = self.version.exchange(self.form, self.prompt, thought, text)
        return ["", [*self.history, *turn], self.system]

    def _log(self, said: str) -> bytes:
        more: dict[str, Any] = {"log": said, "level": "info"}
        if self.version.close_stream:
            more.update(duration=10.0, visible=True)
        if self.version.titles:
            more["title"] = "Info"
        return self.version.event(msg="log", **self._named(), **more)

    def _generating(self, last: list[Any] | None, value: list[Any]) -> bytes:
        data: list[Any] = value
        if self.version.diffs and last is not None:
            shift = self.version.deletes_shift
            pairs = zip(last, value, strict=True)
            data = [differences(old, new, shift=shift) for old, new in pairs]
        more = {"output": self._output(data, True), "success": True}
        if self.version.titles:
            more["time_limit"] = None
        return self.version.event(msg="process_generating", **self._named(), **more)

    def _output(self, data: list[Any], generating: bool) -> dict[str, Any]:
        output: dict[str, Any] = {"data": data, "is_generating": generating}
        output.update(duration=0.02, average_duration=0.02)
        if self.version.close_stream:
            output.update(render_config=None, changed_state_ids=[])
        if self.version.cached:
            output["used_cache"] = None
        return output

    def _error(self, message: str, last: list[Any] | None) -> dict[str, Any]:
        if not message.startswith(GR_ERROR):
            hidden = None if self.version.close_stream or last is None else "None"
            told: dict[str, Any] = {"error": message if self.show_error else hidden}
            return {**told, "visible": True} if self.show_error and self.version.cached else told
        said = message.removeprefix(GR_ERROR)
        output: dict[str, Any] = {"error": f"'{said}'" if self.version.quotes_errors else said}
        if self.version.close_stream:
            output.update(duration=10, visible=True)
        if self.version.titles:
            output["title"] = "Error"
        return output

    def _completed(self, output: dict[str, Any], success: bool, title: str | None) -> bytes:
        more: dict[str, Any] = {"output": output, "success": success}
        if self.version.titles:
            more["title"] = title
        if self.version.cached:
            more.update(used_cache=None, cache_duration=None, avg_time=None)
        return self.version.event(msg="process_completed", **self._named(), **more)
