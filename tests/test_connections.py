"""Chunked framing, taken off in bulk: the same data however it is cut."""

from __future__ import annotations

import http.client

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c4ai_clients.http1 import _Chunked

SIZES = ["%x", "%X", "0%x", "%x ", "%x;name=value", '%x ; quoted="a"']


def framed(pieces: list[bytes], sizes: list[str]) -> bytes:
    lines = [
        (size % len(piece)).encode() + b"\r\n" + piece + b"\r\n"
        for piece, size in zip(pieces, sizes, strict=True)
    ]
    return b"".join(lines) + b"0\r\n"


def fed(raw: list[bytes]) -> tuple[bytes, bool]:
    chunked = _Chunked()
    return b"".join(chunked.data(piece) for piece in raw), chunked.ended


@given(st.data())
def test_chunked__any_pieces(data: st.DataObject) -> None:
    """Data comes out whole, in order and without its framing, cut anywhere."""
    pieces = data.draw(st.lists(st.binary(min_size=1, max_size=40), max_size=8))
    sizes = data.draw(st.lists(st.sampled_from(SIZES), min_size=len(pieces), max_size=len(pieces)))
    raw = framed(pieces, sizes)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    parts = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]

    assert (b"".join(pieces), True) == fed(parts)


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=5))
def test_chunked__cut_at_every_byte(pieces: list[bytes]) -> None:
    """A body that is cut has not ended, and has given nothing but data."""
    whole = b"".join(pieces)
    raw = framed(pieces, ["%x"] * len(pieces))
    for cut in range(len(raw)):
        data, ended = fed([raw[:cut]])

        assert whole.startswith(data)
        assert not ended


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"x\r\n", id="no-size"),
        pytest.param(b"-5\r\nhello\r\n", id="negative"),
        pytest.param(b"+5\r\nhello\r\n", id="plus"),
        pytest.param(b"0x5\r\nhello\r\n", id="prefix"),
        pytest.param(b"1_0\r\n", id="underscore"),
        pytest.param(b"\r\n", id="empty"),
        pytest.param(b"5\r\nhelloX\r\n5\r\n", id="no-line-end-behind-a-chunk"),
        pytest.param(b"f" * 16 + b"\r\n", id="too-large"),
        pytest.param(b"1;" + b"x" * 5000, id="endless-size-line"),
    ],
)
def test_chunked__what_is_no_framing(raw: bytes) -> None:
    """A size that is none is refused; http.client would read some of these."""
    with pytest.raises(http.client.IncompleteRead):
        fed([raw])
