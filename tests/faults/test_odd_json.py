"""Odd but valid JSON in place of each field that a server ever sent: never a wrong text.

A reply is recorded record by record. In each of them each field, at each depth,
is replaced by each of ``ODD``, left out, said twice, nested 100,000 deep and
made invalid UTF-8, one at a time. What a wrong text is:

- Where the field is no text, the text is the recorded one, or there is an error
  of ours whose ``partial`` is a prefix of it.
- Where the field is text, or holds it, that token alone may be missing or be
  the new string; a number, a list or null is never written out as text.
- Where the field says what kind of record it is (``KINDS``), the record is
  another one then. Its token may be missing; a protocol whose end mark holds the
  whole text mends that in ``reply.text``.
- Pieces and ``reply.text`` agree, or the reply says that it was ``rewritten``.
- Every event has the types that it declares.
"""

from __future__ import annotations

import collections.abc
import copy
import dataclasses
import functools
import itertools
import json
import math
import pickle
import random
import re
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from canned import PROVIDERS, Body, Canned, recorded_steps
from replay import recorded

from c4ai_clients import (
    H2O,
    AutonomousAI,
    C4AICommand,
    C4AIError,
    ChatClient,
    ChatUI,
    Gradio,
    ProtocolError,
    RetryPolicy,
    events,
)
from c4ai_clients.client import Model

HUGE = "1" + "0" * 400
ODD = {
    "null": "null",
    "true": "true",
    "0": "0",
    "-1": "-1",
    "1.5": "1.5",
    "10**400": HUGE,
    "5000 digits": "9" * 5000,
    "1e999": "1e999",
    "NaN": "NaN",
    "-Infinity": "-Infinity",
    "empty": '""',
    "x": '"x"',
    "lone surrogate": '"\\ud800"',
    "list": "[]",
    "object": "{}",
    "list of null": "[null]",
    "object of 1": '{"a": 1}',
    "20 deep": '[{"a": ' * 10 + "0" + "}]" * 10,
    "100,000 deep": "[" * 100_000 + "]" * 100_000,
    "no UTF-8": '"\udcff"',  # written with surrogateescape
}
# What a text may have become: the new string.
STRINGS = {"empty": "", "x": "x", "lone surrogate": "\ud800", "twice, another last": "x"}
WAYS = [*ODD, "left out", "twice, the same last", "twice, another last"]
REFUSED = ("5000 digits", "100,000 deep", "no UTF-8")
KINDS = {"type", "subtype", "special", "index", "finish_reason", "msg", "event_id", "success"}
QUICK = RetryPolicy(attempts=1)
_MARK = "@odd@"

Path = tuple[Any, ...]


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield where everything in a record lies, the record itself first."""
    yield path
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def odd(record: Any, path: Path, way: str) -> bytes | None:
    """Return the record's JSON with one thing odd about it; None where that cannot be."""
    if not path:
        return ODD[way].encode("utf-8", "surrogateescape") if way in ODD else None
    record = copy.deepcopy(record)
    parent = functools.reduce(lambda value, key: value[key], path[:-1], record)
    key, old = path[-1], parent[path[-1]]
    if way == "left out":
        del parent[key]
        return json.dumps(record).encode()
    new = ODD.get(way)
    if new is None:
        if isinstance(parent, list):
            return None
        pair = [json.dumps(old), '"x"']
        first, last = pair if way == "twice, another last" else reversed(pair)
        new = f"{first}, {json.dumps(key)}: {last}"
    parent[key] = _MARK
    written = json.dumps(record).replace(json.dumps(_MARK), new)
    return written.encode("utf-8", "surrogateescape")


def fits(value: Any, hint: Any) -> bool:
    """Tell whether a value is of the type that an event declares."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, each) for each in inner)
    if origin is list:
        return isinstance(value, list) and all(fits(each, inner[0]) for each in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(each, inner[0]) for each in value)
    if origin is collections.abc.Callable:
        return callable(value)
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is hint


def check_types(value: Any) -> None:
    """Fail where a field of a public value is of another type than it declares."""
    hints = typing.get_type_hints(type(value))
    for field in dataclasses.fields(value):
        held = getattr(value, field.name)
        assert fits(held, hints[field.name]), f"{type(value).__name__}.{field.name} = {held!r}"
        if type(held) is int and hints[field.name] is not Any:
            assert 0 <= held <= 2**53


class Talk:
    """A recorded reply: its records, and what of the text each of them gives."""

    def __init__(
        self,
        make: Callable[[requests.Session], ChatClient],
        steps: dict[str, Body],
        step: str,
        texts: tuple[str, ...],
        *,
        final: bool,
    ) -> None:
        """Read a recording.

        Args:
            make: Makes the client.
            steps: What the server answers.
            step: Whose answer is the reply.
            texts: The fields of a record that hold text.
            final: Whether the end mark holds the whole text.
        """
        self.step, self.texts, self.final = step, texts, final
        self.is_gradio = step.endswith(("/queue/data", "/queue/join"))
        kind, body = steps[step]
        split = b"\n\n" if "event-stream" in kind else b"\n"
        self.records = [
            re.fullmatch(rb"((?:.*\n)*data: ?|)(.*)", each).groups() + (split,)  # type: ignore[union-attr]
            for each in body.strip(b"\n \0").split(split)
            if each.strip()
        ]
        self.adapter = Canned(dict(steps), 65536)
        session = requests.Session()
        session.mount("http://", self.adapter)
        self.client = make(session)
        pieces, said, error, _ = self.ask([])
        assert error is None
        assert said == "".join(pieces) != ""
        self.truth = said
        # Where the text stands before each record, and behind the last; how many it takes.
        self.upto, self.end = [""], 0
        for i in range(1, len(self.records) + 1):
            pieces, _, error, _ = self.ask([], until=i)
            self.upto.append("".join(pieces))
            self.end = self.end or (i if error is None else 0)
            assert self.is_gradio or said.startswith(self.upto[-1])

    def value(self, i: int) -> Any:
        """Return a record's JSON, None where it is none."""
        try:
            return json.loads(self.records[i][1])
        except ValueError:
            return None

    def token(self, record: Any) -> str:
        """Return what a record holds as text, of whatever kind it is."""
        held = (
            functools.reduce(lambda value, key: value[key], place, record)
            for place in places(record)
            if place and place[-1] in self.texts
        )
        return next((text for text in held if isinstance(text, str)), "")

    def ask(
        self, changes: list[tuple[int, bytes]], until: int | None = None
    ) -> tuple[list[str], str | None, C4AIError | None, list[Any]]:
        """Ask; return the pieces, the reply's text, the error and all events."""
        rows = [list(record) for record in self.records]
        for i, raw in changes:
            rows[i][1] = raw
        kind, _ = self.adapter.steps[self.step]
        self.adapter.steps[self.step] = (kind, b"".join(itertools.chain(*rows[:until])))
        stream = self.client.stream("Hi")
        said: list[Any] = []
        text, error = None, None
        try:
            said.extend(stream.events())
            reply = stream.reply()
            text = reply.text
            json.dumps(reply.to_dict())
            pickle.dumps((reply.text, reply.sources, reply.tool_calls, reply.usage))
            pieces = stream.text
            assert text == pieces or reply.rewritten or text == pieces.rstrip(), "not said"
        except C4AIError as caught:
            error = caught
            assert error.partial == stream.text
            assert type(error) is not C4AIError
            assert str(pickle.loads(pickle.dumps(error))) == str(error)
        for event in said:
            check_types(event)
        told = [event.text for event in said if type(event) is events.Text]
        assert all(told)
        # An error's last pieces stay in the stream.
        assert stream.text.startswith("".join(told))
        return [stream.text], text, error, said

    def check(self, i: int, path: Path, way: str, raw: bytes) -> str:
        """Fail where one odd thing in a record gives a wrong text; return how it ended."""
        (pieces,), text, error, said = self.ask([(i, raw)])
        record = self.value(i)
        of_text = not path or any(
            place[: len(path)] == path or path[: len(place)] == place
            for place in places(record)
            if place and place[-1] in self.texts
        )
        of_kind = bool(path) and path[-1] in KINDS
        if way == "twice, the same last":
            of_text = of_kind = False
            assert error is None
        before, after = self.upto[i], self.truth[len(self.upto[i + 1]) :]
        wholes = {self.truth}
        if of_text or of_kind:
            wholes |= {before + after, before + self.token(record) + after}
        if of_text and way in STRINGS:
            wholes |= {before + STRINGS[way] + after}
        ends = of_kind or of_text  # what may have become the end mark, or none
        if error is not None:
            assert any(whole.startswith(pieces) for whole in wholes) or (self.is_gradio and ends)
            return type(error).__name__
        assert way not in REFUSED or self.is_gradio or i >= self.end, "not refused"
        new = {STRINGS[way]} if way in STRINGS else set()
        if self.is_gradio:
            assert text == self.truth or (of_text and text in new)
        elif ends and way in STRINGS and pieces == self.upto[i + 1]:
            assert text in {pieces, *new}  # an end mark of its own
        elif self.final:
            assert text == self.truth or (of_text and text in new)
            assert pieces in wholes or text in new
        else:
            assert text in wholes
        if pieces != self.truth and not of_text:
            assert of_kind
        return "whole"

    def mutants(self) -> Iterator[tuple[int, Path, str, bytes]]:
        """Yield every odd thing; records of one shape are alike, so three of them stand for all."""
        shapes: dict[str, list[int]] = {}
        for i in range(len(self.records)):
            if isinstance(value := self.value(i), dict):
                named = [value.get(key) for key in ("type", "subtype", "msg", "status")]
                shapes.setdefault(repr((named, [*map(str, places(value))][:99])), []).append(i)
        for alike in shapes.values():
            for i in sorted({alike[0], alike[len(alike) // 2], alike[-1]}):
                for path, way in itertools.product(places(self.value(i)), WAYS):
                    if (raw := odd(self.value(i), path, way)) is not None:
                        yield i, path, way, raw


def _chat_ui(case: str, nth: int = 0) -> Callable[[], Talk]:
    def made() -> Talk:
        answers = [each for each in recorded(f"chatui/{case}") if each.method == "POST"]
        replies = [each.body for each in answers if b'"finalAnswer"' in each.body]
        _, steps = PROVIDERS["c4ai-command"]
        sound = {**steps(), "POST /conversation/": ("application/jsonl", replies[nth])}
        return Talk(
            lambda session: ChatUI("http://127.0.0.1:9", model="m", session=session, retry=QUICK),
            sound,
            "POST /conversation/",
            ("token", "text"),
            final=True,
        )

    return made


def _h2o() -> Talk:
    _, steps = PROVIDERS["h2o"]
    return Talk(
        lambda session: H2O("http://127.0.0.1:9", session=session, retry=QUICK),
        steps(),
        "POST /conversation/",
        ("text", "generated_text"),
        final=True,
    )


def _autonomous() -> Talk:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    chunks: list[Any] = [
        {"id": "1", "choices": [{"index": 0, "delta": {"role": "assistant"}}]},
        {"choices": [{"index": 0, "delta": {"reasoning_content": "Hm"}}]},
        *(
            {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
            for text in ["Hi", " thère", " 😀", "!"]
        ),
        {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}},
    ]
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks).encode()
    return Talk(
        lambda session: AutonomousAI(
            "http://127.0.0.1:9", session=session, retry=QUICK, strict=True
        ),
        {"POST /api": ("text/event-stream", body)},
        "POST /api",
        ("content", "delta"),
        final=False,
    )


def _gradio(case: str) -> Callable[[], Talk]:
    def made() -> Talk:
        version = case.split("/")[0]
        steps = recorded_steps(f"gradio/{version}/config", ("GET", "/config"))
        asked = [("GET", "/queue/join"), ("POST", "/queue/data")]
        if version != "4.2.0":
            asked = [("POST", "/queue/join"), ("GET", "/queue/data")]
        answers = recorded(f"gradio/{case}")
        said = json.loads(next(each.request for each in answers if each.method == "POST"))
        steps |= recorded_steps(f"gradio/{case}", *asked)
        return Talk(
            lambda session: Gradio(
                "http://127.0.0.1:9", session=session, retry=QUICK, fn_index=said["fn_index"]
            ),
            steps,
            next(f"{method} {path}" for method, path in asked if method == "GET"),
            ("data",),
            final=True,
        )

    return made


TALKS: dict[str, Callable[[], Talk]] = {
    "chat-ui B": _chat_ui("B/first_and_second_turn"),
    "chat-ui B, tools": _chat_ui("B/tools"),
    "chat-ui B, web search": _chat_ui("B/websearch"),
    "chat-ui B, reasoning": _chat_ui("B/reasoning_tokens"),
    "chat-ui C": _chat_ui("C/first_and_second_turn"),
    "chat-ui C, tools": _chat_ui("C/mcp_tools"),
    "chat-ui C, router": _chat_ui("C/router_omni"),
    "H2O": _h2o,
    "AutonomousAI": _autonomous,
    "Gradio 4.2": _gradio("4.2.0/first_turn"),
    "Gradio 5.50, tuples": _gradio("5.50.0/first_turn"),
    "Gradio 5.50, messages": _gradio("5.50.0/first_turn_messages"),
    "Gradio 6.31": _gradio("6.31.0/first_turn"),
}
SAMPLE = 120  # of the odd replies of each recording; ``-m exhaustive`` takes all
talk = functools.cache(lambda name: TALKS[name]())


def check_all(name: str, mutants: list[tuple[int, Path, str, bytes]]) -> None:
    ended = set()
    for i, path, way, raw in mutants:
        try:
            ended.add(talk(name).check(i, path, way, raw))
        except Exception as error:
            raise AssertionError(f"{name}, record {i}, {path}: {way}") from error
    # Odd things that never break anything, or always, would prove nothing.
    assert {"whole", "ProtocolError"} <= ended


@pytest.mark.parametrize("name", TALKS)
def test_reply__with_odd_json(name: str) -> None:
    """A field with an odd value is ignored or refused by name, and no text is wrong."""
    check_all(name, random.Random(name).sample(list(talk(name).mutants()), SAMPLE))


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", TALKS)
def test_reply__with_every_odd_json(name: str) -> None:
    """The same for every field of every kind of record, and every odd value."""
    check_all(name, list(talk(name).mutants()))
