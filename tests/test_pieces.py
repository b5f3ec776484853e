"""A text that grows."""

from __future__ import annotations

import sys
import threading

from c4ai_clients.pieces import Pieces


def test_pieces__are_the_text() -> None:
    """Whatever is joined on the way, the text is all pieces in order."""
    pieces, added = Pieces("begun "), ["begun "]
    for i in range(5000):
        assert i % 500 or "".join(added) == pieces.text()
        pieces.add(f"{i} ")
        added.append(f"{i} ")

    assert "".join(added) == pieces.text()


def test_pieces__take_little_more_than_the_text() -> None:
    """100,000 pieces are kept in less than twice their length."""
    pieces = Pieces()
    for i in range(100_000):
        pieces.add(f"{i:>6} ")

    assert 700_000 == len(pieces.text())
    assert sum(map(sys.getsizeof, pieces)) + sys.getsizeof(pieces) < 1_400_000


def test_pieces__read_while_they_are_added() -> None:
    """A reader in another thread always sees a beginning of the text."""
    pieces, stop = Pieces(), threading.Event()

    def add() -> None:
        while not stop.is_set():
            pieces.add("ab")

    adding = threading.Thread(target=add)
    adding.start()
    try:
        for length in range(300):
            text = pieces.text()
            assert len(text) % 2 == 0
            assert len(text) >= length - 300
            assert text == "ab" * (len(text) // 2)
    finally:
        stop.set()
        adding.join()
