"""``Pieces``: a text that grows, in little more memory than it takes."""

from __future__ import annotations

__all__ = ["Pieces"]

_MANY = 1024


class Pieces(list[str]):
    """The pieces of a text; one thread appends them while others read the text.

    A piece alone takes ten times its size, so many are joined to one. A buffer
    that is made larger again and again would leave holes in the heap.

    Attributes:
        most: Whoever appends calls :meth:`pack` where there are more.
    """

    __slots__ = ("_joined", "most")

    def __init__(self, text: str = "") -> None:
        super().__init__([text])
        self._joined = 0
        self.most = _MANY

    def add(self, piece: str) -> None:
        """Put *piece* behind the text."""
        self.append(piece)
        if len(self) > self.most:
            self.pack()

    def pack(self) -> None:
        """Join the pieces that came last, in one step: whoever reads misses nothing."""
        self[self._joined :] = ["".join(self[self._joined :])]
        self._joined += 1
        self.most = self._joined + _MANY

    def text(self) -> str:
        """Return the whole text."""
        return "".join(self)
