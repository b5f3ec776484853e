"""H2O against the emulator and the recordings, over real sockets."""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import responses
from any_client import WAYS, cut_off, joined, leave
from conftest import threads_of_ours, wait_until
from hypothesis import given, settings
from hypothesis import strategies as st
from replay import replay

from c4ai_clients import (
    AuthError,
    C4AIError,
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
    UsageError,
)
from c4ai_clients.emulator import Answer, Emulator
from c4ai_clients.events import Finish, Started, Text, Title, Unknown, Usage
from c4ai_clients.providers import h2o
from c4ai_clients.providers.h2o import H2O, _read

MODEL = "h2oai/h2ogpt-gm-oasst1-en-2048-falcon-40b-v1"
NAME = "0123456789abcdef01234567"
HOSTILE = [
    pytest.param(["ha", "ha", "ha"], id="repeats"),
    pytest.param(["[", "]", "[[", '{"a": [1]}', "data:", "\n\ndata: x\n\n"], id="brackets"),
    pytest.param(["a\u2028b", "\u2029", "\u0085", "c\r\nd", "e\rf"], id="separators"),
    pytest.param(["\ud83d", "\ude00", "!"], id="halves"),
    pytest.param(["👩‍👩‍👧‍👦", "é", "日本語"], id="emoji"),
    pytest.param(["  two", "\n\n\tspaces  ", "in"], id="spaces"),
    pytest.param(["\0nul\0", "\0", "in\0side\0\0"], id="nuls"),
    pytest.param([" "], id="blank"),
    pytest.param([], id="empty"),
    pytest.param(["x" * 5000, "y"], id="long-token"),
]


@pytest.fixture
def server() -> Iterator[Emulator]:
    with Emulator(("h2o",)) as running:
        yield running


@pytest.fixture
def client(server: Emulator, quick: RetryPolicy) -> Iterator[H2O]:
    with H2O(server.url("h2o"), retry=quick) as running:
        yield running


def steps(emulator: Emulator) -> list[str]:
    return [request.step for request in emulator.requests]


def inputs(emulator: Emulator) -> list[str]:
    return [each.json()["inputs"] for each in emulator.requests if each.step == "message"]


def tgi(text: str, final: Any = None, **more: Any) -> str:
    """Write one event as text-generation-inference does."""
    token = {"id": 1, "text": text, "logprob": -0.5, "special": False}
    update = {"token": token, "generated_text": final, "details": None} | more
    return f"data:{json.dumps(update)}\n\n"


def script(body: str | bytes, *, status: int = 200, kind: str = "text/event-stream") -> None:
    """Have ``responses`` answer one turn whose message gets *body*."""
    responses.post("https://h2o.test/settings", json={"type": "redirect"})
    responses.post("https://h2o.test/conversation", json={"conversationId": NAME})
    responses.post(
        f"https://h2o.test/conversation/{NAME}", body=body, status=status, content_type=kind
    )
    responses.delete(f"https://h2o.test/conversation/{NAME}")


@pytest.mark.parametrize("framing", ["chunked", "length", "close", "gzip"])
@pytest.mark.parametrize("tokens", HOSTILE)
def test_stream__text_is_exact(framing: str, tokens: list[str]) -> None:
    """The pieces joined are the model's text, whatever is in it."""
    with (
        Emulator(("h2o",), framing=framing, replies=Answer(tokens=tokens)) as emulator,
        H2O(emulator.url("h2o")) as client,
    ):
        stream = client.stream("Hi")
        assert joined(tokens) == "".join(stream)
        assert (joined(tokens), False) == (stream.reply().text, stream.reply().rewritten)


def test_stream__pieces_in_order() -> None:
    """Pieces come as the server sends them, and as soon."""
    with (
        Emulator(("h2o",), replies=Answer(tokens=["a", "b", "c"]), pace=0.1) as emulator,
        H2O(emulator.url("h2o")) as client,
    ):
        stream = client.stream("Hi")
        assert "a" == next(stream)
        assert not stream.done
        assert ["b", "c"] == list(stream)
        assert stream.done
        assert "abc" == stream.text == stream.reply().text


def test_stream__makes_one_conversation(server: Emulator, client: H2O) -> None:
    """A turn accepts the terms, creates, asks, and deletes what it made."""
    stream = client.stream("Hi")
    assert [] == server.requests
    stream.reply()
    client.close()

    assert ["settings", "create", "message", "delete"] == steps(server)
    assert server.requests[-1].path == server.requests[2].path
    assert stream.conversation.id is None
    assert 1 == server.processed


def test_stream__events_typed(client: H2O) -> None:
    """Events tell the start, the text and the end with the server's whole text."""
    events = list(client.stream("Hi").events())
    text = "".join(event.text for event in events if isinstance(event, Text))

    assert Started is type(events[0])
    assert Finish("stop", text) == events[-1]
    assert {Started, Text, Finish} == {type(event) for event in events}


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_stream__cut_is_an_error_and_not_asked_again(framing: str, quick: RetryPolicy) -> None:
    """A reply cut at any byte raises with exactly the pieces that came; it is asked once."""
    tokens = ["one ", "two ", "😀", "three"]
    seen = {"".join(tokens[:n]) for n in range(5)}
    partials = set()
    with (
        Emulator(("h2o",), framing=framing, replies=Answer(tokens=tokens)) as emulator,
        H2O(emulator.url("h2o"), retry=quick) as client,
    ):
        for at in count(0, 29):
            emulator.fail("cut", at=at)
            stream = client.stream("Hi")
            caught = cut_off(stream)
            if caught is None:
                break
            assert caught.partial == stream.text
            assert ("h2o", "message", 1) == (caught.provider, caught.phase, caught.attempts)
            partials.add(caught.partial)

        assert "".join(tokens) == stream.text
        assert seen == partials
        assert at / 29 + 1 == emulator.processed == steps(emulator).count("message")


def test_stream__ended_without_its_end_mark(server: Emulator, client: H2O) -> None:
    """A body that ends cleanly without generated_text is no reply."""
    server.fail("empty")
    with pytest.raises(IncompleteReplyError):
        client.chat("Hi")

    assert 1 == steps(server).count("message")


def test_stream__model_error(quick: RetryPolicy) -> None:
    """An error event is a ModelError with the text so far, and the conversation is deleted."""
    answer = Answer(tokens=["one ", "two"], error="transport error", error_after=1)
    with Emulator(("h2o",), replies=answer) as emulator:
        with H2O(emulator.url("h2o"), retry=quick) as client:
            with pytest.raises(ModelError, match="transport error") as caught:
                client.chat("Hi")

        assert "one " == caught.value.partial
        assert 1 == emulator.processed
        assert ["delete"] == emulator.goodbyes


@pytest.mark.parametrize("step", ["settings", "create", "message"])
def test_stream__refused_then_answered(step: str, server: Emulator, client: H2O) -> None:
    """A step that was not taken is tried again; the message is processed once."""
    server.fail("status", step=step, status=503)
    assert client.chat("Hi").text

    assert 2 == steps(server).count(step)
    assert 1 == server.processed


@pytest.mark.parametrize("way", WAYS)
def test_stream__leaving_hangs_up(way: str) -> None:
    """However a caller leaves, the server sees the connection go and is told to delete."""
    with (
        Emulator(("h2o",), replies=Answer(tokens=["word "] * 500), pace=0.02) as emulator,
        H2O(emulator.url("h2o")) as client,
    ):
        leave(client, way)

        assert wait_until(lambda: emulator.hang_ups == ["message"])
        assert wait_until(lambda: emulator.goodbyes == ["delete"])


def test_stream__leaving_before_a_conversation_deletes_nothing(
    server: Emulator, client: H2O
) -> None:
    """Where no conversation was made there is none to delete."""
    server.fail("status", step="create", status=404)
    with pytest.raises(NotFoundError):
        client.chat("Hi")
    client.stream("never begun").cancel()
    client.close()

    assert ["settings", "create"] == steps(server)


def test_goodbye__its_failure_changes_nothing(server: Emulator, client: H2O) -> None:
    """A delete that is refused is tried once, and the reply stands."""
    server.fail("status", step="delete", status=503, times=9)
    assert client.chat("Hi").text
    client.close()

    assert 1 == steps(server).count("delete")


def test_goodbye__costs_no_connection(server: Emulator, client: H2O) -> None:
    """Turns and their goodbyes, one after the other, share one connection."""
    for _ in range(5):
        client.chat("Hi")
        assert wait_until(lambda: not threads_of_ours())

    assert ["delete"] * 5 == server.goodbyes
    assert 1 == server.connections


def test_goodbye__by_a_finalizer_while_a_lock_is_held(server: Emulator, client: H2O) -> None:
    """The garbage collector may drop a stream at any moment, also inside our own locks."""
    stream = client.stream("Hi")
    next(stream)
    held = [stream]
    talk = stream.conversation
    del stream

    def drop() -> None:
        with client._transport._lock, talk._lock:
            held.clear()

    thread = threading.Thread(target=drop, daemon=True)
    thread.start()
    thread.join(3)

    assert not thread.is_alive()
    assert wait_until(lambda: server.goodbyes == ["delete"])


def test_conversation__is_kept_and_goes_on(server: Emulator, client: H2O) -> None:
    """The first turn carries the system prompt; later ones send only their question."""
    talk = client.conversation(system="Be brief.")
    talk.chat("one")
    kept = talk.id
    talk.chat("two")

    assert kept == talk.id is not None
    assert ["settings", "create", "message", "message"] == steps(server)
    assert ["System: Be brief.\nUser: one\nAssistant:", "two"] == inputs(server)
    assert 1 == server.connections
    talk.delete()
    talk.delete()
    assert (None, ["delete"]) == (talk.id, server.goodbyes)


def test_conversation__is_saved_and_taken_up_again(
    server: Emulator, client: H2O, tmp_path: Path
) -> None:
    """A kept conversation goes on in another process, with its session."""
    talk = client.conversation()
    talk.chat("one")
    talk.save(tmp_path / "talk.json")
    with H2O(server.url("h2o")) as other:
        Conversation.load(tmp_path / "talk.json", other).chat("two")

    assert ["one", "two"] == inputs(server)
    assert [] == server.goodbyes


def test_conversation__not_kept_is_taken_up_by_its_history(server: Emulator, client: H2O) -> None:
    """What was deleted begins anew with all that was said."""
    first = client.chat("one", system="Be brief.")
    first.conversation.chat("two")  # type: ignore[union-attr]
    client.close()

    assert (
        f"System: Be brief.\nUser: one\nAssistant: {first.text}\nUser: two\nAssistant:"
        == inputs(server)[1]
    )
    assert ["delete", "delete"] == server.goodbyes
    # The ids of what was deleted stand for nothing any more.
    second = first.conversation.state["ids"][1]  # type: ignore[union-attr]
    assert [None, second] == first.conversation.state["ids"]  # type: ignore[union-attr]


def test_conversation__a_list_is_one_prompt(server: Emulator, client: H2O) -> None:
    """Messages of a list are written into one prompt, the system's first."""
    client.chat(
        [
            {"role": "user", "content": "one"},
            {"role": "system", "content": "Be kind."},
            {"role": "assistant", "content": "1"},
            {"role": "user", "content": [{"type": "text", "text": "two"}]},
        ]
    )

    assert ["System: Be kind.\nUser: one\nAssistant: 1\nUser: two\nAssistant:"] == inputs(server)


@pytest.mark.parametrize("keep", [True, False])
def test_keep__overrides_either_way(server: Emulator, client: H2O, keep: bool) -> None:
    """keep=True leaves what would be deleted, keep=False deletes what would be left."""
    if keep:
        stream = client.stream("Hi", keep=True)
    else:
        stream = client.conversation().stream("Hi", keep=False)
    stream.reply()
    client.close()

    assert ([] if keep else ["delete"]) == server.goodbyes
    assert keep is stream.conversation.keep is (stream.conversation.id is not None)


def test_ids__one_pair_a_question(server: Emulator, client: H2O) -> None:
    """Ids are fresh UUIDs and stay in the conversation, in the order of its questions."""
    before = [{"role": "user", "content": "0"}, {"role": "assistant", "content": "1"}]
    talk = client.chat([*before, {"role": "user", "content": "2"}], keep=True).conversation
    assert talk is not None
    server.fail("status", status=500)
    with pytest.raises(ServerError):
        talk.chat("fails and is not remembered")
    talk.chat("3")

    sent = [each.json()["options"] for each in server.requests if each.step == "message"]
    pairs = [{name: each[name] for name in ("id", "response_id")} for each in sent]
    assert [None, pairs[0], pairs[2]] == talk.state["ids"]
    assert 6 == len({uuid.UUID(name) for pair in pairs for name in pair.values()})
    assert json.loads(json.dumps(talk.state)) == talk.state


def test_request__as_the_recordings_have_it(server: Emulator, client: H2O) -> None:
    """Settings are a form from the server's own origin; the message is JSON."""
    client.chat("Hi")
    settings, create, message = server.requests[:3]
    body = message.json()
    ids = [body["options"].pop(name) for name in ("id", "response_id")]

    assert {
        "ethicsModalAccepted": ["true"],
        "shareConversationsWithModelAuthors": ["true"],
        "ethicsModalAcceptedAt": [""],
        "activeModel": [MODEL],
        "searchEnabled": ["true"],
    } == parse_qs(settings.body.decode(), keep_blank_values=True)
    assert server.url("h2o") + "/" == settings.headers["Referer"]
    assert {"model": MODEL} == create.json()
    assert {
        "inputs": "Hi",
        "parameters": {
            "temperature": 0.4,
            "truncate": 2048,
            "max_new_tokens": 1024,
            "do_sample": True,
            "repetition_penalty": 1.2,
            "return_full_text": False,
        },
        "stream": True,
        "options": {"is_retry": False, "use_cache": False, "web_search_id": ""},
    } == body
    assert ids[0] != ids[1]


@responses.activate
def test_request__options_and_headers() -> None:
    """Every option is sent under its own name, and key and headers with each request."""
    script(tgi("ok", "ok"))
    with H2O("https://h2o.test", api_key="k", headers={"X-Mine": "1"}) as client:
        client.chat(
            "Hi",
            temperature=1,
            truncate=100,
            max_new_tokens=5,
            do_sample=False,
            repetition_penalty=1.0,
            use_cache=True,
            web_search_id="abc",
        )
    calls = [call.request for call in responses.calls]
    body = json.loads(calls[2].body)

    assert ["POST", "POST", "POST", "DELETE"] == [call.method for call in calls]
    assert {
        "temperature": 1,
        "truncate": 100,
        "max_new_tokens": 5,
        "do_sample": False,
        "repetition_penalty": 1.0,
        "return_full_text": False,
    } == body["parameters"]
    assert (True, "abc") == (body["options"]["use_cache"], body["options"]["web_search_id"])
    for call in calls:
        assert ("Bearer k", "1") == (call.headers["Authorization"], call.headers["X-Mine"])


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        pytest.param("A/first_and_second_turn", "stop", id="first-turn"),
        pytest.param("A/line_separators", "stop", id="line-separators"),
        pytest.param("A/upstream_empty", "stop", id="empty"),
        pytest.param("A/upstream_length", "length", id="length"),
        pytest.param("A2/rate_limit", "stop", id="july"),
    ],
)
def test_recorded__text_is_the_servers_own(case: str, reason: str) -> None:
    """The pieces of a recorded reply joined are its own generated_text."""
    with replay(f"chatui/{case}") as server, H2O(server.url) as client:
        body = next(each.body for each in server.exchanges if b'"generated_text":"' in each.body)
        found = re.search(rb'"generated_text":("(?:[^"\\]|\\.)*")', body)
        assert found is not None
        stream = client.stream("Hi", keep=True)
        pieces = list(stream)

        assert json.loads(found[1]) == "".join(pieces)
        assert (reason, False) == (stream.reply().finish_reason, stream.reply().rewritten)
        assert body.count(b'"special":false') == len(pieces)
        assert [] == server.unexpected


def test_recorded__a_second_turn() -> None:
    """Two recorded turns of one conversation, its title, and every piece as sent."""
    pieces = [
        *("Hello", " wor", "ld", "!", " ", "😀", " caf", "é", "\n", "ha", "ha", "ha", " 日本"),
        *("語", "\n\n", '- "quoted" \\back', "\n- last", " <b>tag</b>", "."),
    ]
    with replay("chatui/A/first_and_second_turn") as server, H2O(server.url) as client:
        talk = client.conversation()
        assert pieces == list(talk.stream("Hi there"))
        second = talk.stream("Second", title=True)
        assert pieces == list(second)
        assert "Test title." == second.reply().title
        assert [] == server.unexpected

    assert "cfbe672f-a34d-406f-a51c-dc61e31940de" == talk.cookies["hf-chat"]


def test_recorded__a_cut_reply() -> None:
    """A recorded reply whose upstream died is incomplete, with what came."""
    with replay("chatui/A/upstream_midfail") as server, H2O(server.url) as client:
        with pytest.raises(IncompleteReplyError) as caught:
            client.chat("Hi")

        assert "Hello world" == caught.value.partial
        assert 1 == sum(b"inputs" in request.body for request in server.requests)


def test_recorded__stopped() -> None:
    """A generation that was stopped ends in a cut socket, so it is incomplete."""
    with replay("chatui/A/stop_generating") as server, H2O(server.url) as client:
        with pytest.raises(IncompleteReplyError) as caught:
            client.chat("Hi")

    assert " s0 s1 s2" == caught.value.partial[:9]


def test_recorded__a_model_error() -> None:
    """The recorded error event is quoted."""
    with replay("chatui/A/upstream_miderr") as server, H2O(server.url) as client:
        with pytest.raises(ModelError, match="Server error: transport error") as caught:
            client.chat("Hi")

    assert "Hello world" == caught.value.partial


@pytest.mark.parametrize(
    ("case", "error", "words"),
    [
        ("upstream_fail500", ServerError, "error"),
        ("upstream_fail429", RateLimitError, "Model is overloaded"),
        ("upstream_fail400", StatusError, "must be <= 2048"),
    ],
)
def test_recorded__upstream_refuses(case: str, error: type[StatusError], words: str) -> None:
    """The status and the words of the server behind pass through."""
    with replay(f"chatui/A/{case}") as server:
        with H2O(server.url, retry=RetryPolicy.none()) as client:
            with pytest.raises(error, match=words) as caught:
                client.chat("Hi")

    assert "error_type" in caught.value.body


def test_recorded__models() -> None:
    """The page's data lists the models, which refer to each other by index."""
    with replay("chatui/A/models_and_meta") as server, H2O(server.url) as client:
        models = client.models()

        assert [
            ("OpenAssistant/oasst-sft-6-llama-30b-xor", "oasst"),
            ("h2oai/h2ogpt-gm-oasst1-en-2048-falcon-7b-v3",) * 2,
        ] == [(model.id, model.label) for model in models]
        assert models[1].id == client.get_model(models[1].id)


@responses.activate
@pytest.mark.parametrize(
    "page",
    [
        None, 7, [], {}, {"nodes": 1}, {"nodes": []}, {"nodes": [None]}, {"nodes": [{"data": {}}]},
        {"nodes": [{"data": [{"models": 9}]}]}, {"nodes": [{"data": [{"models": -1}]}]},
        {"nodes": [{"data": [{"models": 1}, [2, "x", None], {"id": 3}, 5]}]},
    ],
)  # fmt: skip
def test_models__unreadable_is_the_built_in_list(page: Any) -> None:
    """Where the server does not say, the built-in list stands."""
    responses.get("https://h2o.test/__data.json", json=page)
    with H2O("https://h2o.test") as client:
        assert [MODEL] == [model.id for model in client.models()]


def test_models__of_a_server_without_a_list() -> None:
    """A server that does not know the path has the built-in model."""
    with replay("chatui/A/upstream_empty") as server, H2O(server.url) as client:
        assert [MODEL] == [model.id for model in client.models()]


def test_get_model__unknown() -> None:
    """A name that is not there names what is."""
    with pytest.raises(ModelNotFoundError, match="falcon-40b"):
        H2O.get_model("falcon")


def test_get_model__that_only_the_server_lists() -> None:
    """What is not built in is known after models(), as its refusal says; nothing is sent for it."""
    other = "h2oai/h2ogpt-gm-oasst1-en-2048-falcon-7b-v2"
    with Emulator(("h2o",)) as emulator, H2O(emulator.url("h2o")) as client:
        with pytest.raises(ModelNotFoundError, match=r"models\(\) learns what else"):
            client.stream("Hi", model=other)
        assert [] == emulator.requests
        client.models()
        assert other == client.chat("Hi", model=other).model
        with pytest.raises(ModelNotFoundError, match=r"are: .*7b-v2$"):
            client.stream("Hi", model="nix")


@pytest.mark.parametrize("era", ["B", "D", "C"])
def test_create__of_a_newer_server(era: str, quick: RetryPolicy) -> None:
    """A chat-ui that is not of 2023 is told, with the client that fits it."""
    with Emulator(("chat-ui",), era=era) as emulator:
        url = emulator.url("chat-ui")
        with H2O(url, retry=quick) as client:
            with pytest.raises(UsageError, match=rf"chat-ui of 2024 or later: use ChatUI\('{url}'"):
                client.chat("Hi")


def test_create__a_model_that_the_server_lacks(quick: RetryPolicy) -> None:
    """The bare 500 that this era answers to it gets a hint."""
    with Emulator(("h2o",), h2o_models=["other"]) as emulator:
        with H2O(emulator.url("h2o"), retry=quick) as client:
            with pytest.raises(ServerError, match=r"does it offer .*40b") as caught:
                client.chat("Hi")

    assert ("settings", 3) == (caught.value.phase, caught.value.attempts)


def test_create__terms_are_accepted(quick: RetryPolicy) -> None:
    """A server with a welcome page answers, because the settings come first."""
    with Emulator(("h2o",), disclaimer=True) as emulator:
        with H2O(emulator.url("h2o"), retry=quick) as client:
            assert client.chat("Hi").text
        assert ["delete"] == emulator.goodbyes


def test_refusal__welcome_page(server: Emulator, client: H2O) -> None:
    """Terms that are wanted all the same are an AuthError, raised at once."""
    said = b'{"error":"You need to accept the welcome modal first"}'
    server.fail("status", step="create", status=405, body=said)
    with pytest.raises(AuthError, match="welcome modal") as caught:
        client.chat("Hi")

    assert (True, 1) == (caught.value.lasting, caught.value.attempts)


def test_refusal__foreign_referer(server: Emulator) -> None:
    """A Referer of another origin is named as the cause."""
    with H2O(server.url("h2o"), headers={"Referer": "https://else.test/"}) as client:
        with pytest.raises(AuthError, match="no Referer among your headers") as caught:
            client.chat("Hi")

    assert ("settings", 403) == (caught.value.phase, caught.value.status)


def test_refusal__a_lost_session(server: Emulator, client: H2O) -> None:
    """A kept conversation that the server no longer knows says what to do."""
    talk = client.conversation()
    talk.chat("one")
    talk.cookies.clear()
    with pytest.raises(NotFoundError, match="begin a new conversation"):
        talk.chat("two")


def test_refusal__too_many_messages(quick: RetryPolicy) -> None:
    """The server's own limit is waited for, then raised."""
    with Emulator(("h2o",), messages_per_minute=0) as emulator:
        with H2O(emulator.url("h2o"), retry=quick) as client:
            client.conversation().chat("one")
            talk = client.conversation()
            talk.cookies["hf-chat"] = emulator.requests[-1].cookies()["hf-chat"]
            with pytest.raises(RateLimitError, match="too many messages") as caught:
                talk.chat("two")

    assert 3 == caught.value.attempts


def test_title__is_asked_for_only_when_wanted(server: Emulator, client: H2O) -> None:
    """title=True costs one request after the answer, before the goodbye."""
    events = list(client.stream("Hi", title=True).events())
    client.close()

    assert [Finish, Title] == [type(event) for event in events][-2:]
    assert Title("About Hi") == events[-1]
    assert ["settings", "create", "message", "summarize", "delete"] == steps(server)


@pytest.mark.parametrize("kind", ["status", "stall", "cut", "html", "json"])
def test_title__never_holds_up_or_spoils_an_answer(
    server: Emulator, client: H2O, kind: str
) -> None:
    """A title that fails or does not come leaves the reply complete, and soon."""
    server.fail(kind, step="summarize", at=0, times=9)
    stream = client.stream("Hi", title=True)
    start = time.monotonic()
    text = "".join(stream)
    reply = stream.reply()

    assert time.monotonic() - start < 2
    assert (text, None, False) == (reply.text, reply.title, reply.rewritten)
    assert 1 == steps(server).count("summarize")
    assert wait_until(lambda: server.goodbyes == ["delete"])


def test_title__not_asked_for_without_an_answer(server: Emulator, client: H2O) -> None:
    """An incomplete reply gets no title."""
    server.fail("empty")
    with pytest.raises(IncompleteReplyError):
        client.chat("Hi", title=True)

    assert "summarize" not in steps(server)


def test_reply__stop_word_removed() -> None:
    """Where TGI takes a stop word out of its final text, that text is the reply."""
    with (
        Emulator(("h2o",), replies=Answer(tokens=["Answer", "</s>"], final="Answer")) as emulator,
        H2O(emulator.url("h2o")) as client,
    ):
        reply = client.chat("Hi")

    assert ("Answer", True) == (reply.text, reply.rewritten)


def test_reply__right_trim_is_no_rewriting() -> None:
    """A bare right-trim of the final text does not count: the pieces stand."""
    with (
        Emulator(("h2o",), replies=Answer(tokens=["Answer", " \n"], final="Answer")) as emulator,
        H2O(emulator.url("h2o")) as client,
    ):
        reply = client.chat("Hi")

    assert ("Answer \n", False) == (reply.text, reply.rewritten)


def test_reply__final_text_extends_the_pieces() -> None:
    """What the final text has beyond the pieces is given as a last piece."""
    with (
        Emulator(("h2o",), replies=Answer(tokens=["Ans"], final="Answer")) as emulator,
        H2O(emulator.url("h2o")) as client,
    ):
        assert ["Ans", "wer"] == list(client.stream("Hi"))


@pytest.mark.parametrize(
    ("updates", "expected"),
    [
        pytest.param([{"token": {"text": "a"}}], [Text("a")], id="special-left-out"),
        pytest.param([{"token": {"text": "a", "special": True}}], [], id="special"),
        pytest.param([{"new": 1}], [Unknown({"new": 1})], id="unknown"),
        pytest.param(
            [
                {"token": {"text": "</s>", "special": True}, "generated_text": ""},
                {"token": {"text": "late"}, "generated_text": "late"},
            ],
            [Finish("stop", ""), Unknown({"token": {"text": "late"}, "generated_text": "late"})],
            id="after-the-end-mark",
        ),
        pytest.param(
            [{"generated_text": "x"}],
            [Unknown({"generated_text": "x"}), Finish("stop", "x")],
            id="end-mark-alone",
        ),
        pytest.param(
            [
                {
                    "token": {"text": "a", "special": False},
                    "generated_text": "a",
                    "details": {"finish_reason": "stop_sequence", "generated_tokens": 3},
                }
            ],
            [Text("a"), Usage(completion_tokens=3), Finish("stop", "a")],
            id="details",
        ),
        pytest.param(
            [
                {
                    "token": {"text": "</s>", "special": True},
                    "generated_text": "",
                    "details": {"finish_reason": "length", "generated_tokens": "3"},
                }
            ],
            [Finish("length", "")],
            id="details-length",
        ),
        pytest.param(
            [{"token": {"text": "\ud83d"}}, {"token": {"text": "!"}, "generated_text": "\ud83d!"}],
            [Text("\ud83d!"), Finish("length", "\ud83d!")],
            id="half-alone",
        ),
        pytest.param(
            [{"token": {"text": "a\ud83d"}, "generated_text": "a\ud83d", "details": 5}],
            [Text("a"), Text("\ud83d"), Finish("length", "a\ud83d")],
            id="half-at-the-end",
        ),
    ],
)
def test_read__each_kind_of_update(updates: list[Any], expected: list[Any]) -> None:
    """What an update says becomes its event; nothing is dropped in silence."""
    assert expected == list(_read((json.dumps(each), "message") for each in updates))


_ODD = st.sampled_from([None, True, False, 0, 7, "", "a", "\ud83d", "\ude00b", [], {}, ["a"]])
_TOKEN = st.fixed_dictionaries({"text": st.just("a") | _ODD, "special": st.booleans() | _ODD})
_UPDATE = st.fixed_dictionaries(
    {"token": _TOKEN | _TOKEN | _ODD, "generated_text": st.none() | _ODD},
    optional={"error": st.just("") | _ODD, "details": _ODD},
)


@settings(deadline=None)
@given(st.lists(st.tuples(_UPDATE, st.booleans()), max_size=8))
def test_read__the_short_way_gives_what_the_long_one_gives(updates: list[Any]) -> None:
    """A token that is only text means the same, whichever way it is read."""

    def told() -> list[Any]:
        plain = {"token": {"text": "a", "special": False}, "generated_text": None}
        given = [each if short else (json.dumps(each), "message") for each, short in updates]
        events: list[Any] = []
        try:
            events.extend(_read(step for each in given for step in (plain, each)))
        except C4AIError as error:
            events.append((type(error), str(error)))
        return events

    short = told()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(h2o, "_only_text", lambda event: None)
        assert told() == short


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        pytest.param("data:not JSON\n\n", ProtocolError, "not JSON", id="no-json"),
        pytest.param("data:[1]\n\n", ProtocolError, "JSON object", id="list"),
        pytest.param("data:\n\n", ProtocolError, "JSON", id="empty-data"),
        pytest.param(tgi("a", 7), ProtocolError, "generated_text", id="end-mark-of-a-wrong-type"),
        pytest.param('data:{"token":{"text":7}}\n\n', ProtocolError, '"text": 7', id="text-7"),
        pytest.param('data:{"token":[1]}\n\n', ProtocolError, "token", id="token-list"),
        pytest.param(
            'data:{"token":{"text":"a","special":"no"}}\n\n',
            ProtocolError,
            '"special": "no"',
            id="special-of-a-wrong-type",
        ),
        pytest.param('data:{"error":"E"}\n\n', ModelError, "E", id="error"),
        pytest.param('data:{"error":{"a":"E"}}\n\n', ModelError, '"a": "E"', id="error-object"),
        pytest.param('event:error\ndata:{"m":"E"}\n\n', ModelError, '"m": "E"', id="error-event"),
        pytest.param('[{"generated_text":"x"}]', ProtocolError, "generated_text", id="array"),
        pytest.param('{"error":"E"}', ProtocolError, '"error":"E"', id="json-body"),
        pytest.param(b'data:{"a":"\xff"}\n\n', ProtocolError, "UTF-8", id="latin-1"),
        pytest.param(tgi("a", "a")[:-1], IncompleteReplyError, "ended", id="half-an-event"),
        pytest.param(tgi("a"), IncompleteReplyError, "ended", id="no-end-mark"),
    ],
)
@responses.activate
def test_answers_that_are_no_reply(body: str, error: type[C4AIError], words: str) -> None:
    """Each is an error that quotes what came."""
    script(body)
    with H2O("https://h2o.test") as client, pytest.raises(error, match=words):
        client.chat("Hi")


@responses.activate
@pytest.mark.parametrize("made", [None, 7, {}, {"conversationId": 7}, {"conversationId": "../x"}])
def test_create__no_id(made: Any) -> None:
    """A create answer without an id that can be one is a ProtocolError."""
    responses.post("https://h2o.test/settings")
    responses.post("https://h2o.test/conversation", json=made)
    with H2O("https://h2o.test") as client, pytest.raises(ProtocolError, match="conversation id"):
        client.chat("Hi")


@responses.activate
@pytest.mark.parametrize("made", [None, 7, {}, {"title": 7}])
def test_title__of_a_wrong_type(made: Any) -> None:
    """A title that is none is told as unknown."""
    script(tgi("ok", "ok"))
    responses.post(f"https://h2o.test/conversation/{NAME}/summarize", json=made)
    with H2O("https://h2o.test") as client:
        events = list(client.stream("Hi", title=True).events())

    assert Unknown(made) == events[-1]


_json = st.sampled_from(
    [None, True, False, 0, 1, -1, 0.5, "", "a", "0", "\ud83d", [], [1], [[]], {}, {"a": [None]}]
)
_update = st.fixed_dictionaries(
    {},
    optional={
        "token": _json
        | st.fixed_dictionaries({}, optional={"text": _json, "special": _json, "id": _json}),
        "generated_text": _json,
        "details": _json | st.fixed_dictionaries({}, optional={"finish_reason": _json}),
        "error": _json,
    },
)


@settings(deadline=None, max_examples=300)
@given(st.lists(_update, max_size=3))
def test_read__any_json_is_events_or_our_error(updates: list[Any]) -> None:
    """Whatever types the fields have, only our own errors come, and no text but tokens'."""
    texts = [
        each["token"]["text"]
        for each in updates
        if isinstance(each.get("token"), dict)
        and each["token"].get("special", False) is False
        and isinstance(each["token"].get("text"), str)
    ]
    said = ""
    try:
        for event in _read((json.dumps(each), "message") for each in updates):
            said += event.text if isinstance(event, Text) else ""
    except C4AIError:
        pass

    assert "".join(texts).startswith(said)


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0}, {"temperature": -1}, {"temperature": "1"}, {"temperature": True},
        {"temperature": float("nan")}, {"temperature": float("inf")}, {"temperature": None},
        {"truncate": 0}, {"truncate": 1.5}, {"truncate": None},
        {"max_new_tokens": -1}, {"max_new_tokens": "9"}, {"max_new_tokens": True},
        {"do_sample": 1}, {"do_sample": None}, {"repetition_penalty": 0},
        {"use_cache": "yes"}, {"web_search_id": None}, {"web_search_id": 7},
        {"title": 1}, {"keep": "yes"}, {"keep": 0}, {"files": [b"x"]},
        {"messages": [{"role": "user", "content": ["What?", IMAGE]}]},
        {"messages": [{"role": "user", "content": [IMAGE]}, {"role": "user", "content": "x"}]},
        {"messages": " "},
    ],
    ids=str,
)  # fmt: skip
def test_usage__said_at_the_call(server: Emulator, client: H2O, options: dict[str, Any]) -> None:
    """What cannot be sent is a UsageError at the call, and nothing is sent."""
    with pytest.raises(UsageError):
        client.stream(**{"messages": "Hi", **options})

    assert [] == server.requests
