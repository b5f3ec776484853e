"""``Secret``: a string that may be sent and is never shown."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

from .errors import QUOTED, StatusError

__all__ = ["Secret", "hidden", "is_plain", "withhold", "without"]

# What says nothing secret by its standard meaning; any other header may.
_PLAIN_HEADERS = frozenset(
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


def is_plain(header: str) -> bool:
    """Tell whether a header says nothing secret."""
    return header.lower() in _PLAIN_HEADERS


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
        link.args = tuple(_withheld(each, secrets) for each in link.args)
        if isinstance(link, StatusError):
            link.body = _withheld(link.body, secrets)
        others = (link.__cause__, link.__context__, *link.args)
        waiting += [other for other in others if isinstance(other, BaseException)]


def without(said: Any, secrets: Iterable[str]) -> Any:
    """Return text or bytes without the *secrets* in them."""
    if isinstance(said, bytes):
        text = said.decode("utf-8", "surrogateescape")
        return without(text, secrets).encode("utf-8", "surrogateescape")
    if not isinstance(said, str):
        return said
    for form in _forms(secrets, len(said)):
        said = said.replace(form, "***")
    return said


def _withheld(said: Any, secrets: Iterable[str]) -> Any:
    """Return an error's words without the *secrets* in them, whole or cut by our ellipsis."""
    if isinstance(said, str) and "…" in said:
        *cut, rest = said.split("…")
        forms = _forms(secrets, QUOTED)
        for number, words in enumerate(cut):
            at = min((_begins(words, form) for form in forms), default=len(words))
            cut[number] = words if at == len(words) else words[:at] + "***"
        said = "…".join([*cut, rest])
    return without(said, secrets)


def _begins(words: str, form: str) -> int:
    """Return where *words* go over into a beginning of *form*; their length if they do not.

    No more of them is looked at than a quotation has, since that is what we cut.
    """
    start = form[:_SHORTEST]
    at = words.find(start, max(0, len(words) - QUOTED))
    while at >= 0 and not form.startswith(words[at:]):
        at = words.find(start, at + 1)
    return len(words) if at < 0 else at


def _forms(secrets: Iterable[str], length: int) -> list[str]:
    """Return how the *secrets* are written, the longest first: one may begin with another.

    Of a secret that is longer than *length*, the text's, no more is looked at
    than shows that: a server may set cookies of any length.
    """
    known = {secret[: length + 1] for secret in secrets if len(secret) >= _SHORTEST}
    written = (
        (each, quote(each, safe=""), quote_plus(each), json.dumps(each)[1:-1]) for each in known
    )
    return sorted({form for forms in written for form in forms}, key=len, reverse=True)
