"""Every era of chat-ui against what a script wants of it.

Each test is a row of the table in ``docs/chat-ui.md`` and runs in each era; the
table is what these tests assert. ``python tests/test_chatui_eras.py`` prints it.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peers
import pytest
from conftest import wait_until

from c4ai_clients import (
    H2O,
    C4AICommand,
    ChatClient,
    ChatUI,
    Conversation,
    IncompleteReplyError,
    ModelError,
    NotFoundError,
    RateLimitError,
    RetryPolicy,
    UsageError,
)
from c4ai_clients.emulator import Answer, Emulator
from c4ai_clients.events import (
    File,
    Finish,
    Reasoning,
    Sources,
    Started,
    Status,
    Text,
    Title,
    ToolCall,
    ToolResult,
)
from c4ai_clients.threads import Pool

ERAS = ("A", "A2", "B0", "B", "B2", "D", "C1", "C")
RECORDED = ("A", "A2", "B", "C")
OF_2023 = ("A", "A2")
GOES_ON = ("D", "C1", "C")
WORKS, REFUSED = "works", "refused"
QUICK = RetryPolicy(attempts=2, wait_initial=0.01, wait_unsaid=0.02)
PAGE = Path(__file__).parent.parent / "docs" / "chat-ui.md"

ROWS = {
    "server": "Which server it is, asked only where it matters",
    "ids": "Ids of messages, read again after each turn",
    "events": "Events, typed",
    "text": "Exact text",
    "tree": "Go on, regenerate, edit, fork",
    "continue": "Continue an answer",
    "files": "Files",
    "stop": "Stop",
    "resume": "The answer after a cut line",
    "keeping": "List, open, delete; models",
    "session": "Session, terms, limits",
}


def expected(row: str, era: str) -> str:
    """Return what a cell of the table says."""
    refused = {
        "continue": (*OF_2023, *GOES_ON),
        "files": OF_2023,
        "resume": (*OF_2023, "B0", "B", "B2"),
    }
    return REFUSED if era in refused.get(row, ()) else WORKS


@contextmanager
def talking(era: str, **settings: Any) -> Iterator[tuple[Emulator, ChatClient]]:
    """Run a server of *era* and a client for it."""
    kind = H2O if era in OF_2023 else C4AICommand
    protocol = "h2o" if era in OF_2023 else "chat-ui"
    client_settings = {key: settings.pop(key) for key in ("timeout", "retry") if key in settings}
    with (
        Emulator((protocol,), era=era, **settings) as emulator,
        kind(emulator.url(protocol), **{"retry": QUICK, **client_settings}) as client,
    ):
        yield emulator, client


def steps(emulator: Emulator) -> list[str]:
    return [request.step for request in emulator.requests]


def said(talk: Conversation) -> list[str]:
    return [message["content"] for message in talk.messages]


each_era = pytest.mark.parametrize("era", ERAS)
new_eras = pytest.mark.parametrize("era", [era for era in ERAS if era not in OF_2023])


@each_era
def test_server__a_plain_turn_probes_nothing(era: str) -> None:
    """A turn sends what it must and asks for nothing else."""
    with talking(era) as (emulator, client):
        assert client.chat("Hi").text
        assert "other" not in steps(emulator)
        assert "models" not in steps(emulator)


@pytest.mark.parametrize("era", OF_2023)
@pytest.mark.parametrize("disclaimer", [False, True])
def test_server__of_2023_is_named(era: str, disclaimer: bool) -> None:
    """A ChatUI pointed at a server of 2023 says which class to use."""
    with Emulator(("h2o",), era=era, disclaimer=disclaimer) as emulator:
        with ChatUI(emulator.url("h2o"), model=H2O.default_model, retry=QUICK) as client:
            with pytest.raises(UsageError, match=r"H2O\("):
                client.chat("Hi")
            with pytest.raises(UsageError, match=r"H2O\("):
                client.models()


@pytest.mark.parametrize("slash", ["", "/"])
def test_server__below_a_path(slash: str) -> None:
    """A server below a path is asked below that path, from its own origin."""
    answers = [
        (b'{"conversationId":"abc"}', b"application/json"),
        (b'{"messages":[{"id":"root","from":"system"}]}', b"application/json"),
        (b'{"type":"finalAnswer","text":"ok","interrupted":false}\n', b"application/jsonl"),
    ]
    seen: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        for body, kind in answers:
            seen.append(peers.read_request(connection))
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
                % (kind, len(body), body)
            )

    with peers.listening(handle) as address:
        with ChatUI(f"http://{address}/base/chat{slash}", model="m", retry=QUICK) as client:
            assert "ok" == client.chat("Hi").text

    assert [
        b"POST /base/chat/conversation HTTP/1.1",
        b"GET /base/chat/api/conversation/abc HTTP/1.1",
        b"POST /base/chat/conversation/abc HTTP/1.1",
    ] == [request.split(b"\r\n")[0] for request in seen]
    assert f"Origin: http://{address}\r\n".encode() in seen[2]


@each_era
def test_ids__each_message_goes_to_its_parent(era: str) -> None:
    """Three turns make one line of messages on the server."""
    with talking(era) as (emulator, client):
        talk = client.conversation()
        for word in ("one", "two", "three"):
            talk.chat(word)
        assert 1 == steps(emulator).count("create")
        assert ["one", "two", "three"] == emulator.prompts[-3:] or emulator.prompts[-1]
        if era not in OF_2023:
            opened = client.open(talk.id, talk)  # type: ignore[attr-defined]
            assert said(talk) == said(opened)


@new_eras
def test_ids__a_turn_that_failed_is_left_aside(era: str) -> None:
    """After a turn without an answer the next goes on from the last answer that was given."""
    with talking(era) as (emulator, client):
        talk = client.conversation()
        talk.chat("one")
        emulator.fail("upstream", at=0)
        with pytest.raises(ModelError):
            talk.chat("lost")
        talk.chat("two")
        parents = [
            json.loads(request.form().fields["data"])["id"]
            for request in emulator.requests
            if request.step == "message"
        ]

    assert parents[1] == parents[2] != parents[0]
    assert ["one", "two"] == said(talk)[::2]


@each_era
def test_events__what_the_server_says(era: str) -> None:
    """Text, reasoning, title, tools, sources and files come out typed."""
    answer = Answer(
        tokens=["yes ", "no"],
        reasoning=["let me ", "think"],
        title="🌍 Earth",
        late_title=True,
        sources=["https://a.test"] if era in ("B0", "B", "B2") else (),
        tool=("search", "found"),
        files=[("a.png", "image/png", b"png")],
    )
    with talking(era, replies=lambda prompt: answer) as (_, client):
        options = {"title": True} if era in OF_2023 else {"split_thinking": True}
        if era in ("B0", "B", "B2"):
            options |= {"web_search": True, "tools": ["abc"]}  # type: ignore[dict-item]
        stream = client.stream("Hi", **options)
        events = list(stream.events())
        reply = stream.reply()

    kinds = {type(event) for event in events}
    assert {Started, Text, Finish, Title} <= kinds
    assert "yes no" == reply.text
    assert "🌍 Earth" in str(reply.title) or era in OF_2023
    if era not in OF_2023:
        assert "let me think" == reply.reasoning
        assert {Status, Reasoning} <= kinds
        assert [("a.png", "image/png")] == [(file.name, file.mime) for file in reply.files]
        assert File in kinds
    if era in ("B0", "B", "B2"):
        assert {Sources, ToolCall, ToolResult} <= kinds


@new_eras
def test_events__inline_thinking_stays_text_unless_asked(era: str) -> None:
    """Without split_thinking the text is as the server has it."""
    answer = Answer(tokens=["yes"], reasoning=["hm"])
    with talking(era, replies=lambda prompt: answer) as (_, client):
        reply = client.chat("Hi")

    if era in (*GOES_ON, "B0"):
        assert "<think>" in reply.text
        assert "" == reply.reasoning
    else:
        assert ("yes", "hm") == (reply.text, reply.reasoning)


@each_era
def test_text__exact(era: str) -> None:
    """Separators, halves of characters, repeats and white space come through."""
    tokens = ["ha", "ha", " [1]\n", "a\u2028b\u0085\u2029", "\ud83d", "\ude00", "\t {", "}"]
    if era in OF_2023:
        tokens[4:6] = ["😀"]
    with talking(era, replies=lambda prompt: Answer(tokens=tokens)) as (_, client):
        assert "haha [1]\na\u2028b\u0085\u2029😀\t {}" == "".join(client.stream("Hi"))


@new_eras
def test_text__a_server_that_begins_again_says_so(era: str) -> None:
    """Where the server asks its model twice and it fails, the error says why text is doubled."""
    answer = Answer(tokens=["one ", "two "], error="terminated", error_after=2)
    with talking(era, replies=lambda prompt: answer) as (_, client):
        with pytest.raises(ModelError, match="terminated") as caught:
            client.chat("Hi")

    doubled = era in GOES_ON
    assert ("one two " * (2 if doubled else 1)) == caught.value.partial
    assert doubled is ("twice" in str(caught.value))


@each_era
def test_tree__regenerate_and_edit(era: str) -> None:
    """A question is asked again, or another in its place, where the server keeps it."""
    answers = iter(range(100))
    with talking(era, replies=lambda prompt: f"answer {next(answers)}") as (emulator, client):
        talk = client.conversation()
        talk.chat("one")
        talk.chat("two")
        assert "answer 2" == talk.regenerate().reply().text
        assert ["one", "answer 0", "two", "answer 2"] == said(talk)
        assert "answer 3" == talk.edit("zwei").reply().text
        assert ["one", "answer 0", "zwei", "answer 3"] == said(talk)
        talk.chat("three")
        assert "answer 5" == talk.edit("eins", at=0).reply().text
        assert ["eins", "answer 5"] == said(talk)
        talk.chat("four")
        fork = talk.fork(at=2)
        fork.chat("five")
        assert ["eins", "answer 5", "five", "answer 7"] == said(fork)
        assert ["eins", "answer 5", "four", "answer 6"] == said(talk)

    assert 2 == steps(emulator).count("create")
    asked = [request for request in emulator.requests if request.step == "message"]
    if era in OF_2023:
        options = [request.json()["options"] for request in asked]
        assert options[1]["id"] == options[2]["id"] == options[3]["id"]
        assert options[0]["id"] == options[5]["id"]
        again = [option["is_retry"] for option in options]
    else:
        again = [json.loads(request.form().fields["data"])["is_retry"] for request in asked]
    assert [False, False, True, True, False, True, False, False] == again


@each_era
def test_continue(era: str) -> None:
    """An answer goes on where the server can do that; elsewhere nothing is sent."""
    with talking(era, replies=lambda prompt: "more") as (emulator, client):
        talk = client.conversation()
        talk.chat("one")
        before = emulator.processed
        if expected("continue", era) == REFUSED:
            with pytest.raises(UsageError, match=r"cannot have|no longer lets"):
                talk.continue_().reply()
            assert before == emulator.processed
        else:
            assert "more" == talk.continue_().reply().text
            assert ["one", "moremore"] == said(talk)
            talk.chat("two")
            assert said(talk) == said(client.open(talk.id, talk))  # type: ignore[attr-defined]


@each_era
def test_files__go_along_and_come_back(era: str) -> None:
    """A file reaches a model that reads it, is refused for one that does not, and is read back."""
    model = C4AICommand.default_model
    answer = Answer(tokens=["ok"], files=[("a.png", "image/png", b"\x89PNG")])
    settings = {} if era in OF_2023 else {"multimodal": [model]}
    with talking(era, replies=lambda prompt: answer, **settings) as (emulator, client):
        if expected("files", era) == REFUSED:
            with pytest.raises(UsageError, match="no files"):
                client.chat("Hi", files=[b"x"])
            assert [] == emulator.requests
            return
        reply = client.chat("Hi", files=[b"\x89PNG\r\n\x1a\nx"])
        assert b"\x89PNG" == reply.files[0].read()
        before = emulator.processed
        with pytest.raises(UsageError, match="reads text only"):
            client.chat("Hi", model="command-r7b", files=[b"x"])
        assert before == emulator.processed


@each_era
def test_stop__cancel_reaches_the_server(era: str) -> None:
    """Hanging up is the stop where that stops it; elsewhere the server is told."""
    words = Answer(tokens=["word "] * 400)
    with talking(era, replies=lambda prompt: words, pace=0.01) as (emulator, client):
        stream = client.stream("Hi")
        next(stream)
        stream.cancel()
        told = {"A": "delete", "A2": "delete"}.get(era, "stop")
        if era in (*OF_2023, *GOES_ON):
            assert wait_until(lambda: emulator.goodbyes == [told])
        else:
            assert wait_until(lambda: emulator.hang_ups == ["message"])
            client.close()
            assert [] == emulator.goodbyes


@each_era
def test_resume__the_rest_of_an_answer(era: str) -> None:
    """A server that goes on without us gives the rest, with no gap and no repeat."""
    tokens = [f"w{number} " for number in range(40)]
    at = 1500 if era not in OF_2023 else 900
    answer = Answer(tokens=tokens)
    with talking(era, replies=lambda prompt: answer, pace=0.002) as (emulator, client):
        emulator.fail("cut", at=at)
        stream = client.stream("Hi")
        if expected("resume", era) == REFUSED:
            with pytest.raises(IncompleteReplyError):
                list(stream)
            assert stream.text
            assert "".join(tokens).startswith(stream.text)
            return
        # A saved answer has lost the white space at its end (seen: B and C).
        assert "".join(tokens).rstrip() == "".join(stream).rstrip()
        assert stream.done
        assert 1 == emulator.processed
        talk = stream.conversation
        assert talk.chat("next").text

        emulator.fail("cut", at=at)
        with pytest.raises(IncompleteReplyError):
            list(client.stream("Hi", resume=False))


@pytest.mark.parametrize("era", GOES_ON)
def test_resume__before_the_first_byte(era: str) -> None:
    """A message that was heard and not answered is answered from what the server saved."""
    with talking(era, replies=lambda prompt: "all of it") as (emulator, client):
        emulator.fail("cut")
        assert "all of it" == "".join(client.stream("Hi"))
        assert 1 == emulator.processed


@pytest.mark.parametrize("era", GOES_ON)
def test_resume__within_idle(era: str) -> None:
    """A server that never completes the answer is given up after idle seconds."""
    words = Answer(tokens=["word "] * 2000)
    with talking(era, replies=lambda prompt: words, pace=0.05, timeout=0.8) as (emulator, client):
        emulator.fail("cut", at=700)
        emulator.fail("status", step="resume", status=404, times=9)
        start = time.monotonic()
        stream = client.stream("Hi")
        with pytest.raises(IncompleteReplyError):
            list(stream)

    assert time.monotonic() - start < 6
    assert stream.text.startswith("word ")


@each_era
def test_keeping__list_open_delete_and_models(era: str) -> None:
    """What a session has is listed, opened and deleted; models say what they can."""
    with talking(era) as (emulator, client):
        listed = client.models()
        assert client.default_model == listed[0].id
        talk = client.conversation()
        talk.chat("one")
        if era not in OF_2023:
            assert isinstance(client, ChatUI)
            assert False is listed[0].multimodal
            (known,) = client.conversations(talk)
            assert talk.id == known.id
            opened = client.open(known.id or "", talk)
            assert said(talk) == said(opened)
            assert talk.title
            assert talk.title == known.title == opened.title
            assert repr(talk.title) in repr(known)
            assert opened.chat("two").text
            assert talk.title == opened.title
            client.delete_all(talk)
            assert [] == client.conversations(talk)
            return
        talk.delete()
        assert "delete" in steps(emulator)
        assert talk.id is None


@each_era
def test_session__lost_and_limited(era: str) -> None:
    """A lost session is said to be lost; a rate limit is waited for."""
    with talking(era) as (emulator, client):
        talk = client.conversation()
        talk.chat("one")
        assert talk.cookies
        talk.cookies.clear()
        with pytest.raises(NotFoundError, match="session"):
            talk.chat("two")
        emulator.fail("rate_limit")
        assert client.chat("three").text
        emulator.fail("rate_limit", times=9)
        with pytest.raises(RateLimitError):
            client.chat("four")


@each_era
def test_session__terms_are_accepted_once(era: str) -> None:
    """A server's terms are accepted for the user, in its era's way."""
    with talking(era, disclaimer=True) as (emulator, client):
        talk = client.conversation()
        assert talk.chat("one").text
        assert talk.chat("two").text
        assert 1 == steps(emulator).count("settings")


@new_eras
def test_session__no_key_where_there_is_a_session(era: str) -> None:
    """The key stays away from /api once there is a session; elsewhere it goes along."""
    with Emulator(("chat-ui",), era=era) as emulator:
        with C4AICommand(emulator.url("chat-ui"), api_key="key") as client:
            talk = client.conversation()
            talk.chat("one")
            talk.chat("two")
            client.conversations(talk)
        for request in emulator.requests:
            has_key = "authorization" in {name.lower() for name in request.headers}
            assert has_key is not request.path.startswith("/api"), request.path


def test_in_between__a_json_body_is_found_out() -> None:
    """A server of early 2024 takes the message as JSON: found out once, sent right from then on."""
    with Emulator(("chat-ui",), era="B00") as emulator:
        with C4AICommand(emulator.url("chat-ui"), retry=QUICK) as client:
            talk = client.conversation()
            assert talk.chat("one").text
            assert talk.chat("two").text

        assert 2 == emulator.processed
        assert 3 == steps(emulator).count("message")


def test_in_between__found_out_by_several_at_once() -> None:
    """Threads that find it out together do not undo each other's finding."""
    with Emulator(("chat-ui",), era="B00", pace=0.01) as emulator:
        with C4AICommand(emulator.url("chat-ui"), retry=QUICK) as client:
            with Pool(client, max_workers=8) as pool:
                assert all(reply.text for reply in pool.map(list("abcdefgh")))

        assert 8 == emulator.processed


def test_cancel__while_an_answer_is_read_on(tmp_path: Path) -> None:
    """cancel() ends the wait for an answer that the server has not saved yet."""
    words = Answer(tokens=["word "] * 2000)
    with talking("C1", replies=lambda prompt: words, pace=0.02) as (emulator, client):
        emulator.fail("cut", at=700)
        stream = client.stream("Hi")
        threading.Timer(1.0, stream.cancel).start()
        start = time.monotonic()
        with pytest.raises(Exception, match="cancelled"):
            list(stream)

    assert time.monotonic() - start < 4


def table() -> str:
    """Return the table of docs/chat-ui.md."""
    lines = [
        "| | " + " | ".join(ERAS) + " |",
        "|---|" + "---|" * len(ERAS),
    ]
    for row, title in ROWS.items():
        cells = []
        for era in ERAS:
            cell = expected(row, era)
            mark = "\\*" if era not in RECORDED and cell == WORKS else ""
            cells.append(f"{cell}{mark}")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


@pytest.mark.parametrize("row", ROWS)
def test_table__each_row_has_a_test_in_each_era(row: str) -> None:
    """No row of the page is without a test that runs in every era."""
    tests = [name for name in globals() if name.startswith(f"test_{row}")]

    assert any(
        any(mark.name == "parametrize" and list(mark.args[1]) == list(ERAS) for mark in marks)
        for marks in (getattr(globals()[name], "pytestmark", []) for name in tests)
    )


def test_table__is_the_pages() -> None:
    """docs/chat-ui.md shows the table that these tests assert."""
    assert table() in PAGE.read_text(encoding="utf-8")


if __name__ == "__main__":
    print(table())  # noqa: T201
