"""README's examples and commands, run as they stand."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import c4ai_clients
from c4ai_clients import ChatClient
from c4ai_clients.emulator import Emulator

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
COMMANDS = re.findall(r"^    (.*\bc4ai (?:batch|chat|models|serve).*)$", TEXT, re.MULTILINE)


def elsewhere(text: str, emulator: Emulator) -> str:
    """Point an example's servers at the emulator."""
    text = text.replace("https://chat.example.org", emulator.url("chat-ui"))
    return text.replace("https://any-space.hf.space", emulator.url("gradio"))


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[-1][:40])
def test_readme__example(
    block: str,
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An example runs against the emulator, and prints something."""
    for name in c4ai_clients.__all__:
        value = getattr(c4ai_clients, name)
        if isinstance(value, type) and issubclass(value, ChatClient) and value.default_url:
            monkeypatch.setattr(value, "default_url", emulator.url(value.provider))
    monkeypatch.chdir(tmp_path)
    made: dict[str, object] = {}
    exec(compile(elsewhere(block, emulator), str(README), "exec"), made)
    for value in made.values():
        if isinstance(value, ChatClient):
            value.close()

    quiet = "stream.cancel()" in block or "except C4AIError" in block
    assert quiet or capsys.readouterr().out.strip()
    assert emulator.requests


def test_readme__has_examples_for_every_provider() -> None:
    """Each provider has an example of its own."""
    named = "".join(BLOCKS)

    assert all(
        name in named for name in ("C4AICommand", "ChatUI", "Gradio", "Qwen", "AutonomousAI", "H2O")
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_readme__command(command: str, emulator: Emulator, tmp_path: Path) -> None:
    """A command line of README's is one that c4ai takes."""
    words = shlex.split(elsewhere(command.split("c4ai ")[-1], emulator), comments=True)
    if words[0] == "serve":
        words.append("--help")
    elif "--local" not in words and "--url" not in words:
        provider = words[words.index("--provider") + 1] if "--provider" in words else "chat-ui"
        words += ["--url", emulator.url(provider)]
        if provider == "chat-ui":
            words += ["--provider", "c4ai-command"]
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "One?"}\n{"prompt": "Two?"}\n')
    done = subprocess.run(
        [sys.executable, "-m", "c4ai_clients", *words],
        input="Summarise this.",
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=30,
        check=False,
    )

    assert "" == done.stderr or "--local" in words
    assert 0 == done.returncode
    assert done.stdout.strip()
