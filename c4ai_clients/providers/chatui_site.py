"""How a chat-ui server of 2024 to today is told from others, and its era.

Its page is SvelteKit's, whose files stand below ``_app/immutable``. A page's
data says ``loginRequired`` until 2025-06 (B), and nothing from then on (C); both
list models at ``/api/models``. Whoever stops what does not exist is told 401
where a login is wanted, 405 where the terms are not accepted, and 404 otherwise.
"""

from __future__ import annotations

from typing import Any

from ..decoding import string
from ..site import Found, Seen, Site

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
    """Say what the server is, or that it is no chat-ui of these years."""
    if not page.is_page:
        return None
    told = site.ask("/__data.json").json
    nodes = told.get("nodes") if isinstance(told, dict) else None
    if not isinstance(nodes, list) or not nodes:
        return None
    if nodes[0] is None:
        era, wants = "C, since 2025-06", None
    else:
        wants = _login_required(nodes[0])
        if wants is None:
            return None
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


def _login_required(node: Any) -> bool | None:
    """Read ``loginRequired`` off a layout's data, which refers by index; None: it has none."""
    data = node.get("data") if isinstance(node, dict) else None
    if not isinstance(data, list) or not data or not isinstance(data[0], dict):
        return None
    at = data[0].get("loginRequired")
    return data[at] is True if type(at) is int and 0 <= at < len(data) else None
