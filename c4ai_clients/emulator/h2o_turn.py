"""One turn of 2023: what was posted, and the events of text-generation-inference.

A turn is stored when it is complete; of a turn that fails nothing is stored.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from c4ai_clients.emulator.chatui_message import is_uuid
from c4ai_clients.emulator.replies import Answer, ModelFailedError
from c4ai_clients.emulator.sveltekit import BrokenError
from c4ai_clients.emulator.wire import GoneError, Script, compact, join_halves

__all__ = ["Asked", "Talk", "Turn"]


@dataclass
class Talk:
    """One conversation, a flat list."""

    title: str
    model: str
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    messages: list[dict[str, Any]] = field(default_factory=list)
    stopped_at: float = 0.0
    summary: str = ""


@dataclass(frozen=True)
class Asked:
    """A message as it was posted."""

    inputs: str
    id: str
    response_id: str
    retry: bool
    stream: bool
    search: str | None

    @classmethod
    def read(cls, data: dict[str, Any]) -> Asked:
        """Read and check it; whatever is wrong is a 500 in this version."""
        inputs, options = data.get("inputs"), data.get("options")
        if not isinstance(inputs, str) or not isinstance(options, dict):
            raise BrokenError
        ids = [options.get("id"), options.get("response_id")]
        if not inputs.strip() or any(x is not None and not is_uuid(x) for x in ids):
            raise BrokenError
        retry, search = options.get("is_retry", False), options.get("web_search_id", "")
        if not isinstance(retry, bool) or search != "":
            # No web search is emulated, so no id of one is known.
            raise BrokenError
        return cls(
            inputs=inputs.strip(),
            id=ids[0] or str(uuid.uuid4()),
            response_id=ids[1] or str(uuid.uuid4()),
            retry=retry,
            stream=bool(data.get("stream")),
            search=options.get("web_search_id"),
        )


@dataclass
class Turn:
    """One message on its way through the model.

    Args:
        talk: The conversation.
        history: Of its messages those that come before.
        asked: The message.
        answer: What the model says.
        pace: Seconds before each event.
    """

    talk: Talk
    history: list[dict[str, Any]]
    asked: Asked
    answer: Answer
    pace: float

    def script(self) -> Script:
        """Give the events, in their time."""
        for event in self._events():
            if self.pace:
                yield float(self.pace)
            yield event

    def _events(self) -> Iterator[bytes]:
        started = time.monotonic()
        text, number, held = "", 0, b""
        cut_short = self.answer.finish == "length"
        try:
            for token in self.answer.said():
                if held:
                    yield held
                number += 1
                text += token
                if self.talk.stopped_at > started:
                    self._store(text)
                    # What this version does on stop-generating: no last chunk.
                    raise GoneError("stopped")
                if cut_short:
                    # It ends with a token of the text, so the last one waits.
                    held = _event(number, token)
                else:
                    yield _event(number, token)
        except ModelFailedError as failure:
            if held:
                yield held
            error = {"error": str(failure), "error_type": "generation"}
            yield b"data:" + compact(error) + b"\n\n"
            return
        whole = join_halves(text) if self.answer.final is None else self.answer.final
        self._store(whole)
        if cut_short and number:
            yield _event(number, token, whole)
        else:
            yield _event(0, "</s>", whole, special=True)

    def _store(self, text: str) -> None:
        asked = self.asked
        said = {"from": "assistant", "content": text.strip(), "webSearchId": asked.search}
        question = {"content": asked.inputs, "from": "user", "id": asked.id}
        self.talk.messages = [*self.history, question, {**said, "id": asked.response_id}]
        self.talk.summary = self.answer.title or f"About {asked.inputs[:40]}"


def _event(number: int, text: str, whole: str | None = None, *, special: bool = False) -> bytes:
    """Write one of TGI's events; there is no space after the colon."""
    token = {
        "id": 2 if special else 1000 + number,
        "text": text,
        "logprob": -0.1 if special else -0.25 * number,
        "special": special,
    }
    event = {"token": token, "generated_text": whole, "details": None}
    return b"data:" + compact(event) + b"\n\n"
