"""Every exception that this package raises on purpose.

Three questions sort them: did the request arrive (:class:`TransportError`),
did the server refuse it (:class:`StatusError`), did the reply make sense
(:class:`ReplyError`)? One ``except C4AIError`` catches them all.

Rules that this file keeps: every error pickles with its fields, its text names
the provider, the step and what to do, and nothing secret is ever put into it.
"""

from __future__ import annotations

import json
import re
from concurrent import futures
from typing import Any

from . import markup

__all__ = [
    "AuthError",
    "C4AIError",
    "CancelledError",
    "ConnectError",
    "IncompleteReplyError",
    "ModelError",
    "ModelNotFoundError",
    "NotFoundError",
    "ProtocolError",
    "RateLimitError",
    "ReplyError",
    "ServerError",
    "StatusError",
    "TimedOutError",
    "TransportError",
    "UsageError",
]

QUOTED = 300
# With what turns the direction of writing, and so would reorder our own words behind it.
_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+"
)
_LOOKED_AT = 4 * QUOTED  # control characters may stand in between
_JSON = json.JSONEncoder(ensure_ascii=False)


def quote(said: object, *, more: bool = False) -> str:
    """Return what a server said, bytes, text or JSON, fit for one line of an error text.

    At most 300 characters, without control characters, since the words are a
    stranger's and may end in a terminal. Whatever is cut ends in an ellipsis:
    there a secret that was cut is looked for.

    Args:
        said: What the server said.
        more: Whether it said more than that.
    """
    words = said if isinstance(said, (str, bytes, bytearray)) else _written(said)
    words = words.strip()
    more = more or len(words) > _LOOKED_AT
    words = words[:_LOOKED_AT]
    if not isinstance(words, str):
        words = bytes(words).decode("utf-8", "replace")
        words = words.rstrip("\ufffd") if more else words  # a part of a character
    text = _CONTROL.sub(" ", words).strip()
    if not more and len(text) <= QUOTED:
        return text
    return text[: QUOTED - 1] + "…"


def _written(said: object) -> str:
    """Return the beginning of a value as JSON, not all of it: there may be much."""
    text = ""
    try:
        for piece in _JSON.iterencode(said):
            text += piece
            if len(text) > _LOOKED_AT:
                break
    except (ValueError, TypeError, RecursionError):
        return f"a {type(said).__name__} that cannot be shown"
    return text


def causes(error: BaseException) -> list[BaseException]:
    """Return an error and what it came of, the first cause last."""
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__ or link.__context__
    return links


def caused_by(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    """Return the first of *kind* among an error and what it came of, or None."""
    return next((link for link in causes(error) if isinstance(link, kind)), None)


def check_count(name: str, value: object) -> None:
    """Refuse a setting that is no whole number above 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{name}={value!r}: give a whole number above 0")


class C4AIError(RuntimeError):
    """The root of all errors of this package.

    Attributes:
        provider: The client's provider name, such as ``"c4ai-command"``.
        phase: The step that failed, such as ``"create"`` or ``"message"``.
        attempts: How often that step was tried.
        partial: The answer's text so far; ``""`` where there was none.
        lasting: True where waiting or trying again cannot help.
    """

    def __init__(self, message: str = "", **fields: Any) -> None:
        super().__init__(message)
        self.provider: str = fields.pop("provider", "")
        self.phase: str = fields.pop("phase", "")
        self.attempts: int = fields.pop("attempts", 0)
        self.partial: str = fields.pop("partial", "")
        self.lasting: bool = fields.pop("lasting", False)
        if fields:
            unknown = ", ".join(sorted(fields))
            raise TypeError(f"{type(self).__name__} has no field {unknown}")

    def __str__(self) -> str:
        # A model's name or a file's may be a stranger's words as well.
        message = _CONTROL.sub(" ", str(self.args[0])) if self.args else ""
        place = ", ".join(word for word in (self.provider, self.phase) if word)
        tries = f" ({self.attempts} attempts)" if self.attempts > 1 else ""
        return f"{place}: {message}{tries}" if place else f"{message}{tries}"

    def _repr_html_(self) -> str:
        """Show it where it is a cell's value; one that is raised has its traceback."""
        said = f"<b>{type(self).__name__}</b>: {markup.escaped(str(self))}"
        return said + (markup.fold("What had come", self.partial) if self.partial else "")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args, self.__dict__.copy()


class UsageError(C4AIError, ValueError):
    """It cannot be sent as asked; nothing left this machine for it."""


class ModelNotFoundError(UsageError):
    """No model has this name; the text lists those that there are."""


class TransportError(C4AIError):
    """There was no complete HTTP reply."""


class ConnectError(TransportError, ConnectionError):
    """The server was never reached: refused, unknown name, proxy or TLS."""


class TimedOutError(TransportError, TimeoutError):
    """A limit of :class:`~c4ai_clients.Timeout` ran out.

    Attributes:
        kind: Which one: ``connect``, ``first``, ``idle``, ``queue`` or ``total``.
    """

    def __init__(self, message: str = "", *, kind: str = "", **fields: Any) -> None:
        super().__init__(message, **fields)
        self.kind = kind


class IncompleteReplyError(TransportError):
    """The reply ended before its protocol's own end mark."""


class StatusError(C4AIError):
    """The server answered with a status that refuses.

    Attributes:
        status: The HTTP status.
        body: The beginning of the answer's body, at most 300 characters.
        retry_after: Seconds that the server asked to wait, or None.
    """

    def __init__(
        self,
        message: str = "",
        *,
        status: int = 0,
        body: str = "",
        retry_after: float | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(message, **fields)
        self.status = status
        self.body = body
        self.retry_after = retry_after


class AuthError(StatusError):
    """The server wants a login, a key, or its terms accepted."""


class NotFoundError(StatusError):
    """Nothing there; on a conversation of ours, the session was lost."""


class RateLimitError(StatusError):
    """Too many requests."""


class ServerError(StatusError):
    """The server failed (5xx)."""


class ReplyError(C4AIError):
    """A reply arrived, and it is unusable."""


class ProtocolError(ReplyError):
    """The reply is not in the promised form; the text quotes its beginning."""


class ModelError(ReplyError):
    """The server says that the model failed."""


class CancelledError(C4AIError, futures.CancelledError):
    """Somebody read on after ``cancel()``."""
