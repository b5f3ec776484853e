"""Gradio's queue against the emulator and the recordings, over real sockets."""

from __future__ import annotations

import contextlib
import json
import logging
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from any_client import WAYS, joined, leave
from conftest import wait_until
from hypothesis import given, settings
from hypothesis import strategies as st
from replay import Exchange, Replay, recorded

from c4ai_clients import (
    AuthError,
    C4AIError,
    CancelledError,
    ConnectError,
    Conversation,
    IncompleteReplyError,
    ModelError,
    ModelNotFoundError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    RetryPolicy,
    ServerError,
    StatusError,
    TimedOutError,
    Timeout,
    UsageError,
)
from c4ai_clients.emulator import Answer, Emulator
from c4ai_clients.events import (
    Finish,
    Queued,
    Reasoning,
    Started,
    Status,
    Text,
    Unknown,
)
from c4ai_clients.providers.gradio import Gradio, Qwen

VERSIONS = ["4.2.0", "4.16.0", "4.19.2", "4.21.0", "4.44.1", "5.50.0", "6.31.0"]
RECORDED = ["4.2.0", "4.16.0", "4.44.1", "5.50.0", "6.31.0"]
LATE = ["4.44.1", "5.50.0", "6.31.0"]
QWEN_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."

HOSTILE = [
    pytest.param(["ha", "ha", "ha"], id="repeats"),
    pytest.param(["[", "]", "[[", '{"a": [1]}', "]]"], id="brackets"),
    pytest.param(["a\u2028b", "\u2029", "\u0085", "c\nd"], id="separators"),
    pytest.param(["\ud83d", "\ude00", "!"], id="halves"),
    pytest.param(["👩‍👩‍👧‍👦", "é", "日本語"], id="emoji"),
    pytest.param(["x" * 5000, "y"], id="long-token"),
    pytest.param(["data: {}\n\n", "event: end\n\nx"], id="frames"),
    pytest.param(["None", "null", "''"], id="words"),
]


@contextlib.contextmanager
def replayed(*cases: str | list[Exchange]) -> Iterator[Replay]:
    """Serve recordings one after the other, or exchanges made by hand."""
    exchanges: list[Exchange] = []
    for case in cases:
        exchanges += recorded(f"gradio/{case}") if isinstance(case, str) else case
    server = Replay(exchanges, 0.0)
    try:
        yield server
    finally:
        server.stop()


def told(*messages: Any, cut: bool = False) -> list[Exchange]:
    """The exchanges of one turn whose stream says *messages*; bytes are sent as they are."""
    join = json.dumps({"event_id": "e1"}).encode()
    body = [
        (0.0, each if isinstance(each, bytes) else b"data: %s\n\n" % json.dumps(each).encode())
        for each in messages
    ]
    stream = [("content-type", "text/event-stream"), ("transfer-encoding", "chunked")]
    return [
        Exchange(
            *("POST", "/gradio_api/queue/join", 200, "OK"),
            *([("content-type", "application/json")], [(0.0, join)], "complete"),
        ),
        Exchange(
            *("GET", "/gradio_api/queue/data", 200, "OK"),
            *(stream, body, "eof_before_end" if cut else "complete"),
        ),
    ]


def generating(value: Any, **more: Any) -> dict[str, Any]:
    output = {"data": ["", value, None], "is_generating": True}
    return {"msg": "process_generating", "event_id": "e1", "output": output, **more}


def completed(value: Any) -> dict[str, Any]:
    output = {"data": ["", value, None], "is_generating": False}
    return {"msg": "process_completed", "event_id": "e1", "output": output, "success": True}


def finals(case: str, output: int = 1) -> list[tuple[str, str]]:
    """The prompts of a recording, and the text of the value that each ended with."""
    prompts, texts = [], []
    for exchange in recorded(f"gradio/{case}"):
        if exchange.request and "/queue/" in exchange.path:
            prompts.append(json.loads(exchange.request)["data"][0])
        for frame in exchange.body.split(b"\n\n"):
            if b'"process_completed"' not in frame:
                continue
            value = json.loads(frame[6:])["output"]["data"][output]
            while not isinstance(value, str):
                value = (
                    value.get("content", value.get("text"))
                    if isinstance(value, dict)
                    else value[-1]
                )
            texts.append(value)
    return list(zip(prompts, texts, strict=True))


@pytest.mark.parametrize("version", RECORDED)
@pytest.mark.parametrize("case", ["first_turn", "second_turn"])
def test_recorded__text_and_requests(version: str, case: str) -> None:
    """The text is the server's last value, and each request the recorded one."""
    turns = finals(f"{version}/{case}")
    with replayed(f"{version}/config", f"{version}/{case}") as server, Qwen(server.url) as client:
        conversation = client.conversation(system="You are a lab.")
        for prompt, final in turns:
            stream = conversation.stream(prompt)
            assert final == "".join(stream)
            assert (final, False) == (stream.reply().text, stream.reply().rewritten)
        assert [] == server.left
        assert [] == server.unexpected
        sent = [json.loads(request.body) for request in server.requests if request.body]
        wanted = [json.loads(row.request) for row in server.exchanges if row.request]

    for body in (*sent, *wanted):
        del body["session_hash"]
        body.pop("event_id", None)
    assert wanted == sent


@pytest.mark.parametrize(
    ("version", "case"),
    [
        *((version, "edits") for version in RECORDED),
        *((version, "edits_messages") for version in LATE),
        *((version, "second_turn_messages") for version in LATE),
        *((version, "first_turn_messages") for version in LATE),
        ("4.44.1", "shrink"),
        ("5.50.0", "shrink"),
        *((version, "estimation") for version in RECORDED),
    ],
)
def test_recorded__final_text(version: str, case: str) -> None:
    """Rewritten, shrunk, indented, thought over: the text is the server's last one."""
    with replayed(f"{version}/config", f"{version}/{case}") as server, Gradio(server.url) as client:
        for prompt, final in finals(f"{version}/{case}"):
            stream = client.stream(prompt)
            pieces = "".join(stream)
            reply = stream.reply()
            assert final == reply.text
            assert reply.rewritten == (pieces != final)
            assert not reply.rewritten or prompt in ("edit", "shrink")
            assert ("Let me see" if prompt == "think" else "") == reply.reasoning
        assert [] == server.left


def test_recorded__modelscope() -> None:
    """ModelScope's chatbot of dicts is read, and goes back as it was given."""
    case = "4.44.1/ms_modelscope_chatbot"
    rows = [row for row in recorded(f"gradio/{case}") if b"boom mid" not in row.request]
    broken = next(i for i, row in enumerate(rows) if b'"success":false' in row.body)
    del rows[broken]
    turns = finals_of(rows)
    with replayed(rows) as server, Qwen(server.url) as client:
        conversation = client.conversation(system="You are a lab.")
        for prompt, final in turns:
            talk = conversation if prompt.startswith("echo") else client
            assert final == talk.stream(prompt, system="You are a lab.").reply().text
        sent = json.loads([request for request in server.requests if request.body][-1].body)

    assert json.loads(rows[-2].request)["data"] == sent["data"]


def finals_of(rows: list[Exchange]) -> list[tuple[str, str]]:
    prompts = [json.loads(row.request)["data"][0] for row in rows if row.request]
    texts = [
        json.loads(frame[6:])["output"]["data"][1][-1][1]["text"]
        for row in rows
        for frame in row.body.split(b"\n\n")
        if b'"process_completed"' in frame
    ]
    return list(zip(prompts, texts, strict=True))


@pytest.mark.parametrize("version", RECORDED)
def test_recorded__chat_interface(version: str) -> None:
    """A ChatInterface keeps one session for a conversation, and tells gr.Error's words."""
    with replayed(f"{version}/chatinterface") as server, Gradio(server.url) as client:
        first = client.stream("hi")
        assert "".join(first).endswith("the the end...")
        second = first.conversation.chat("echo second")
        assert second.text.endswith("you said: echo second")
        with pytest.raises(ModelError, match=r": lab: gr\.Error mid stream$") as caught:
            first.conversation.chat("gr mid")
        assert "Hello, wörld! " == caught.value.partial
        sent = [json.loads(request.body) for request in server.requests if request.body]

    assert 1 == len({body["session_hash"] for body in sent})
    assert [["hi", None], ["echo second", None], ["gr mid", None]] == [
        body["data"] for body in sent
    ]


@pytest.mark.parametrize("version", RECORDED)
def test_recorded__errors(version: str) -> None:
    """Each failure of an app is a ModelError with its words, or says that there are none."""
    with (
        replayed(f"{version}/config", f"{version}/errors_show_error_off") as server,
        Gradio(server.url) as client,
    ):
        for prompt, words, partial in [
            ("boom first", "does not say why", ""),
            ("gr first", "qwen|gradio, .*: lab: gr.Error before first yield$", ""),
            ("boom mid", "does not say why", "Hello, wörld! "),
            ("gr mid", r": lab: gr\.Error mid stream$", "Hello, wörld! "),
        ]:
            with pytest.raises(ModelError, match=words) as caught:
                client.chat(prompt)
            assert partial == caught.value.partial
        with pytest.raises(RateLimitError, match="exceeded your GPU quota") as spent:
            client.chat("quota")
        assert (600.0, True) == (spent.value.retry_after, spent.value.lasting)
        assert "Hello, wörld! " == spent.value.partial
        assert "" == client.chat("empty gen").text
        assert [] == server.left


@pytest.mark.parametrize("version", LATE)
def test_recorded__errors_that_are_shown(version: str) -> None:
    """Where the app shows its errors, their words are the error's."""
    with (
        replayed(f"{version}/config", f"{version}/errors_show_error_on") as server,
        Gradio(server.url) as client,
    ):
        for prompt, words in [
            ("boom first", "lab: boom before first yield$"),
            ("gr first", "lab: gr.Error before first yield$"),
            ("boom mid", "lab: boom mid stream$"),
        ]:
            with pytest.raises(ModelError, match=words):
                client.chat(prompt)


@pytest.mark.parametrize("version", RECORDED)
def test_recorded__killed_server(version: str, quick: RetryPolicy) -> None:
    """A server that dies mid-stream leaves an error, and nothing is asked again."""
    with (
        replayed(f"{version}/config", f"{version}/server_killed") as server,
        Qwen(server.url, retry=quick) as client,
    ):
        with pytest.raises(IncompleteReplyError) as caught:
            client.chat("slow 0.3")
        client.close()

        assert ("qwen", "stream", 1) == (
            caught.value.provider,
            caught.value.phase,
            caught.value.attempts,
        )
        assert "Hello".startswith(caught.value.partial)
        assert [] == [path for path in server.unexpected if "cancel" not in path]


@pytest.mark.parametrize("version", LATE)
def test_recorded__stopped_queue(version: str, quick: RetryPolicy) -> None:
    """A stopping server is left at its first word, and a stopped one is not asked again."""
    with (
        replayed(f"{version}/config", f"{version}/queue_closed") as server,
        Qwen(server.url, retry=quick) as client,
    ):
        with pytest.raises(ServerError, match="Server stopped unexpectedly") as stopped:
            client.chat("slow 0.3")
        assert stopped.value.partial
        with pytest.raises(ServerError, match=r"Queue is stopped\.") as caught:
            client.chat("hi")
        assert (503, True, 1) == (
            caught.value.status,
            caught.value.lasting,
            caught.value.attempts,
        )


@pytest.mark.parametrize("version", LATE)
def test_recorded__cancelled_by_somebody_else(version: str) -> None:
    """An event that was cancelled on the server has no answer, which is an error."""
    with (
        replayed(f"{version}/config", f"{version}/cancel_queued") as server,
        Qwen(server.url) as client,
        pytest.raises(ModelError, match="cancelled there"),
    ):
        client.chat("echo queued")


@pytest.mark.parametrize("version", LATE)
def test_recorded__session_unknown(version: str) -> None:
    """A session that the server does not know is a NotFoundError, though the body is cut."""
    lost = [row for row in recorded(f"gradio/{version}/session_unknown") if row.status == 200][:1]
    join = recorded(f"gradio/{version}/first_turn")[:1]
    with replayed(f"{version}/config", join, lost) as server, Qwen(server.url) as client:
        with pytest.raises(NotFoundError, match="does not know this session: 404"):
            client.chat("hi")
        assert [] == server.unexpected


@pytest.mark.parametrize("version", ["4.16.0", *LATE])
def test_recorded__queue_full(version: str, quick: RetryPolicy) -> None:
    """A full queue did not take the message, so it is asked again, and then told."""
    full = f"{version}/queue_full"
    with (
        replayed(f"{version}/config", full, f"{version}/first_turn") as server,
        Qwen(server.url, retry=quick) as client,
    ):
        assert client.chat("hi").text.endswith("end...")
    with (
        replayed(f"{version}/config", full, full, full) as server,
        Qwen(server.url, retry=quick) as client,
    ):
        with pytest.raises(ServerError, match=r"Queue is full\. Max size is 2") as caught:
            client.chat("hi")
        assert (503, 3) == (caught.value.status, caught.value.attempts)


def test_recorded__queue_full_before_4_9() -> None:
    """Before 4.9 the stream says that the queue is full."""
    with (
        replayed("4.2.0/config", "4.2.0/queue_full") as server,
        Qwen(server.url) as client,
        pytest.raises(ServerError, match="queue is full"),
    ):
        client.chat("hi")


@pytest.mark.parametrize("version", RECORDED)
def test_recorded__a_place_in_the_queue(version: str) -> None:
    """The queue's places come as they move, with their size."""
    with (
        replayed(f"{version}/config", f"{version}/estimation") as server,
        Qwen(server.url) as client,
    ):
        events = list(client.stream("slow 0.08 n2").events())
    frames = [frame[6:] for row in server.exchanges for frame in row.body.split(b"\n\n")]
    said = [json.loads(frame) for frame in frames if b'"estimation"' in frame]

    assert [Queued(each["rank"], each["queue_size"], each["rank_eta"]) for each in said] == [
        event for event in events if isinstance(event, Queued)
    ]
    assert 0 == said[-1]["rank"]
    assert version == "4.44.1" or [1, 0] == [each["rank"] for each in said]
    assert Status("started") in events


@pytest.mark.parametrize("version", LATE)
def test_recorded__of_two_events_ours(version: str) -> None:
    """Where a session has two events, only ours is followed."""
    rows = recorded(f"gradio/{version}/two_events")
    streams = [row for row in rows if row.method == "GET"]
    for join in rows[:2]:
        with replayed(f"{version}/config", [join], streams) as server, Qwen(server.url) as client:
            stream = client.stream("x")
            assert "".join(stream).endswith("the the end...")
            assert not stream.reply().rewritten


@pytest.mark.parametrize("layout", ["qwen", "chat_interface"])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("tokens", HOSTILE)
def test_stream__text_is_exact(version: str, layout: str, tokens: list[str]) -> None:
    """The pieces joined are the model's text, in every version."""
    with (
        Emulator(
            ("gradio",), version=version, layout=layout, replies=Answer(tokens=tokens)
        ) as emulator,
        Gradio(emulator.url("gradio")) as client,
    ):
        stream = client.stream("Hi")
        assert joined(tokens).strip() == "".join(stream).strip()
        assert not stream.reply().rewritten


@pytest.mark.parametrize("framing", ["chunked", "length", "close", "gzip"])
def test_stream__in_order(framing: str) -> None:
    """Pieces come as the server sends them, however it frames them."""
    with (
        Emulator(("gradio",), replies=Answer(tokens=["a", "b", "c"]), framing=framing) as emulator,
        Qwen(emulator.url("qwen")) as client,
    ):
        stream = client.stream("Hi")
        assert ["a", "b", "c"] == list(stream)
        assert stream.done
        assert "abc" == stream.text == stream.reply().text


def test_stream__makes_one_conversation() -> None:
    """Config once; then join and stream each turn, in a session of its own, on one connection."""
    with (
        Emulator(("gradio",), replies=["1", "2", "3"]) as emulator,
        Qwen(emulator.url("qwen")) as client,
    ):
        stream = client.stream("one", system="Be brief.", size="7B")
        stream.reply()
        stream.conversation.chat("two")
        client.chat("three")

    assert ["config", *["join", "stream"] * 3] == [request.step for request in emulator.requests]
    joins = [request.json() for request in emulator.requests if request.step == "join"]
    hashes = [body.pop("session_hash") for body in joins]
    assert 3 == len(set(hashes))
    assert all(len(name) == 10 and name.isalnum() and name == name.lower() for name in hashes)
    shared = {"event_data": None, "fn_index": 3, "trigger_id": 25}
    assert [
        {"data": ["one", [], "Be brief.", "7B"], **shared},
        {"data": ["two", [["one", "1"]], "Be brief.", "72B"], **shared},
        {"data": ["three", [], QWEN_SYSTEM, "72B"], **shared},
    ] == joins
    assert hashes == [
        request.query["session_hash"] for request in emulator.requests if request.step == "stream"
    ]
    assert 1 == emulator.connections


@pytest.mark.parametrize("version", VERSIONS)
def test_stream__cut_is_an_error_and_not_asked_again(version: str, quick: RetryPolicy) -> None:
    """A cut reply raises with exactly what came, and the message is processed once."""
    with (
        Emulator(
            ("gradio",), version=version, replies=Answer(tokens=["one ", "two ", "three"])
        ) as emulator,
        Qwen(emulator.url("qwen"), retry=quick) as client,
    ):
        emulator.fail("cut", at=700)
        stream = client.stream("Hi")
        with pytest.raises(IncompleteReplyError) as caught:
            list(stream)

        assert "one two three".startswith(caught.value.partial)
        assert caught.value.partial == stream.text != "one two three"
        assert 1 == emulator.processed
        assert 1 == sum(request.step == "stream" for request in emulator.requests)


@pytest.mark.parametrize("at", range(0, 1500, 37))
def test_stream__cut_anywhere(at: int, quick: RetryPolicy) -> None:
    """Wherever the stream is cut, it is complete by its end mark or it is an error."""
    with (
        Emulator(("gradio",), replies=Answer(tokens=["one ", "tw\u2028o ", "th😀ree"])) as emulator,
        Qwen(emulator.url("qwen"), retry=quick) as client,
    ):
        emulator.fail("cut", at=at)
        stream = client.stream("Hi")
        with contextlib.suppress(IncompleteReplyError):
            list(stream)

        assert "one tw\u2028o th😀ree".startswith(stream.text)
        assert not stream.done or "one tw\u2028o th😀ree" == stream.text


def test_stream__ended_without_its_end_mark(quick: RetryPolicy) -> None:
    """A body that ends cleanly without process_completed is not a reply."""
    config = "5.50.0/config"
    with (
        replayed(config, told(generating([["q", "so far"]]))) as server,
        Qwen(server.url, retry=quick) as client,
        pytest.raises(IncompleteReplyError) as caught,
    ):
        client.chat("Hi")

    assert "so far" == caught.value.partial


@pytest.mark.parametrize("version", VERSIONS)
def test_stream__model_error(version: str, quick: RetryPolicy) -> None:
    """What the app says about its failure is a ModelError with the text so far."""
    answer = Answer(tokens=["one ", "two"], error="upstream exploded", error_after=1)
    with (
        Emulator(("gradio",), version=version, replies=answer, show_error=True) as emulator,
        Qwen(emulator.url("qwen"), retry=quick) as client,
    ):
        with pytest.raises(ModelError, match="upstream exploded") as caught:
            client.chat("Hi")

        assert "one" == caught.value.partial.strip()
        assert 1 == emulator.processed
        assert [] == emulator.goodbyes


@pytest.mark.parametrize("step", ["config", "join"])
def test_stream__refused_then_answered(step: str, quick: RetryPolicy) -> None:
    """A step that was not taken is tried again; the message is processed once."""
    with Emulator(("gradio",)) as emulator, Qwen(emulator.url("qwen"), retry=quick) as client:
        emulator.fail("rate_limit", step=step)
        assert client.chat("Hi").text
        assert 1 == emulator.processed


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("version", "cancels"), [("4.16.0", 0), ("4.44.1", 1), ("6.31.0", 1)])
def test_stream__leaving_hangs_up(way: str, version: str, cancels: int) -> None:
    """However a caller leaves, the server sees it go, and from 4.31 on is told so."""
    with (
        Emulator(
            ("gradio",), version=version, replies=Answer(tokens=["word "] * 500), pace=0.02
        ) as emulator,
        Qwen(emulator.url("qwen")) as client,
    ):
        leave(client, way)

        assert wait_until(lambda: emulator.hang_ups == ["stream"])
        client.close()
        requests = [request for request in emulator.requests if request.step == "cancel"]
        assert cancels == len(requests)
        for request in requests:
            joined_with = next(r.json() for r in emulator.requests if r.step == "join")
            assert joined_with["session_hash"] == request.json()["session_hash"]
            assert 3 == request.json()["fn_index"]


def test_cancel__from_another_thread() -> None:
    """A reader blocked on a silent queue wakes with CancelledError."""
    with Emulator(("gradio",)) as emulator, Qwen(emulator.url("qwen")) as client:
        emulator.fail("stall", at=0, seconds=30)
        stream = client.stream("Hi")
        timer = threading.Timer(0.2, stream.cancel)
        timer.start()
        with pytest.raises(CancelledError):
            next(stream)
        timer.join()

        assert wait_until(lambda: emulator.hang_ups == ["stream"])


@pytest.mark.parametrize("way", ["total", "cancel"])
def test_edits__of_a_large_value_are_left_in_time(way: str) -> None:
    """However much work the server makes in one go, total and cancel end it."""
    value = [{"role": "assistant", "content": "x"}] * 15_000
    edit = b"data: %b\n\n" % json.dumps(generating([["add", [0, "note"], 1]])).encode()
    turn = told(generating(value), edit * 10_000, completed(value))
    with replayed("5.50.0/config", turn) as server, Qwen(server.url) as client:
        client.describe()
        start = time.monotonic()
        stream = client.stream("Hi", timeout=Timeout(total=0.5 if way == "total" else None))
        timer = threading.Timer(0.5, stream.cancel)
        if way == "cancel":
            timer.start()
        with pytest.raises(TimedOutError if way == "total" else CancelledError):
            list(stream)
        timer.cancel()
        assert time.monotonic() - start < 1.5


def test_drop__while_the_client_is_busy() -> None:
    """A stream that the garbage collector drops inside the client's own work stops nothing."""
    with (
        Emulator(("gradio",), replies=Answer(tokens=["word "] * 500), pace=0.02) as emulator,
        Qwen(emulator.url("qwen")) as client,
    ):
        streams = [client.stream("Hi")]
        next(streams[0])

        def drop() -> None:
            with client._transport._lock:
                streams.clear()

        thread = threading.Thread(target=drop, daemon=True)
        thread.start()
        thread.join(3)
        assert not thread.is_alive()
        assert wait_until(lambda: emulator.hang_ups == ["stream"])


def test_complete__no_goodbye() -> None:
    """A complete reply is not cancelled, even by who leaves right after its end mark."""
    with Emulator(("gradio",)) as emulator, Qwen(emulator.url("qwen")) as client:
        for event in client.stream("Hi").events():
            if isinstance(event, Finish):
                break
        client.close()

        assert "cancel" not in [request.step for request in emulator.requests]


def test_events__everything_typed() -> None:
    """Events tell the start, the queue, logs, thoughts, text and finish."""
    answer = Answer(tokens=["yes"], reasoning=["let me ", "think"], status_updates=["warming up"])
    with (
        Emulator(("gradio",), version="6.31.0", replies=answer) as emulator,
        Qwen(emulator.url("qwen")) as client,
    ):
        stream = client.stream("Hi")
        events = list(stream.events())
        reply = stream.reply()

    assert isinstance(events[0], Started)
    assert stream.conversation is events[0].conversation
    assert [
        Queued(0, 1, None),
        Status("started"),
        Status("log", "warming up"),
        Reasoning("let me "),
        Reasoning("think"),
        Text("yes"),
        Finish(text="yes"),
    ] == events[1:]
    assert ("yes", "let me think", "stop", 0) == (
        reply.text,
        reply.reasoning,
        reply.finish_reason,
        reply.skipped,
    )


@pytest.mark.parametrize("version", LATE)
def test_rewritten__final_text_differs(version: str) -> None:
    """A text that was replaced is given as the reply's, marked as rewritten."""
    answer = Answer(rewrites=["Thinking..."], tokens=["The ", "answer"])
    with (
        Emulator(("gradio",), version=version, replies=answer) as emulator,
        Qwen(emulator.url("qwen")) as client,
    ):
        stream = client.stream("Hi")
        assert "Thinking..." == "".join(stream)
        reply = stream.reply()

        assert ("The answer", True) == (reply.text, reply.rewritten)
        assert "The answer" == stream.conversation.messages[-1]["content"]


@pytest.mark.parametrize("version", VERSIONS)
def test_history__goes_back_as_it_came(version: str, tmp_path: Any) -> None:
    """What the server gave is sent back unchanged, also after a conversation was saved."""
    with (
        Emulator(("gradio",), version=version, replies=["1", "2"]) as emulator,
        Qwen(emulator.url("qwen")) as client,
    ):
        stream = client.stream("one")
        stream.reply()
        given_last = stream.conversation.state["history"]
        stream.conversation.save(tmp_path / "talk.json")
        loaded = Conversation.load(tmp_path / "talk.json", client)
        assert "2" == loaded.chat("two").text

        bodies = [json.loads(r.body) for r in emulator.requests if r.step == "join"]
        assert given_last == bodies[-1]["data"][1]


@pytest.mark.parametrize("version", ["4.16.0", *LATE])
def test_history__written_where_the_server_gave_none(version: str) -> None:
    """A fork, or a list of messages, is written in the shape of the app's chatbot."""
    with (
        Emulator(("gradio",), version=version, replies=["1", "2", "3"]) as emulator,
        Qwen(emulator.url("qwen")) as client,
    ):
        stream = client.stream("one")
        stream.reply()
        assert "2" == stream.conversation.fork().chat("two").text
        assert (
            "3"
            == client.chat([*stream.conversation.messages, {"role": "user", "content": "x"}]).text
        )
        bodies = [json.loads(r.body) for r in emulator.requests if r.step == "join"]

    blocks = [
        {
            "role": role,
            "metadata": None,
            "content": [{"type": "text", "text": text}],
            "options": None,
        }
        for role, text in (("user", "one"), ("assistant", "1"))
    ]
    wanted: Any = blocks if version == "6.31.0" else [["one", "1"]]
    assert wanted == bodies[1]["data"][1] == bodies[2]["data"][1]


def test_history__an_interrupted_turn_is_remembered() -> None:
    """After an interrupted turn the history is written anew, with what had come."""
    with (
        Emulator(("gradio",), replies=[Answer(tokens=["word "] * 300), "2"], pace=0.01) as emulator,
        Qwen(emulator.url("qwen")) as client,
    ):
        stream = client.stream("one")
        next(stream)
        stream.cancel()
        assert "2" == stream.conversation.chat("two").text
        body = [json.loads(r.body) for r in emulator.requests if r.step == "join"][-1]

        assert [["one", stream.text]] == body["data"][1]


def test_history__holds_no_infinity() -> None:
    """A number beyond all bounds, which JSON cannot say again, goes back as null."""
    said = completed([["q", "a"], [None, {"text": "b", "duration": 9}]])
    odd = b"data: %s\n\n" % json.dumps(said).encode().replace(b": 9}", b": 1e999}")
    turns = [*told(odd), *told(completed([["q", "c"]]))]
    with replayed("5.50.0/config", turns) as server, Qwen(server.url) as client:
        talk = client.conversation()
        assert "b" == talk.chat("one").text
        assert "c" == talk.chat("two").text
        asked = [json.loads(r.body) for r in server.requests if r.path.endswith("/queue/join")]

    assert [["q", "a"], [None, {"text": "b", "duration": None}]] == asked[1]["data"][1]


@pytest.mark.parametrize("version", ["4.44.1", "5.50.0", "6.31.0"])
def test_session__one_where_the_server_holds_the_state(version: str) -> None:
    """An app with gr.State keeps its session; a fork tells the history in its prompt."""
    with (
        Emulator(("gradio",), version=version, layout="chat_interface") as emulator,
        Gradio(emulator.url("gradio")) as client,
    ):
        stream = client.stream("one", system="Be brief.")
        answer = stream.reply().text
        stream.conversation.chat("two")
        stream.conversation.fork(2).chat("three")
        client.chat("four")
        bodies = [json.loads(r.body) for r in emulator.requests if r.step == "join"]

    hashes = [body["session_hash"] for body in bodies]
    assert hashes[0] == hashes[1]
    assert 3 == len(set(hashes))
    assert [
        "System: Be brief.\nUser: one\nAssistant:",
        "two",
        f"System: Be brief.\nUser: one\nAssistant: {answer}\nUser: three\nAssistant:",
        "four",
    ] == [body["data"][0] for body in bodies]


def test_system__written_into_the_first_prompt_where_there_is_no_input() -> None:
    """Without an input for it, the system prompt stands in the first question, once."""
    config = json.loads(recorded("gradio/5.50.0/config")[0].body)
    config["dependencies"][3]["inputs"] = [25, 24]
    rows = recorded("gradio/5.50.0/config")
    rows[0].chunks = [(0.0, json.dumps(config).encode())]
    said = "System: Be brief.\nUser: one\nAssistant:"
    with (
        replayed(
            rows,
            told(completed([[said, "1"]])),
            told(completed([[said, "1"], ["two", "2"]])),
            told(completed([["x", "3"]])),
        ) as server,
        Gradio(server.url) as client,
    ):
        stream = client.stream("one", system="Be brief.")
        assert "1" == stream.reply().text
        assert "2" == stream.conversation.chat("two").text
        client.chat(
            [*stream.conversation.messages[:2], {"role": "user", "content": "three"}],
            system="Be brief.",
        )
        data = [json.loads(request.body)["data"] for request in server.requests if request.body]

    assert [[said, []], ["two", [[said, "1"]]], ["three", [[said, "1"]]]] == data


def test_qwen__falls_back_where_the_config_does_not_answer() -> None:
    """Where /config is not there, the Space's own numbers are used."""
    for kind, how in (
        ("status", {"status": 404}),
        ("html", {}),
        ("json", {}),
        ("garbage", {}),
    ):
        with (
            Emulator(("gradio",), version="4.44.1", replies="fine") as emulator,
            Qwen(emulator.url("qwen"), retry=RetryPolicy.none()) as client,
        ):
            emulator.fail(kind, step="config", **how)  # type: ignore[arg-type]
            assert "fine" == client.chat("Hi").text
            body = next(r.json() for r in emulator.requests if r.step == "join")

            assert (["Hi", [], QWEN_SYSTEM, "72B"], 3, 25) == (
                body["data"],
                body["fn_index"],
                body["trigger_id"],
            )


def test_gradio__no_app_there_is_an_error(quick: RetryPolicy) -> None:
    """An app that nobody described has no fallback."""
    with Emulator(("gradio",)) as emulator, Gradio(emulator.url("gradio"), retry=quick) as client:
        emulator.fail("status", step="config", status=404)
        with pytest.raises(
            NotFoundError, match=r"is the base URL right\? connect\(URL\) tells which"
        ):
            client.chat("Hi")
        emulator.fail("html", step="config")
        with pytest.raises(ProtocolError, match="web page"):
            client.chat("Hi")
        emulator.fail("status", step="config", status=500, times=3)
        with pytest.raises(ServerError):
            client.chat("Hi")
        assert client.chat("Hi").text
        assert 0 == sum(request.step == "join" for request in emulator.requests[:5])


def test_qwen__a_server_that_is_not_there(quick: RetryPolicy) -> None:
    """A refused connection is an error, not a config that does not answer."""
    with Qwen("http://127.0.0.1:9", retry=quick) as client:
        with pytest.raises(ConnectError) as caught:
            client.chat("Hi")
        assert "config" == caught.value.phase


def test_config__asked_once_by_many_threads() -> None:
    """Threads of one client ask for the config once."""
    with Emulator(("gradio",), replies="fine") as emulator, Qwen(emulator.url("qwen")) as client:
        texts: list[str] = []
        threads = [
            threading.Thread(target=lambda: texts.append(client.chat("Hi").text)) for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert ["fine"] * 6 == texts
        assert 1 == sum(request.step == "config" for request in emulator.requests)


@pytest.mark.parametrize(("status", "configs"), [(500, 2), (503, 1)])
def test_config__looked_at_again_where_the_app_may_be_another(status: int, configs: int) -> None:
    """A listener that is not known (500) has the config read anew, a full queue (503) has not."""
    with (
        Emulator(("gradio",), replies="fine") as emulator,
        Qwen(emulator.url("qwen"), retry=RetryPolicy.none()) as client,
    ):
        emulator.fail(step="join", kind="status", status=status)
        with pytest.raises(ServerError):
            client.chat("Hi")
        assert "fine" == client.chat("Hi").text
        assert configs == sum(request.step == "config" for request in emulator.requests)


def test_config__may_be_large() -> None:
    """A config of five megabytes, as a gallery makes it, is read."""
    rows = recorded("gradio/5.50.0/config")
    config = json.loads(rows[0].body)
    config["components"].append({"id": 900, "type": "html", "props": {"value": "x" * (5 << 20)}})
    rows[0].chunks = [(0.0, json.dumps(config).encode())]
    with replayed(rows) as server, Gradio(server.url) as client:
        assert "fn_index 3" in client.describe()


def test_config__waiting_for_another_thread_can_be_cancelled() -> None:
    """Who waits for the config that another thread asks for can be woken."""
    with Emulator(("gradio",)) as emulator, Qwen(emulator.url("qwen")) as client:
        emulator.fail("stall", step="config", at=0, seconds=30)
        first, second = client.stream("one"), client.stream("two")
        errors: list[C4AIError] = []

        def read(stream: Any) -> None:
            with contextlib.suppress(CancelledError):
                next(stream)
                return
            errors.append(CancelledError())

        threads = [threading.Thread(target=read, args=(each,)) for each in (first, second)]
        threads[0].start()
        assert wait_until(lambda: len(emulator.requests) == 1)
        threads[1].start()
        second.cancel()
        threads[1].join(2)
        assert 1 == len(errors)
        first.cancel()
        threads[0].join(2)
        assert 2 == len(errors)


FORK = """
import os, threading, time
from c4ai_clients.emulator import Emulator
from c4ai_clients.providers.gradio import Qwen

with Emulator(("gradio",), replies="fine") as emulator:
    client = Qwen(emulator.url("qwen"), timeout=5)
    emulator.fail("stall", step="config", at=0, seconds=0.5)
    asking = threading.Thread(target=client.chat, args=("Hi",))
    asking.start()
    while not emulator.requests:
        time.sleep(0.001)
    child = os.fork()
    if not child:
        print(client.chat("Hi"), flush=True)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    asking.join()
"""


def test_config__asked_for_in_the_parent_of_a_fork() -> None:
    """A child waits for nobody who asks for the config in its parent; it asks itself."""
    done = subprocess.run(
        [sys.executable, "-c", FORK], check=False, capture_output=True, text=True, timeout=20
    )

    assert "fine\n0\n" == done.stdout, done.stderr


@pytest.mark.parametrize("version", VERSIONS)
def test_login__once_for_all_turns(version: str) -> None:
    """A client with user and password logs in once; the error of another says what to give."""
    with Emulator(("gradio",), version=version, replies="in", auth=("me", "secret")) as emulator:
        url = emulator.url("gradio")
        with (
            Gradio(url) as client,
            pytest.raises(AuthError, match=r"Not authenticated.*auth=\(") as caught,
        ):
            client.chat("Hi")
        assert (401, 1) == (caught.value.status, len(emulator.requests))
        with (
            Gradio(url, auth=("me", "wr0ng")) as client,
            pytest.raises(AuthError, match="Incorrect credentials") as caught,
        ):
            client.chat("Hi")
        assert "wr0ng" not in str(caught.value)
        asked = len(emulator.requests)
        with Gradio(url, auth=("me", "secret")) as client:
            assert ["in", "in"] == [client.chat("Hi").text for _ in range(2)]
            steps = [request.step for request in emulator.requests[asked:]]
            assert (["login", "config"], 1) == (steps[:2], steps.count("login"))
            with pytest.raises(UsageError, match="pickled without auth"):
                pickle.loads(pickle.dumps(client)).chat("Hi")


def test_login__again_where_the_session_has_ended() -> None:
    """A server that forgot its sessions is logged in to again, and asked once more."""
    with Emulator(("gradio",), replies="in", auth=("me", "secret")) as emulator:
        with Gradio(emulator.url("gradio"), auth=("me", "secret")) as client:
            talk = client.conversation()
            assert "in" == talk.chat("Hi").text
            emulator.fail(step="join", kind="status", status=401)
            assert "in" == talk.chat("Hi").text
            assert 2 == sum(request.step == "login" for request in emulator.requests)
            assert 2 == emulator.processed


@pytest.mark.parametrize("auth", ["me:secret", ("me",), ("me", 1), {"me": "secret"}])
def test_login__a_pair_of_strings(auth: Any) -> None:
    """Anything else is refused, and not shown."""
    with pytest.raises(UsageError, match="a pair of strings") as caught:
        Gradio("http://127.0.0.1:1", auth=auth)
    assert "secret" not in str(caught.value).replace('auth=("user", "password")', "")


@pytest.mark.parametrize("key", ["hf_token", lambda: "hf_token"])
def test_token__goes_with_every_request(key: Any) -> None:
    """A token is a bearer token, also where it is a callable."""
    with (
        Emulator(("gradio",), replies="in") as emulator,
        Gradio(emulator.url("gradio"), api_key=key) as client,
    ):
        client.chat("Hi")
        told = {request.headers.get("authorization") for request in emulator.requests}
        assert {"Bearer hf_token"} == told


def test_qwen__a_size_that_is_not_there() -> None:
    """A size that the app does not list is refused before anything is sent."""
    with Emulator(("gradio",)) as emulator, Qwen(emulator.url("qwen")) as client:
        with pytest.raises(UsageError, match=r"no choice '8B'\. There are: 72B, 32B"):
            client.chat("Hi", size="8B")
        assert ["config"] == [request.step for request in emulator.requests]
        with pytest.raises(UsageError, match="size is a string"):
            client.stream("Hi", size=7)  # type: ignore[arg-type]


def test_gradio__inputs_by_label() -> None:
    """Other inputs are set by their labels; one that is not there is named."""
    with Emulator(("gradio",)) as emulator, Gradio(emulator.url("gradio")) as client:
        with pytest.raises(UsageError, match="no input 'Temperature'"):
            client.chat("Hi", inputs={"Temperature": 1})
        with pytest.raises(UsageError, match="no input 'model'"):
            client.chat("Hi", model="llama")
        with pytest.raises(UsageError, match="inputs is a mapping"):
            client.stream("Hi", inputs=["x"])  # type: ignore[arg-type]
        with pytest.raises(UsageError, match=r"by its label or number, not 1\.5"):
            client.stream("Hi", inputs={1.5: "x"})  # type: ignore[dict-item]


@pytest.mark.parametrize("number", [4, "4"])
def test_gradio__inputs_by_number(number: int | str) -> None:
    """An input without a label is set by the number that describe() and the error tell."""
    with Emulator(("gradio",)) as emulator, Gradio(emulator.url("gradio")) as client:
        assert "input 4: setting, radio, by default '72B', one of" in client.describe()
        client.chat("Hi", inputs={number: "7B"})
        asked = next(request for request in emulator.requests if request.step == "join")
        assert "7B" == json.loads(asked.body)["data"][3]
        for wrong in ("radio", 3, 5):
            with pytest.raises(UsageError, match=r"There are: input 4: setting, radio$"):
                client.chat("Hi", inputs={wrong: "7B"})  # type: ignore[dict-item]


@pytest.mark.parametrize("kind", ["radio", "slider", "json"])
def test_gradio__a_default_that_json_does_not_hold(kind: str) -> None:
    """A config may say 1e999, which is sent back as null."""
    rows = recorded("gradio/5.50.0/config")
    config = json.loads(rows[0].body)
    radio = next(each for each in config["components"] if each["id"] == 12)
    radio["type"] = kind
    props = {"value": [1e999] if kind == "json" else None, "choices": None, "minimum": 1e999}
    props |= {"value": 1e999, "choices": [["a", 1e999]]} if kind == "radio" else {}
    radio["props"] = {**radio["props"], **props}
    rows[0].chunks = [(0.0, json.dumps(config).replace("Infinity", "1e999").encode())]
    with (
        replayed([*rows, *told(completed([["q", "a"]]))]) as server,
        Gradio(server.url) as client,
    ):
        assert "a" == client.chat("Hi").text
        join = next(each for each in server.requests if each.path.endswith("/queue/join"))
        assert ([None] if kind == "json" else None) == json.loads(join.body)["data"][3]


DEEP = json.loads("[" * 300 + "]" * 300)


@pytest.mark.parametrize(
    "value", [Decimal("0.2"), {1, 2}, b"x", 1j, object(), float("nan"), float("inf"), DEEP]
)
def test_gradio__inputs_that_json_does_not_hold(value: Any) -> None:
    """An input that cannot be sent is refused at the call, by its label."""
    with Emulator(("gradio",)) as emulator, Gradio(emulator.url("gradio")) as client:
        with pytest.raises(UsageError, match="the input 'Temperature' cannot be sent"):
            client.stream("Hi", inputs={"Temperature": value})
        assert [] == emulator.requests


def test_gradio__chosen_by_name_or_number() -> None:
    """The caller may choose the listener; describe() says what was found."""
    with Emulator(("gradio",), replies="fine") as emulator:
        for chosen in ({"api_name": "/model_chat_1"}, {"fn_index": 4}):
            with Gradio(emulator.url("gradio"), **chosen) as client:  # type: ignore[arg-type]
                assert "chat: fn_index 4 (model_chat_1)" in client.describe()
                assert "fine" == client.chat("Hi").text
        with (
            Gradio(emulator.url("gradio"), api_name="nope") as client,
            pytest.raises(UsageError, match=r"no listener api_name='nope'\. There are: fn_index=0"),
        ):
            client.describe()


def test_gradio__a_protocol_that_nobody_knows() -> None:
    """A protocol that is not spoken is refused by its name."""
    rows = recorded("gradio/5.50.0/config")
    config = json.loads(rows[0].body)
    config["protocol"] = "sse_v9"
    rows[0].chunks = [(0.0, json.dumps(config).encode())]
    for kind in (Gradio, Qwen):
        with (
            replayed(rows) as server,
            kind(server.url) as client,
            pytest.raises(UsageError, match="speaks sse_v9"),
        ):
            client.chat("Hi")


def with_kind(kind: str, **props: Any) -> list[Exchange]:
    """The config of the Space on 5.50, its textbox made another component."""
    rows = recorded("gradio/5.50.0/config")
    config = json.loads(rows[0].body)
    changed = {25: "multimodaltextbox"} if kind == "multimodaltextbox" else {12: kind}
    for component in config["components"]:
        if component["id"] in changed:
            component["type"] = changed[component["id"]]
            component["props"] = {**component["props"], "choices": None, "value": None, **props}
    rows[0].chunks = [(0.0, json.dumps(config).encode())]
    return rows


def upload(path: str) -> Exchange:
    said = [("content-type", "application/json")]
    body = [(0.0, json.dumps([path]).encode())]
    return Exchange("POST", "/gradio_api/upload", 200, "OK", said, body, "complete")


@pytest.mark.parametrize("kind", ["multimodaltextbox", "file", "image"])
def test_files__are_uploaded_into_the_inputs_that_take_them(kind: str) -> None:
    """Files, and images in the question, go up first, then their paths with the message."""
    rows = [*with_kind(kind, file_count="multiple" if kind == "file" else "single")]
    rows += [upload("/srv/a.txt"), *([] if kind == "image" else [upload("/srv/b.png")])]
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}}
    with (
        replayed([*rows, *told(completed([["q", "a"]]))]) as server,
        Gradio(server.url) as client,
    ):
        content: list[Any] = ["Hi"] if kind == "image" else ["Hi", image]
        reply = client.chat([{"role": "user", "content": content}], files=[b"text"])
        assert "a" == reply.text
        posts = [request for request in server.requests if request.path.endswith("/upload")]
        assert b'name="files"; filename="file-1.txt"' in posts[0].body
        assert b"\r\n\r\ntext\r\n" in posts[0].body
        join = next(each for each in server.requests if each.path.endswith("/queue/join"))
        data = json.loads(join.body)["data"]
        first = {
            "path": "/srv/a.txt",
            "orig_name": "file-1.txt",
            "size": 4,
            "mime_type": "text/plain",
            "meta": {"_type": "gradio.FileData"},
        }
        if kind == "image":
            assert first == data[3]
            return
        files = data[0]["files"] if kind == "multimodaltextbox" else data[3]
        assert [first, "/srv/b.png"] == [files[0], files[1]["path"]]
        assert "Hi" == (data[0]["text"] if kind == "multimodaltextbox" else data[0])


def test_files__where_the_app_takes_none() -> None:
    """An app without an input for files says so, and nothing is uploaded."""
    with Emulator(("gradio",)) as emulator, Qwen(emulator.url("qwen")) as client:
        with pytest.raises(UsageError, match="takes no files"):
            client.chat("Hi", files=[b"x"])
        assert ["config"] == [request.step for request in emulator.requests]
        with pytest.raises(UsageError, match="takes no files"):
            client.stream("Hi", files=[b"x"])
        image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
        with pytest.raises(UsageError, match="not their URLs"):
            client.stream([{"role": "user", "content": ["Hi", image]}])


def test_files__an_upload_that_is_refused() -> None:
    """An upload that gives no path is an error, and the message is not sent."""
    rows = [*with_kind("multimodaltextbox"), upload("")]
    rows[-1].chunks = [(0.0, b"[]")]
    with (
        replayed([*rows, *told(completed([["q", "a"]]))]) as server,
        Gradio(server.url) as client,
    ):
        with pytest.raises(ProtocolError, match=r"upload: the upload gave no path: \[\]"):
            client.chat("Hi", files=[b"x"])
        assert 2 == len(server.requests)


def test_files__of_the_answer_and_beside_it() -> None:
    """Files in the answer's messages, in components, and in other outputs all come out."""
    rows = recorded("gradio/5.50.0/config")
    config = json.loads(rows[0].body)
    for component in config["components"]:
        if component["id"] == 18:
            component["type"] = "gallery"
    rows[0].chunks = [(0.0, json.dumps(config).encode())]
    shown = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": {"path": "/srv/one.png", "mime_type": "image/png"}},
        {
            "role": "assistant",
            "content": {"component": "image", "value": {"path": "/srv/two.png"}},
        },
        {"role": "assistant", "content": "Here."},
    ]
    last = completed(shown)
    last["output"]["data"][2] = [{"image": {"path": "/srv/three.png"}, "caption": None}]
    with replayed([*rows, *told(last)]) as server, Gradio(server.url) as client:
        reply = client.chat("q")
        assert "Here." == reply.text
        assert ["one.png", "two.png", "three.png"] == [file.name for file in reply.files]


@pytest.mark.parametrize("status", [403, 404, 405])
@pytest.mark.parametrize("version", ["4.21.0", "4.44.1", "5.50.0", "6.31.0"])
def test_call__where_the_queue_is_closed(version: str, status: int) -> None:
    """Where the queue's endpoint is closed, the same chat is asked by REST."""
    with (
        Emulator(
            ("gradio",), version=version, replies=Answer(tokens=["He", "llo", "!"])
        ) as emulator,
        Qwen(emulator.url("qwen")) as client,
    ):
        emulator.fail(step="join", kind="status", status=status, times=9)
        talk = client.conversation()
        stream = talk.stream("Hi")
        assert ["He", "llo", "!"] == list(stream)
        assert "Hello!" == talk.chat("More").text
        assert 4 == len(talk.messages)
        assert 2 == emulator.processed


@pytest.mark.parametrize("version", ["4.44.1", "6.31.0"])
def test_call__errors(version: str) -> None:
    """An app's error is one there too; before 6 its words are lost on the way."""
    answer = Answer(error="gr.Error: out of order", error_after=0)
    with (
        Emulator(("gradio",), version=version, replies=answer) as emulator,
        Qwen(emulator.url("qwen")) as client,
    ):
        emulator.fail(step="join", kind="status", status=404, times=9)
        words = "out of order" if version == "6.31.0" else "does not say why"
        with pytest.raises(ModelError, match=words):
            client.chat("Hi")


def test_call__closed_as_well(quick: RetryPolicy) -> None:
    """Where that is closed too, the error is the queue's own."""
    with (
        Emulator(("gradio",)) as emulator,
        Qwen(emulator.url("qwen"), retry=quick) as client,
    ):
        emulator.fail(step="join", kind="status", status=405, times=9)
        emulator.fail(step="call", kind="status", status=404, times=9)
        with pytest.raises(StatusError) as caught:
            client.chat("Hi")
        assert 405 == caught.value.status


def test_call__one_session_from_6_on() -> None:
    """An app that holds the history is told its session from 6 on; before, all is told again."""
    for version, knows in (("5.50.0", False), ("6.31.0", True)):
        with (
            Emulator(("gradio",), version=version, layout="interface", replies="fine") as emulator,
            Gradio(emulator.url("gradio")) as client,
        ):
            emulator.fail(step="join", kind="status", status=404, times=9)
            talk = client.conversation()
            talk.chat("one")
            talk.chat("two")
            posts = [r for r in emulator.requests if r.step == "call" and r.method == "POST"]
            asked = [json.loads(request.body) for request in posts]
            assert [knows, knows] == ["session_hash" in body for body in asked]
            told = "two" if knows else "User: one\nAssistant: fine\nUser: two\nAssistant:"
            assert told == asked[1]["data"][0]


@pytest.mark.parametrize(
    ("output", "kind", "words"),
    [
        ({"error": "no", "title": "Too long"}, ModelError, "Too long: no$"),
        ({"error": "no", "title": "Error"}, ModelError, "message: no$"),
        ({"error": None, "title": "Too long"}, ModelError, "Too long$"),
        ({"error": '"it\'s late"'}, ModelError, ": it's late$"),
        (
            {"error": "Try again in 1 day, 2:00:03", "title": "ZeroGPU quota exceeded"},
            RateLimitError,
            "ZeroGPU quota exceeded: Try again",
        ),
        (
            {"error": "You have exceeded your free ZeroGPU quota (60s requested vs. 4s left)."},
            RateLimitError,
            "api_key of an account",
        ),
    ],
)
def test_errors__titles_and_quota(output: dict[str, Any], kind: Any, words: str) -> None:
    """A title stands before the words; a spent quota is a limit that lasts."""
    failed = {"msg": "process_completed", "event_id": "e1", "output": output, "success": False}
    with replayed("5.50.0/config", told(failed)) as server, Gradio(server.url) as client:
        with pytest.raises(kind, match=words) as caught:
            client.chat("q")
        if "1 day" in str(output):
            assert 93603.0 == caught.value.retry_after


def test_errors__a_value_that_is_refused() -> None:
    """What the app's own checks refuse (422) is told in its words."""
    refused = [{"__type__": "validate", "is_valid": False, "message": "far too long"}]
    rows = told()[:1]
    rows[0].status, rows[0].chunks = 422, [(0.0, json.dumps({"detail": refused}).encode())]
    with (
        replayed("5.50.0/config", rows) as server,
        Gradio(server.url) as client,
        pytest.raises(StatusError, match=r"does not take what it was given.*far too long"),
    ):
        client.chat("q")


@pytest.mark.parametrize("version", ["4.19.2", "4.21.0"])
def test_leaving__resets_where_hanging_up_is_not_enough(version: str) -> None:
    """On 4.17 to 4.30 the event is reset; whoever reads to the end does nothing of it."""
    with (
        Emulator(("gradio",), version=version, replies="word " * 50, pace=0.01) as emulator,
        Qwen(emulator.url("qwen")) as client,
    ):
        with client.stream("Hi") as stream:
            next(stream)
        assert wait_until(lambda: emulator.goodbyes == ["reset"])
        reset = [request for request in emulator.requests if request.step == "reset"]
        assert ["event_id"] == list(json.loads(reset[0].body))


def test_qwen__models() -> None:
    """Its one model has an alias, and others do not exist."""
    assert "qwen-qwen2-5" == Qwen.get_model("qwen-2.5") == Qwen.get_model("qwen-qwen2-5")
    with pytest.raises(ModelNotFoundError, match="qwen-qwen2-5"):
        Qwen(model="qwen-3")
    with pytest.raises(ModelNotFoundError, match="name one with size="):
        Qwen(model="7B")


def test_pickle__a_client_goes_on() -> None:
    """A copy asks as the first one did."""
    with Emulator(("gradio",), replies="fine") as emulator, Qwen(emulator.url("qwen")) as client:
        client.chat("Hi")
        with pickle.loads(pickle.dumps(client)) as copy:
            assert "fine" == copy.chat("Hi").text


def test_skipped__counted_or_strict(caplog: pytest.LogCaptureFixture) -> None:
    """A line that is not JSON is logged and counted; strict, it is an error."""
    caplog.set_level(logging.WARNING, "c4ai_clients")
    odd = [b"data: oops\n\n", b"data: [1]\n\n", b": comment\n\n", b"data: {\n\n"]
    turn = [generating([["q", "a"]]), *odd, completed([["q", "ab"]])]
    with replayed("5.50.0/config", told(*turn)) as server, Qwen(server.url) as client:
        reply = client.chat("Hi")
        assert ("ab", 3) == (reply.text, reply.skipped)
        assert 3 == sum("passed over" in row.message for row in caplog.records)
    with (
        replayed("5.50.0/config", told(*turn)) as server,
        Qwen(server.url, strict=True) as client,
        pytest.raises(ProtocolError, match="oops"),
    ):
        client.chat("Hi")


def test_stale__the_last_value_helps() -> None:
    """After an edit that does not fit, the text is what process_completed tells."""
    turn = [
        generating([["q", "one"]]),
        generating([["append", [7, 1], " lost"]]),
        generating([["append", [0, 1], " two"]]),
        completed([["q", "one two three"]]),
    ]
    with replayed("5.50.0/config", told(*turn)) as server, Qwen(server.url) as client:
        stream = client.stream("Hi")
        assert ["one", " two three"] == list(stream)
        assert not stream.reply().rewritten


def test_empty_first_value__edits_follow() -> None:
    """A first value of null has begun all the same; what follows are edits."""
    turn = [
        generating(None),
        generating([["replace", [], [["q", "one"]]]]),
        generating([]),
        generating([["append", [0, 1], " two"]]),
        completed([["q", "one two"]]),
    ]
    with replayed("5.50.0/config", told(*turn)) as server, Qwen(server.url) as client:
        assert ["one", " two"] == list(client.stream("Hi"))


def test_unknown__comes_out() -> None:
    """What we do not know is an event; heartbeats and other people's events are none."""
    turn = [
        {"msg": "heartbeat", "event_id": None},
        {"msg": "estimation", "event_id": "e1", "rank": "soon"},
        {"msg": "new thing", "event_id": "e1"},
        {"msg": "process_completed", "event_id": "e2", "success": False, "output": {}},
        {"msg": "progress", "progress_data": [{"desc": "Loading", "index": 1, "length": 3}]},
        {"msg": "progress", "progress_data": 5},
        completed([["q", "a"]]),
        {"msg": "unexpected_error", "message": "late"},
        {"msg": "close_stream"},
    ]
    with replayed("5.50.0/config", told(*turn)) as server, Qwen(server.url) as client:
        events = list(client.stream("Hi").events())

    assert [
        Unknown(turn[1]),
        Unknown(turn[2]),
        Status("progress", "Loading 1/3"),
        Status("progress"),
        Text("a"),
        Finish(text="a"),
    ] == events[1:]


def test_files__come_from_the_server_that_was_asked() -> None:
    """A file of the answer is read from our server, wherever its URL points."""
    file = {
        "path": "/tmp/gradio/ä 1.png",
        "url": "http://elsewhere.example/file",
        "orig_name": "ä 1.png",
        "mime_type": "image/png",
    }
    body = [(0.0, b"png")]
    sent = Exchange(
        *("GET", "/gradio_api/file%3D", 200, "OK"),
        *([("content-type", "image/png")], body, "complete"),
    )
    sent.path = "/gradio_api/file=/tmp/gradio/%C3%A4%201.png"
    turn = told(completed([["q", "look"], [None, {"file": file, "alt_text": None}]]))
    with replayed("5.50.0/config", turn, [sent]) as server, Qwen(server.url) as client:
        (got,) = client.chat("Hi").files

        assert (b"png", "ä 1.png", "image/png") == (got.read(), got.name, got.mime)
        assert got.url.startswith(server.url + "/gradio_api/file=/tmp/")


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.text("a[", max_size=2),
    st.lists(st.integers(0, 1), max_size=2),
    st.just({}),
    st.just([[]]),
    st.just([["q", 5]]),
    st.just({"data": None}),
    st.just({"data": []}),
    st.just({"data": [1, 2, 3]}),
    st.just({"data": ["", {"role": 1}, ""]}),
    st.just({"error": {"a": 1}}),
)


@settings(deadline=None, max_examples=100)
@given(
    spoilt=st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from(["msg", "event_id", "output", "success", "rank", "log", "message"]),
            ODD,
        ),
        min_size=1,
        max_size=3,
    )
)
def test_odd_types__an_error_of_ours_or_the_right_text(spoilt: list[tuple[int, str, Any]]) -> None:
    """Fields of wrong types never raise anything else, and never give a wrong text."""
    turn: list[dict[str, Any]] = [
        generating([["q", "one"]]),
        generating([["append", [0, 1], " two"]]),
        completed([["q", "one two"]]),
    ]
    for i, field, value in spoilt:
        turn[i][field] = value
    with (
        replayed("5.50.0/config", told(*turn)) as server,
        Qwen(server.url, retry=RetryPolicy.none()) as client,
    ):
        stream = client.stream("Hi")
        try:
            text = stream.reply().text
        except C4AIError as error:
            text = error.partial
        assert "one two".startswith(text)


def test_refusals__tell_the_server_s_words() -> None:
    """422 and 500 are told with what the server said."""
    for status, body, words, kind in (
        (422, b'{"detail":[{"msg":"Field required"}]}', "Field required", StatusError),
        (500, b"Traceback: KeyError 99", "KeyError 99", ServerError),
        (401, b'{"detail":{"error":"Not authenticated"}}', "Not authenticated", AuthError),
    ):
        with Emulator(("gradio",)) as emulator, Qwen(emulator.url("qwen")) as client:
            emulator.fail("status", step="join", status=status, body=body)
            with pytest.raises(kind, match=words) as caught:
                client.chat("Hi")
            assert (status, 1) == (caught.value.status, caught.value.attempts)


def test_join__without_an_event_id() -> None:
    """A join that is answered with anything else is a ProtocolError."""
    with Emulator(("gradio",)) as emulator, Qwen(emulator.url("qwen")) as client:
        emulator.fail("json", step="join")
        with pytest.raises(ProtocolError, match="no event id"):
            client.chat("Hi")


def test_busy__silent_queue_times_out(quick: RetryPolicy) -> None:
    """Heartbeats alone are no content: first runs out."""
    with (
        Emulator(("gradio",), replies=Answer(tokens=["x"] * 9), heartbeat=0.05, pace=2) as emulator,
        Qwen(emulator.url("qwen"), timeout=0.4, retry=quick) as client,
    ):
        with pytest.raises(C4AIError) as caught:
            client.chat("Hi")
        assert "first" == getattr(caught.value, "kind", "")
