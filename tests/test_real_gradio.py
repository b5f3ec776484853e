"""A real Gradio server, the newest that is installed, run as a process."""

from __future__ import annotations

import contextlib
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
    """Real apps in a process of their own.

    Attributes:
        urls: Where each app is.
    """

    def __init__(self, *apps: str, python: str = sys.executable) -> None:
        self.urls = {}
        with contextlib.ExitStack() as taken:
            for app in apps:
                probe = taken.enter_context(socket.create_server(("127.0.0.1", 0)))
                self.urls[app] = f"http://127.0.0.1:{probe.getsockname()[1]}"
        self._command = [python, "-W", "ignore", str(APPS)]
        for app, url in self.urls.items():
            self._command += [app, url.rpartition(":")[2]]
        self._process: subprocess.Popen[bytes] | None = None

    def wait(self) -> Server:
        """Start it where it does not run, and wait until every app answers."""
        if self._process is not None:
            return self
        with tempfile.TemporaryFile() as said:
            self._process = subprocess.Popen(
                self._command,
                env={**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"},
                stdout=said,
                stderr=said,
            )
            end = time.monotonic() + _PATIENCE
            while not all(map(_answers, self.urls.values())):
                if self._process.poll() is not None or time.monotonic() > end:
                    said.seek(0)
                    raise AssertionError(f"the app did not start: {said.read()[-2000:]!r}")
                time.sleep(0.05)
        return self

    def kill(self) -> None:
        """Kill it; it can be started again."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/", timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def process() -> Iterator[Server]:
    """Both apps in one process: importing Gradio takes most of the time."""
    server = Server("qwen", "interface")
    yield server
    server.kill()


@pytest.fixture
def server(process: Server) -> Server:
    """The same, running again if a test before has killed it."""
    return process.wait()


@pytest.fixture
def qwen(server: Server) -> Iterator[Qwen]:
    with Qwen(server.urls["qwen"]) as client:
        yield client


@pytest.fixture
def gradio(server: Server) -> Iterator[Gradio]:
    with Gradio(server.urls["interface"]) as client:
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
def test_connect__knows_a_real_app(server: Server, app: str) -> None:
    """A real app is known in two requests with its version, and found from a wrong path."""
    url = server.urls[app]
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


def test_qwen__leaving_frees_the_worker(server: Server) -> None:
    """Four workers are left half-way; a fifth question is answered at once."""
    with Qwen(server.urls["qwen"]) as client:
        for _ in range(4):
            with client.stream("long") as stream:
                next(stream)
        assert "You said: next" == client.chat("next", timeout=10).text


def test_qwen__events(qwen: Qwen) -> None:
    """The queue tells our place in it."""
    assert any(isinstance(event, Queued) for event in qwen.stream("hi").events())


def test_killed__is_an_error_and_no_hang(server: Server, qwen: Qwen) -> None:
    """The server is killed mid-stream: an error within seconds, with what had come."""
    stream: Any = qwen.stream("long")
    next(stream)
    server.kill()
    with pytest.raises(IncompleteReplyError) as caught:
        for _ in stream:
            pass
    assert ("word " * 1000).startswith(caught.value.partial)
    assert caught.value.partial
