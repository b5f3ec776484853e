"""SvelteKit, which chat-ui is made with: its pages, and what stands in their data.

A page has its files below ``_app/immutable``. Its data, ``__data.json``, has a
node for the layout and one for the page; a node's first value says by index
where in the node the others are, and so do those. Negative ones are undefined
(seen: recordings A, A2 and B; empty since 2025-06, C).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..site import Seen, Site

__all__ = ["Node", "base", "nodes", "shows"]

_FILES = "/_app/immutable/"


def shows(page: Seen) -> bool:
    """Tell whether a page is of this kind, at a glance."""
    return page.shows(_FILES)


def base(site: Site, page: Seen) -> str | None:
    """Return the path that the app is below, as its page tells."""
    return site.named(page, _FILES)


class Node:
    """One node of a page's data.

    Attributes:
        told: What the server said; a dict, or None where it tells nothing.
    """

    def __init__(self, told: Any) -> None:
        data = told.get("data") if isinstance(told, dict) else None
        known = isinstance(data, list) and data and isinstance(data[0], dict)
        self.told = told
        self._data: list[Any] = data if known else [{}]  # type: ignore[assignment]

    def __contains__(self, name: str) -> bool:
        return name in self._data[0]

    def flag(self, name: str) -> bool | None:
        """Return a value that is true or false, None where there is none."""
        value = self._at(self._data[0].get(name))
        return None if value is None else value is True

    def rows(self, name: str, *keys: str) -> list[dict[str, Any]]:
        """Return the rows of a list, *keys* of each."""
        rows = self._at(self._data[0].get(name))
        return [
            {key: self._at(row.get(key)) for key in keys}
            for row in map(self._at, rows if isinstance(rows, list) else [])
            if isinstance(row, dict)
        ]

    def _at(self, index: Any) -> Any:
        known = type(index) is int and 0 <= index < len(self._data)
        return self._data[index] if known else None


def nodes(page: Any) -> list[Node]:
    """Return the nodes of a page's data: the layout's first, the page's last; one at least."""
    told = page.get("nodes") if isinstance(page, dict) else None
    return [Node(each) for each in told] if isinstance(told, list) and told else [Node({})]
