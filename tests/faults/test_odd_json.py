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
import contextlib
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
from typing import Any, NamedTuple

import pytest
import requests
from canned import PROVIDERS, Body, Canned, recorded_steps
from replay import Replay, recorded

from c4ai_clients import (
    H2O,
    AutonomousAI,
    C4AIError,
    ChatClient,
    ChatUI,
    Gradio,
    RetryPolicy,
    Timeout,
    events,
)
from c4ai_clients.providers import chatui_turn
from c4ai_clients.providers.chatui_tree import final_text

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
WAITED = 0.3
RESUMED = "chat-ui C, streamed again"
_MARK = "@odd@"

Path = tuple[Any, ...]


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield where everything in a record lies, the record itself first."""
    yield path
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def mutants(record: Any) -> Iterator[tuple[Path, str]]:
    """Yield every place in a record with every way in which it may be odd."""
    for path in places(record):
        in_object = path and isinstance(path[-1], str)
        for way in WAYS if in_object else [*ODD, "left out"] if path else ODD:
            yield path, way


def odd(record: Any, path: Path, way: str) -> bytes:
    """Return the record's JSON with one thing odd about it."""
    if not path:
        return ODD[way].encode("utf-8", "surrogateescape")
    record = copy.deepcopy(record)
    parent = functools.reduce(lambda value, key: value[key], path[:-1], record)
    key, old = path[-1], parent[path[-1]]
    if way == "left out":
        del parent[key]
        return json.dumps(record).encode()
    new = ODD.get(way)
    if new is None:
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
    if origin in (dict, collections.abc.Mapping):
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


def check_error(error: C4AIError) -> None:
    """Fail where an error has no name of its own, or cannot travel."""
    assert type(error) is not C4AIError
    assert error.phase
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


class Outcome(NamedTuple):
    """How a turn ended: what the pieces said, the reply's text, or the error."""

    said: str
    text: str | None
    error: C4AIError | None


class Talk:
    """A recorded reply: its records, and what of the text each of them gives."""

    def __init__(
        self,
        client: ChatClient,
        records: list[list[bytes]],
        tell: Callable[[list[list[bytes]]], None],
        texts: tuple[str, ...],
        *,
        final: bool,
    ) -> None:
        """Read a recording.

        Args:
            client: Who asks.
            records: What stands before each record's JSON, that, and what behind it.
            tell: Has the server answer with records.
            texts: The fields of a record that hold text; where there are none, all of it does.
            final: Whether the end mark holds the whole text.
        """
        self.client, self.records, self.tell = client, records, tell
        self.texts, self.final = texts, final
        self.is_gradio = isinstance(client, Gradio)
        sound = self.ask({})
        assert sound.said == sound.text != ""
        self.truth = sound.said
        # Where the text stands before each record, and behind the last; how many it takes.
        self.upto, self.end = [self.ask({}, until=0).said], 0
        for i in range(1, len(self.records) + 1):
            cut = self.ask({}, until=i)
            self.upto.append(cut.said)
            self.end = self.end or (i if cut.error is None else 0)
            assert self.truth.startswith(cut.said)

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

    def ask(self, changes: dict[int, bytes], until: int | None = None) -> Outcome:
        """Ask, with some records' JSON changed, or with the body cut."""
        rows = [
            [before, changes.get(i, raw), behind]
            for i, (before, raw, behind) in enumerate(self.records)
        ]
        self.tell(rows[:until])
        stream = self.client.stream("Hi")
        pieces: list[str] = []
        text, error = None, None
        try:
            for event in stream.events():
                check_types(event)
                pieces += [event.text] if type(event) is events.Text else []
            reply = stream.reply()
            json.dumps(reply.to_dict())
            text = reply.text
            assert reply.rewritten or text in (stream.text, stream.text.rstrip())
        except C4AIError as caught:
            error = caught
            check_error(error)
            assert error.partial == stream.text
        assert all(pieces)
        assert "".join(pieces) == stream.text
        return Outcome(stream.text, text, error)

    def check(self, i: int, path: Path, way: str) -> str:
        """Fail where one odd thing in a record gives a wrong text; return how it ended."""
        raw = odd(self.value(i), path, way)
        pieces, text, error = self.ask({i: raw})
        record = self.value(i)
        of_text = (
            not path
            or not self.texts
            or any(
                place[: len(path)] == path or path[: len(place)] == place
                for place in places(record)
                if place and place[-1] in self.texts
            )
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

    def mutants(self) -> Iterator[tuple[int, Path, str]]:
        """Yield every odd thing; records of one shape are alike, so three of them stand for all."""
        shapes: dict[str, list[int]] = {}
        for i in range(len(self.records)):
            if isinstance(value := self.value(i), (dict, list)):
                said = value if isinstance(value, dict) else {}
                named = [said.get(key) for key in ("type", "subtype", "msg", "status")]
                shapes.setdefault(repr((named, [*map(str, places(value))][:99])), []).append(i)
        for alike in shapes.values():
            for i in sorted({alike[0], alike[len(alike) // 2], alike[-1]}):
                yield from ((i, *each) for each in mutants(self.value(i)))


def over_http(
    make: Callable[[requests.Session], ChatClient],
    steps: dict[str, Body],
    step: str,
    texts: tuple[str, ...],
    *,
    final: bool,
    cut: str = "",
) -> Talk:
    """Return the talk in which *step*'s answer is the reply, and *steps* all that is answered."""
    kind, body = steps[step]
    split = b"\n\n" if "event-stream" in kind else b"\n"
    records = [
        [*re.fullmatch(rb"((?:.*\n)*data: ?|)(.*)", each).groups(), split]  # type: ignore[union-attr]
        for each in body.strip(b"\n \0").split(split)
        if each.strip()
    ]
    adapter = Canned(dict(steps), 65536, cut)
    session = requests.Session()
    session.mount("http://", adapter)

    def tell(records: list[list[bytes]]) -> None:
        adapter.steps[step] = (kind, b"".join(itertools.chain(*records)))

    return Talk(make(session), records, tell, texts, final=final)


def _chat_ui(case: str, nth: int = 0) -> Callable[[], Talk]:
    def made() -> Talk:
        answers = [each for each in recorded(f"chatui/{case}") if each.method == "POST"]
        replies = [each.body for each in answers if b'"finalAnswer"' in each.body]
        _, steps = PROVIDERS["c4ai-command"]
        sound = {**steps(), "POST /conversation/": ("application/jsonl", replies[nth])}
        return over_http(
            lambda session: ChatUI("http://127.0.0.1:9", model="m", session=session, retry=QUICK),
            sound,
            "POST /conversation/",
            ("token", "text"),
            final=True,
        )

    return made


def _h2o() -> Talk:
    _, steps = PROVIDERS["h2o"]
    return over_http(
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
    return over_http(
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
        return over_http(
            lambda session: Gradio(
                "http://127.0.0.1:9", session=session, retry=QUICK, fn_index=said["fn_index"]
            ),
            steps,
            next(f"{method} {path}" for method, path in asked if method == "GET"),
            ("data",),
            final=True,
        )

    return made


def _resumed() -> Talk:
    """Return a turn that is cut after two tokens, and whose answer is streamed again."""
    asked = recorded("chatui/C/stream_resume")
    cut = next(each.body for each in asked if each.end == "client-closed")
    return over_http(
        lambda session: ChatUI("http://127.0.0.1:9", model="m", session=session, retry=QUICK),
        {
            "GET /api/v2/public-config": ("application/json", b'{"json": {}}'),
            "POST /conversation": ("application/json", asked[0].body),
            "POST /conversation/": ("application/jsonl", b"".join(cut.splitlines(True)[:6])),
            "GET /api/conversation/": (
                "application/json",
                b'{"messages": [{"id": "r", "from": "system"}]}',
            ),
            **recorded_steps("chatui/C/stream_resume", ("GET", "/stream")),
        },
        "GET /stream",
        ("token", "text"),
        final=True,
        cut="POST /conversation/",
    )


def _called() -> Talk:
    """Return a turn by ``/call``: the queue's own endpoint is not there."""
    texts = ("He", "Hello", "Hello, wörld", "Hello, wörld")
    values = [["", [["Hi", text]], "You are a lab."] for text in texts]
    kinds = ["generating"] * 3 + ["complete"]
    told = "".join(
        f"event: {kind}\ndata: {json.dumps(value)}\n\n"
        for kind, value in zip(kinds, values, strict=True)
    )
    return over_http(
        lambda session: Gradio("http://127.0.0.1:9", session=session, retry=QUICK),
        {**_call_steps(), "GET /call/": ("text/event-stream", told.encode())},
        "GET /call/",
        (),
        final=True,
    )


def _call_steps() -> dict[str, Body]:
    done = b'event: complete\ndata: ["", [["Hi", "Hello"]], ""]\n\n'
    return {
        **recorded_steps("gradio/5.50.0/config", ("GET", "/config")),
        "POST /call/": ("application/json", b'{"event_id": "5f1d"}'),
        "GET /call/": ("text/event-stream", done),
    }


@contextlib.contextmanager
def over_a_websocket() -> Iterator[Talk]:
    """Yield a turn of Gradio 3.50, over real sockets: only these can be upgraded."""
    config = recorded("gradio/3.50.2/config")
    (sound,) = (each for each in recorded("gradio/3.50.2/first_turn") if each.frames)
    server = Replay(config)

    def tell(records: list[list[bytes]]) -> None:
        said = iter(records)
        frames = []
        for by_server, opcode, data in sound.frames:
            if by_server and opcode == 1:
                if (record := next(said, None)) is None:
                    break
                data = b"".join(record)
            frames.append((by_server, opcode, data))
        server.left = [*config, dataclasses.replace(sound, frames=frames)]

    records = [[b"", data, b""] for ours, opcode, data in sound.frames if ours and opcode == 1]
    # A server that is not understood says no more: then a clock ends the turn.
    timeout = Timeout(connect=5, first=1, idle=WAITED, queue=WAITED)
    try:
        with Gradio(server.url, fn_index=3, retry=QUICK, timeout=timeout) as client:
            yield Talk(client, records, tell, ("data",), final=True)
    finally:
        server.stop()


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
    "Gradio 5.50, /call": _called,
    RESUMED: _resumed,
}
SAMPLE = 120  # of the odd replies of each recording; ``-m exhaustive`` takes all
talk = functools.cache(lambda name: TALKS[name]())


def check_all(name: str, talk: Talk, most: int | None = None) -> None:
    chosen = list(talk.mutants())
    if most is not None:
        chosen = random.Random(name).sample(chosen, most)
    ended = set()
    for i, path, way in chosen:
        try:
            ended.add(talk.check(i, path, way))
        except Exception as error:  # whatever it is, say what made it
            raise AssertionError(f"{name}, record {i}, {path}: {way}") from error
    # Odd things that never break anything, or always, would prove nothing.
    # What is odd in an answer streamed again leaves the error that it was to mend.
    assert "whole" in ended
    assert "ProtocolError" in ended or (name == RESUMED and "IncompleteReplyError" in ended)


@pytest.mark.parametrize("name", TALKS)
def test_reply__with_odd_json(name: str) -> None:
    """A field with an odd value is ignored or refused by name, and no text is wrong."""
    check_all(name, talk(name), SAMPLE)


def test_websocket__with_odd_json() -> None:
    """So is one that comes over a websocket."""
    with over_a_websocket() as talk:
        check_all("Gradio 3.50", talk, SAMPLE // 4)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", TALKS)
def test_reply__with_every_odd_json(name: str) -> None:
    """The same for every field of every kind of record, and every odd value."""
    check_all(name, talk(name))


@pytest.mark.exhaustive
def test_websocket__with_every_odd_json() -> None:
    """The same over a websocket."""
    with over_a_websocket() as talk:
        check_all("Gradio 3.50", talk)


def _asked(client: ChatClient) -> Any:
    return client.chat("Hi").text


def _asked_twice(client: ChatClient) -> Any:
    conversation = client.conversation()
    conversation.chat("Hi")
    return conversation.chat("And again").text


def _titled(client: ChatClient) -> Any:
    reply = client.stream("Hi", title=True).reply()
    assert fits(reply.title, str | None)
    return reply.text


def _answered_whole(client: ChatClient) -> Any:
    return client.stream("Hi", streamed=False).reply().text


def _asked_about_a_file(client: ChatClient) -> Any:
    return client.chat("Hi", files=[b"text"]).text


def _listed(client: ChatClient) -> Any:
    models = client.models()
    for model in models:
        check_types(model)
        assert model.id
    return [type(model).__name__ for model in models[:1]]


def _page_of_tools() -> dict[str, Body]:
    """Return the answers of a chat-ui that tells a conversation as a page's data."""
    _, steps = PROVIDERS["c4ai-command"]
    told = recorded_steps("chatui/B/first_and_second_turn", ("GET", "/__data.json"))
    return {**steps(), **told, "GET /api/conversation/": ("text/html", b"<p>a page</p>")}


def _created_with_a_root() -> dict[str, Body]:
    _, steps = PROVIDERS["c4ai-command"]
    created = next(
        each.body
        for each in recorded("chatui/C/first_and_second_turn")
        if each.path == "/conversation"
    )
    return {**steps(), "POST /conversation": ("application/json", created)}


def _whole_body() -> dict[str, Body]:
    body = {
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
    return {"POST /api": ("application/json", json.dumps(body).encode())}


def _with_title() -> dict[str, Body]:
    _, steps = PROVIDERS["h2o"]
    return {**steps(), "POST /summarize": ("application/json", b'{"title": "A title"}')}


def _app_that_takes_files() -> dict[str, Body]:
    _, steps = PROVIDERS["qwen"]
    sound = steps()
    config = json.loads(sound["GET /config"][1])
    for component in config["components"]:
        if component["id"] == 25:
            component["type"] = "multimodaltextbox"
    told = ("application/json", json.dumps(config).encode())
    return {**sound, "GET /config": told, "POST /upload": ("application/json", b'["/srv/a.txt"]')}


def _models_of(case: str, path: str) -> Callable[[], dict[str, Body]]:
    return lambda: recorded_steps(f"chatui/{case}", ("GET", path))


# Which answer is odd, whose client asks, what the server says, and what is asked.
STEPS: dict[str, tuple[Any, Callable[[], dict[str, Body]], str, Callable[[ChatClient], Any]]] = {
    "chat-ui, create": (ChatUI, _created_with_a_root, "POST /conversation", _asked),
    "chat-ui, tree": (ChatUI, PROVIDERS["c4ai-command"][1], "GET /api/conversation/", _asked_twice),
    "chat-ui, page": (ChatUI, _page_of_tools, "GET /__data.json", _asked_twice),
    "chat-ui, models": (
        ChatUI,
        _models_of("B/cookies", "/api/models"),
        "GET /api/models",
        _listed,
    ),
    "H2O, settings": (H2O, PROVIDERS["h2o"][1], "POST /settings", _asked),
    "H2O, create": (H2O, PROVIDERS["h2o"][1], "POST /conversation", _asked),
    "H2O, title": (H2O, _with_title, "POST /summarize", _titled),
    "H2O, models": (
        H2O,
        _models_of("A/models_and_meta", "/__data.json"),
        "GET /__data.json",
        _listed,
    ),
    "AutonomousAI, whole": (AutonomousAI, _whole_body, "POST /api", _answered_whole),
    "Gradio, config": (Gradio, PROVIDERS["qwen"][1], "GET /config", _asked),
    "Gradio, join": (Gradio, PROVIDERS["qwen"][1], "POST /queue/join", _asked),
    "Gradio, call": (Gradio, _call_steps, "POST /call/", _asked),
    "Gradio, upload": (Gradio, _app_that_takes_files, "POST /upload", _asked_about_a_file),
}


def check_step(name: str, most: int) -> None:
    make, steps, step, action = STEPS[name]
    sound = steps()

    def told(body: bytes) -> Any:
        session = requests.Session()
        session.mount("http://", Canned({**sound, step: (sound[step][0], body)}, 65536))
        model = {"model": "m"} if make is ChatUI else {}
        with make("http://127.0.0.1:9", session=session, retry=QUICK, **model) as client:
            return action(client)

    expected = told(sound[step][1])
    assert expected
    record = json.loads(sound[step][1].partition(b"\n")[0] or b"null")
    every = list(mutants(record))
    ended = set()
    for path, way in random.Random(name).sample(every, min(most, len(every))):
        try:
            found = told(odd(record, path, way))
            # A string in the text's place is another text; all else leaves it as it is.
            assert found == expected or (
                action in (_answered_whole, _listed) and found in ([], *STRINGS.values())
            )
            ended.add("whole")
        except C4AIError as error:
            check_error(error)
            ended.add("error")
        except Exception as error:  # whatever it is, say what made it
            raise AssertionError(f"{name}, {path}: {way}") from error
    # The terms and the list of models are not needed for a text.
    assert "whole" in ended
    assert "error" in ended or name in ("H2O, title", "H2O, models", "chat-ui, models")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read a conversation again without the wait for the server to have saved it."""
    monkeypatch.setattr(chatui_turn, "_SAVING", 0.0)


@pytest.mark.parametrize("name", STEPS)
def test_step__with_odd_json(at_once: None, name: str) -> None:
    """An odd answer to what prepares a turn is an error by name, or changes no text."""
    check_step(name, 60)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", STEPS)
def test_step__with_every_odd_json(at_once: None, name: str) -> None:
    """The same for every field of the answer and every odd value."""
    check_step(name, 1 << 30)


@pytest.mark.parametrize(
    ("message", "complete"),
    [
        pytest.param({"content": "a", "updates": [{"type": "finalAnswer"}]}, True, id="content"),
        pytest.param({"content": 5, "updates": [{"type": "finalAnswer"}]}, False, id="number"),
        pytest.param({"content": "a", "updates": "finalAnswer"}, False, id="no-list"),
    ],
)
def test_saved__is_complete_with_its_text_only(message: dict[str, Any], complete: bool) -> None:
    """An answer saved on the server without a text is not taken for an empty one."""
    text, found, _ = final_text(message)

    assert complete is found
    assert text == (message["content"] if isinstance(message["content"], str) else "")
