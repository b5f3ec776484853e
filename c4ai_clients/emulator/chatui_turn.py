"""One turn of chat-ui: what a message makes the server stream and store.

The answer is a script of JSON lines. What has been said is stored as it is
said, so wherever the script is left, what is stored is what a real server of
that era would have kept.
"""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from c4ai_clients.emulator.chatui_eras import Era
from c4ai_clients.emulator.chatui_tree import Generation, Message, Thread, now
from c4ai_clients.emulator.replies import Answer, ModelFailedError
from c4ai_clients.emulator.wire import Script, compact, join_halves

__all__ = ["KEEPALIVE", "Turn", "followed"]

KEEPALIVE = b'{"type":"status","status":"keepAlive"}\n'

_NO_OUTPUT = "No output was generated. Something went wrong."
_NO_SEARCH = (
    "No configuration found for web search. Please set USE_LOCAL_WEBSEARCH, SEARXNG_QUERY_URL, "
    "SERPER_API_KEY, YDC_API_KEY, SERPSTACK_API_KEY, or SEARCHAPI_KEY in your environment "
    "variables."
)
# What JavaScript's trimEnd takes away; Python's rstrip takes U+0085 as well.
_SPACES = "\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_TITLE_WORDS, _TITLE_LENGTH = 3, 30
_TICK = 0.02
_KEEPALIVE_EVERY = 0.1


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


@dataclass
class Turn:
    """One message on its way through the model.

    Args:
        era: The version that is spoken.
        thread: The conversation.
        message: The answer's place in it.
        answer: What the model says.
        prompt: What was asked, for the title.
        first: Whether this turn makes the title.
        search: Whether a web search was asked for.
        generation: The name which the client gave to this turn.
        pace: Seconds before each token.
    """

    era: Era
    thread: Thread
    message: Message
    answer: Answer
    prompt: str
    first: bool
    search: bool
    generation: str
    pace: float

    def script(self) -> Script:
        """Give the lines of the answer."""
        self._begin()
        yield self._said({"type": "status", "status": "started"})
        yield KEEPALIVE
        try:
            for update in self._before():
                yield self._said(update)
            yield from self._tokens()
            if not self._count and not self._stopped:
                raise ModelFailedError(_NO_OUTPUT)
        except ModelFailedError as failure:
            yield self._said(self._failure(str(failure)))
            self._generation.status = "error"
            return
        if self._stopped and self.era.stop == "silence":
            return
        yield from self._end()

    def _begin(self) -> None:
        self._started = time.monotonic()
        self._stopped = False
        self._text = self.message.content
        self._old = len(self._text)
        self._title: str | None = self._named() if self.first else None
        self._count = 0
        self._generation = Generation(self.generation)
        self.thread.generation = self._generation
        self.message.generation = self.generation if self.era.survives else ""

    def _named(self) -> str:
        given = self.answer.title
        if given is None:
            # A model makes it, and keeps it short; what it says is in no recording.
            words = " ".join(self.prompt.split(None, _TITLE_WORDS)[:_TITLE_WORDS])
            return f"💬 {words[:_TITLE_LENGTH] or 'A question'}"
        if given:
            return given
        return "New Chat" if self.era.turn_options else self.prompt[:50]

    def _said(self, update: dict[str, Any]) -> bytes:
        """Store an update, and give its line."""
        self._generation.updates.append(update)
        if update["type"] == "stream":
            if self.era.survives:
                length = _units(update["token"])
                self.message.updates.append({**update, "token": "", "len": length})
            token = update["token"]
            padded = token + "\0" * (16 - _units(token))
            return compact({**update, "token": padded}) + b"\n"
        if update.get("subtype") != "stream":
            stored = dict(update)
            if update["type"] == "finalAnswer" and not self.era.survives:
                stored["webSources"] = None
            self.message.updates.append(stored)
        self.message.updated = self.thread.updated = now()
        return compact(update) + b"\n"

    def _before(self) -> Iterator[dict[str, Any]]:
        if self.era.turn_options and (self.search or self.answer.sources):
            yield from self._searched()
        if self.answer.tool:
            yield from self._called(*self.answer.tool)
        for name, mime, content in self.answer.files:
            sha = hashlib.sha256(content).hexdigest()
            self.thread.files[sha] = (mime, content)
            yield {"type": "file", "name": name, "sha": sha, "mime": mime}

    def _searched(self) -> Iterator[dict[str, Any]]:
        base = {"type": "webSearch", "subtype": "update"}
        yield {**base, "message": "Searching Google", "args": [self.prompt]}
        sources = [{"link": link} for link in self.answer.sources]
        if sources:
            yield {**base, "message": "Browsing search results"}
            yield {
                "type": "webSearch",
                "subtype": "sources",
                "message": "sources",
                "sources": sources,
            }
        else:
            said = {"message": "An error occurred", "args": [_NO_SEARCH]}
            yield {"type": "webSearch", "subtype": "error", **said}
        yield {"type": "webSearch", "subtype": "finished"}

    def _called(self, name: str, output: str) -> Iterator[dict[str, Any]]:
        name_of = str(uuid.uuid4())

        def update(subtype: str, **more: object) -> dict[str, Any]:
            return {"type": "tool", "subtype": subtype, "uuid": name_of, **more}

        call = {"name": name, "parameters": {"input": self.prompt}}
        if self.era.turn_options:
            yield update("call", call=call)
            outputs: list[dict[str, Any]] = [{name: output}]
            yield update("result", result={"outputs": outputs, "call": call, "status": "success"})
        else:
            raw = compact(call["parameters"]).decode()
            yield update("call", call=call, originalId="call_1", argumentsRaw=raw)
            yield update("eta", eta=10)
            outputs = [{"text": output, "content": [{"type": "text", "text": output}]}]
            result = {"status": "success", "call": call, "outputs": outputs, "display": True}
            yield update("result", result=result)

    def _tokens(self) -> Script:
        thought = self.answer.thought()
        if thought and self.era.think == "events":
            yield from self._thought_aloud(thought)
        for token in self._from_model(thought):
            yield from self._paced()
            if self._stopped:
                return
            self._text += token
            self.message.content = self._text
            yield self._said({"type": "stream", "token": token})
            self._count += 1
            if self._count == 2:
                yield from self._titled()
        yield from self._titled()

    def _from_model(self, thought: list[str]) -> Iterator[str]:
        inline = thought if self.era.think == "inline" else []
        for index, token in enumerate(inline):
            yield token if index else f"<think>{token}"
        closing = "</think>" if inline else ""
        given: list[str] = []
        try:
            for token in self.answer.said():
                given.append(token)
                yield closing + token
                closing = ""
        except ModelFailedError:
            if self.era.asks_twice:
                yield from given
            raise
        if closing:
            yield closing

    def _thought_aloud(self, thought: list[str]) -> Script:
        base = {"type": "reasoning", "subtype": "status"}
        yield self._said({**base, "status": "Started thinking..."})
        for token in thought:
            yield from self._paced()
            if self._stopped:
                return
            self.message.reasoning += token
            yield self._said({"type": "reasoning", "subtype": "stream", "token": token})
        taken = round(time.monotonic() - self._started)
        yield self._said({**base, "status": f"Done in {taken}s."})

    def _paced(self) -> Script:
        """Wait for the next token, in steps short enough to notice a stop."""
        waited = 0.0
        keepalive = _KEEPALIVE_EVERY
        while not self._asked_to_stop() and waited < self.pace:
            step = min(_TICK, self.pace - waited)
            yield step
            waited += step
            if waited >= keepalive:
                keepalive += _KEEPALIVE_EVERY
                yield KEEPALIVE

    def _asked_to_stop(self) -> bool:
        if self.era.stop != "nothing" and self.thread.stopped_at > self._started:
            self._stopped = True
        return self._stopped

    def _titled(self) -> Script:
        late = self.answer.late_title or self.answer.title == ""
        if self._title is None or late:
            return
        title, self._title = self._title, None
        self.thread.title = title
        yield self._said({"type": "title", "title": title})

    def _final(self) -> str:
        if self._stopped:
            seen = self.thread.seen
            if seen is None:
                return self._text
            raw = self._text.encode("utf-16-le", "surrogatepass")[: 2 * seen]
            return raw.decode("utf-16-le", "surrogatepass")
        if self.answer.final is not None:
            return self.answer.final
        return join_halves(self._text[self._old :]).rstrip(_SPACES)

    def _end(self) -> Script:
        final = self._final()
        self.message.content = join_halves(self._text[: self._old] + final)
        self.message.interrupted = self._stopped
        done = {"type": "finalAnswer", "text": final, "interrupted": self._stopped}
        yield self._said(done)
        yield b" " * 4096
        if self._title is not None:
            yield _KEEPALIVE_EVERY
            title, self._title = self._title, None
            self.thread.title = title
            yield self._said({"type": "title", "title": title})
        if self.era.finished:
            yield self._said({"type": "status", "status": "finished"})
        self._generation.status = "interrupted" if self._stopped else "completed"

    def _failure(self, message: str) -> dict[str, Any]:
        update = {"type": "status", "status": "error", "message": message}
        status = re.match(r"[45]\d\d ", message)
        if status and self.era.status_code:
            return {**update, "statusCode": int(status[0])}
        return update


def followed(generation: Generation, wanted: str, first: int) -> Script:
    """Give the events of a turn to a client that takes it up again."""
    if not generation.id or (wanted and wanted != generation.id):
        yield b'event: end\ndata: {"status":"gone"}\n\n'
        return
    sent = first
    while True:
        status = generation.status
        updates = generation.updates
        while sent < len(updates):
            data = compact(updates[sent])
            sent += 1
            yield b"id: %d\nevent: update\ndata: %s\n\n" % (sent, data)
        if status:
            end = compact({"status": status})
            yield b"event: end\ndata: %s\n\n" % end
            return
        yield _TICK
