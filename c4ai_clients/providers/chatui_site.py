"""How a chat-ui server of 2024 to today is told from others, and its era.

Its page is SvelteKit's. A page's data says ``loginRequired`` until 2025-06 (B),
and nothing from then on (C); both list models at ``/api/models``. Whoever stops
what does not exist is told 401 where a login is wanted, 405 where the terms are
not accepted, and 404 otherwise.
"""

from __future__ import annotations

from ..decoding import string
from ..site import Found, Seen, Site
from .sveltekit import base, nodes, shows

__all__ = ["base", "found", "shows"]

_NOTHING = "0" * 24


def found(site: Site, page: Seen) -> Found | None:
    """Say what the server is, or that it is no chat-ui of these years."""
    if not page.is_page:
        return None
    layout = nodes(site.ask("/__data.json").json)[0]
    wants = layout.flag("loginRequired")
    if layout.told is None:
        era = "C, since 2025-06"
    elif wants is None:
        return None
    else:
        era = "B, 2024-01 to 2025-06"
    rows = site.ask("/api/models").json
    if not isinstance(rows, list):
        return None
    models = [string(row.get("id")) for row in rows if isinstance(row, dict)]
    terms = None
    stopped = site.ask(f"/conversation/{_NOTHING}/stop-generating", "POST")
    if stopped.status == 401:
        wants = True
    elif stopped.status == 404:
        wants = terms = False
    elif stopped.status == 405 and stopped.shows("modal"):
        wants, terms = False, True
    return Found("chat-ui", era, models=tuple(filter(None, models)), login=wants, terms=terms)
