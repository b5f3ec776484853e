"""Generated faults: whatever a server says, one error tree comes out.

pytest -n0 -m fuzz                          # the decoders, 30 seconds, as .ci/run does
FUZZ_SECONDS=3600 pytest -n0 -m fuzz        # an hour
"""

from __future__ import annotations

import os
import pickle
import random
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import peers
import pytest
import requests
from canned import PROVIDERS, Canned
from hypothesis import given, settings
from hypothesis import strategies as st
from replay import recorded
from test_decoding import rows, told

from c4ai_clients import C4AIError, ChatUI, ProtocolError, RetryPolicy, Timeout
from c4ai_clients.decoding import jsonl, sse

GENERATED = 2500  # for each provider
QUICK = RetryPolicy(attempts=2, wait_initial=0)
ODD = [
    b"null",
    b"true",
    b"0",
    b"-1",
    b"1e999",
    b"NaN",
    b"9" * 5000,
    b'""',
    b'"\\ud800"',
    b'"\\u0000"',
    b"[]",
    b"[[]]",
    b"{}",
    b'{"a":null}',
    b"[" * 3000 + b"]" * 3000,
    b"[" * 101 + b"]" * 101,
    b'"404"',
    b"[null,1,{}]",
]
VALUE = re.compile(rb'(?<=:)\s*("(?:[^"\\]|\\.)*"|-?\d+|true|false|null|\[\]|\{\})')


def mutated(chance: random.Random, body: bytes) -> bytes:
    """Return *body* with one to four things wrong with it."""
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(body) + 1)
        to = min(len(body), at + chance.choice([1, 2, 7, 60]))
        way = chance.randrange(9)
        if way <= 3 and (values := list(VALUE.finditer(body))):
            value = chance.choice(values)
            body = body[: value.start()] + chance.choice(ODD) + body[value.end() :]
        elif way == 4:
            body = body[:at]
        elif way == 5:
            body = body[:at] + body[to:]
        elif way == 6:
            body = body[:at] + body[at:to] * chance.randint(2, 5) + body[to:]
        elif way == 7:
            body = body[:at] + chance.randbytes(to - at) + body[to:]
        else:
            lines = body.split(b"\n")
            chance.shuffle(lines)
            body = b"\n".join(lines)
    return body


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("provider", PROVIDERS)
def test_fuzz__one_error_tree(provider: str, part: int) -> None:
    """A turn with a mutated answer gives text, or an error of ours with all of its fields."""
    chance = random.Random(f"{provider}-{part}")
    kind, make = PROVIDERS[provider]
    sound = make()
    ended: dict[str, int] = {}
    session = requests.Session()
    for number in range(GENERATED // 4):
        step = chance.choice(list(sound))
        steps = {**sound, step: (sound[step][0], mutated(chance, sound[step][1]))}
        session.mount("http://", Canned(steps, chance.choice([37, 500, 65536])))
        client = kind("http://127.0.0.1:9", session=session, retry=QUICK, trust_env=False)
        with client:
            stream = client.stream("Hi")
            try:
                assert all(type(piece) is str and piece for piece in stream)
                outcome = "whole"
                stream.reply().to_dict()
            except C4AIError as error:
                assert error.provider == provider
                assert error.phase
                assert error.attempts >= 1
                assert error.partial == stream.text
                assert str(pickle.loads(pickle.dumps(error))) == str(error)
                outcome = type(error).__name__
            except AssertionError:
                raise
            except BaseException as error:
                raise AssertionError(f"{provider} {part} {number} {step}: {error!r}") from error
        ended[outcome] = ended.get(outcome, 0) + 1
    session.close()

    # Mutations that never break anything, or always, would prove nothing.
    assert 0 < ended["whole"] < GENERATED // 4
    assert len(ended) >= 3


WIRE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    b'Set-Cookie: a=b; Path=/\r\n\r\nC\r\n[{"id":"m"}]\r\n0\r\n\r\n'
)


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False))
def test_fuzz__http_itself(chance: random.Random) -> None:
    """An HTTP answer with anything wrong with its bytes is an answer or an error of ours."""
    raw = mutated(chance, WIRE)

    def handle(connection: socket.socket) -> None:
        if peers.read_request(connection):
            connection.sendall(raw)

    client = ChatUI("http://" + SERVER[0], model="m", retry=RetryPolicy.none(), timeout=SHORT)
    HANDLE[0] = handle
    with client:
        try:
            client.models()
        except C4AIError as error:
            assert error.provider
            assert error.phase == "models" or "lists no models" in str(error)


SHORT = Timeout(connect=5, first=0.5, idle=0.5)
SERVER: list[str] = []
HANDLE: list[object] = [None]


@pytest.fixture(scope="module", autouse=True)
def server() -> object:
    """One listener for all examples; what it does is set by each."""
    with peers.listening(lambda connection: HANDLE[0](connection)) as address:  # type: ignore[operator]
        SERVER.append(address)
        yield


# Replies of every protocol that were recorded, and what has everything in it.
RECORDED = ["A/first_and_second_turn", "A/line_separators", "B/odd_tokens", "B/tools"]
RECORDED += ["C/mcp_tools", "C/stream_resume", "C/router_omni", "C/line_separators"]
STREAMS = [
    b"\xef\xbb\xbf: hi\r\ndata: a\r\rid: 1\0\nretry: 9\nevent: error\ndata:b\ndata\n\ndata: c",
    b"\xef\xbb\xbfdata: a\n\nevent: many lines\n" + b"data: b\n: c\n" * 40 + b"\n",
    b'{"a": 1}\r\n\n  {"b": [{}]}\n{"c": NaN, "c": "\\ud83d"}',
    b'{"deep": ' + b"[" * 98 + b'{"a":1}' + b"]" * 98 + b"}\n" * 2,
]
LONG = b"data: " + b"x" * 1_000_000 + b"\n\n"  # seconds where the cost is quadratic
ALPHABET = [b"\n", b"\r", b"\n\n", b"\r\n", b":", b" ", b"data", b"data: ", b"event:", b"{", b"}"]


def corpus() -> list[bytes]:
    cases = [f"chatui/{case}" for case in RECORDED]
    cases += [f"gradio/{version}/first_turn" for version in ("4.2.0", "5.50.0", "6.31.0")]
    streams = ("text/event-stream", "application/jsonl")
    return [
        exchange.body
        for case in cases
        for exchange in recorded(case)
        if any(value.startswith(streams) for _, value in exchange.headers)
    ]


def pieces(chance: random.Random, body: bytes) -> Iterator[bytes]:
    """Yield *body* cut into pieces of like size."""
    most = chance.choice([1, 3, 40, 1000, 1 << 16])
    at = 0
    while at < len(body):
        to = at + chance.randint(0, most)
        yield body[at:to]
        at = to


def read(decoder: Callable[[Iterable[bytes]], Iterator[Any]], parts: list[bytes]) -> Any:
    """Return what was read, why that ended early, and how long it took."""
    found: list[Any] = []
    start = time.process_time()
    refused = ""
    try:
        found.extend(decoder(parts))
    except ProtocolError as error:
        refused = str(error)
    return found, refused, time.process_time() - start


def check_decoders(chance: random.Random, body: bytes) -> None:
    """Fail where the decoders read *body* in another way than line after line."""
    parts = list(pieces(chance, body))
    events, refused, took = read(sse, parts)
    expected = told(body)
    assert [tuple(event) for event in events] == expected[: len(events)]
    if not refused:
        assert len(events) == len(expected)
    elif refused.startswith("not UTF-8"):
        with pytest.raises(UnicodeDecodeError):
            body.decode("utf-8")
    elif "expected an event stream" in refused:
        assert expected == []
    else:
        assert re.search("event's name is longer", refused)
    found, refused, took_too = read(jsonl, parts)
    assert (found, bool(refused)) == rows(body)
    # One microsecond a byte where each comes alone, and quadratic 17.
    assert max(took, took_too) < 0.05 + len(body) * 8e-6


@pytest.mark.fuzz
def test_fuzz__decoders() -> None:
    """Recorded streams with anything wrong, in any pieces, read as line by line, in linear time."""
    seconds = float(os.environ.get("FUZZ_SECONDS", "30"))
    seed = os.environ.get("FUZZ_SEED") or str(random.SystemRandom().getrandbits(64))
    sound = corpus()
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        number += 1
        chance = random.Random(f"{seed}-{number}")
        way = chance.randrange(5)
        if number % 500 == 1:
            body = LONG
        elif way == 0:
            body = chance.choice([b"", b"\xef\xbb\xbf"])
            body += b"".join(chance.choices(ALPHABET, k=chance.randint(0, 300)))
        elif way == 1:
            body = chance.randbytes(chance.randint(0, 2000))
        else:
            body = mutated(chance, chance.choice(STREAMS if way == 2 else sound))
        try:
            check_decoders(chance, body)
        except Exception as error:  # whatever it is, say how to have it again
            raise AssertionError(f"FUZZ_SEED={seed}, number {number}: {body[:2000]!r}") from error

    assert number > seconds
