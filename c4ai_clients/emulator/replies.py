"""What the model says: scripted, made up, or asked of a real one.

The made-up answer is made of the prompt and the seed alone, so the same
question to the same emulator is answered the same way by every protocol.
"""

from __future__ import annotations

import json
import random
import re
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

from c4ai_clients.emulator.replay import replies as recorded

__all__ = [
    "Answer",
    "Chat",
    "Model",
    "ModelFailedError",
    "Replies",
    "Reply",
    "made_up",
    "pieces",
]

Chat = Sequence[Mapping[str, str]]

_ECHOED = 200  # characters of the prompt in a made-up answer: at a token's pace more is no fun
_PIECE = re.compile(r"\s?\w{1,8}|[^\w\s]+|\s")
_OPENINGS = (
    "You asked: “{prompt}”.",
    "“{prompt}” is a good question.",
    "Let us look at “{prompt}” together.",
)
_MIDDLES = (
    "The short answer is that it depends, as the café’s cook says: ça dépend.",
    "Three things matter here: the light, the angle θ and the patience of whoever looks.",
    "In 日本語 one would put it more briefly.",
    "Nobody has measured it in Ångström yet.",
)
_CLOSINGS = (
    "That is all there is to say about it. 😀",
    "Ask again if that was not clear enough!",
    "I hope that this helps – good luck.",
)


class ModelFailedError(Exception):
    """The model could not go on; its text is what the server says about it."""


def pieces(text: str) -> list[str]:
    """Split a text into word-like tokens that join to it again."""
    return _PIECE.findall(text)


@dataclass(frozen=True)
class Answer:
    """One answer of the model, token by token.

    Args:
        tokens: What is streamed, each as it is sent; a string is split into
            word-like pieces. Two tokens may be the halves of one surrogate pair.
        reasoning: Tokens of thinking, before the answer.
        title: The conversation's title (chat-ui); None makes one of the prompt,
            "" is a failure to make one.
        late_title: Send the title after the final answer.
        error: What the server says when the model fails.
        error_after: How many tokens are sent before it fails; all, if None.
        finish: Why it ended, in OpenAI's words.
        final: The server's own final text, where that differs from the tokens.
        sources: Links that a web search found (chat-ui).
        tool: Name and result of a tool that is called first (chat-ui).
        files: Name, mime type and content of files that it makes (chat-ui).
        status_updates: What is logged before the answer (Gradio).
        rewrites: Full texts that the output shows, one after the other, before
            the tokens are streamed (Gradio).
    """

    tokens: str | Iterable[str] = ()
    reasoning: str | Sequence[str] = ()
    title: str | None = None
    late_title: bool = False
    error: str | None = None
    error_after: int | None = None
    finish: str = "stop"
    final: str | None = None
    sources: Sequence[str] = ()
    tool: tuple[str, str] | None = None
    files: Sequence[tuple[str, str, bytes]] = ()
    status_updates: Sequence[str] = ()
    rewrites: Sequence[str] = ()

    def said(self) -> Iterator[str]:
        """Give the tokens that are sent, one by one.

        Raises:
            ModelFailedError: Where the model fails, or at the end if it fails
                there.
        """
        tokens = pieces(self.tokens) if isinstance(self.tokens, str) else self.tokens
        failing = self.error is not None
        yield from islice(tokens, self.error_after if failing else None)
        if failing:
            raise ModelFailedError(self.error)

    def thought(self) -> list[str]:
        """Give the tokens of thinking."""
        given = self.reasoning
        return pieces(given) if isinstance(given, str) else list(given)

    def failing(self, message: str, after: int | None) -> Answer:
        """Give the same answer, which fails after so many tokens."""
        return replace(self, error=message, error_after=after or 0)


Reply = str | Answer
Replies = Reply | Path | Callable[[str], Reply | None] | Sequence[Reply] | None


def made_up(prompt: str, seed: int = 0) -> str:
    """Make an answer of several sentences out of the prompt, of which it quotes the beginning."""
    asked = prompt.strip()
    quoted = asked if len(asked) <= _ECHOED else asked[:_ECHOED] + "…"
    chance = random.Random(f"{seed}:{prompt}".encode("utf-8", "surrogatepass"))
    said = [
        chance.choice(_OPENINGS).format(prompt=quoted),
        *chance.sample(_MIDDLES, 2),
        chance.choice(_CLOSINGS),
    ]
    return " ".join(said)


class Model:
    """The model behind all protocols, which remembers what it was given."""

    def __init__(
        self,
        replies: Replies = None,
        *,
        seed: int = 0,
        upstream: str | None = None,
        upstream_key: str | None = None,
        upstream_model: str | None = None,
    ) -> None:
        """Say where its answers come from."""
        if upstream is not None:
            _check_url(upstream)
        self.prompts: list[str] = []
        self.failure: BaseException | None = None
        self._lock = threading.Lock()
        self._seed = seed
        self._upstream = upstream
        self._key = upstream_key
        self._name = upstream_model
        self._make: Callable[[str], Reply | None] | None = None
        self._fixed: Reply | None = None
        self._left: list[Reply] | None = None
        if isinstance(replies, str | Answer):
            self._fixed = replies
        elif callable(replies):
            self._make = replies
        elif isinstance(replies, Path):
            self._left = list(recorded(replies))
        elif isinstance(replies, Sequence) and all(isinstance(r, str | Answer) for r in replies):
            self._left = list(replies)
        elif replies is not None:
            raise ValueError(
                "replies is a text, an Answer, a function of the prompt, a list of texts and "
                f"answers, or the Path of a recording, not {replies!r:.80}"
            )

    @property
    def unasked(self) -> int:
        """How many scripted answers nobody has asked for."""
        with self._lock:
            return len(self._left or ())

    def ask(self, prompt: str, chat: Chat = ()) -> Answer:
        """Process one message: this is what `Emulator.processed` counts.

        Args:
            prompt: The last thing the user said.
            chat: The whole conversation in OpenAI's form, for a real model.
        """
        with self._lock:
            self.prompts.append(prompt)
            given = self._next()
        if given is None and self._make:
            given = self._made(self._make, prompt)
        if given is None and self._upstream:
            turns = list(chat) or [{"role": "user", "content": prompt}]
            return self._asked_upstream(turns)
        if given is None:
            given = made_up(prompt, self._seed)
        return given if isinstance(given, Answer) else Answer(given)

    def _made(self, make: Callable[[str], Reply | None], prompt: str) -> Reply | None:
        """Give what the function makes of the prompt; where it fails, so does the model."""
        try:
            given = make(prompt)
            if not isinstance(given, str | Answer | None):
                raise TypeError(f"replies gave {given!r:.80}, which is no text and no Answer")
        except BaseException as error:  # noqa: BLE001 - raised when the emulator is left
            self.failure = self.failure or error
            return Answer(error=f"the emulator's replies failed: {error!r}", error_after=0)
        return given

    def _next(self) -> Reply | None:
        if self._left is None:
            return self._fixed
        if not self._left:
            return Answer(error="no scripted reply is left", error_after=0)
        return self._left.pop(0)

    def _asked_upstream(self, chat: Chat) -> Answer:
        headers = {"content-type": "application/json"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        url = str(self._upstream).rstrip("/")
        if not url.endswith("/chat/completions"):
            url += "/chat/completions"
        body = {"model": self._name or "default", "messages": list(chat)}
        data = json.dumps({**body, "stream": True}).encode()
        request = urllib.request.Request(url, data, headers)
        return Answer(_streamed(request))


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        shown = url.rpartition("@")[2]  # what stands before it may be a password
        raise ValueError(f"upstream is a URL such as http://localhost:8000/v1, not {shown!r}")


def _streamed(request: urllib.request.Request) -> Iterator[str]:
    """Give the tokens of an OpenAI-compatible server as they come."""
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            for line in answer:
                data = line.strip().removeprefix(b"data:").strip()
                if data == b"[DONE]":
                    return
                if not line.startswith(b"data:"):
                    continue
                for choice in json.loads(data).get("choices") or ():
                    yield (choice.get("delta") or {}).get("content") or ""
    except (OSError, ValueError) as error:
        raise ModelFailedError(f"upstream: {error}") from error
