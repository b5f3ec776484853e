"""The options of a provider's own: what its ``stream`` takes beside what every client's does."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from .client import ChatClient
from .errors import UsageError

__all__ = ["check_options"]


def check_options(client: ChatClient, options: Mapping[str, Any], *, own: bool = False) -> None:
    """Refuse an option that *client* does not know, before it becomes a ``TypeError``.

    Args:
        client: Whom it is for.
        options: What the client's ``stream`` is to be given by keyword.
        own: Whether none but the provider's own will do.

    Raises:
        UsageError: Names the option, and the provider's own.
    """
    if not options or (known := _keywords(client.stream)) is None:
        return
    of_all = _keywords(ChatClient.stream) or []
    its_own = [name for name in known if name not in of_all]
    wrong = [repr(name) for name in options if name not in (its_own if own else known)]
    if wrong:
        there = f"there are: {', '.join(its_own)}" if its_own else "it has none of its own"
        raise UsageError(f"{client.provider} has no option {', '.join(wrong)}; {there}")


def _keywords(stream: Callable[..., Any]) -> list[str] | None:
    """Return what *stream* takes by keyword alone, None where it takes any."""
    taken = inspect.signature(stream).parameters.values()
    if any(each.kind is each.VAR_KEYWORD for each in taken):
        return None
    return [each.name for each in taken if each.kind is each.KEYWORD_ONLY]
