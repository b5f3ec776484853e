"""The options of a provider's own: what its ``stream`` takes beside what every client's does."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from .client import ChatClient
from .errors import UsageError

__all__ = ["check_options"]


def check_options(client: ChatClient, options: Mapping[str, Any]) -> None:
    """Refuse an option that *client* does not know, before it becomes a ``TypeError``.

    Raises:
        UsageError: Names the option, and those that there are.
    """
    known = _keywords(client.stream)
    if known is None or not (wrong := [name for name in options if name not in known]):
        return
    of_all = _keywords(ChatClient.stream) or []
    own = ", ".join(name for name in known if name not in of_all)
    raise UsageError(
        f"{client.provider} has no option {', '.join(map(repr, wrong))}; "
        + (f"there are: {own}" if own else "it has none of its own")
    )


def _keywords(stream: Callable[..., Any]) -> list[str] | None:
    """Return what *stream* takes by keyword alone, None where it takes any."""
    taken = inspect.signature(stream).parameters.values()
    if any(each.kind is each.VAR_KEYWORD for each in taken):
        return None
    return [each.name for each in taken if each.kind is each.KEYWORD_ONLY]
