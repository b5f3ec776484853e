"""The worked example of docs/fifth-provider.md, against a server of its protocol."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peers
import pytest

from c4ai_clients import ChatClient, Conversation, IncompleteReplyError, ModelError, UsageError
from c4ai_clients.events import Finish, Reasoning, Started, Text, Unknown, Usage

FILE = Path(__file__).parents[1] / "examples" / "ollama.py"
PAGE = FILE.parents[1] / "docs" / "fifth-provider.md"
LINES = (
    {"message": {"role": "assistant", "content": "Because ", "thinking": "Light."}},
    {"message": {"role": "assistant", "content": "", "tool_calls": [{}]}, "done": False},
    {"message": {"role": "assistant", "content": "of the air.\u2028"}, "done": False},
    {
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 26,
        "eval_count": 3,
    },
)
TAGS = b'{"models": [{"name": "llama3.2:latest", "size": 2019393189}]}'


def body(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)


@pytest.fixture(scope="module")
def kind() -> type[ChatClient]:
    spec = importlib.util.spec_from_file_location("ollama_example", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: type[ChatClient] = module.Ollama
    return made


class Ollama:
    """A server that answers as it is told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answer = body(*LINES)
        self.seen: list[bytes] = []

    def asked(self) -> dict[str, Any]:
        """Return the body of the last question."""
        said: dict[str, Any] = json.loads(self.seen[-1].partition(b"\r\n\r\n")[2])
        return said

    def handle(self, connection: Any) -> None:
        request = peers.read_request(connection)
        self.seen.append(request)
        if request.startswith(b"GET /api/tags "):
            connection.sendall(peers.http(TAGS, "Content-Type: application/json"))
        elif request.startswith(b"POST /api/chat "):
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
                b"Connection: close\r\n\r\n" + self.answer
            )


@pytest.fixture
def server() -> Ollama:
    return Ollama()


@pytest.fixture
def client(kind: type[ChatClient], server: Ollama) -> Iterator[ChatClient]:
    with peers.listening(server.handle) as address, kind(f"http://{address}") as made:
        yield made


def test_fifth_provider__is_short() -> None:
    """The whole provider has fewer than sixty lines, and the page shows them."""
    text = FILE.read_text(encoding="utf-8")

    assert len(text.splitlines()) < 60
    assert text.partition('"""\n\n')[2] in PAGE.read_text(encoding="utf-8")


def test_fifth_provider__events(client: ChatClient) -> None:
    """Each line is its event, and the last one ends the reply."""
    events = list(client.stream("Why is the sky blue?").events())

    assert [
        *(Reasoning("Light."), Text("Because "), Unknown(LINES[1]), Text("of the air.\u2028")),
        *(Usage(26, 3), Finish("stop")),
    ] == events[1:]
    assert isinstance(events[0], Started)


def test_fifth_provider__conversation(client: ChatClient, server: Ollama, tmp_path: Path) -> None:
    """A saved conversation goes on with the system prompt and all that was said."""
    talk = client.conversation(system="Be brief.")
    talk.chat("Why is the sky blue?")
    talk.save(tmp_path / "sky.json")
    Conversation.load(tmp_path / "sky.json", client).chat("And at sunset?")

    assert {
        "model": "llama3.2",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Why is the sky blue?"},
            {"role": "assistant", "content": "Because of the air.\u2028"},
            {"role": "user", "content": "And at sunset?"},
        ],
        "stream": True,
    } == server.asked()


@pytest.mark.parametrize("cut", [1, 20, 150, len(body(*LINES)) - 2])
def test_fifth_provider__cut(client: ChatClient, server: Ollama, cut: int) -> None:
    """An answer without its last line is an error that holds what came."""
    server.answer = server.answer[:cut]

    with pytest.raises(IncompleteReplyError) as caught:
        client.chat("Why?")
    assert "Because of the air.\u2028".startswith(caught.value.partial)
    assert caught.value.provider == "ollama"


def test_fifth_provider__model_fails(client: ChatClient, server: Ollama) -> None:
    """The model's failure is told in its own words, with what came before it."""
    server.answer = body(LINES[0], {"error": "out of memory"})

    with pytest.raises(ModelError, match="out of memory") as caught:
        client.chat("Why?")
    assert caught.value.partial == "Because "


def test_fifth_provider__models(client: ChatClient) -> None:
    """The server's models are listed."""
    assert ["llama3.2:latest"] == [model.id for model in client.models()]


def test_fifth_provider__sends_text_alone(client: ChatClient, server: Ollama) -> None:
    """What it cannot send is refused before anything is sent."""
    with pytest.raises(UsageError, match="text alone"):
        client.stream("What is this?", files=[b"\x89PNG\r\n\x1a\n"])
    assert [] == server.seen
