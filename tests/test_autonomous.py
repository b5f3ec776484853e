"""AutonomousAI against the emulator over real sockets, and against bodies written here."""

from __future__ import annotations

import base64
import copy
import json
import logging
import pickle
import socket
import tracemalloc
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import peers
import pytest
import responses
from any_client import WAYS, cut_off, joined, leave
from conftest import wait_until
from hypothesis import given, settings
from hypothesis import strategies as st

from c4ai_clients import (
    C4AIError,
    Conversation,
    IncompleteReplyError,
    ModelError,
    ModelNotFoundError,
    ProtocolError,
    RetryPolicy,
    ServerError,
    StatusError,
    Stream,
    UsageError,
)
from c4ai_clients.emulator import Answer, Emulator
from c4ai_clients.events import (
    Event,
    Finish,
    Reasoning,
    Started,
    Text,
    ToolCall,
    Unknown,
    Usage,
)
from c4ai_clients.providers import autonomous
from c4ai_clients.providers.autonomous import AutonomousAI, _read

URL = "https://autonomous.test"
IMAGE = {"type": "image_url", "image_url": {"url": "https://pictures.test/cat.png"}}
HOSTILE = [
    pytest.param(["ha", "ha", "ha"], id="repeats"),
    pytest.param(["[", "]", "[[", '{"a": [1]}', "[DONE]", "\n\ndata: x\n\n"], id="brackets"),
    pytest.param(["a\u2028b", "\u2029", "\u0085", "c\r\nd", "e\rf"], id="separators"),
    pytest.param(["\ud83d", "\ude00", "!"], id="halves"),
    pytest.param(["👩‍👩‍👧‍👦", "é", "日本語"], id="emoji"),
    pytest.param(["  two", "\n\n\tspaces  ", "in "], id="spaces"),
    pytest.param(["\0nul\0", "\0", "in\0side\0\0"], id="nuls"),
    pytest.param([" "], id="blank"),
    pytest.param([], id="empty"),
    pytest.param(["x" * 5000, "y"], id="long-token"),
]


@pytest.fixture
def server() -> Iterator[Emulator]:
    with Emulator(("autonomous",)) as running:
        yield running


@pytest.fixture
def client(server: Emulator, quick: RetryPolicy) -> Iterator[AutonomousAI]:
    with AutonomousAI(server.url("autonomous"), retry=quick) as running:
        yield running


def sent(body: bytes | str | None) -> list[dict[str, Any]]:
    """Return the messages that a request's body holds."""
    coded = json.loads(body or "")["messages"]
    messages = json.loads(base64.b64decode(coded, validate=True).decode("utf-8"))
    assert isinstance(messages, list)
    return messages


def chunk(text: Any = None, finish: Any = None, **more: Any) -> dict[str, Any]:
    """Make a chunk as OpenAI does."""
    delta = {} if text is None else {"content": text}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def sse(*chunks: Any) -> str:
    """Write chunks as server-sent events; a string stands as it is."""
    data = [each if isinstance(each, str) else json.dumps(each) for each in chunks]
    return "".join(f"data: {each}\n\n" for each in data)


def whole(message: Any, **more: Any) -> str:
    return json.dumps(
        {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], **more}
    )


def answered(
    body: str | bytes, kind: str = "text/event-stream", *, strict: bool = False, **options: Any
) -> Stream:
    """Return a stream whose answer is *body*, read to its end."""
    with responses.RequestsMock() as mock:
        mock.post(f"{URL}/api/v1/ai/chat", body=body, content_type=kind)
        with AutonomousAI(URL, strict=strict) as client:
            stream = client.stream("Hi", **options)
            stream.reply()
            return stream


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("framing", ["chunked", "length", "close", "gzip"])
@pytest.mark.parametrize("tokens", HOSTILE)
def test_stream__text_is_exact(framing: str, tokens: list[str], streamed: bool) -> None:
    """The pieces joined are the model's text, whatever is in it."""
    with (
        Emulator(("autonomous",), framing=framing, replies=Answer(tokens=tokens)) as emulator,
        AutonomousAI(emulator.url("autonomous")) as client,
    ):
        stream = client.stream("Hi", streamed=streamed)
        assert joined(tokens) == "".join(stream)
        assert (joined(tokens), False) == (stream.reply().text, stream.reply().rewritten)


def test_stream__pieces_in_order() -> None:
    """Pieces come as the server sends them, and as soon."""
    with (
        Emulator(("autonomous",), replies=Answer(tokens=["a", "b", "c"]), pace=0.1) as emulator,
        AutonomousAI(emulator.url("autonomous")) as client,
    ):
        stream = client.stream("Hi")
        assert "a" == next(stream)
        assert not stream.done
        assert ["b", "c"] == list(stream)
        assert stream.done


def test_stream__makes_one_conversation(server: Emulator, client: AutonomousAI) -> None:
    """Each turn is one request that carries all that was said, over one connection."""
    first = client.chat("one", system="Be brief.")
    assert first.conversation is not None
    second = first.conversation.chat("two")
    first.conversation.chat("three")

    said = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": first.text},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": second.text},
        {"role": "user", "content": "three"},
    ]
    assert [said[:2], said[:4], said] == [sent(request.body) for request in server.requests]
    assert 1 == server.connections


def test_stream__events_typed() -> None:
    """Events tell the start, reasoning, text, end and usage."""
    answer = Answer(tokens=["yes"], reasoning=["let me ", "think"], finish="length")
    with (
        Emulator(("autonomous",), replies=answer, usage=True) as emulator,
        AutonomousAI(emulator.url("autonomous")) as client,
    ):
        stream = client.stream("Hi")
        events = list(stream.events())

    assert Started is type(events.pop(0))
    assert [
        Reasoning("let me "),
        Reasoning("think"),
        Text("yes"),
        Finish("length"),
        Usage(1, 1, 2),
    ] == events
    reply = stream.reply()
    assert ("let me think", "length", Usage(1, 1, 2), "llama", 0) == (
        reply.reasoning,
        reply.finish_reason,
        reply.usage,
        reply.model,
        reply.skipped,
    )


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@pytest.mark.parametrize("finish_at", ["top", "choice"])
def test_stream__cut_is_an_error_and_not_asked_again(
    framing: str, finish_at: str, quick: RetryPolicy
) -> None:
    """A reply cut at any byte before its end mark raises with exactly what came."""
    tokens = ["one ", "two ", "😀", "three"]
    partials = set()
    with (
        Emulator(
            ("autonomous",), framing=framing, finish_at=finish_at, replies=Answer(tokens=tokens)
        ) as emulator,
        AutonomousAI(emulator.url("autonomous"), retry=quick) as client,
    ):
        for at in count(0, 37):
            emulator.fail("cut", at=at)
            stream = client.stream("Hi")
            caught = cut_off(stream)
            if caught is None:
                break
            assert caught.partial == stream.text
            assert ("autonomous", 1) == (caught.provider, caught.attempts)
            partials.add(caught.partial)

        assert "".join(tokens) == stream.text
        assert {"".join(tokens[:n]) for n in range(5)} == partials
        assert at / 37 + 1 == emulator.processed


def test_stream__a_single_answer_that_is_cut() -> None:
    """One JSON body that was cut anywhere is incomplete, not malformed, and gives no text."""
    body = whole({"role": "assistant", "content": 'a "quoted" \\ {brace} 😀 } \u2028'})
    raw = body.encode()
    for at in range(1, len(raw)):
        with responses.RequestsMock() as mock:
            mock.post(f"{URL}/api/v1/ai/chat", body=raw[:at], content_type="application/json")
            with AutonomousAI(URL) as client:
                stream = client.stream("Hi", streamed=False)
                assert cut_off(stream) is not None
                assert "" == stream.text


@pytest.mark.parametrize("unit", [b"a", b"\\n", b'\\"'])
def test_answers__a_long_one_that_is_cut_costs_little_memory(unit: bytes) -> None:
    """To see that a long answer was cut takes memory of a few times its size."""
    body = b'{"a":"' + unit * ((1 << 20) // len(unit))
    tracemalloc.start()
    try:
        with pytest.raises(IncompleteReplyError):
            autonomous._whole([body])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 6 * len(body)


def test_stream__ended_without_its_end_mark(server: Emulator, client: AutonomousAI) -> None:
    """A body that ends cleanly without an end mark is no reply."""
    server.fail("empty")
    with pytest.raises(IncompleteReplyError):
        client.chat("Hi")
    with pytest.raises(IncompleteReplyError) as caught:
        answered(sse(chunk("a"), chunk("b")))

    assert "ab" == caught.value.partial
    assert 1 == len(server.requests)


@pytest.mark.parametrize("way", ["data", "event", "json"])
def test_stream__model_error(way: str, quick: RetryPolicy) -> None:
    """A model's failure is a ModelError with the text so far, in all three ways to say it."""
    answer = Answer(tokens=["one ", "two"], error="upstream exploded", error_after=1)
    with (
        Emulator(("autonomous",), replies=answer, error_way=way) as emulator,
        AutonomousAI(emulator.url("autonomous"), retry=quick) as client,
    ):
        with pytest.raises(ModelError, match="upstream exploded") as caught:
            client.chat("Hi")

        assert ("" if way == "json" else "one ") == caught.value.partial
        assert 1 == emulator.processed


@pytest.mark.parametrize("streamed", [True, False])
def test_stream__refused_then_answered(
    streamed: bool, server: Emulator, client: AutonomousAI
) -> None:
    """A message that was not taken is sent again, and processed once."""
    server.fail("status", status=503)
    server.fail("rate_limit", nth=2)
    assert client.chat("Hi", streamed=streamed).text

    assert (3, 1) == (len(server.requests), server.processed)


def test_stream__failed_is_not_sent_again(server: Emulator, client: AutonomousAI) -> None:
    """A 500 may have been processed, so it is raised."""
    server.fail("status", status=500)
    with pytest.raises(ServerError, match="server had an error"):
        client.chat("Hi")

    assert 1 == len(server.requests)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("http://[", "give that server as base_url"),
        ("//[x", "give that server as base_url"),
        ("https://chat.test/x", "give that server as base_url"),
        ("/else//where", "which is not followed"),
    ],
)
def test_stream__sent_on_to_elsewhere(location: str, words: str, quick: RetryPolicy) -> None:
    """A redirect of the message is an error that names the place, be it a URL or none."""
    moved = peers.http(b"", f"Location: {location}", status="302 Found")
    with (
        peers.listening(peers.answering(moved)) as address,
        AutonomousAI(f"http://{address}", retry=quick) as client,
        pytest.raises(StatusError, match=words) as caught,
    ):
        client.chat("Hi")

    assert 302 == caught.value.status
    assert location in str(caught.value)


@pytest.mark.parametrize("way", WAYS)
def test_stream__leaving_hangs_up(way: str) -> None:
    """However a caller leaves, the server sees the connection go at once."""
    with (
        Emulator(("autonomous",), replies=Answer(tokens=["word "] * 500), pace=0.02) as emulator,
        AutonomousAI(emulator.url("autonomous")) as client,
    ):
        leave(client, way)

        assert wait_until(lambda: emulator.hang_ups == ["message"])


def test_stream__an_interrupted_answer_is_sent_plainly(
    server: Emulator, client: AutonomousAI
) -> None:
    """Of a remembered message only role and content are sent."""
    talk = client.conversation()
    with talk.stream("one") as stream:
        piece = next(stream)
    talk.chat("two")

    assert talk.messages[1]["interrupted"] is True
    assert {"role": "assistant", "content": piece} == sent(server.requests[-1].body)[1]


def test_conversation__is_saved_and_taken_up_again(
    server: Emulator, client: AutonomousAI, tmp_path: Path
) -> None:
    """A conversation goes on in another process by its history; there is nothing to delete."""
    talk = client.conversation(model="hermes")
    talk.chat("one")
    talk.save(tmp_path / "talk.json")
    with AutonomousAI(server.url("autonomous")) as other:
        Conversation.load(tmp_path / "talk.json", other).chat("two")

    assert ["user", "assistant", "user"] == [m["role"] for m in sent(server.requests[-1].body)]
    assert "hermes" == server.requests[-1].json()["aiAgent"]
    with pytest.raises(UsageError, match="nothing to delete"):
        talk.delete()


@pytest.mark.parametrize(
    ("name", "agent", "path"),
    [
        ("llama", "llama", "/api/v1/ai/chat"),
        ("llama-3.3-70b", "llama", "/api/v1/ai/chat"),
        ("qwen-2.5-coder-32b", "qwen_coder", "/api/v1/ai/chat"),
        ("hermes-3", "hermes", "/api/v1/ai/chat-hermes"),
        ("llama-3.2-90b", "vision", "/api/v1/ai/chat-vision"),
        ("llama-3.2-70b", "summary", "/api/v1/ai/summary"),
    ],
)
def test_request__model(
    server: Emulator, client: AutonomousAI, name: str, agent: str, path: str
) -> None:
    """A model has its path and its agent, an alias those of its model."""
    reply = client.chat("Hi", model=name)
    request = server.requests[0]
    body = request.json()

    assert (agent, agent, agent, True) == (
        reply.model,
        body["aiAgent"],
        body["threadId"],
        body["stream"],
    )
    assert (path, {"messages", "threadId", "stream", "aiAgent"}) == (request.path, set(body))
    assert agent == AutonomousAI.get_model(name) == client.get_model(agent)


def test_request__headers_by_default(server: Emulator, client: AutonomousAI) -> None:
    """The service's own page is named as the origin."""
    client.chat("Hi")
    headers = server.requests[0].headers

    assert (
        "US",
        "America/New_York",
        "https://www.autonomous.ai",
        "https://www.autonomous.ai/",
    ) == (
        headers["country-code"],
        headers["time-zone"],
        headers["origin"],
        headers["referer"],
    )
    assert "application/json" == headers["content-type"]


@responses.activate
def test_request__headers_by_setting() -> None:
    """The four are settings, an own header of any case wins over them, and a copy has them too."""
    responses.post(f"{URL}/api/v1/ai/chat", body=sse(chunk("ok", "stop")))
    client = AutonomousAI(
        URL,
        country_code="DE",
        time_zone="Europe/Berlin",
        origin="https://a.test",
        referer="https://b.test/",
        headers={"REFERER": "https://mine.test/"},
        api_key=lambda: "k",
    )
    client.chat("Hi")
    headers = responses.calls[0].request.headers

    assert ("DE", "Europe/Berlin", "https://a.test", "https://mine.test/", "Bearer k") == tuple(
        headers[name]
        for name in ("country-code", "time-zone", "origin", "referer", "authorization")
    )


@responses.activate
def test_request__cookies_and_streamed() -> None:
    """A conversation's cookies go back to the server; streamed=False asks for one body."""
    responses.post(
        f"{URL}/api/v1/ai/chat", body=whole({"content": "ok"}), headers={"Set-Cookie": "a=b"}
    )
    with AutonomousAI(URL) as client:
        talk = client.conversation()
        talk.chat("one", streamed=False)
        talk.chat("two")
    first, second = [call.request for call in responses.calls]

    assert (False, True) == tuple(json.loads(each.body)["stream"] for each in (first, second))
    assert (None, "a=b") == (first.headers.get("Cookie"), second.headers.get("Cookie"))


def test_client__pickles_with_its_settings() -> None:
    """A pickled client keeps the four settings."""
    client = AutonomousAI(URL, country_code="DE")
    again = pickle.loads(pickle.dumps(client))

    assert client._settings.headers == again._settings.headers
    assert "DE" == again._settings.headers["country-code"]


def test_request__image_parts(server: Emulator, client: AutonomousAI) -> None:
    """Parts go to the vision model as they are, and in later turns too; text is plain."""
    parts = [{"type": "text", "text": "What?"}, IMAGE]
    given = [{"role": "user", "content": copy.deepcopy(parts)}]
    reply = client.chat(given, model="vision")
    assert reply.conversation is not None
    reply.conversation.chat([{"role": "user", "content": [{"type": "text", "text": "Sure?"}]}])

    assert [{"role": "user", "content": parts}] == sent(server.requests[0].body) == given
    assert [parts, reply.text, "Sure?"] == [m["content"] for m in sent(server.requests[1].body)]


@pytest.mark.parametrize("text", ["日本 😀", "\ud83d", "\0\u2028", '"\\'])
def test_request__any_text_arrives(text: str) -> None:
    """What is asked arrives as it was asked, lone surrogates too."""
    with (
        Emulator(("autonomous",), replies="ok") as emulator,
        AutonomousAI(emulator.url("autonomous")) as client,
    ):
        client.chat("x" + text)

    assert [{"role": "user", "content": "x" + text}] == sent(emulator.requests[0].body)


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        pytest.param(sse(chunk("ok"), chunk(None, "stop")), "text/event-stream", id="events"),
        pytest.param(sse(chunk("ok"), "[DONE]"), "application/json", id="events-called-json"),
        pytest.param(": hi\n\n" + sse(chunk("ok"), "[DONE]"), "text/plain", id="events-plain"),
        pytest.param("\ufeff" + sse(chunk("ok", "stop")), "application/json", id="events-bom"),
        pytest.param(whole({"content": "ok"}), "application/json", id="json"),
        pytest.param(whole({"content": "ok"}), "text/event-stream", id="json-called-events"),
        pytest.param(" \n\ufeff" + whole({"content": "ok"}), "", id="json-blank-first"),
        pytest.param(sse(whole({"content": "ok"})), "text/event-stream", id="one-event"),
    ],
)
def test_read__whichever_way_it_is_answered(body: str, kind: str, streamed: bool) -> None:
    """What comes decides how it is read, not what was asked or what it is called."""
    stream = answered(body.encode(), kind, streamed=streamed)

    assert ("ok", "stop") == (stream.text, stream.reply().finish_reason)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        pytest.param(
            [chunk("a"), chunk("b", "stop")], [Text("a"), Text("b"), Finish("stop")], id="in-choice"
        ),
        pytest.param(
            [chunk("a", finish_reason="length")], [Text("a"), Finish("length")], id="at-the-top"
        ),
        pytest.param(
            [chunk("a", finish_reason=None), chunk("b", "")],
            [Text("a"), Text("b")],
            id="no-reason-yet",
        ),
        pytest.param([chunk("a", 7), chunk(finish=True)], [Text("a")], id="reason-of-a-wrong-type"),
        pytest.param([{"choices": [{"delta": {"role": "assistant"}}]}], [], id="role-only"),
        pytest.param([{"choices": [{"delta": None}]}], [], id="no-delta"),
        pytest.param([{"choices": [{"delta": "a"}]}], [Text("a")], id="delta-is-text"),
        pytest.param([{"choices": []}], [Unknown({"choices": []})], id="no-choice"),
        pytest.param([{"new": 1}], [Unknown({"new": 1})], id="unknown"),
        pytest.param([{}], [Unknown({})], id="nothing"),
        pytest.param([chunk(new=[1])], [], id="more-at-the-top"),
        pytest.param(
            [{"choices": [{"delta": {"content": "a", "audio": 1, "refusal": None}}]}],
            [Text("a"), Unknown({"content": "a", "audio": 1, "refusal": None})],
            id="unknown-in-delta",
        ),
        pytest.param(
            [{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": "4"}}],
            [Usage(prompt_tokens=3)],
            id="usage",
        ),
        pytest.param([chunk("a", usage=None)], [Text("a")], id="usage-null"),
        pytest.param(
            [
                {
                    "choices": [
                        {"index": 1, "delta": {"content": "B"}},
                        {"index": 0, "delta": {"content": "a"}},
                    ]
                },
                {"choices": [{"index": 1, "delta": {"content": "B"}}]},
            ],
            [Text("a"), Unknown({"choices": [{"index": 1, "delta": {"content": "B"}}]})],
            id="another-choice",
        ),
        pytest.param(
            [chunk("a", "stop"), chunk("late"), {"choices": [], "usage": {"total_tokens": 9}}],
            [Text("a"), Finish("stop"), Unknown(chunk("late")), Usage(total_tokens=9)],
            id="after-the-end-mark",
        ),
        pytest.param(
            [chunk("\ud83d"), chunk("\ude00a\ud83d"), chunk(None, "stop")],
            [Text("😀a"), Text("\ud83d"), Finish("stop")],
            id="halves",
        ),
        pytest.param(
            [{"choices": [{"delta": {"reasoning": "r", "reasoning_content": "r"}}]}],
            [Reasoning("r")],
            id="reasoning-said-twice",
        ),
        pytest.param(
            [{"choices": [{"delta": {"reasoning": "r", "content": ""}}]}],
            [Reasoning("r")],
            id="reasoning",
        ),
    ],
)
def test_read__each_kind_of_chunk(chunks: list[Any], expected: list[Event]) -> None:
    """What a chunk says becomes its events; nothing is dropped in silence."""
    assert expected == list(_read(chunks))


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param(
            {"id": "1", "function": {"name": "look", "arguments": '{"at": 2}'}},
            ToolCall("1", "look", {"at": 2}),
            id="whole",
        ),
        *(
            pytest.param(call, Unknown(call), id=str(i))
            for i, call in enumerate(
                [
                    7,
                    {"id": "1"},
                    {"function": {"name": "look", "arguments": ""}},
                    {"function": {"arguments": '{"at'}},
                    {"function": {"name": "look", "arguments": {"at": 2}}},
                ]
            )
        ),
    ],
)
def test_read__tool_calls(call: Any, expected: Event) -> None:
    """A call that comes whole is typed; parts of one are told as they are."""
    assert [expected] == list(_read([{"choices": [{"delta": {"tool_calls": [call]}}]}]))


def test_done__ends_without_a_reason() -> None:
    """``[DONE]`` alone is an end mark, and after a finish reason it says nothing new."""
    alone = answered(sse(chunk("a"), "[DONE]"))
    after = answered(sse(chunk("a", "length"), " [DONE] "))

    assert ("stop", "length") == (alone.reply().finish_reason, after.reply().finish_reason)


def test_finish__what_happens_afterwards_changes_nothing() -> None:
    """Behind a finish reason neither an error nor a missing ``[DONE]`` counts."""
    for rest in ("", sse({"error": "late"}), sse("junk"), "data: {"):
        assert "a" == answered(sse(chunk("a", "stop")) + rest).reply().text


def test_skipped__lines_that_are_not_json(caplog: pytest.LogCaptureFixture) -> None:
    """A line that is not JSON is logged and counted; the others make the text."""
    body = sse(chunk("a"), "junk", "[1]", "", chunk("b"), "[DONE]")
    with caplog.at_level(logging.WARNING, "c4ai_clients"):
        stream = answered(body)

    assert ("ab", 2) == (stream.text, stream.reply().skipped)
    assert ["junk" in record.getMessage() for record in caplog.records] == [True, False]


def test_skipped__strict_makes_it_an_error() -> None:
    """strict=True raises what would be passed over, quoting it."""
    with pytest.raises(ProtocolError, match="junk") as caught:
        answered(sse(chunk("a"), "junk", "[DONE]"), strict=True)

    assert "a" == caught.value.partial


def test_records__without_a_blank_line_between() -> None:
    """Two data lines of one event are two chunks where each is JSON, else one."""
    lines = f"data: {json.dumps(chunk('a'))}\ndata: {json.dumps(chunk('b'))}\ndata: [DONE]\n\n"
    pretty = "".join(
        f"data: {row}\n" for row in json.dumps(chunk("c", "stop"), indent=1).split("\n")
    )

    assert "ab" == answered(lines).text
    assert "c" == answered(pretty + "\n").text


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        pytest.param(sse({"error": "E1"}), ModelError, "E1", id="error-text"),
        pytest.param(sse({"error": {"message": "E2"}}), ModelError, ": E2$", id="error-message"),
        pytest.param(sse({"error": {"code": 5}}), ModelError, '"code": 5', id="error-code"),
        pytest.param(sse({"error": [1]}), ModelError, r"\[1\]", id="error-list"),
        pytest.param("event: error\ndata: E3\n\n", ModelError, "E3", id="event-text"),
        pytest.param('event: error\ndata: {"message": "E4"}\n\n', ModelError, ": E4$", id="event"),
        pytest.param(
            'event: error\ndata: {"error": null}\n\n', ModelError, "null", id="event-null"
        ),
        pytest.param("event: error\ndata: [DONE]\n\n", ModelError, "DONE", id="event-done"),
        pytest.param('{"error": {"message": "E5"}}', ModelError, ": E5$", id="json-error"),
        pytest.param(sse({"choices": "x"}), ProtocolError, "choices", id="choices-text"),
        pytest.param(sse({"choices": [7]}), ProtocolError, "choices", id="choice-7"),
        pytest.param(sse(chunk(7)), ProtocolError, '"content": 7', id="content-7"),
        pytest.param(sse(chunk(["a"])), ProtocolError, "content", id="content-list"),
        pytest.param(sse({"choices": [{"delta": 7}]}), ProtocolError, "text, got: 7", id="delta-7"),
        pytest.param('{"a": 1}', ProtocolError, '"a": 1', id="json-other"),
        pytest.param("{}", ProtocolError, "{}", id="json-empty"),
        pytest.param("[1, 2]", ProtocolError, r"\[1, 2\]", id="json-list"),
        pytest.param('{"a": 1} trailing', ProtocolError, "trailing", id="json-and-more"),
        pytest.param(whole(None), ProtocolError, "null", id="json-no-message"),
        pytest.param(whole("text"), ProtocolError, "text", id="json-message-text"),
        pytest.param(whole({"content": 7}), ProtocolError, "7", id="json-content-7"),
        pytest.param('{"choices": [{"message": {}}]}', ProtocolError, "{}", id="json-no-content"),
        pytest.param("<html>login", ProtocolError, "<html>login", id="html"),
        pytest.param("", IncompleteReplyError, "ended", id="empty"),
        pytest.param(sse(chunk("a")) + "data: [DONE]", IncompleteReplyError, "ended", id="half"),
    ],
)
def test_answers_that_are_no_reply(body: str, error: type[C4AIError], words: str) -> None:
    """Each is an error that quotes what came."""
    with pytest.raises(error, match=words):
        answered(body)


def test_answers__called_json_and_are_none() -> None:
    """A body that is called JSON and is not is quoted."""
    with pytest.raises(ProtocolError, match="expected JSON, got: no JSON"):
        answered("no JSON", "application/json")
    with pytest.raises(ProtocolError, match="longer than"):
        answered('{"a": "' + "x" * (4 << 20), "application/json")
    with pytest.raises(IncompleteReplyError):
        answered("", "application/json")


def test_answers__too_deep_to_show() -> None:
    """JSON that could just be read, and is too deep to be written, is our error all the same."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ModelError, match="cannot be shown"):
        list(_read([{"error": deep}]))


_json = st.sampled_from(
    [None, True, False, 0, 1, -1, 0.5, "", "a", "0", "\ud83d", [], [1], [[]], {}, {"a": [None]}]
)
_function = st.fixed_dictionaries({}, optional={"name": _json, "arguments": _json})
_call = _json | st.fixed_dictionaries({}, optional={"id": _json, "function": _json | _function})
_delta = st.fixed_dictionaries(
    {},
    optional={
        "role": _json,
        "content": _json,
        "reasoning": _json,
        "reasoning_content": _json,
        "tool_calls": _json | st.lists(_call, max_size=2),
    },
)
_chunk = st.fixed_dictionaries(
    {},
    optional={
        "choices": _json
        | st.lists(
            _json
            | st.fixed_dictionaries(
                {},
                optional={
                    "index": _json,
                    "delta": _json | _delta,
                    "message": _json | _delta,
                    "finish_reason": _json,
                },
            ),
            max_size=2,
        ),
        "usage": _json | st.fixed_dictionaries({}, optional={"prompt_tokens": _json}),
        "finish_reason": _json,
        "error": _json,
    },
)


_plain_chunk = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries(
                {
                    "delta": st.fixed_dictionaries(
                        {"content": st.sampled_from(["a", "b", "", "\ud83d", "\ude00", None, 7])}
                    )
                },
                optional={
                    "index": st.sampled_from([0, 1, None, "0", False]),
                    "finish_reason": st.sampled_from([None, "", "stop", 7]),
                },
            ),
            min_size=1,
            max_size=2,
        )
    },
    optional={
        "usage": st.sampled_from([None, {}, {"prompt_tokens": 1}, 0]),
        "finish_reason": st.sampled_from([None, "", "stop", 7]),
        "error": st.sampled_from([None, "", "E"]),
    },
)


@settings(deadline=None, max_examples=300)
@given(st.lists(_chunk, max_size=3), st.booleans())
def test_read__any_json_is_events_or_our_error(chunks: list[Any], single: bool) -> None:
    """Whatever types the fields have, only our own errors come."""
    body = json.dumps(chunks[0]) if single and chunks else sse(*chunks)
    try:
        stream = answered(body)
    except C4AIError:
        return

    assert stream.done
    assert isinstance(stream.reply().finish_reason, str)


@pytest.mark.parametrize(
    "options",
    [
        {"streamed": 1}, {"streamed": None}, {"streamed": "no"}, {"model": "nix"}, {"model": 7},
        {"files": [b"x"]}, {"files": [b"x"], "model": "vision"},
        {"messages": [{"role": "user", "content": ["What?", IMAGE]}]},
        {"messages": [{"role": "user", "content": [IMAGE]}], "model": "hermes"},
        {"messages": [{"role": "user", "content": [IMAGE]}, {"role": "user", "content": "x"}]},
        {"messages": " "}, {"messages": []},
    ],
    ids=str,
)  # fmt: skip
def test_usage__said_at_the_call(
    server: Emulator, client: AutonomousAI, options: dict[str, Any]
) -> None:
    """What cannot be sent is a UsageError at the call, and nothing is sent."""
    with pytest.raises(UsageError):
        client.stream(**{"messages": "Hi", **options})

    assert [] == server.requests


def test_usage__images_said_before_to_a_model_without_eyes(client: AutonomousAI) -> None:
    """A conversation with images cannot go on with a model that takes none."""
    talk = client.conversation(model="vision")
    talk.chat([{"role": "user", "content": [IMAGE]}])
    with pytest.raises(UsageError, match="takes no images"):
        talk.stream("and now?", model="llama")


@pytest.mark.parametrize(
    "settings",
    [{"country_code": None}, {"time_zone": 7}, {"origin": "a\nb"}, {"referer": " x"}],
    ids=str,
)
def test_usage__settings(settings: dict[str, Any]) -> None:
    """A setting that no header can hold is refused by name."""
    name = next(iter(settings)).replace("_", "-")
    with pytest.raises(UsageError, match=name):
        AutonomousAI(URL, **settings)


def test_get_model__unknown() -> None:
    """A name that is not there names what is, and the nearest."""
    with pytest.raises(ModelNotFoundError, match=r"did you mean 'llama'.*qwen_coder"):
        AutonomousAI.get_model("lama")


def test_conversation__with_a_model_that_is_not_there(
    server: Emulator, client: AutonomousAI
) -> None:
    """A saved conversation may name any model; one that is not there is refused by name."""
    talk = client.conversation()
    talk.model = "llama-4"
    with pytest.raises(ModelNotFoundError, match="no model 'llama-4'"):
        talk.chat("Hi")

    assert [] == server.requests


def test_models__are_built_in(client: AutonomousAI) -> None:
    """The service has no list, so the built-in one stands."""
    assert ["llama", "qwen_coder", "hermes", "vision", "summary"] == [
        model.id for model in client.models()
    ]


def test_answers__an_error_that_says_done_spoils_no_later_reply() -> None:
    """An event named error that holds [DONE] is its own reply's error, and nobody else's."""
    answers = [b"event: error\ndata: [DONE]\n\n", b'data: {"choices": []}\n\ndata: [DONE]\n\n']

    def handle(connection: socket.socket) -> None:
        for body in answers:
            peers.read_request(connection)
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            )

    with peers.listening(handle) as address, AutonomousAI(f"http://{address}") as client:
        with pytest.raises(ModelError):
            client.chat("one")
        assert "" == client.chat("two").text


@settings(deadline=None, max_examples=300)
@given(st.lists(_plain_chunk, min_size=1, max_size=3))
def test_read__the_short_way_gives_what_the_long_one_gives(chunks: list[Any]) -> None:
    """A chunk that is only text means the same, whichever way it is read."""

    def told() -> list[Any]:
        events: list[Any] = []
        try:
            events.extend(_read(copy.deepcopy(chunks)))
        except C4AIError as error:
            events.append((type(error), str(error)))
        return events

    short = told()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(autonomous, "_only_text", lambda chunk: None)
        assert told() == short
