"""The emulator itself: its ports, what was asked of it, and what goes wrong."""

from __future__ import annotations

import inspect
import math
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import fields
from types import TracebackType
from typing import Any

from c4ai_clients.emulator.autonomous import Autonomous
from c4ai_clients.emulator.chatui import ChatUI
from c4ai_clients.emulator.faults import Fault, Faults
from c4ai_clients.emulator.gradio import Gradio
from c4ai_clients.emulator.h2o import H2O
from c4ai_clients.emulator.listener import Journal, Listener
from c4ai_clients.emulator.replies import Model, Replies
from c4ai_clients.emulator.request import Request
from c4ai_clients.emulator.settings import Settings
from c4ai_clients.emulator.wire import Service

__all__ = ["Emulator"]

_PORTS = {
    "chat-ui": "chat-ui",
    "c4ai-command": "chat-ui",
    "h2o": "h2o",
    "autonomous": "autonomous",
    "gradio": "gradio",
    "qwen": "gradio",
}
_FRAMINGS = ("chunked", "length", "close", "gzip")


class Emulator:
    """A loopback server that speaks the protocols of the four chat back ends.

    A context manager: every protocol asked for gets a port of its own, and on
    leaving every socket is closed and every thread joined. Where `replies` is a
    sequence or a recording, an answer that nobody asked for fails the block on leaving it;
    where it is a function, so does what that raised.

    Args:
        protocols: Any of "chat-ui", "h2o", "autonomous", "gradio", or names
            of providers that speak them.
        era: Which chat-ui: "B0", "B", "B2", "D", "C1", "C"; "A" and "A2" are
            chat-ui of 2023, which the protocol "h2o" always is.
        version: Which Gradio, such as "4.44.1", "5.50.0", "6.31.0".
        replies: What the model says: a text, an `Answer`, a function of the
            prompt, a sequence of answers given out one by one, the `Path` of a
            recording whose answers are given out so, or None for an answer
            made up out of the prompt.
        pace: Seconds before each token.
        seed: Another seed, another made-up answer.
        upstream: Base URL of an OpenAI-compatible server that answers instead.
        upstream_key: The key for it.
        framing: How streamed bodies are framed: "chunked", "length", "close" or
            "gzip" (for clients that accept it).
        chunk_tokens: How many pieces go into one HTTP chunk.
        faults: What goes wrong, from the start.
        tls: Speak https, by this context.
        ports: The port of a protocol; those not named get a free one.
        settings: The fields of `Settings`.
    """

    def __init__(
        self,
        protocols: str | Iterable[str] = ("chat-ui", "h2o", "autonomous", "gradio"),
        *,
        era: str = "B",
        version: str = "5.50.0",
        replies: Replies = None,
        pace: float = 0.0,
        seed: int = 0,
        upstream: str | None = None,
        upstream_key: str | None = None,
        framing: str = "chunked",
        chunk_tokens: int = 1,
        faults: Iterable[Fault] = (),
        tls: ssl.SSLContext | None = None,
        ports: Mapping[str, int] | None = None,
        **settings: Any,
    ) -> None:
        """Prepare; no port is opened yet."""
        if framing not in _FRAMINGS:
            raise ValueError(f"framing is one of {', '.join(_FRAMINGS)}, not {framing!r}")
        if not isinstance(pace, int | float) or not 0 <= pace < math.inf:
            raise ValueError(f"pace is the seconds before each token, not {pace!r}")
        _check_names(settings)
        self._settings = Settings(**settings)
        self._model = Model(
            replies,
            seed=seed,
            upstream=upstream,
            upstream_key=upstream_key,
            upstream_model=self._settings.upstream_model,
        )
        self.goodbyes: list[str] = []
        self._journal = Journal()
        self._faults = Faults()
        for fault in faults:
            self._faults.add(fault)
        self._tls = tls
        self._ports = dict(ports or {})
        self._exchange = {"framing": framing, "chunk_tokens": chunk_tokens}
        self._listeners: dict[str, Listener] = {}
        asked = (protocols,) if isinstance(protocols, str) else protocols
        names = dict.fromkeys(_PORTS.get(name, name) for name in asked)
        self._services = {name: self._service(name, era, version, pace) for name in names}

    def _service(self, name: str, era: str, version: str, pace: float) -> Service:
        goodbye = self.goodbyes.append
        model, settings = self._model, self._settings
        if name == "h2o" or (name == "chat-ui" and era in ("A", "A2")):
            return H2O(
                model,
                settings,
                pace=pace,
                goodbye=goodbye,
                protocol=name,
                scheme="https" if self._tls else "http",
            )
        if name == "chat-ui":
            return ChatUI(model, settings, era=era, pace=pace, goodbye=goodbye)
        if name == "autonomous":
            return Autonomous(model, settings, pace=pace)
        if name == "gradio":
            return Gradio(
                model,
                settings,
                version=version,
                pace=pace,
                goodbye=goodbye,
                scheme="https" if self._tls else "http",
            )
        raise ValueError(f"no protocol is called {name!r}")

    def start(self) -> Emulator:
        """Open the ports."""
        if self._listeners:
            raise RuntimeError("the emulator is running already")
        try:
            for name, service in self._services.items():
                self._listeners[name] = Listener(
                    service,
                    self._journal,
                    self._faults,
                    port=self._ports.get(name, 0),
                    tls=self._tls,
                    **self._exchange,
                )
        except BaseException:  # a port is taken
            self.stop()
            self._listeners.clear()
            raise
        return self

    def stop(self) -> None:
        """Close every socket and join every thread; twice does no harm."""
        for listener in self._listeners.values():
            listener.stop()

    def __enter__(self) -> Emulator:
        """Open the ports."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close everything, and complain of replies that failed, or that nobody asked for."""
        self.stop()
        if self._model.failure is not None and (kind is None or issubclass(kind, Exception)):
            raise self._model.failure  # which the block's own error came of
        if kind is None and self._model.unasked:
            raise AssertionError(f"{self._model.unasked} scripted replies were never asked for")

    def url(self, provider: str) -> str:
        """Give the base URL for a provider or protocol, without a last slash."""
        name = _PORTS.get(provider, provider)
        if name not in self._listeners:
            running = ", ".join(self._listeners) or "nothing; start it first"
            raise ValueError(f"{provider!r} is not served here, but {running}")
        return self._listeners[name].url

    def fail(
        self,
        kind: str,
        *,
        step: str = "message",
        at: int | None = None,
        nth: int = 1,
        times: int = 1,
        seconds: float | None = None,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        again: bytes = b"",
    ) -> Fault:
        """Let something go wrong; the arguments are those of `Fault`."""
        fault = Fault(kind, step, at, nth, times, seconds, status, headers, body, again)
        return self._faults.add(fault)

    @property
    def requests(self) -> list[Request]:
        """What was asked so far, over all protocols, in order of arrival."""
        with self._journal.lock:
            return list(self._journal.requests)

    @property
    def prompts(self) -> list[str]:
        """What the model was given so far."""
        return list(self._model.prompts)

    @property
    def processed(self) -> int:
        """How many messages the model was given; one sent twice counts two."""
        return len(self._model.prompts)

    @property
    def connections(self) -> int:
        """How many TCP connections have been accepted."""
        return self._journal.connections

    @property
    def open_connections(self) -> int:
        """How many of them are open now."""
        return self._journal.open_connections

    @property
    def hang_ups(self) -> list[str]:
        """The steps whose client went away before the body had ended."""
        with self._journal.lock:
            return list(self._journal.hang_ups)


def _check_names(settings: Mapping[str, Any]) -> None:
    """Refuse a setting that does not exist."""
    there = [field.name for field in fields(Settings)]
    if wrong := [repr(name) for name in settings if name not in there]:
        own = [name for name in inspect.signature(Emulator).parameters if name != "settings"]
        raise TypeError(
            f"Emulator has no setting {', '.join(wrong)}; there are: {', '.join([*own, *there])}"
        )
