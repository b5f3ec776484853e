"""``Secret``: a string that may be sent and is never shown."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

from .errors import StatusError

__all__ = ["PLAIN_HEADERS", "Secret", "hidden", "withhold", "without"]

# What says nothing secret by its standard meaning; any other header may.
PLAIN_HEADERS = frozenset(
    {
        *("accept", "accept-encoding", "accept-language", "connection", "content-length"),
        *("content-type", "country-code", "host", "origin", "referer", "sec-websocket-version"),
        *("time-zone", "upgrade", "user-agent"),
    }
)
_SHORTEST = 4  # what is shorter would be found in any words

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


def withhold(error: BaseException, secrets: Iterable[str]) -> None:
    """Take what is secret out of an error, and out of what caused it.

    The variables of all frames that have ended in it are cleared: those of
    requests, urllib3 and http.client hold a request's headers and the proxy's
    password, and tools that show tracebacks show variables. And *secrets* are
    taken out of the words, since a server may say back what it was sent.
    """
    secrets = set(secrets)
    links: list[BaseException] = []
    waiting = [error]
    while waiting:
        link = waiting.pop()
        if any(link is seen for seen in links):
            continue
        links.append(link)
        traceback.clear_frames(link.__traceback__)
        link.args = tuple(without(each, secrets) for each in link.args)
        if isinstance(link, StatusError):
            link.body = without(link.body, secrets)
        others = (link.__cause__, link.__context__, *link.args)
        waiting += [other for other in others if isinstance(other, BaseException)]


def without(said: Any, secrets: Iterable[str]) -> Any:
    """Return text or bytes without the *secrets* in them, whole or cut by an ellipsis."""
    if isinstance(said, bytes):
        text = said.decode("utf-8", "surrogateescape")
        return without(text, secrets).encode("utf-8", "surrogateescape")
    if not isinstance(said, str):
        return said
    for secret in secrets:
        if len(secret) < _SHORTEST:
            continue
        for form in {secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}:
            said = said.replace(form, "***")
            for end in range(len(form) - 1, _SHORTEST - 1, -1) if "…" in said else ():
                said = said.replace(form[:end] + "…", "***…")
    return said
