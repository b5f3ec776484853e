"""Every case of the table, and what must hold in each of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from cases import PROVIDERS, Case, Provider
from playing import play
from table import cases

from c4ai_clients import TimedOutError
from c4ai_clients.providers import chatui_turn

CASES = cases()
WAITING = [
    case
    for case in CASES
    if case.error is TimedOutError or "dies" in case.way or case.fault["kind"] == "tail"
]
ENDLESS = [case for case in CASES if case.part == "limits"]
SINGLE = [case for case in CASES if case not in WAITING and case not in ENDLESS]
GROWTH = 16_000_000
APART = 0.03  # seconds between turns that only wait; all at once would make each other late


def test_table__is_large_and_each_case_its_own() -> None:
    """There are at least 800 cases, and no two are the same."""
    assert len(CASES) >= 800
    assert len({case.id for case in CASES}) == len(CASES)


@pytest.fixture(autouse=True)
def saved_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator saves a message before all else, so nobody needs to look a second later."""
    monkeypatch.setattr(chatui_turn, "_SAVING_LATE", 0.05)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in SINGLE])
def test_fault(case: Case) -> None:
    """A turn with one fault is the whole reply or the named error, and leaves nothing."""
    play(case)


@pytest.fixture(scope="module")
def played() -> list[tuple[Case, Future[None]]]:
    """The turns in which some time must pass, each begun while those before it wait."""
    turns = []
    with ThreadPoolExecutor(len(WAITING)) as pool:
        for case in WAITING:
            turns.append((case, pool.submit(play, case)))
            time.sleep(APART)
    return turns


@pytest.mark.parametrize("provider", [pytest.param(p, id=p.name) for p in PROVIDERS])
def test_fault__that_has_us_wait(
    provider: Provider, played: list[tuple[Case, Future[None]]]
) -> None:
    """The same where a clock must run out, or a server goes on saying nothing."""
    turns = {case.id: turn for case, turn in played if case.provider is provider}
    failed = {case: turn.exception() for case, turn in turns.items() if turn.exception()}

    assert turns
    assert {} == failed


@pytest.fixture(scope="module")
def measured() -> Iterator[Callable[[Case], tuple[int, str]]]:
    """Plays a case in another process: how much that grew, and what failed."""
    here = Path(__file__).parent
    with subprocess.Popen(
        [sys.executable, str(here / "measuring.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(here.parent)},
    ) as process:
        ask, answer = process.stdin, process.stdout
        assert ask is not None
        assert answer is not None

        def play_there(case: Case) -> tuple[int, str]:
            print(case.id, file=ask, flush=True)
            growth, failed = json.loads(answer.readline())
            return growth, failed

        yield play_there
        ask.close()


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in ENDLESS])
def test_fault__without_end(case: Case, measured: Callable[[Case], tuple[int, str]]) -> None:
    """What has no end ends by name, before the process has grown much."""
    growth, failed = measured(case)

    assert "" == failed
    assert growth < GROWTH
