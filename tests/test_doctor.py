"""``c4ai doctor``, and the lines that it prints, through its real entry point."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest
from terminals import at_once, c4ai, sentence
from test_detect import WRONG

from c4ai_clients.detect import examine
from c4ai_clients.emulator import Emulator

# What the command is tried with; all of them are tried with what it calls.
URLS = (
    *("nothing listens", "never answers", "https to an http port", "another site", "OpenAI"),
    *("404 everywhere", "login redirect", "401", "Gradio without a chat", "wrong path of chat-ui"),
)
RIGHT = {
    "chat-ui": "kind: chat-ui (C, since 2025-06); its client is ChatUI",
    "h2o": "kind: chat-ui (A, summer 2023); its client is H2O",
    "gradio": "kind: Gradio (6.31.0); its client is Gradio",
    "autonomous": "kind: AutonomousAI, by its path; its client is AutonomousAI",
}

Ran = subprocess.CompletedProcess[bytes]


@pytest.fixture(scope="module")
def wrong() -> Iterator[dict[str, Ran]]:
    """What the command does at each wrong URL, all at once to save time."""
    with ExitStack() as stack:
        urls = [stack.enter_context(WRONG[case][0]()) for case in URLS]
        args = [("doctor", "--timeout", "2", url) for url in urls]
        yield dict(zip(URLS, at_once(args), strict=True))


@pytest.mark.parametrize("case", URLS)
def test_doctor__says_what_is_wrong(case: str, wrong: Mapping[str, Ran]) -> None:
    """The failed check stands last, with its remedy below; the status is 1."""
    _, _, words, remedy = WRONG[case]
    *_, last, below = wrong[case].stdout.decode().splitlines()

    assert 1 == wrong[case].returncode
    assert b"" == wrong[case].stderr
    assert last.startswith("wrong ")
    assert words in last
    assert remedy in below


@pytest.fixture(scope="module")
def right() -> Iterator[dict[str, Ran]]:
    """What the command says of each server of the emulator."""
    with Emulator(era="C", version="6.31.0") as emulator:
        args = [("doctor", emulator.url(name)) for name in RIGHT]
        yield dict(zip(RIGHT, at_once(args), strict=True))


@pytest.mark.parametrize("name", RIGHT)
def test_doctor__names_the_server(name: str, right: Mapping[str, Ran]) -> None:
    """Kind, version and client are named, nothing is wrong, and the status is 0."""
    said = right[name].stdout.decode()

    assert 0 == right[name].returncode
    assert RIGHT[name] in said
    assert "wrong " not in said


def test_doctor__json() -> None:
    """As JSON the same is told on one line."""
    with Emulator("gradio") as emulator:
        url = emulator.url("gradio")
        ran = c4ai("doctor", url, "--json")
        told = json.loads(ran.stdout)

    assert (0, 1) == (ran.returncode, ran.stdout.count(b"\n"))
    assert (url, "gradio", "Gradio", True) == tuple(
        told[name] for name in ("url", "provider", "client", "fits")
    )
    assert ["GET / (200)", "GET /config (200)"] == told["requests"]


def test_doctor__no_url() -> None:
    """What is no URL is told on one line, with how to write it."""
    ran = c4ai("doctor", "foo bar")

    assert 2 == ran.returncode
    assert b"wrong url: 'foo bar' is no URL of a server" in ran.stdout
    assert b"write it as https://host" in ran.stdout


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "no url"])
def test_doctor__json_of_a_failure(url: str) -> None:
    """A failure is JSON too: nothing fits, and the last check says why."""
    told = json.loads(json.dumps(examine(url).to_dict()))

    assert (False, None, None) == (told["fits"], told["client"], told["what"])
    assert told["checks"][-1]["ok"] is False
    assert told["checks"][-1]["remedy"]


def test_doctor__refuses_what_cannot_be_used() -> None:
    """A setting that cannot be used is said, not passed over."""
    ran = [
        c4ai("doctor", "127.0.0.1:1", *flags) for flags in (("--timeout", "0"), ("--api-key", ""))
    ]

    assert [2, 2] == [each.returncode for each in ran]
    assert "timeout" in sentence(ran[0])
    assert "--api-key is empty" in sentence(ran[1])
