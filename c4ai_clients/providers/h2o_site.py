"""How a chat-ui server of 2023, such as H2O's, is told from others.

Its page is SvelteKit's, and its page's data says ``requiresLogin``, which later
ones do not. Whoever stops what does not exist is told 405 where the terms are
not accepted (seen: recordings A and A2).
"""

from __future__ import annotations

from ..decoding import string
from ..site import Found, Seen, Site
from .sveltekit import base, nodes, shows

__all__ = ["base", "found", "shows"]

_NOTHING = "0" * 24


def found(site: Site, page: Seen) -> Found | None:
    """Say what the server is, or that it is no chat-ui of 2023."""
    if not page.is_page:
        return None
    layout = nodes(site.ask("/__data.json").json)[0]
    if "requiresLogin" not in layout:
        return None
    wants = layout.flag("requiresLogin")
    stopped = site.ask(f"/conversation/{_NOTHING}/stop-generating", "POST")
    terms = None
    if stopped.status:
        terms = stopped.status == 405 and stopped.shows("modal")
    models = tuple(filter(None, (string(row["id"]) for row in layout.rows("models", "id"))))
    return Found("chat-ui", "A, summer 2023", models=models, login=wants, terms=terms)
