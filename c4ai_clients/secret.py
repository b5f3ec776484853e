"""``Secret``: a string that may be sent and is never shown."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

__all__ = ["PLAIN_HEADERS", "Secret", "forget_locals", "hidden", "without"]

# What says nothing secret by its standard meaning; any other header may.
PLAIN_HEADERS = frozenset(
    {
        *("accept", "accept-encoding", "accept-language", "connection", "content-length"),
        *("content-type", "country-code", "host", "origin", "referer", "sec-websocket-version"),
        *("time-zone", "upgrade", "user-agent"),
    }
)
_SHORTEST = 6  # what is shorter would be found in any words

_Value = TypeVar("_Value")


class Secret(str):
    """A string whose ``repr`` does not tell it: dicts that hold it may be shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def hidden(value: _Value) -> _Value:
    """Return *value* with every string in it, or it itself, as a Secret."""
    made: Any = value
    if isinstance(value, str):
        made = Secret(value)
    elif isinstance(value, Mapping):
        made = {name: hidden(each) for name, each in value.items()}
    elif isinstance(value, tuple):
        made = tuple(map(hidden, value))
    return made  # type: ignore[no-any-return]


def without(text: str, secrets: Iterable[str]) -> str:
    """Return *text* without the *secrets* that it quotes."""
    for secret in secrets:
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, "***")
    return text


def forget_locals(error: BaseException) -> None:
    """Clear the variables of all frames that have ended in *error*, and in what caused it.

    Those of requests, urllib3 and http.client hold a request's headers and the
    proxy's password, and tools that show tracebacks show variables.
    """
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        seen.append(link)
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__
