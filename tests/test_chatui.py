"""chat-ui against the emulator, over real sockets."""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
import time
from pathlib import Path

import peers
import pytest
import responses
from any_client import WAYS, joined, leave
from conftest import wait_until
from replay import CAPTURES, Exchange, recorded, replay
from test_stream import stream_of

from c4ai_clients import (
    AuthError,
    C4AICommand,
    CancelledError,
    ChatUI,
    IncompleteReplyError,
    ModelError,
    ModelNotFoundError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    RetryPolicy,
    StatusError,
    UsageError,
)
from c4ai_clients.decoding import jsonl
from c4ai_clients.emulator import Answer, Emulator
from c4ai_clients.events import File, Finish, Reasoning, Started, Text, Title, Unknown
from c4ai_clients.providers import chatui_turn
from c4ai_clients.providers.chatui_updates import Thinking, read
from c4ai_clients.stream import Stream

HOSTILE = [
    pytest.param(["ha", "ha", "ha"], id="repeats"),
    pytest.param(["[", "]", "[[", '{"a": [1]}', "]]"], id="brackets"),
    pytest.param(["a\u2028b", "\u2029", "\u0085", "c\r\nd"], id="separators"),
    pytest.param(["\ud83d", "\ude00", "!"], id="halves"),
    pytest.param(["👩‍👩‍👧‍👦", "é", "日本語"], id="emoji"),
    pytest.param(["  two", "\n\n\tspaces  ", "in"], id="spaces"),
    pytest.param(["nul\0in", "side"], id="nul-inside"),
    pytest.param([" "], id="blank"),
    pytest.param(["x" * 5000, "y"], id="long-token"),
]


@pytest.mark.parametrize("era", ["B", "C"])
@pytest.mark.parametrize("tokens", HOSTILE)
def test_stream__text_is_exact(era: str, tokens: list[str]) -> None:
    """The pieces joined are the model's text, whatever is in it."""
    with (
        Emulator(("chat-ui",), era=era, replies=Answer(tokens=tokens)) as emulator,
        C4AICommand(emulator.url("chat-ui")) as client,
    ):
        assert joined(tokens) == "".join(client.stream("Hi"))


def test_stream__pieces_in_order() -> None:
    """Pieces come as the server sends them."""
    with (
        Emulator(("chat-ui",), replies=Answer(tokens=["a", "b", "c"])) as emulator,
        C4AICommand(emulator.url("chat-ui")) as client,
    ):
        stream = client.stream("Hi")
        assert ["a", "b", "c"] == list(stream)
        assert stream.done
        assert "abc" == stream.text == stream.reply().text == str(stream.reply())


def test_stream__makes_one_conversation(emulator: Emulator) -> None:
    """A first turn creates, asks for the parent and posts; a second goes on."""
    with C4AICommand(emulator.url("c4ai-command")) as client:
        stream = client.stream("one", system="Be brief.")
        stream.reply()
        stream.conversation.chat("two")

    assert ["create", "conversation", "message", "conversation", "message"] == [
        request.step for request in emulator.requests
    ]
    assert {"model": "command-a-03-2025", "preprompt": "Be brief."} == emulator.requests[0].json()
    assert 1 == emulator.connections


def test_stream__cut_is_an_error_and_not_asked_again(quick: RetryPolicy) -> None:
    """A cut reply raises with exactly what came, and the message is processed once."""
    with (
        Emulator(("chat-ui",), replies=Answer(tokens=["one ", "two ", "three"])) as emulator,
        C4AICommand(emulator.url("chat-ui"), retry=quick) as client,
    ):
        emulator.fail("cut", at=200)
        stream = client.stream("Hi")
        with pytest.raises(IncompleteReplyError) as caught:
            list(stream)

        assert "one two three".startswith(caught.value.partial)
        assert caught.value.partial == stream.text != "one two three"
        assert ("c4ai-command", "message", 1) == (
            caught.value.provider,
            caught.value.phase,
            caught.value.attempts,
        )
        with pytest.raises(IncompleteReplyError):
            stream.reply()
        assert 1 == emulator.processed


def test_stream__ended_without_its_end_mark(quick: RetryPolicy) -> None:
    """A body that ends cleanly without finalAnswer is not a reply."""
    with Emulator(("chat-ui",)) as emulator, ChatUI(emulator.url("chat-ui"), retry=quick) as client:
        emulator.fail("empty")
        with pytest.raises(IncompleteReplyError):
            client.chat("Hi", model="command-a-03-2025")
        assert 1 == sum(request.step == "message" for request in emulator.requests)


def test_stream__model_error(quick: RetryPolicy) -> None:
    """What the server says about its model's failure is a ModelError with the text so far."""
    answer = Answer(tokens=["one ", "two"], error="500 upstream exploded", error_after=1)
    with (
        Emulator(("chat-ui",), replies=answer) as emulator,
        C4AICommand(emulator.url("chat-ui"), retry=quick) as client,
    ):
        with pytest.raises(ModelError, match="upstream exploded") as caught:
            client.chat("Hi")

        assert "one " == caught.value.partial
        assert 1 == emulator.processed


ROOT: dict[str, object] = {"id": "root1", "from": "system", "content": ""}
SAVED: dict[str, object] = {"id": "u1", "from": "user", "content": "Hi"}


@pytest.mark.parametrize(
    ("trees", "posts"),
    [
        pytest.param([[ROOT], [ROOT]], 2, id="not-taken"),
        pytest.param([[ROOT, SAVED]], 1, id="saved"),
        pytest.param([[ROOT], [ROOT, SAVED]], 1, id="saved-late"),
        pytest.param([[]], 1, id="no-messages"),
        pytest.param([[None, None]], 1, id="nulls"),
        pytest.param([[SAVED]], 1, id="without-its-root"),
        pytest.param([[ROOT, SAVED | {"id": 17}]], 1, id="an-id-that-is-a-number"),
        pytest.param([[ROOT, SAVED | {"id": "a:1"}]], 1, id="an-odd-id"),
        pytest.param([[ROOT, {"from": "user", "content": "Hi"}]], 1, id="no-id"),
    ],
)
def test_stream__ended_without_a_byte(
    trees: list[list[object]],
    posts: int,
    monkeypatch: pytest.MonkeyPatch,
    quick: RetryPolicy,
) -> None:
    """The message is sent again only where the tree shows that the server has not taken it."""
    monkeypatch.setattr(chatui_turn, "_SAVING", 0.01)
    monkeypatch.setattr(chatui_turn, "_SAVING_LATE", 0.01)
    made = {"conversationId": "abc", "conversation": '{"json": {"rootMessageId": "root1"}}'}
    shown, asked = iter(trees), []

    def handle(connection: socket.socket) -> None:
        while request := peers.read_request(connection):
            if request.startswith(b"POST /conversation/abc "):
                asked.append(request)
                if len(asked) == 1:
                    return
                connection.sendall(peers.http(b'{"type":"finalAnswer","text":"ok"}\n'))
            elif request.startswith(b"POST /conversation "):
                connection.sendall(peers.http(json.dumps(made).encode()))
            elif request.startswith(b"GET /api/conversation/abc "):
                connection.sendall(peers.http(json.dumps({"messages": next(shown)}).encode()))
            else:
                connection.sendall(peers.http(b"no", status="404 Not Found"))

    with (
        peers.listening(handle) as address,
        C4AICommand(f"http://{address}", retry=quick) as client,
    ):
        stream = client.stream("Hi")
        if posts == 1:
            with pytest.raises(IncompleteReplyError) as caught:
                stream.reply()
            assert "" == caught.value.partial
        else:
            assert "ok" == stream.reply().text

    assert posts == len(asked)
    assert next(shown, None) is None


@pytest.mark.parametrize("step", ["create", "conversation", "message"])
def test_stream__refused_then_answered(step: str, quick: RetryPolicy) -> None:
    """A step that was not taken is tried again; the message is processed once."""
    with (
        Emulator(("chat-ui",)) as emulator,
        C4AICommand(emulator.url("chat-ui"), retry=quick) as client,
    ):
        emulator.fail("status", step=step, status=503)
        assert client.chat("Hi").text
        assert 1 == emulator.processed


@pytest.mark.parametrize("way", WAYS)
def test_stream__leaving_hangs_up(way: str) -> None:
    """However a caller leaves, the server sees the connection go at once."""
    with (
        Emulator(("chat-ui",), replies=Answer(tokens=["word "] * 500), pace=0.02) as emulator,
        C4AICommand(emulator.url("chat-ui")) as client,
    ):
        leave(client, way)

        assert wait_until(lambda: emulator.hang_ups == ["message"])


def test_cancel__from_another_thread() -> None:
    """A reader blocked on a silent server wakes with CancelledError."""
    with (
        Emulator(("chat-ui",), replies=Answer(tokens=["one", "two"])) as emulator,
        C4AICommand(emulator.url("chat-ui")) as client,
    ):
        emulator.fail("stall", at=0, seconds=30)
        stream = client.stream("Hi")
        timer = threading.Timer(0.2, stream.cancel)
        timer.start()
        with pytest.raises(CancelledError):
            next(stream)
        timer.join()

        assert wait_until(lambda: emulator.hang_ups == ["message"])


def test_events__everything_typed() -> None:
    """Events tell the start, reasoning, text, title and finish."""
    answer = Answer(tokens=["yes"], reasoning=["let me ", "think"], title="🌍 Earth")
    with (
        Emulator(("chat-ui",), replies=answer) as emulator,
        C4AICommand(emulator.url("chat-ui")) as client,
    ):
        stream = client.stream("Hi")
        events = list(stream.events())
        reply = stream.reply()

    kinds = [type(event) for event in events]
    assert Started is kinds[0]
    assert stream.conversation is events[0].conversation
    assert [Reasoning("let me "), Reasoning("think")] == [
        event for event in events if isinstance(event, Reasoning)
    ]
    assert [Text("yes"), Finish("stop", "yes")] == [
        event for event in events if isinstance(event, (Text, Finish))
    ]
    assert Title("🌍 Earth") in events
    assert ("yes", "let me think", "🌍 Earth", "stop", "command-a-03-2025") == (
        reply.text,
        reply.reasoning,
        reply.title,
        reply.finish_reason,
        reply.model,
    )
    assert json.loads(json.dumps(reply.to_dict()))["text"] == "yes"


def test_events__a_late_title_holds_no_text_up() -> None:
    """A title that comes after the answer is in the reply, and the pieces did not wait."""
    answer = Answer(tokens=["a", "b"], title="Late", late_title=True)
    with (
        Emulator(("chat-ui",), replies=answer) as emulator,
        C4AICommand(emulator.url("chat-ui")) as client,
    ):
        stream = client.stream("Hi")
        assert "ab" == next(stream) + next(stream)
        assert "Late" == stream.reply().title


@pytest.mark.parametrize(
    ("tokens", "reasoning", "text"),
    [
        (["\n", " <th", "ink>", "hm", "</thi", "nk>", "\n", "\n yes", " "], "hm", "yes "),
        (["<think>a</think>b"], "a", "b"),
        (["<think>a </thin", "g></think>", " "], "a </thing>", ""),
        (["<think>", "a</th"], "a</th", ""),
        ([" ", "\n", "<thi", "s>"], "", " \n<this>"),
        ([" ", "<thi"], "", " <thi"),
        ([" ", "\n"], "", " \n"),
        (["a<think>b</think>"], "", "a<think>b</think>"),
    ],
)
def test_thinking__is_parted_wherever_it_is_cut(
    tokens: list[str], reasoning: str, text: str
) -> None:
    """What stands between the tags is reasoning; half a tag that stays half is text."""
    thinking = Thinking()
    events = [*(event for token in tokens for event in thinking.parted(token))]
    events += thinking.parted("", last=True)

    assert reasoning == "".join(event.text for event in events if isinstance(event, Reasoning))
    assert text == "".join(event.text for event in events if isinstance(event, Text))


def test_thinking__costs_in_proportion() -> None:
    """White space before a tag is not copied for each of its tokens."""
    thinking = Thinking()
    start = time.process_time()
    for _ in range(40_000):
        assert [] == list(thinking.parted(" " * 10))

    assert [Text(" " * 400_000 + "a")] == list(thinking.parted("a"))
    assert time.process_time() - start < 3


def test_reply__rewritten() -> None:
    """Where the server's final text differs from the pieces, the reply says so."""
    answer = Answer(tokens=["Answer", "</s>"], final="Answer")
    with (
        Emulator(("chat-ui",), replies=answer) as emulator,
        C4AICommand(emulator.url("chat-ui")) as client,
    ):
        reply = client.chat("Hi")

    assert ("Answer", True) == (reply.text, reply.rewritten)


def test_reply__right_trim_is_no_rewriting() -> None:
    """The server's own right-trim of its final text does not count: the pieces stand."""
    with (
        Emulator(
            ("chat-ui",), replies=Answer(tokens=["Answer", " \n"], final="Answer")
        ) as emulator,
        C4AICommand(emulator.url("chat-ui")) as client,
    ):
        reply = client.chat("Hi")

    assert ("Answer \n", False) == (reply.text, reply.rewritten)


def test_reply__final_text_extends_the_pieces() -> None:
    """What the final text has beyond the pieces is given as a last piece."""
    with (
        Emulator(("chat-ui",), replies=Answer(tokens=["Ans"], final="Answer")) as emulator,
        C4AICommand(emulator.url("chat-ui")) as client,
    ):
        stream = client.stream("Hi")
        assert ["Ans", "wer"] == list(stream)
        assert ("Answer", False) == (stream.reply().text, stream.reply().rewritten)


def test_text__a_true_nul_at_the_end_of_a_padded_token_is_lost() -> None:
    """Padding cannot be told from it: the one character that chat-ui itself loses."""
    with (
        Emulator(("chat-ui",), replies=Answer(tokens=["a\0", "b"])) as emulator,
        C4AICommand(emulator.url("chat-ui")) as client,
    ):
        stream = client.stream("Hi")
        assert ["a", "b"] == list(stream)
        assert ("a\0b", True) == (stream.reply().text, stream.reply().rewritten)


def test_request__as_the_recordings_have_it() -> None:
    """The message is multipart with one JSON field, from the server's own origin."""
    with (
        Emulator(("chat-ui",)) as emulator,
        C4AICommand(emulator.url("chat-ui"), api_key="k", headers={"X-Mine": "1"}) as client,
    ):
        client.chat("Hi", web_search=True, tools=["abc"])
        message = emulator.requests[-1]

    data = json.loads(message.form().fields["data"])
    parent, generation = data.pop("id"), data.pop("generationId")
    assert {
        "inputs": "Hi",
        "is_retry": False,
        "is_continue": False,
        "web_search": True,
        "tools": ["abc"],
    } == data
    assert len(parent) == len(generation) == 36
    assert emulator.url("chat-ui") == message.headers["Origin"]
    assert message.headers["Referer"].startswith(emulator.url("chat-ui"))
    assert message.headers["User-Agent"].startswith("c4ai-clients/")
    assert ("1", "Bearer k") == (message.headers["X-Mine"], message.headers["Authorization"])
    # With a session there is no need of a key under /api, and servers of 2026 refuse it.
    assert (
        "Authorization"
        not in next(
            request for request in emulator.requests if request.step == "conversation"
        ).headers
    )


@responses.activate
def test_request__every_header_can_be_overridden() -> None:
    """The caller's headers win over ours."""
    responses.post("https://chat.test/conversation", json={"conversationId": "abc"})
    responses.get("https://chat.test/api/conversation/abc", json={"messages": [{"id": "root"}]})
    responses.post(
        "https://chat.test/conversation/abc", body='{"type":"finalAnswer","text":"ok"}\n'
    )
    mine = {"user-agent": "me", "Origin": "https://else.test", "accept": "text/plain"}
    client = ChatUI("https://chat.test", model="m", headers=mine)
    assert "ok" == client.chat("Hi").text

    sent = responses.calls[-1].request.headers
    assert ("me", "https://else.test", "text/plain") == (
        sent["User-Agent"],
        sent["Origin"],
        sent["Accept"],
    )


def test_prompt__a_list_becomes_one_formatted_prompt(emulator: Emulator) -> None:
    """System messages become the preprompt, the others one prompt."""
    with C4AICommand(emulator.url("chat-ui")) as client:
        client.chat(
            [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "one"},
                {"role": "system", "content": "Be kind."},
                {"role": "assistant", "content": "1"},
                {"role": "user", "content": "two"},
            ]
        )

    assert "Be brief.\nBe kind." == emulator.requests[0].json()["preprompt"]
    assert (
        "User: one\nAssistant: 1\nUser: two\nAssistant:"
        == json.loads(emulator.requests[-1].form().fields["data"])["inputs"]
    )


def test_conversation__another_model_makes_a_new_one(emulator: Emulator) -> None:
    """Where the model differs a new conversation carries on; the caller's stays as it was."""
    with C4AICommand(emulator.url("chat-ui")) as client:
        talk = client.conversation()
        first = talk.chat("one")
        before = (talk.id, list(talk.messages))
        stream = talk.stream("two", model="command-r")
        stream.reply()

    assert before == (talk.id, talk.messages)
    assert stream.conversation is not talk
    assert stream.conversation.id != talk.id
    assert "command-r-08-2024" == stream.conversation.model
    assert [m["content"] for m in stream.conversation.messages][:3] == ["one", first.text, "two"]


@pytest.mark.parametrize("era", ["B", "C"])
def test_conversation__saved_and_taken_up_again(era: str, tmp_path: Path) -> None:
    """A saved conversation goes on in the same conversation of the server's."""
    with Emulator(("chat-ui",), era=era) as emulator:
        with C4AICommand(emulator.url("chat-ui")) as client:
            talk = client.conversation(system="Be brief.")
            talk.chat("one")
            talk.save(tmp_path / "talk.json")
        with C4AICommand(emulator.url("chat-ui")) as client:
            again = type(talk).load(tmp_path / "talk.json", client)
            again.chat("two")

        assert talk.id == again.id
        assert 4 == len(again.messages)
        assert 1 == sum(request.step == "create" for request in emulator.requests)
    assert 0o600 == (tmp_path / "talk.json").stat().st_mode & 0o777


def test_conversation__a_secure_cookie_goes_back_over_plain_http(emulator: Emulator) -> None:
    """Without the session cookie the second turn would not find its conversation."""
    with C4AICommand(emulator.url("chat-ui")) as client:
        talk = client.conversation()
        talk.chat("one")
        talk.chat("two")

        assert ["hf-chat"] == list(talk.cookies)
        assert talk.cookies["hf-chat"] in emulator.requests[-1].headers["Cookie"]
        assert talk.cookies["hf-chat"] not in repr(talk) + repr(client)


def test_conversation__deleted(emulator: Emulator) -> None:
    """A deleted conversation is gone from the server; its text is still known."""
    with C4AICommand(emulator.url("chat-ui")) as client:
        talk = client.conversation()
        talk.chat("one")
        talk.delete()

        assert talk.id is None
        assert "delete" == emulator.requests[-1].step
        assert 2 == len(talk.messages)


def test_conversation__lost_session(emulator: Emulator) -> None:
    """A conversation that the server no longer knows is said to be lost."""
    with C4AICommand(emulator.url("chat-ui")) as client:
        talk = client.conversation()
        talk.chat("one")
        talk.cookies.clear()
        with pytest.raises(NotFoundError, match="session was lost"):
            talk.chat("two")


def test_files__go_along(tmp_path: Path) -> None:
    """A file is sent as Base64 text under a prefixed name."""
    picture = tmp_path / "dot.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n123")
    model = C4AICommand.built_in_models[0]
    with (
        Emulator(("chat-ui",), multimodal=[model]) as emulator,
        C4AICommand(emulator.url("chat-ui")) as client,
    ):
        client.chat("What is it?", files=[picture, b"plain"])
        body = emulator.requests[-1].body

    assert b'filename="base64;dot.png"' in body
    assert base64.b64encode(picture.read_bytes()) in body
    assert b'filename="base64;file-2.txt"' in body


def test_files__not_for_a_default_that_reads_text_only() -> None:
    """Where no model is named, it is the server's default that must take files."""
    with Emulator(("chat-ui",), models=["text", "eyes"], multimodal=["eyes"]) as emulator:
        with ChatUI(emulator.url("chat-ui")) as client:
            with pytest.raises(UsageError, match=r"text reads text only.* take files: eyes"):
                client.chat("Hi", files=[b"x"])
            assert ["/api/models"] == [request.path for request in emulator.requests]
            assert "eyes" == client.chat("Hi", model="eyes", files=[b"x"]).model


def test_models__as_the_server_lists_them(emulator: Emulator) -> None:
    """models() asks the server, and get_model() then knows its names."""
    with ChatUI(emulator.url("chat-ui")) as client:
        names = [model.id for model in client.models()]
        assert list(C4AICommand.built_in_models) == names
        assert names[0] == client.get_model(names[0])
        with pytest.raises(ModelNotFoundError):
            client.get_model("nix")


def test_models__the_first_listed_where_none_is_named(emulator: Emulator) -> None:
    """A server of unknown models is asked for its first one."""
    with ChatUI(emulator.url("chat-ui")) as client:
        reply = client.chat("Hi")

    assert "command-a-03-2025" == reply.model
    assert ["models", "create"] == [request.step for request in emulator.requests][:2]


def test_get_model__class_and_instance() -> None:
    """An alias is translated; anything unknown is refused with the nearest spelling."""
    assert "command-a-03-2025" == C4AICommand.get_model("command-a")
    assert "command-r7b-12-2024" == C4AICommand().get_model("command-r7b-12-2024")
    assert "anything" == ChatUI.get_model("anything")
    with pytest.raises(ModelNotFoundError, match=r"did you mean 'command-a'.*command-r-08-2024"):
        C4AICommand.get_model("comand-a")


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        pytest.param({"login_required": True}, AuthError, "logged in", id="login"),
        pytest.param({"max_message_length": 1}, StatusError, "too long", id="too-long"),
        pytest.param({"messages_per_minute": 0}, RateLimitError, "too many", id="rate"),
        pytest.param({"max_conversations": 0}, RateLimitError, "another conversation", id="count"),
        pytest.param(
            {"models": ["other"]},
            StatusError,
            "Invalid request.*does it offer the model 'command-a-03-2025'",
            id="unknown-model",
        ),
    ],
)
def test_refusals__in_the_servers_words(
    settings: dict[str, object], error: type[StatusError], words: str, quick: RetryPolicy
) -> None:
    """What a server refuses is told by its own words and the right class."""
    with (
        Emulator(("chat-ui",), **settings) as emulator,
        C4AICommand(emulator.url("chat-ui"), retry=quick) as client,
    ):
        with pytest.raises(error, match=words):
            client.chat("Hi there")
        assert 0 == emulator.processed


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        pytest.param("html", ProtocolError, id="html"),
        pytest.param("garbage", ProtocolError, id="garbage"),
        pytest.param("json", ProtocolError, id="json"),
    ],
)
def test_answers_that_are_no_stream(kind: str, error: type[Exception], quick: RetryPolicy) -> None:
    """A 200 that is no stream is an error that quotes it."""
    with (
        Emulator(("chat-ui",)) as emulator,
        C4AICommand(emulator.url("chat-ui"), retry=quick) as client,
    ):
        emulator.fail(kind)
        with pytest.raises(error):
            client.chat("Hi")


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda c: c.stream(""), id="empty"),
        pytest.param(lambda c: c.stream("  "), id="blank"),
        pytest.param(lambda c: c.stream([]), id="no-messages"),
        pytest.param(lambda c: c.stream([{"role": "boss", "content": "x"}]), id="role"),
        pytest.param(lambda c: c.stream([{"role": "assistant", "content": "x"}]), id="last"),
        pytest.param(lambda c: c.stream([{"role": "user", "content": 7}]), id="content"),
        pytest.param(lambda c: c.stream(7), id="type"),
        pytest.param(lambda c: c.stream("x", timeout=-1), id="timeout"),
        pytest.param(lambda c: c.stream("x", files="path"), id="files"),
        pytest.param(lambda c: c.stream("x", files=["/no/such/file"]), id="no-file"),
        pytest.param(lambda c: c.stream("x", files=[b"x" * (10 << 20) + b"x"]), id="too-big"),
        pytest.param(lambda c: c.stream("x", tools="abc"), id="tools"),
        pytest.param(lambda c: c.stream("x", system=7), id="system"),
        pytest.param(
            lambda c: c.stream(
                [{"role": "user", "content": [{"type": "image_url", "image_url": "http://x/y"}]}]
            ),
            id="image-url",
        ),
        pytest.param(
            lambda c: c.stream(
                [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": "data:;base64,eA=="}],
                    }
                ]
            ),
            id="image-without-words",
        ),
    ],
)
def test_usage__said_at_the_call(emulator: Emulator, ask: object) -> None:
    """What cannot be sent is a UsageError at the call, and nothing is sent."""
    with C4AICommand(emulator.url("chat-ui")) as client:
        with pytest.raises(UsageError):
            ask(client)  # type: ignore[operator]
        assert [] == emulator.requests


def test_usage__a_busy_conversation(emulator: Emulator) -> None:
    """A conversation takes one stream at a time, and the next after that one ended."""
    with C4AICommand(emulator.url("chat-ui")) as client:
        talk = client.conversation()
        with talk.stream("one") as first:
            next(first)
            with pytest.raises(UsageError, match=r"busy .* which leaving its loop does not end"):
                talk.stream("two")
        assert talk.chat("two").text
        assert talk.messages[1]["interrupted"] is True


# Recorded answers that end in no reply, and why.
ENDED = {"client-closed": IncompleteReplyError, "last-chunk": ModelError}


def no_file(sha: str, name: str, mime: str) -> File:
    return File(name, reader=bytes, mime=mime)


def recorded_turns() -> list[object]:
    return [
        pytest.param(exchange, id=f"{case}-{number}")
        for case in sorted(
            path.relative_to(CAPTURES).with_suffix("").as_posix()
            for era in ("B", "C")
            for path in (CAPTURES / "chatui" / era).glob("*.jsonl")
        )
        for number, exchange in enumerate(recorded(case))
        if exchange.method == "POST"
        and exchange.status == 200
        and re.search(r"/conversation/[0-9a-f]{24}$", exchange.path)
        and not exchange.body.startswith(b"<")
    ]


@pytest.mark.parametrize("exchange", recorded_turns())
def test_recorded__text_is_the_servers_own(exchange: Exchange) -> None:
    """Every recorded answer reads as the server's own final text, or as its error."""
    finals = [
        json.loads(line)["text"]
        for line in exchange.body.split(b"\n")
        if line.strip().startswith(b'{"type":"finalAnswer"')
    ]
    asked = stream_of()
    stream = Stream(
        asked._turn,
        lambda turn: read(jsonl(chunk for _, chunk in exchange.chunks), no_file, str),
    )
    if not finals:
        with pytest.raises(ENDED[exchange.end]):
            stream.reply()
        return
    reply = stream.reply()

    assert [] == [event for event in stream._seen if isinstance(event, Unknown)]
    assert finals[0] in (reply.text, reply.text.rstrip())
    if reply.rewritten:
        # The true NUL at the end of a padded token, and an answer that was cut back
        # after it was stopped: the only two ways in which these servers rewrite.
        assert "\0 end" in finals[0] or stream.text.startswith(finals[0])


@pytest.mark.parametrize("era", ["B", "C"])
def test_recorded__first_and_second_turn(era: str) -> None:
    """Two turns against a real server's bytes, over a socket, asking what its recorder asked."""
    with (
        replay(f"chatui/{era}/first_and_second_turn") as server,
        ChatUI(server.url, model="test/model-1") as client,
    ):
        talk = client.conversation()
        first = talk.chat("Hi there")
        second = talk.chat("Second question")

    assert first.text == second.text
    assert first.text.startswith("Hello world! 😀 café\nhahaha 日本語")
    assert "🌍 Test title" == first.title
    assert talk.id == server.exchanges[0].body.decode()[19:43]
    bodies = [
        request.body
        for request in server.requests
        if b"multipart" in str(request.headers.get("content-type")).encode()
    ]
    assert 2 == len(bodies)
    assert bodies[0] != bodies[1]


def test_open__odd_answers() -> None:
    """A conversation that is told in part as superjson and in part not is opened as it can be."""
    body = json.dumps({"json": ["x"], "messages": [], "model": "m2"}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with peers.listening(peers.answering(head % len(body) + body)) as at:
        with ChatUI(f"http://{at}", retry=RetryPolicy.none()) as client:
            opened = client.open("a" * 24)

    assert ([], "m2") == (opened.messages, opened.model)
