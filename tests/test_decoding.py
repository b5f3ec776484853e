"""Bytes into records: a table of cases, each whole and byte by byte."""

from __future__ import annotations

import json
import math
import re
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import peers
import pytest
import sseclient
from hypothesis import given
from hypothesis import strategies as st

from c4ai_clients import AutonomousAI
from c4ai_clients.decoding import (
    DEPTH,
    LIMIT,
    VALUES,
    Halves,
    count,
    jsonl,
    loads,
    outside_strings,
    paired,
    parsed,
    seconds,
    sse,
    sse_objects,
    string,
)
from c4ai_clients.errors import ProtocolError


def told(body: bytes) -> list[tuple[str, str]]:
    """Return the events of a stream by the steps of the WHATWG standard, line after line."""
    events, data, name = [], "", ""
    text = body.decode("utf-8", "replace").removeprefix("\ufeff")
    for line in re.split("\r\n|\n|\r", text)[:-1]:
        if not line:
            if data:
                events.append((data.removesuffix("\n"), name or "message"))
            data, name = "", ""
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data += value + "\n"
        elif field == "event":
            name = value
    return events


def cut(data: st.DataObject, body: bytes) -> list[bytes]:
    """Return *body* in a few pieces, cut anywhere."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    return [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]


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
        b"data: This is the first message.\n\ndata: This is the second message, it\n"
        b"data: has two lines.\n\ndata: This is the third message.\n\n",
        [
            ("This is the first message.", "message"),
            ("This is the second message, it\nhas two lines.", "message"),
            ("This is the third message.", "message"),
        ],
        id="whatwg-5",
    ),
    pytest.param(
        b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 113411\n\n",
        [("73857293", "add"), ("2153", "remove"), ("113411", "add")],
        id="whatwg-6",
    ),
    pytest.param(b"data: a\n\r\ndata: b\r\n\n", [("a", "message"), ("b", "message")], id="lf-crlf"),
    pytest.param(b"data: a\r\n\rdata: b\r\r\n", [("a", "message"), ("b", "message")], id="crlf-cr"),
    pytest.param(b"data: a\rdata: b\n\r", [("a\nb", "message")], id="cr-inside-an-event"),
    pytest.param(b"\r\n\r\n\n\rdata: a\n\n\r\r\n", [("a", "message")], id="blank-lines"),
    pytest.param(
        b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", [("b", "message")], id="second-mark"
    ),
    pytest.param(
        b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [("a", "message")], id="mark-inside-the-stream"
    ),
    pytest.param(
        b"id: 1\0\nretry: " + b"9" * 400 + b"\nretry: x\ndata: a\n\nid: 2\n\n",
        [("a", "message")],
        id="id-with-nul-and-retry",
    ),
    pytest.param(
        b"data : no\nData: no\n data: no\ndata:  two\ndata:\ttab\ndata:a:b\n\n",
        [(" two\n\ttab\na:b", "message")],
        id="spaces-and-colons",
    ),
    pytest.param(
        b"event: a\nevent: b\ndata: x\n\ndata: y\n\nevent\ndata: z\n\nevent: lost\n\n",
        [("x", "b"), ("y", "message"), ("z", "message")],
        id="names-last-one-event",
    ),
    pytest.param(
        b"data: x\nevent: error\n" + b": and so on\n" * 70 + b"data: y\n\n",
        [("x\ny", "error")],
        id="many-lines",
    ),
    pytest.param(b"data: a\n\nevent: error\ndata: cut", [("a", "message")], id="cut-in-a-line"),
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
    assert expected == told(body)
    assert expected == list(sse([body]))
    assert expected == list(sse(bytes([byte]) for byte in body))
    for cut in range(len(body) + 1):
        assert expected == list(sse([body[:cut], b"", body[cut:]]))


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

    assert texts == [told for told, _ in sse(cut(data, body))]


WORDS = ["data", "event", "id", "retry", ":", ": ", " ", "x", "é\u2028", "\ufeff", "\0", "x" * 1200]
ENDS = ["\n", "\r", "\r\n"]


@given(st.data(), st.lists(st.sampled_from([*WORDS, *ENDS, *ENDS]), max_size=60))
def test_sse__any_stream(data: st.DataObject, words: list[str]) -> None:
    """Fields, marks and line ends in any order give the events of the standard."""
    body = "".join(words).encode()
    found = []
    try:
        found.extend(sse(cut(data, body)))
    except ProtocolError as error:
        assert "expected an event stream" in str(error)
        assert found == []

    assert told(body) == found


LINES = st.sampled_from(["data", "data:", "data: x", "data:é", "event: e", "event", ": c", "id: 1"])


@given(st.data(), st.lists(st.lists(LINES, min_size=1, max_size=70)), st.sampled_from(ENDS))
def test_sse__as_sseclient_alone(data: st.DataObject, events: list[list[str]], end: str) -> None:
    """Where one kind of line end, no mark and no tail are left, sseclient-py says the same."""
    body = "".join("".join(line + end for line in lines) + end for lines in events).encode()
    alone = [(event.data, event.event) for event in sseclient.SSEClient(iter([body])).events()]

    assert alone == list(sse(cut(data, body)))


SAID = st.sampled_from(
    [
        *("{}", '{"a": "é\u2028"}', ' {"a": 1}', '{"a": 1} ', '{"a": NaN}', '{"a": 1}{"b": 2}'),
        *('{"a":', "1}", "[1]", "[DONE]", "7", "", '{"a": "\0"}', '{"a": "b\tc"}', "{} {}"),
        *('{{"a": {}1{}}}'.format("[" * n, "]" * n) for n in (DEPTH - 1, DEPTH)),
        '{"a": "%s"}' % ("x" * 1200),
    ]
)
ROWS = st.lists(
    st.tuples(st.sampled_from(["data:", "data: ", "event: ", ":", "x", ""]), SAID), max_size=4
)


@given(st.data(), st.lists(ROWS, max_size=6))
def test_sse_objects__are_what_sse_and_loads_give(
    data: st.DataObject, events: list[list[tuple[str, str]]]
) -> None:
    """The short way to an event's object takes nothing that the long one refuses, nor alters it."""
    body = "".join("".join(f"{field}{said}\n" for field, said in rows) + "\n" for rows in events)

    pieces = list(cut(data, body.encode()))

    def way(read: Callable[[list[bytes]], Iterator[Any]]) -> list[Any]:
        found: list[Any] = []
        try:
            found.extend(read(pieces))
        except ProtocolError as error:
            found.append(str(error))
        return found

    def shown(event: Any) -> Any:
        return event if isinstance(event, str) else repr(event)

    def long(event: Any) -> Any:
        if isinstance(event, str) or event[1] != "message":
            return event
        try:
            return loads(event[0])
        except ProtocolError:
            return event

    objects = [long(each) if type(each) is tuple else each for each in way(sse_objects)]
    assert list(map(shown, map(long, way(sse)))) == list(map(shown, objects))


@given(st.text().filter(lambda text: not set(text) & {"\r", "\n"}), st.booleans())
def test_sse__one_line_is_cut_out_as_sseclient_reads_it(text: str, space: bool) -> None:
    """The short way for an event of one line gives what sseclient-py gives."""
    body = (("data: " if space else "data:") + text + "\n\n").encode("utf-8", "replace")
    (alone,) = sseclient.SSEClient(iter([body])).events()

    assert [(alone.data, alone.event)] == list(sse([body]))


def test_sse__over_a_socket() -> None:
    """Every kind of line end, a mark and a multi-line event survive a real connection."""
    parts = [f'{{"choices": [{{"index": 0, "delta": {{"content": "{t}"}}}}]}}' for t in "abcd"]
    one, two, three, four = (part.encode() for part in parts)
    split = three.replace(b", ", b",\rdata:")  # white space of JSON
    body = b"\xef\xbb\xbf: hi\r\ndata: %s\r\n\r\ndata:%s\r\rid: 7\ndata:%s\n\ndata: %s\n\r\n" % (
        one,
        two,
        split,
        four,
    )

    def handle(connection: socket.socket) -> None:
        if peers.read_request(connection):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            for byte in body + b"data: [DONE]\r\r":
                connection.sendall(bytes([byte]))

    with peers.listening(handle) as address, AutonomousAI(f"http://{address}") as client:
        assert list("abcd") == list(client.stream("Hi"))


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
        ((told, _),) = sse(pieces, limit=2 * size)
        assert size == len(told)
        return time.perf_counter() - start

    # Eight times the bytes: linear is 8, and quadratic, as sseclient-py alone is, 64.
    assert min(seconds(8 << 20) for _ in range(3)) < 40 * min(seconds(1 << 20) for _ in range(3))


MANY_LINES = [
    pytest.param(b"data:\n", id="data"),
    pytest.param(b":\n", id="comments"),
    pytest.param(b"event: " + b"e" * 300 + b"\n", id="names"),
]


@pytest.mark.parametrize("line", MANY_LINES)
def test_sse__linear_in_many_lines(line: bytes) -> None:
    """An event of many lines costs in proportion to its bytes, which it did not."""

    def seconds(size: int) -> float:
        body = line * (size // len(line)) + b"data: x\n\n"
        start = time.process_time()
        ((told, _),) = sse([body], limit=2 * size)
        assert told.endswith("x")
        return time.process_time() - start

    assert min(seconds(1 << 20) for _ in range(3)) < 40 * min(seconds(1 << 17) for _ in range(3))


def test_sse__long_name() -> None:
    """An event's name is not carried from part to part without a limit."""
    with pytest.raises(ProtocolError, match="event's name is longer than 300"):
        list(sse([b"event: " + b"x" * 301 + b"\ndata: y\n\n"]))


def in_pieces(body: bytes, size: int = 128) -> Iterator[bytes]:
    return (body[i : i + size] for i in range(0, len(body), size))


FOUR_MEGABYTES = [
    pytest.param(sse, b"data: " + b"x" * (LIMIT - 8) + b"\n\n", 4, id="sse-large"),
    pytest.param(sse, b"data: " + b"x" * 120 + b"\n\n", 1 << 15, id="sse-many"),
    pytest.param(sse, (b"data: " + b"x" * 1000 + b"\r\n") * 16 + b"\r\n", 256, id="sse-of-lines"),
    pytest.param(jsonl, b'{"a": "' + b"x" * (LIMIT - 12) + b'"}\n', 4, id="jsonl-large"),
    pytest.param(jsonl, b'{"token": "' + b"x" * 114 + b'"}\n', 1 << 15, id="jsonl-many"),
]


@pytest.mark.parametrize(("read", "record", "times"), FOUR_MEGABYTES)
def test_decoding__four_megabytes(
    read: Callable[[Iterator[bytes]], Iterator[Any]], record: bytes, times: int
) -> None:
    """4 MB in pieces of 128 bytes are read in less than half a second."""
    body = record * times
    assert len(body) > 4_000_000
    best = math.inf
    for _ in range(3):
        start = time.process_time()
        assert times == sum(1 for _ in read(in_pieces(body)))
        best = min(best, time.process_time() - start)

    assert best < 0.5


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


JSON_LINES = [
    *(b'{"a": 1}', b' {"b": "\xe2\x80\xa8"}\r', b'{"c": {"d": [1, null]}}', b"", b" \t", b"\r"),
    *(b"{", b"[1]", b"7", b'{"a": "\xff"}', b'{"a": 1} {"a": 2}', b"no", b'{"e": NaN}'),
]


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, (dict, list)) + max(map(depth, inner), default=0)


def rows(body: bytes) -> tuple[list[Any], bool]:
    """Return the objects of a body line by line, and whether a line is none."""
    found = []
    lines = body.split(b"\n")
    for i, line in enumerate(lines, 1):
        if not line.decode("utf-8", "replace").strip():
            continue
        try:
            value = json.loads(line.decode().strip(" \t\r"), parse_constant=lambda name: None)
            if not isinstance(value, dict) or depth(value) > DEPTH:
                raise ValueError("no object")
        except (ValueError, RecursionError):
            return found, i < len(lines) or not line.strip().startswith(b"{")
        found.append(value)
    return found, False


@given(st.data(), st.lists(st.sampled_from(JSON_LINES), max_size=12), st.booleans())
def test_jsonl__as_line_by_line(data: st.DataObject, lines: list[bytes], ends: bool) -> None:
    """Lines decoded as a block read as one by one: all before a bad one are given."""
    body = b"\n".join(lines) + b"\n" * ends
    found = []
    try:
        found.extend(jsonl(cut(data, body)))
        refused = False
    except ProtocolError:
        refused = True

    assert rows(body) == (found, refused)


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
        pytest.param(b'{"a": ' + b"[" * DEPTH + b"]" * DEPTH + b"}", id="one-too-deep"),
        pytest.param(b'{"a":' * (DEPTH + 1) + b"1" + b"}" * (DEPTH + 1), id="objects-too-deep"),
        pytest.param(b'{"a": 1} {"a": 1}', id="two"),
        pytest.param(b'{"a": 01}', id="octal"),
        pytest.param(b'\xef\xbb\xbf{"a": 1}', id="byte-order-mark"),
    ],
)
def test_loads__refused_by_name(raw: bytes) -> None:
    """What is no JSON object is a ProtocolError that quotes its beginning."""
    with pytest.raises(ProtocolError, match="expected"):
        loads(raw)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param('{"a": 1, "a": 2}', {"a": 2}, id="last-of-two-keys"),
        pytest.param(
            '[NaN, Infinity, -Infinity, {"a": NaN}]', [None] * 3 + [{"a": None}], id="nan"
        ),
        pytest.param("[1e999, -1e999]", [math.inf, -math.inf], id="too-large"),
        pytest.param('"\\ud800"', "\ud800", id="lone-surrogate"),
        pytest.param("9" * 4300, int("9" * 4300), id="long-integer"),
        pytest.param('"' + "[" * 300 + '"', "[" * 300, id="brackets-in-a-text"),
        pytest.param("[" + "[]," * 300 + "[]]", [[]] * 301, id="wide"),
        pytest.param(" \t\r\nnull\n", None, id="null"),
    ],
)
def test_parsed__odd_but_valid(raw: str, expected: object) -> None:
    """Odd JSON means one thing, whoever reads it."""
    assert expected == parsed(raw) == parsed(raw.encode())


def test_parsed__depth() -> None:
    """A value may be nested as deeply as the limit says, wherever the caller stands."""
    assert parsed("[" * DEPTH + " " * 99 + "]" * DEPTH)
    assert parsed('{"a":' * (DEPTH - 1) + "[ ]" + "}" * (DEPTH - 1))

    def from_below(frames: int) -> object:
        return from_below(frames - 1) if frames else parsed("[" * DEPTH + "]" * DEPTH)

    assert from_below(300)


ODD = [None, True, False, -1, -0.5, 1 << 53, 10**400, 1e300, math.inf, math.nan, "1", [], {}, [1]]


@given(
    st.lists(st.sampled_from(['"', "{", "}", ",", "a", r"\\", r"\"", "[]", ":1"])), st.booleans()
)
def test_outside_strings__as_read_letter_by_letter(parts: list[str], cut: bool) -> None:
    """Marks are counted outside of strings only, also where the last string is cut."""
    text = "".join(parts) + cut * '"{\\'
    within, escaped, found = False, False, 0
    for letter in text:
        found += letter in ",[{" and not within
        within ^= letter == '"' and not escaped
        escaped = letter == "\\" and not escaped

    assert found == outside_strings(text.encode(), b",[{")


def read_and_measured(raw: bytes) -> tuple[object, int]:
    """Return what a text is read as, or the error's text, and the most memory that it took."""
    tracemalloc.start()
    try:
        value = parsed(raw)
    except ProtocolError as error:
        value = str(error)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return value, peak


NESTED = '{"":' * 180 + "0" + "}" * 180 + ","
UNITS = {"[],": 2, '{"":[]},': 4, '"ab",': 1, NESTED: 361}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit[:7])
def test_parsed__takes_little_memory(unit: str) -> None:
    """What is read, however long it is, has no more values than 16 MB hold; more are refused."""
    fits, marks = (1 << 18) // len(unit) - 1, UNITS[unit]
    roomy = max(fits, VALUES // marks - 2)
    for times in (fits, roomy):
        value, peak = read_and_measured(f"[{unit * times}0]".encode())
        assert isinstance(value, list)
        assert times + 1 == len(value)
        assert peak < 16_000_000
    raw = f"[{unit * (roomy + 400_000 // marks)}0]".encode()
    value, peak = read_and_measured(raw)

    assert f"expected JSON, got more than {VALUES:,} values: {raw[:9].decode()}" in str(value)
    assert peak < 4 * len(raw)


def test_parsed__marks_in_strings_are_no_values() -> None:
    """A long text is read, however many commas, brackets and quotes it has in it."""
    words = 'so, he said: "[{\\", ' * 50_000

    assert [words, {"a": words}] == parsed(json.dumps([words, {"a": words}]))
    assert [{"a": words}] == list(jsonl([json.dumps({"a": words}).encode()], limit=8 << 20))


@pytest.mark.parametrize("read", [jsonl, sse_objects])
def test_records__with_too_many_values(read: Callable[[list[bytes]], Iterator[Any]]) -> None:
    """A record with too many values is not read, and those before it are."""
    crowded = b'{"a":[%b0]}' % (b"1," * 200_000)
    start, end = (b"", b"\n") if read is jsonl else (b"data: ", b"\n\n")
    records = read([start + b'{"b":1}' + end + start + crowded + end])

    assert {"b": 1} == next(records)
    with pytest.raises(ProtocolError, match=f"more than {VALUES:,} values"):
        loads(next(records)[0])


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:20])
def test_fields__of_another_type(value: object) -> None:
    """What is no count, no seconds and no text is passed over, never converted."""
    assert None is count(value)
    assert None is seconds(value)
    assert (value if type(value) is str else "") == string(value)


def test_fields__as_they_are_meant() -> None:
    """Counts are whole numbers from 0 on, seconds any; a lone surrogate is text."""
    assert [0, 7, (1 << 53) - 1, None] == [count(each) for each in (0, 7, (1 << 53) - 1, 0.5)]
    assert [0, 0.5, 2.0] == [seconds(each) for each in (0, 0.5, 2.0)]
    assert "\ud800" == string("\ud800")


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


def test_paired__makes_one_of_two_halves() -> None:
    """Two halves are one character, wherever they stand, and a lone half stays one."""
    assert "a 😀 b\ude00 \ud83d" == paired("a \ud83d\ude00 b\ude00 \ud83d")


def test_halves__a_lone_half_is_kept() -> None:
    """A half that never finds its other is given, not dropped."""
    halves = Halves()

    assert "a" == halves.join(json.loads('"a\\ud83d"'))
    assert "\ud83d" == halves.rest()
