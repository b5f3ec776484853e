"""How AutonomousAI is told from other servers: by the path that it is asked at.

It says nothing of itself, and nothing of it was ever recorded. What stands here
is a guess: no page at its root, and at its path for questions, which takes only
``POST``, 405 to a ``GET``.
"""

from __future__ import annotations

from ..site import Found, Seen, Site

__all__ = ["base", "found", "shows"]


def shows(page: Seen) -> bool:
    """Tell whether a page is of this kind, at a glance: it has none."""
    return False


def base(site: Site, page: Seen) -> str | None:
    """Return the path that the app is below; it does not tell."""
    return None


def found(site: Site, page: Seen) -> Found | None:
    """Say what the server is, or that it is another."""
    if page.is_page or page.status == 405:
        return None
    if site.ask("/api/v1/ai/chat").status != 405:
        return None
    return Found("AutonomousAI", certain=False)
