"""What is recorded is answered again, and holds nothing secret."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import peers
import pytest

from c4ai_clients import (
    H2O,
    AutonomousAI,
    ChatClient,
    ChatUI,
    Gradio,
    IncompleteReplyError,
    UsageError,
)
from c4ai_clients.emulator import Answer, Emulator
from c4ai_clients.recording import record, replay

CLIENTS = {"chat-ui": ChatUI, "h2o": H2O, "autonomous": AutonomousAI, "gradio": Gradio}
SAID = ["Because of\nRayleigh 😀.", "Less blue is left."]
each_client = pytest.mark.parametrize(
    ("name", "client"), [pytest.param(*item, id=item[0]) for item in CLIENTS.items()]
)


def talk(client: ChatClient, *questions: str) -> list[str]:
    """Ask one question after another in a conversation, and return the answers."""
    conversation = client.conversation()
    return [conversation.chat(question).text for question in questions]


def recorded(name: str, path: Path, **settings: object) -> None:
    with Emulator((name,), replies=list(SAID)) as emulator:
        with CLIENTS[name](emulator.url(name), **settings) as client, record(client, path):  # type: ignore[arg-type]
            assert SAID == talk(client, "Why?", "And at sunset?")


@each_client
def test_replay__gives_the_same_answers(
    name: str, client: type[ChatClient], tmp_path: Path
) -> None:
    """Two turns of a conversation come again from the file, and the check is content."""
    path = tmp_path / "talk.jsonl"
    recorded(name, path)
    with replay(path) as server, client(server.url) as again:
        assert SAID == talk(again, "Why?", "And at sunset?")

    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_replay__keeps_conversations_apart(tmp_path: Path) -> None:
    """The same question in two conversations is answered in each as it was, in any order."""
    path = tmp_path / "talk.jsonl"
    said = ["One.", "Two.", "More of one.", "More of two."]
    with Emulator("chat-ui", replies=said) as emulator, ChatUI(emulator.url("chat-ui")) as client:
        with record(client, path):
            one, two = client.conversation(), client.conversation()
            for each in (one, two) * 2:
                each.chat("Go on.")
    with replay(path) as server, ChatUI(server.url) as client:
        one, two = client.conversation(), client.conversation()

        assert ["One.", "Two.", "More of two.", "More of one."] == [
            each.chat("Go on.").text for each in (one, two, two, one)
        ]


def test_replay__another_question_is_found_out(tmp_path: Path) -> None:
    """Another question, one too few and one too many fail, and it is said where."""
    path = tmp_path / "talk.jsonl"
    recorded("chat-ui", path)
    with pytest.raises(AssertionError, match=r"the body is .*\n.*not asked for"):
        with replay(path) as server, ChatUI(server.url) as again:
            assert SAID[:1] == talk(again, "Why not?")
    with pytest.raises(AssertionError, match="not recorded"):
        with replay(path) as server, ChatUI(server.url) as again:
            talk(again, "Why?", "And at sunset?")
            with pytest.raises(Exception, match="404"):
                again._fetch("GET", "/nowhere", phase="nowhere")


@each_client
def test_emulator__says_what_was_recorded(
    name: str, client: type[ChatClient], tmp_path: Path
) -> None:
    """An emulator of another protocol gives out a recording's answers, one by one."""
    path = tmp_path / "talk.jsonl"
    recorded(name, path)
    with Emulator(("autonomous",), replies=path) as emulator:
        assert SAID == talk(AutonomousAI(emulator.url("autonomous")), "a", "b")


def test_record__waits_for_goodbyes(tmp_path: Path) -> None:
    """What a client says when its reply is over is recorded too, and asked for again."""
    path = tmp_path / "alone.jsonl"
    with Emulator("h2o", replies=list(SAID)) as emulator, H2O(emulator.url("h2o")) as client:
        with record(client, path):
            assert SAID[0] == client.chat("Why?").text
        assert SAID[1] == client.chat("And unrecorded?").text
    with replay(path) as server, H2O(server.url) as client:
        assert SAID[0] == client.chat("Why?").text

    assert "DELETE" in [json.loads(line)["method"] for line in path.read_text().splitlines()]


def test_replay__of_an_edited_file(tmp_path: Path) -> None:
    """Blank lines and other line ends change nothing; what is wrong is said with its line."""
    path = tmp_path / "talk.jsonl"
    recorded("autonomous", path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    edited = "\r\n\r\n".join(json.dumps(row) for row in rows)
    path.write_bytes(f"\ufeff{edited}".encode())
    with replay(path) as server, AutonomousAI(server.url) as again:
        assert SAID == talk(again, "Why?", "And at sunset?")

    for wrong in (
        {"at_ms": "x"},
        {"status": None},
        {"chunks": [[0, "?"]]},
        {"chunks": [["a", ""]]},
    ):
        path.write_text(json.dumps(rows[0]) + "\n" + json.dumps(rows[1] | wrong))
        with pytest.raises(ValueError, match="line 2"), replay(path):
            pass


def test_record__what_is_cut_stays_cut(tmp_path: Path) -> None:
    """An answer that broke off breaks off again at the same byte."""
    path = tmp_path / "cut.jsonl"
    partial = []
    with Emulator(("autonomous",), replies=Answer(["word "] * 20)) as emulator:
        emulator.fail("cut", at=900)
        with AutonomousAI(emulator.url("autonomous")) as client, record(client, path):
            with pytest.raises(IncompleteReplyError) as caught:
                client.chat("Hi")
            partial.append(caught.value.partial)
    with replay(path) as server, AutonomousAI(server.url) as client:
        with pytest.raises(IncompleteReplyError) as caught:
            client.chat("Hi")
        partial.append(caught.value.partial)

    assert partial[0] == partial[1] != ""


def test_record__holds_nothing_secret(tmp_path: Path) -> None:
    """No key, cookie, header or password stands in the file, also where the server says it back."""
    path, key = tmp_path / "talk.jsonl", "sk-verysecret-0123"
    with Emulator(("chat-ui",), replies=f"Your key is {key[:9]}" + key[9:]) as emulator:
        client = ChatUI(
            emulator.url("chat-ui"),
            api_key=key,
            cookies={"mine": "biscuit-4567"},
            headers={"X-Odd": "header-8901"},
        )
        echo = {"X-Said": f"Bearer {key}", "Retry-After": "0"}
        emulator.fail("status", step="create", status=503, headers=echo)
        with client, record(client, path):
            client.chat("Hi")
            cookies = {value for r in emulator.requests for value in r.cookies().values()}
    with Emulator(("gradio",), auth=("me", "pa-5")) as emulator:
        login = tmp_path / "login.jsonl"
        with Gradio(emulator.url("gradio"), auth=("me", "pa-5")) as gradio:
            with record(gradio, login):
                gradio.chat("Hi")

    assert len(cookies) == 2
    for written in (path, login):
        text = written.read_text()
        rows = [json.loads(line) for line in text.splitlines()]
        bodies = b"".join(
            base64.b64decode(part)
            for row in rows
            for part in (row["request_body"], *(chunk for _, chunk in row["chunks"]))
        ).decode()
        for secret in (key, "biscuit-4567", "header-8901", "pa-5", *cookies):
            assert secret not in text
            assert secret not in bodies
    assert "***" in bodies


def test_record__holds_no_cookie_that_its_answer_sets(tmp_path: Path) -> None:
    """Where an answer says a cookie that it sets itself, that is not written either."""
    path, cookies = tmp_path / "talk.jsonl", ("biscuit-4567", "w4fer=8901")
    said = f'data: {{"choices": [{{"delta": {{"content": "{cookies}"}}}}]}}\n\ndata: [DONE]\n\n'
    sets = [f"Set-Cookie: c{at}= {value} ; Path=/" for at, value in enumerate(cookies)]
    answer = peers.http(said.encode(), "Content-Type: text/event-stream", *sets)
    with peers.listening(peers.answering(answer)) as at, AutonomousAI(f"http://{at}") as client:
        with record(client, path):
            assert str(cookies) == client.chat("Hi").text
    row = json.loads(path.read_text())
    body = b"".join(base64.b64decode(chunk) for _, chunk in row["chunks"]).decode()

    assert said.replace(cookies[0], "***").replace(cookies[1], "***") == body
    assert ["c0=***; Path=/", "c1=***; Path=/"] == [
        value for name, value in row["response_headers"] if name == "Set-Cookie"
    ]


def test_record__refuses(tmp_path: Path) -> None:
    """A file that is there is kept, and a client is recorded once at a time."""
    path = tmp_path / "talk.jsonl"
    client = ChatUI("http://127.0.0.1:9")
    with record(client, path):
        with pytest.raises(UsageError, match="already"), record(client, tmp_path / "other"):
            pass
    with pytest.raises(UsageError, match="there already"), record(client, path):
        pass
    with pytest.raises(UsageError, match="cannot write"), record(client, tmp_path / "no" / "file"):
        pass
    for other in (b"[]\n", b"some text", b"\xff\xfe\n"):
        path.write_bytes(other)
        with pytest.raises(ValueError, match="is no recording: its line 1"), replay(path):
            pass
    with (
        pytest.raises(ValueError, match=r"cannot read .*: No such file"),
        replay(tmp_path / "none"),
    ):
        pass
