"""The protocols; the docstring of each provider's own file is its protocol in a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import c4ai_clients

if TYPE_CHECKING:
    from ..client import ChatClient

__all__ = ["clients"]


def clients() -> dict[str, type[ChatClient]]:
    """Return the package's clients, by the names of their providers."""
    named = [getattr(c4ai_clients, name) for name in c4ai_clients.__all__]
    parent = c4ai_clients.ChatClient
    kinds = [kind for kind in named if isinstance(kind, type) and issubclass(kind, parent)]
    return {kind.provider: kind for kind in kinds if kind.provider}
