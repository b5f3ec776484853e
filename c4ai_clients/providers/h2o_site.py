"""How a chat-ui server of 2023, such as H2O's, is told from others.

Its page is SvelteKit's, and its page's data says ``requiresLogin``, which later
ones do not. Whoever stops what does not exist is told 405 where the terms are
not accepted (seen: recordings A and A2).
"""

from __future__ import annotations

from ..site import Found, Seen, Site
from .h2o import models_of

__all__ = ["base", "found", "shows"]

_FILES = "/_app/immutable/"
_NOTHING = "0" * 24


def shows(page: Seen) -> bool:
    """Tell whether a page is of this kind, at a glance."""
    return page.shows(_FILES)


def base(site: Site, page: Seen) -> str | None:
    """Return the path that the app is below, as its page tells."""
    return site.named(page, _FILES)


def found(site: Site, page: Seen) -> Found | None:
    """Say what the server is, or that it is no chat-ui of 2023."""
    if not page.is_page:
        return None
    told = site.ask("/__data.json").json
    nodes = told.get("nodes") if isinstance(told, dict) else None
    node = nodes[0] if isinstance(nodes, list) and nodes else None
    data = node.get("data") if isinstance(node, dict) else None
    first = data[0] if isinstance(data, list) and data else None
    if not isinstance(data, list) or not isinstance(first, dict) or "requiresLogin" not in first:
        return None
    at = first["requiresLogin"]
    wants = data[at] is True if type(at) is int and 0 <= at < len(data) else None
    stopped = site.ask(f"/conversation/{_NOTHING}/stop-generating", "POST")
    terms = None
    if stopped.status:
        terms = stopped.status == 405 and stopped.shows("modal")
    models = tuple(row["id"] for row in models_of(told) if isinstance(row.get("id"), str))
    return Found("chat-ui", "A, summer 2023", models=models, login=wants, terms=terms)
