"""A fifth provider: Ollama's own API, as its documentation tells it (nothing was recorded).

1. ``POST /api/chat`` asks; the server keeps nothing, so all that was said is sent.
2. The answer is JSON lines: pieces in ``message.content``, thoughts in ``message.thinking``.
   The line with ``"done": true`` ends the reply; ``{"error"}`` is the model's failure.
3. ``GET /api/tags`` lists the models.
"""

from __future__ import annotations

from collections.abc import Iterator

from c4ai_clients import ChatClient, Model, ModelError, UsageError
from c4ai_clients.decoding import count, jsonl, string
from c4ai_clients.errors import quote
from c4ai_clients.events import Event, Finish, Reasoning, Started, Text, Unknown, Usage
from c4ai_clients.messages import images_of, text_of
from c4ai_clients.stream import Turn


class Ollama(ChatClient):
    """A client of an Ollama server."""

    provider = "ollama"
    label = "Ollama"
    default_url = "http://localhost:11434"
    default_model = "llama3.2"

    def models(self) -> list[Model]:
        """Return the models that the server has."""
        listed = self._fetch("GET", "/api/tags", phase="models")
        rows = listed.get("models") if isinstance(listed, dict) else None
        rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        return [Model(id=string(row.get("name")), raw=row) for row in rows]

    def _check(self, turn: Turn) -> None:
        if turn.uploads or any(map(images_of, [*turn.history, turn.message])):
            raise UsageError("this client sends text alone")

    def _events(self, turn: Turn) -> Iterator[Event]:
        yield Started(turn.conversation)
        said = [] if turn.system is None else [{"role": "system", "content": turn.system}]
        said += [{"role": m["role"], "content": text_of(m)} for m in (*turn.history, turn.message)]
        asks = {"model": turn.model, "messages": said, "stream": True}
        with self._transport.open(turn.call, "POST", "/api/chat", phase="message", json=asks) as r:
            for line in jsonl(r.chunks()):
                if line.get("error"):
                    raise ModelError(quote(line["error"]))
                message = line.get("message")
                message = message if isinstance(message, dict) else {}
                if thought := string(message.get("thinking")):
                    yield Reasoning(thought)
                if text := string(message.get("content")):
                    yield Text(text)
                if line.get("done") is True:
                    yield Usage(count(line.get("prompt_eval_count")), count(line.get("eval_count")))
                    yield Finish(string(line.get("done_reason")) or "stop")
                elif not (thought or text):
                    yield Unknown(line)
