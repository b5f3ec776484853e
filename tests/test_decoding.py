"""Bytes into records: a table of cases, each whole and byte by byte."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c4ai_clients.decoding import Halves, jsonl, loads, sse
from c4ai_clients.errors import ProtocolError

# The examples of the WHATWG standard, section "server-sent events".
STREAMS = [
    pytest.param(
        b"data: YHOO\ndata: +2\ndata: 10\n\n", [("YHOO\n+2\n10", "message")], id="whatwg-1"
    ),
    pytest.param(
        b": test stream\n\ndata: first event\nid: 1\n\n"
        b"data:second event\nid\n\ndata:  third event\n\n",
        [("first event", "message"), ("second event", "message"), (" third event", "message")],
        id="whatwg-2",
    ),
    pytest.param(
        b"data\n\ndata\ndata\n\ndata:", [("", "message"), ("\n", "message")], id="whatwg-3"
    ),
    pytest.param(b"data:test\n\ndata: test\n\n", [("test", "message")] * 2, id="whatwg-4"),
    pytest.param(
        b"event: error\r\ndata: {}\r\n\r\ndata: a\r\rdata: b\n\n",
        [("{}", "error"), ("a", "message"), ("b", "message")],
        id="line-endings-mixed",
    ),
    pytest.param(b"\xef\xbb\xbfdata: bom\n\n", [("bom", "message")], id="byte-order-mark"),
    pytest.param(b"data: whole\n\ndata: half\n", [("whole", "message")], id="unfinished-tail"),
    pytest.param(b": only\n\n: comments\n\n", [], id="comments"),
    pytest.param(
        "data: a\u2028b\u0085c\n\n".encode(), [("a\u2028b\u0085c", "message")], id="separators-raw"
    ),
    pytest.param(b"", [], id="empty"),
    pytest.param(b"unknown: x\ndata: y\n\n", [("y", "message")], id="unknown-field"),
]


@pytest.mark.parametrize(("body", "expected"), STREAMS)
def test_sse__whole_and_byte_by_byte(body: bytes, expected: list[tuple[str, str]]) -> None:
    """An event stream reads the same however it is cut into pieces."""
    assert expected == [tuple(event) for event in sse([body])]
    assert expected == [tuple(event) for event in sse(bytes([byte]) for byte in body)]
    for cut in range(len(body) + 1):
        assert expected == [tuple(event) for event in sse([body[:cut], b"", body[cut:]])]


@given(st.data())
def test_sse__any_pieces(data: st.DataObject) -> None:
    """Events survive any texts, line endings and cuts."""
    texts = data.draw(st.lists(st.text().filter(lambda t: not set(t) & {"\r", "\n"}), max_size=5))
    ends = data.draw(st.lists(st.sampled_from(["\n", "\r", "\r\n"]), min_size=10, max_size=10))
    body = "".join(
        f"data: {text}{ends[2 * i]}{ends[2 * i + 1]}"
        # CR and LF in a row are one line's end, so such an event needs one more.
        + ("\n" if (ends[2 * i], ends[2 * i + 1]) == ("\r", "\n") else "")
        for i, text in enumerate(texts)
    ).encode("utf-8", "surrogatepass")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]

    assert texts == [event.data for event in sse(pieces)]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<!doctype html><p>Sign in", id="html"),
        pytest.param(b'{"error": "no"}', id="json"),
        pytest.param(b"Internal Server Error", id="text"),
    ],
)
def test_sse__no_event_stream(body: bytes) -> None:
    """A body that is no event stream is an error that quotes it."""
    with pytest.raises(ProtocolError, match=body[:8].decode()):
        list(sse([body]))


def test_sse__cut_before_the_first_event() -> None:
    """A stream cut inside its first event is only missing, not wrong."""
    assert [] == list(sse([b"dat"]))
    assert [] == list(sse([b"data:{"]))


def test_sse__not_utf8() -> None:
    """Bytes that are no UTF-8 are refused by name."""
    with pytest.raises(ProtocolError, match="UTF-8"):
        list(sse([b"data: \xff\xfe\n\n"]))


def test_sse__limit() -> None:
    """An event grows no further than the limit, in one line or in many."""
    with pytest.raises(ProtocolError, match="longer than 100 bytes"):
        list(sse([b"data: " + b"x" * 200 + b"\n\n"], limit=100))
    with pytest.raises(ProtocolError, match="longer than 100 bytes"):
        list(sse([b"data: xxxxxxxxx\n"] * 20, limit=100))


def test_sse__linear_in_small_pieces() -> None:
    """A large event in small pieces costs in proportion to its bytes."""

    def seconds(size: int) -> float:
        body = b"data: " + b"x" * size + b"\n\n"
        pieces = [body[i : i + 128] for i in range(0, len(body), 128)]
        start = time.perf_counter()
        (event,) = sse(pieces, limit=2 * size)
        assert size == len(event.data)
        return time.perf_counter() - start

    # Eight times the bytes: linear is 8, and quadratic, as sseclient-py alone is, 64.
    assert min(seconds(8 << 20) for _ in range(3)) < 40 * min(seconds(1 << 20) for _ in range(3))


ROWS = [
    pytest.param(b'{"a":1}\n{"b":2}\n', [{"a": 1}, {"b": 2}], id="two"),
    pytest.param(b'{"a":1}\n{"b":2}', [{"a": 1}, {"b": 2}], id="unfinished-but-whole"),
    pytest.param(b'{"a":1}\n{"b":', [{"a": 1}], id="unfinished"),
    pytest.param(b'\n\r\n \n{"a":1}\r\n', [{"a": 1}], id="blank-lines"),
    pytest.param('{"a":"\u2028\u0085"}\n'.encode(), [{"a": "\u2028\u0085"}], id="separators-raw"),
    pytest.param(b"", [], id="empty"),
]


@pytest.mark.parametrize(("body", "expected"), ROWS)
def test_jsonl__whole_and_byte_by_byte(body: bytes, expected: list[object]) -> None:
    """Lines are split on newline bytes and on nothing else, however they are cut."""
    assert expected == list(jsonl([body]))
    assert expected == list(jsonl(bytes([byte]) for byte in body))
    for cut in range(len(body)):
        assert expected == list(jsonl([body[:cut], body[cut:]]))


def test_jsonl__limit() -> None:
    """A line is given up at the limit, finished or not."""
    with pytest.raises(ProtocolError, match="longer than 100 bytes"):
        list(jsonl([b"x" * 60] * 3, limit=100))
    with pytest.raises(ProtocolError, match="longer than 100 bytes"):
        list(jsonl([b"{}\n" + b"x" * 200 + b"\n"], limit=100))


def test_jsonl__not_utf8() -> None:
    """The lines before one that is no UTF-8 are given; that one is refused."""
    rows = jsonl([b'{"a": 1}\n{"b": "\xff"}\n'])

    assert {"a": 1} == next(rows)
    with pytest.raises(ProtocolError, match="expected JSON"):
        next(rows)


def test_jsonl__padding_and_blank_lines() -> None:
    """Spaces around a line are not part of it: chat-ui sends 4096 after the last."""
    body = b'{"a": 1}\n\n' + b" " * 4096 + b'{"b": 2}\n' + b" " * 4096

    assert [{"a": 1}, {"b": 2}] == list(jsonl([body]))


def test_jsonl__cut_at_every_byte() -> None:
    """A body that is cut gives whole records only, and never another error."""
    body = '{"a": "é\u2028"}\n{"b": {"c": [1]}}\n'.encode()
    whole = [{"a": "é\u2028"}, {"b": {"c": [1]}}]
    for cut in range(len(body)):
        found = list(jsonl([body[:cut]]))

        assert found == whole[: len(found)]
        assert len(found) == body[: cut + 1].count(b"\n")


def test_jsonl__an_unfinished_line_that_is_no_json() -> None:
    """What does not even begin like a record is refused, finished or not."""
    with pytest.raises(ProtocolError, match="Internal Server Error"):
        list(jsonl([b"Internal Server Error"]))


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"[1]", id="no-object"),
        pytest.param(b'{"a": ', id="cut"),
        pytest.param(b'{"a": "\xff"}', id="not-utf8"),
        pytest.param(b'{"a":' * 100_000, id="nested"),
        pytest.param(b'{"a": ' + b"9" * 10_000 + b"}", id="huge-integer"),
    ],
)
def test_loads__refused_by_name(raw: bytes) -> None:
    """What is no JSON object is a ProtocolError that quotes its beginning."""
    with pytest.raises(ProtocolError, match="expected"):
        loads(raw)


@given(st.text())
def test_halves__any_cut(text: str) -> None:
    """A text cut between any two UTF-16 units comes out whole again."""
    units = text.encode("utf-16-le", "surrogatepass")
    halves = Halves()
    joined = "".join(
        halves.join(units[i : i + 2].decode("utf-16-le", "surrogatepass"))
        for i in range(0, len(units), 2)
    )

    assert text == joined + halves.rest()


def test_halves__a_lone_half_is_kept() -> None:
    """A half that never finds its other is given, not dropped."""
    halves = Halves()

    assert "a" == halves.join(json.loads('"a\\ud83d"'))
    assert "\ud83d" == halves.rest()
