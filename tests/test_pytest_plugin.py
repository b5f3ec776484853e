"""The fixtures, as pytest finds them in somebody else's project."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def pytest_in(directory: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run pytest there, with none of this project's settings."""
    (directory / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-p", "no:xdist", *args],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_example__runs_in_another_project(tmp_path: Path) -> None:
    """The example of docs/testing.md passes without a line of set-up, and is short."""
    for name in ("summary.py", "test_summary.py"):
        shutil.copy(EXAMPLES / name, tmp_path)
    ran = pytest_in(tmp_path)

    page = (EXAMPLES.parent / "docs" / "testing.md").read_text()
    for name in ("summary.py", "test_summary.py"):
        assert f"```py\n{(EXAMPLES / name).read_text()}```\n" in page
    assert "2 passed" in ran.stdout
    assert len((EXAMPLES / "test_summary.py").read_text().splitlines()) < 20


def test_fixtures__follow_the_marker(tmp_path: Path) -> None:
    """The nearest marker says whose client it is and how its server is.

    Replies left over are an error of a test that passed, and of no other.
    """
    (tmp_path / "test_all.py").write_text(
        """
import pytest

pytestmark = pytest.mark.chat_emulator(replies="module", era="D")


@pytest.mark.parametrize("provider", [
    pytest.param(name, marks=pytest.mark.chat_emulator(provider=name, replies=name))
    for name in ("c4ai-command", "chat-ui", "h2o", "autonomous", "gradio", "qwen")
])
def test_each(chat_client, provider):
    assert (provider, provider) == (chat_client.provider, chat_client.chat("Hi").text)


def test_module(chat_client, chat_emulator):
    assert "module" == chat_client.chat("Hi").text
    assert "c4ai-command" == chat_client.provider


@pytest.mark.chat_emulator(replies=["one", "two"])
def test_unasked(chat_client):
    assert "one" == chat_client.chat("Hi").text


@pytest.mark.chat_emulator(replies=["one", "two"])
def test_wrong(chat_client):
    assert "two" == chat_client.chat("Hi").text


@pytest.mark.chat_emulator("qwen")
def test_no_keyword(chat_client):
    pass


@pytest.mark.chat_emulator(nope=1)
def test_no_setting(chat_client):
    pass


def replies(prompt):
    assert "Bye" == prompt
    return "Bye!"


@pytest.mark.chat_emulator(replies=replies)
def test_function(chat_client):
    with pytest.raises(RuntimeError):
        chat_client.chat("Hi")
"""
    )
    ran = pytest_in(tmp_path)

    assert "1 failed, 9 passed, 4 errors" in ran.stdout
    assert "FAILED test_all.py::test_wrong" in ran.stdout
    assert "ERROR test_all.py::test_no_keyword - TypeError: the marker takes keyw" in ran.stdout
    assert "ERROR test_all.py::test_no_setting - TypeError: Emulator has no setti" in ran.stdout
    assert "ERROR test_all.py::test_function - AssertionError: assert 'Bye' == 'Hi" in ran.stdout
    assert "ERROR test_all.py::test_unasked - AssertionError: 1 scripted replies were" in ran.stdout
