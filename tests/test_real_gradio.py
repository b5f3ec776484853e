"""A real Gradio server, the newest that is installed, run as a process."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real_gradio import ANSWERS, SYSTEM

from c4ai_clients import IncompleteReplyError, ModelError, UsageError, connect
from c4ai_clients.detect import examine
from c4ai_clients.events import Queued
from c4ai_clients.providers.gradio import Gradio, Qwen

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None,
    reason="gradio is not installed: pip install 'c4ai-clients[test]'",
)

APPS = Path(__file__).with_name("real_gradio.py")
_PATIENCE = 60


class Server:
    """A real app in a process of its own."""

    def __init__(self, app: str, python: str = sys.executable) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - stop() closes it
        self.process = subprocess.Popen(
            [python, "-W", "ignore", str(APPS), app, str(port)],
            env={**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"},
            stdout=self._said,
            stderr=self._said,
        )

    def wait(self) -> Server:
        """Wait until its config answers."""
        end = time.monotonic() + _PATIENCE
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > end:
                self._said.seek(0)
                raise AssertionError(f"the app did not start: {self._said.read()[-2000:]!r}")
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self._said.close()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/", timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Server]]:
    """Both apps, started side by side."""
    running = {app: Server(app) for app in ("qwen", "interface")}
    try:
        yield {app: server.wait() for app, server in running.items()}
    finally:
        for server in running.values():
            server.stop()


@pytest.fixture
def qwen(servers: dict[str, Server]) -> Iterator[Qwen]:
    with Qwen(servers["qwen"].url) as client:
        yield client


@pytest.fixture
def gradio(servers: dict[str, Server]) -> Iterator[Gradio]:
    with Gradio(servers["interface"].url) as client:
        yield client


@pytest.mark.parametrize("prompt", ANSWERS)
def test_qwen__exact_text(qwen: Qwen, prompt: str) -> None:
    """The pieces are what the app said, and the server's last value too."""
    stream = qwen.stream(prompt)
    assert ANSWERS[prompt] == "".join(stream)
    assert (ANSWERS[prompt], False) == (stream.reply().text, stream.reply().rewritten)


@pytest.mark.parametrize("prompt", ANSWERS)
def test_interface__exact_text(gradio: Gradio, prompt: str) -> None:
    """A ChatInterface gives the same."""
    stream = gradio.stream(prompt)
    pieces = list(stream)
    assert ANSWERS[prompt] == "".join(pieces)
    assert len(pieces) > 1


def test_qwen__the_layout_is_the_space_s(qwen: Qwen) -> None:
    """The app has the Space's numbers, and they are found."""
    assert "fn_index 3" in qwen.describe()
    assert qwen._found is not None
    assert 25 == qwen._found.trigger_id


@pytest.mark.parametrize("app", ["qwen", "interface"])
def test_connect__knows_a_real_app(servers: dict[str, Server], app: str) -> None:
    """A real app is known in two requests with its version, and found from a wrong path."""
    url = servers[app].url
    finding = examine(f"{url}/?view=api")
    assert (url, Gradio) == (finding.url, finding.client)
    assert finding.found is not None
    assert importlib.metadata.version("gradio") == finding.found.version
    assert any(line.startswith("chat: fn_index") for line in finding.found.chat)
    assert 2 == len(finding.tried)
    assert f"use {url}, where Gradio answers" == examine(f"{url}/wrong").checks[-1].remedy
    with connect(url) as client:
        assert "hi" in client.chat("hi").text


def test_qwen__settings_and_history(qwen: Qwen) -> None:
    """System prompt, size and history reach the app; a fork's history is taken too."""
    stream = qwen.stream("settings")
    assert f"You said: {SYSTEM}|72B|0" == stream.reply().text
    talk = stream.conversation
    assert f"You said: {SYSTEM}|7B|2" == talk.chat("settings", size="7B").text
    assert f"You said: {SYSTEM}|72B|4" == talk.fork().chat("settings").text
    assert "You said: Be brief.|72B|0" == qwen.chat("settings", system="Be brief.").text
    with pytest.raises(UsageError, match="no choice '8B'"):
        qwen.chat("settings", size="8B")


def test_interface__the_server_holds_the_history(gradio: Gradio) -> None:
    """A conversation keeps its session, a new one begins with nothing."""
    stream = gradio.stream("one")
    assert "0: one" == stream.reply().text
    assert "2: two" == stream.conversation.chat("two").text
    assert "4: three" == stream.conversation.chat("three").text
    assert "0: four" == gradio.chat("four").text


def test_qwen__thinking_and_rewriting(qwen: Qwen) -> None:
    """Titled messages are reasoning; a replaced text is marked."""
    thought = qwen.chat("think")
    assert ("You said: think", "hm, so") == (thought.text, thought.reasoning)
    rewritten = qwen.stream("rewrite")
    assert "Searching..." == "".join(rewritten)
    assert ("You said: rewrite", True) == (rewritten.reply().text, rewritten.reply().rewritten)


def test_qwen__failures_in_the_app_s_words(qwen: Qwen) -> None:
    """gr.Error has words, a crash has none, and both are errors."""
    with pytest.raises(ModelError, match=r": the model is out of order$"):
        qwen.chat("fail")
    with pytest.raises(ModelError, match="does not say why"):
        qwen.chat("crash")


def test_qwen__leaving_frees_the_worker(servers: dict[str, Server]) -> None:
    """Four workers are left half-way; a fifth question is answered at once."""
    with Qwen(servers["qwen"].url) as client:
        for _ in range(4):
            with client.stream("long") as stream:
                next(stream)
        assert "You said: next" == client.chat("next", timeout=10).text


def test_qwen__events(qwen: Qwen) -> None:
    """The queue tells our place in it."""
    assert any(isinstance(event, Queued) for event in qwen.stream("hi").events())


def test_killed__is_an_error_and_no_hang() -> None:
    """The server is killed mid-stream: an error within seconds, with what had come."""
    server = Server("qwen")
    try:
        with Qwen(server.url) as client:
            server.wait()
            stream: Any = client.stream("long")
            next(stream)
            server.process.kill()
            with pytest.raises(IncompleteReplyError) as caught:
                for _ in stream:
                    pass
            assert ("word " * 1000).startswith(caught.value.partial)
            assert caught.value.partial
    finally:
        server.stop()
