"""A stranger's words move no cursor: ``c4ai`` writes none of their escapes to a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import peers
import pytest

TOKENS = [
    *("a\x1b", "[31mred\x1b[0m", "\x1b]8;;http://evil.test\x1b\\link\x1b]8;;\x1b\\"),
    *("\x1b]52;c;ZXZpbA==\x07", "\x9b2J", "\x9d52;c;x\x9c", "b\x08\x08c", "\x07", "one\rtwo"),
    *("\x1b", "\x1bP", "q\x1b\\", "\x7f", "\x0e\x0f", "\x1bc", "\x90", "\x1b[6n", "\x85", "end"),
]
HOSTILE = "".join(TOKENS)
SEEN = "".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", "", token) for token in TOKENS)
CONTROL = re.compile(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")


def told(*lines: Any) -> bytes:
    body = "".join(json.dumps(line) + "\n" for line in lines)
    return peers.http(body.encode(), "Content-Type: application/jsonl")


MADE = {
    "POST /conversation": told({"conversationId": "abc"}),
    "GET /api/conversation/abc": told({"messages": [{"id": "r", "from": "system"}]}),
}
SERVERS: dict[str, tuple[list[str], dict[str, bytes]]] = {
    "answer": (
        ["chat", "-vv", "--model", "m", "Hi"],
        {
            **MADE,
            "POST /conversation/abc": told(
                {"type": "status", "status": "started", "message": HOSTILE},
                {"type": "webSearch", "subtype": "update", "message": HOSTILE, "args": [HOSTILE]},
                {"type": "reasoning", "subtype": "stream", "token": HOSTILE},
                *({"type": "stream", "token": token} for token in TOKENS),
                {"type": "tool", "subtype": "call", "uuid": HOSTILE, "call": {"name": HOSTILE}},
                {"type": "file", "sha": "a0", "name": HOSTILE, "mime": HOSTILE},
                {"type": "finalAnswer", "text": HOSTILE, "interrupted": True},
                {"type": "title", "title": HOSTILE},
            ),
        },
    ),
    "refusal": (
        ["chat", "-vv", "--model", "m", "Hi"],
        {"POST /conversation": peers.http(HOSTILE.encode(), status="403 No")},
    ),
    "failure": (
        ["chat", "-vv", "--model", "m", "Hi"],
        {
            **MADE,
            "POST /conversation/abc": told(
                {"type": "stream", "token": HOSTILE},
                {"type": "status", "status": "error", "message": HOSTILE},
            ),
        },
    ),
    "models": (
        ["models"],
        {"GET /api/models": told([{"id": HOSTILE, "displayName": HOSTILE}])},
    ),
    "unknown-model": (
        ["chat", "--model", HOSTILE.replace("\x1b", ""), "Hi"],
        {"POST /conversation": told({"conversationId": "abc"})},
    ),
}


def in_terminal(command: list[str], **more: str) -> str:
    """Run ``c4ai`` with a terminal for its output; return what the terminal is told."""
    leader, follower = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "c4ai_clients", *command],
            stdin=subprocess.DEVNULL,
            stdout=follower,
            stderr=follower,
            env={
                **{name: value for name, value in os.environ.items() if name[:5] != "C4AI_"},
                "TERM": "dumb",
                "NO_COLOR": "1",
                "XDG_STATE_HOME": "/dev/null/none",
                **more,
            },
        )
        os.close(follower)
        follower = -1
        data = b""
        while True:
            try:
                piece = os.read(leader, 65536)
            except OSError:  # the last one who had it open has gone
                break
            if not piece:
                break
            data += piece
        process.wait(20)
    finally:
        os.close(leader)
        if follower >= 0:
            os.close(follower)
    return data.decode("utf-8")


@pytest.mark.parametrize("kind", list(SERVERS))
def test_terminal__no_control_character_of_a_stranger(kind: str) -> None:
    """Answers, reasoning, titles, names, errors and the log have newlines and nothing else."""
    command, routes = SERVERS[kind]
    with peers.listening(peers.routed(routes, [])) as at:
        shown = in_terminal(
            [command[0], "--provider", "chat-ui", "--url", f"http://{at}", *command[1:]]
        )

    assert [] == CONTROL.findall(shown)
    if kind in ("answer", "failure", "models"):
        assert SEEN in shown.replace(" ", "")
    else:
        assert "evil.test" in shown


def test_terminal__colours_are_ours_alone() -> None:
    """Where there are colours, those of a stranger's words are not among them."""
    command, routes = SERVERS["answer"]
    with peers.listening(peers.routed(routes, [])) as at:
        asked = [command[0], "--provider", "chat-ui", "--url", f"http://{at}", "--model", "m", "Hi"]
        shown = in_terminal(asked, TERM="xterm-256color", NO_COLOR="")

    theirs = (
        "\x1b]",
        "\x1bP",
        "\x1bc",
        "\x1b[31m",
        "\x1b[6n",
        "\x07",
        "\x08",
        "\x9b",
        "\x9d",
        "\x7f",
    )
    assert [] == [each for each in theirs if each in shown]
    assert SEEN in shown


def test_pipe__errors_and_the_log_are_clean(tmp_path: Path) -> None:
    """Standard error is clean in a pipe too; standard output there is the answer as it came."""
    command, routes = SERVERS["answer"]
    with peers.listening(peers.routed(routes, [])) as at:
        ran = subprocess.run(
            [
                sys.executable,
                "-m",
                "c4ai_clients",
                command[0],
                "--provider",
                "chat-ui",
                "--url",
                f"http://{at}",
                *command[1:],
            ],
            capture_output=True,
            timeout=20,
            check=True,
            stdin=subprocess.DEVNULL,
        )

    assert HOSTILE + "\n" == ran.stdout.decode()
    assert [] == CONTROL.findall(ran.stderr.decode())
