"""Eight versions of Gradio, each a real process: ``pytest -m gradio_versions``.

What a test finds out about a version is a cell of the table in
``docs/gradio.md``, which the last test writes once every cell was found.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from gradio_versions import LATEST, VERSIONS, environment
from hostile import HOSTILE
from real_gradio import LOGIN, LONG, QUOTA, SYSTEM
from test_real_gradio import Server

from c4ai_clients import (
    AuthError,
    Conversation,
    Gradio,
    IncompleteReplyError,
    ModelError,
    NotFoundError,
    Qwen,
    RateLimitError,
)
from c4ai_clients.detect import examine
from c4ai_clients.events import Queued

pytestmark = pytest.mark.gradio_versions

DOCS = Path(__file__).parents[1] / "docs" / "gradio.md"
ROWS = {
    "protocol": "1 protocol",
    "finding": "2 finding the chat",
    "text": "3 text",
    "history": "4 history",
    "errors": "5 queue and errors",
    "leaving": "6 leaving",
    "login": "7 login and files",
    "call": "8 `/call`",
}
PROTOCOLS = {
    "3.50.2": "ws",
    "4.2.0": "sse",
    "4.16.0": "sse_v1",
    "4.19.2": "sse_v2",
    "4.21.0": "sse_v2.1",
    "4.44.1": "sse_v3",
    "5.50.0": "sse_v3",
    LATEST: "sse_v3",
}
NO_CALL = ("3.50.2", "4.2.0", "4.16.0", "4.19.2")
MESSAGES = ("4.44.1", "5.50.0", LATEST)

Cell = Callable[[str, str], None]


class Apps:
    """The apps of one version, each started when it is first asked for."""

    def __init__(self, version: str, stack: ExitStack) -> None:
        self.version = version
        self._python = environment(version)
        self._stack = stack
        self._running: dict[str, Server] = {}

    def new(self, app: str) -> Server:
        server = Server(app, python=str(self._python))
        self._stack.callback(server.kill)
        return server

    def url(self, app: str) -> str:
        if app not in self._running:
            self._running[app] = self.new(app)
        return self._running[app].wait().urls[app] + ("/sub" if app == "mounted" else "")


@pytest.fixture(scope="module", params=list(VERSIONS))
def apps(request: pytest.FixtureRequest) -> Iterator[Apps]:
    with ExitStack() as stack:
        yield Apps(request.param, stack)


def cells(version: str) -> Path:
    """Where a version's cells are kept until those of all are there."""
    return environment(version).parents[1] / "cells.json"


@pytest.fixture
def cell(request: pytest.FixtureRequest, apps: Apps) -> Cell:
    """Note what was found out; a test that fails leaves none."""

    def note(row: str, words: str) -> None:
        cells(apps.version).write_text(json.dumps({**found, row: words}))

    path = cells(apps.version)
    found = json.loads(path.read_text()) if path.exists() else {}
    found.pop(request.node.originalname.removeprefix("test_"), None)
    path.write_text(json.dumps(found))
    return note


def exact(text: str, found: str) -> bool:
    """Tell whether a chatbot's text is exact; 4 to 6 clean it before they send it."""
    return found == text or found == inspect.cleandoc(text)


def test_protocol(apps: Apps, cell: Cell) -> None:
    """The protocol is found, at the root and below a path, with a slash behind it or not."""
    wanted = PROTOCOLS[apps.version]
    with Qwen(apps.url("qwen")) as client:
        described = client.describe()
        assert f"protocol {wanted}" in described
        assert "hi" in client.chat("hi").text
    for url in (apps.url("mounted"), apps.url("mounted") + "/"):
        with Gradio(url) as client:
            assert "0: hi" == client.chat("hi").text
    prefix = re.search(r"below (\S+)", described)
    cell("protocol", f"{wanted}{', ' + prefix[1] if prefix else ''}; mounted below a path too")


def test_finding(apps: Apps, cell: Cell) -> None:
    """The Space's numbers are found, and the listener that a ChatInterface hides."""
    with Qwen(apps.url("qwen")) as client:
        assert "fn_index 3" in client.describe()
        assert client._found is not None
        assert 25 == client._found.trigger_id
        name, shape = client._found.name, client._found.shape
    for app in ("qwen", "mounted"):
        told = examine(apps.url(app))
        assert (apps.url(app), Gradio, 2) == (told.url, told.client, len(told.tried))
        assert told.found is not None
        assert apps.version in (told.found.version, LATEST)
    assert [True] == [told.found.login for told in [examine(apps.url("locked"))] if told.found]
    with Qwen(apps.url("qwen"), fn_index=4) as client:
        assert "You said: hi" == client.chat("hi").text
    with Gradio(apps.url("mounted")) as client:
        found = re.search(r"chat: (fn_index \d+)( \(\w+\))?", client.describe())
        assert found
    cell("finding", f"{name or 'no name'}, {shape}; ChatInterface {found[1]}{found[2] or ''}")


def test_text(apps: Apps, cell: Cell) -> None:
    """Sixty hostile texts and 5,000 tokens are exact; thoughts and pictures stand apart."""
    with Gradio(apps.url("mounted")) as plain, Qwen(apps.url("qwen")) as chatbot:
        for number, steps in enumerate(HOSTILE):
            text = steps[-1][0]
            stream = plain.stream(f"hostile {number}")
            pieces = "".join(stream)
            assert text == stream.reply().text, number
            if number < 30:
                assert text == pieces, number
            stream = chatbot.stream(f"hostile {number}")
            pieces = "".join(stream)
            assert exact(text, stream.reply().text), number
            assert pieces == stream.reply().text or stream.reply().rewritten, number
        for client in (plain, chatbot):
            stream = client.stream("5000")
            pieces = "".join(stream)
            assert LONG == stream.reply().text == (pieces + " " * (len(LONG) - len(pieces))) or (
                LONG.rstrip() == stream.reply().text == pieces
            )
        assert "Hello, you" == "".join(chatbot.stream("cursor"))
        reply = chatbot.chat("picture")
        assert "Blue." == reply.text
        assert b"\x89PNG" == reply.files[0].read()[:4]
        thinks = apps.version in MESSAGES
        if thinks:
            thought = chatbot.chat("think")
            assert ("You said: think", "hm, so") == (thought.text, thought.reasoning)
    said = "" if thinks else "; no thoughts in tuples"
    cell("text", f"60 hostile, 5,000 tokens, picture{', thoughts' if thinks else ''}{said}")


def test_history(apps: Apps, cell: Cell, tmp_path: Path) -> None:
    """History goes back as it came, written anew by a fork, and held by the server."""
    turn = 2 if apps.version in MESSAGES else 1
    with Qwen(apps.url("qwen")) as client:
        talk = client.conversation()
        for turns in range(3):
            assert f"You said: {SYSTEM}|7B|{turns * turn}" == talk.chat("settings", size="7B").text
        talk.save(tmp_path / "talk.json")
        talk = Conversation.load(tmp_path / "talk.json", client)
        assert f"|72B|{3 * turn}" in talk.chat("settings").text
        assert f"|72B|{4 * turn}" in talk.fork().chat("settings").text
        assert f"|72B|{3 * turn}" in talk.regenerate().reply().text
        assert "Be brief.|72B|0" in client.chat("settings", system="Be brief.").text
    with Gradio(apps.url("mounted")) as client:
        talk = client.conversation()
        lengths = [int(talk.chat("next").text.split(":")[0]) for _ in range(3)]
        assert 0 == lengths[0] < lengths[1] < lengths[2]
        talk.save(tmp_path / "talk.json")
        talk = Conversation.load(tmp_path / "talk.json", client)
        assert int(talk.chat("next").text.split(":")[0]) > lengths[2]
        assert "0: new" == client.chat("new").text
    cell("history", "sent back, forked, asked again; held by the server; saved and loaded")


def test_errors(apps: Apps, cell: Cell) -> None:
    """gr.Error has words, a crash has none, quota is a limit, a killed server an error at once."""
    with Qwen(apps.url("qwen")) as client:
        with pytest.raises(ModelError, match=r": the model is out of order$"):
            client.chat("fail")
        with pytest.raises(ModelError, match="does not say why"):
            client.chat("crash")
        with pytest.raises(RateLimitError, match=re.escape(QUOTA)) as spent:
            client.chat("quota")
        assert (600.0, "He") == (spent.value.retry_after, spent.value.partial)
        assert any(isinstance(event, Queued) for event in client.stream("hi").events())
    server = apps.new("qwen")
    with Qwen(server.wait().urls["qwen"]) as client:
        stream: Any = client.stream("long")
        next(stream)
        server.kill()
        start = time.monotonic()
        with pytest.raises(IncompleteReplyError) as caught:
            list(stream)
        took = time.monotonic() - start
        assert ("word " * 1000).startswith(caught.value.partial)
        assert caught.value.partial
        assert took < 5
    cell("errors", f"place, gr.Error, crash, quota; killed: an error after {took:.1f} s")


def test_leaving(apps: Apps, cell: Cell) -> None:
    """Four workers are left half-way; the next question is answered soon after."""
    with Qwen(apps.url("qwen")) as client:
        client.chat("hi")
        for _ in range(4):
            with client.stream("long") as stream:
                next(stream)
        start = time.monotonic()
        assert "You said: next" == client.chat("next", timeout=20).text
        took = time.monotonic() - start
    way = {"3.50.2": "hanging up", "4.2.0": "hanging up", "4.16.0": "hanging up"}
    resets = apps.version in ("4.19.2", "4.21.0")
    said = way.get(apps.version, "/reset" if resets else "/cancel")
    assert took < 5
    cell("leaving", f"{said}; the next answer after {took:.1f} s")


def test_login(apps: Apps, cell: Cell) -> None:
    """A login lets in, a wrong one does not; files reach the app."""
    url = apps.url("locked")
    with Gradio(url) as client, pytest.raises(AuthError, match=r"auth=\("):
        client.chat("hi")
    with Gradio(url, auth=("me", "wrong")) as client, pytest.raises(AuthError, match="Incorrect"):
        client.chat("hi")
    with Gradio(url, auth=LOGIN, api_key="hf_token") as client:
        assert "hi: one + two é" == client.chat("hi", files=[b"one", "two é".encode()]).text
        assert "more: " == client.chat("more").text.ljust(6)
    words = "login; files by an input of their own"
    if apps.version in MESSAGES:
        with Gradio(apps.url("multimodal")) as client:
            assert "hi: one + two" == client.chat("hi", files=[b"one", b"two"]).text
        words += " and a multimodal textbox"
    cell("login", words)


def test_call(apps: Apps, cell: Cell) -> None:
    """Where the queue is closed the chat is asked by /call; without that, it is an error."""
    with Gradio(apps.url("mounted"), headers={"X-Closed": "yes"}) as client:
        if apps.version in NO_CALL:
            with pytest.raises((NotFoundError, AuthError)) as caught:
                client.chat("hi")
            cell("call", f"not there; a closed queue is {type(caught.value).__name__}")
            return
        talk = client.conversation()
        assert "0: hi" == talk.chat("hi").text
        second = talk.chat("more").text
        assert second.startswith("2: more") is (apps.version == LATEST)
        assert second.startswith("0: User: hi") is (apps.version != LATEST)
        for number in (4, 30, 31):
            assert HOSTILE[number][-1][0] == client.chat(f"hostile {number}").text
    kept = "the session kept" if apps.version == LATEST else "history in the prompt"
    cell("call", f"answered; {kept}")


def test_table() -> None:
    """The table in docs/gradio.md is what these tests found; C4AI_WRITE_DOCS=1 writes it."""
    found = {version: json.loads(cells(version).read_text()) for version in VERSIONS}
    assert [] == [(row, v) for row in ROWS for v in VERSIONS if row not in found[v]]
    table = ["| | " + " | ".join(VERSIONS) + " |", "|" + "---|" * (len(VERSIONS) + 1)]
    for row, name in ROWS.items():
        table.append(f"| {name} | " + " | ".join(found[v][row] for v in VERSIONS) + " |")
    text = DOCS.read_text(encoding="utf-8")
    head, _, rest = text.partition("<!-- table -->\n")
    _, mark, tail = rest.partition("<!-- end -->")
    assert mark
    written = f"{head}<!-- table -->\n" + "\n".join(table) + f"\n<!-- end -->{tail}"
    if os.environ.get("C4AI_WRITE_DOCS"):
        DOCS.write_text(written, encoding="utf-8")
    times = re.compile(r"after \d+\.\d s")
    assert times.sub("", DOCS.read_text(encoding="utf-8")) == times.sub("", written)
