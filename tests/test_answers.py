"""Several answers while they come: what is noted, how often, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import threads_of_ours

from c4ai_clients import (
    AutonomousAI,
    C4AICommand,
    C4AIError,
    CancelledError,
    ChatUI,
    Qwen,
    UsageError,
)
from c4ai_clients.answers import Answers
from c4ai_clients.emulator import Emulator
from c4ai_clients.emulator.replies import Answer


@pytest.fixture
def slow() -> Iterator[Emulator]:
    """An emulator that says twenty words in 0.4 s, and thinks before."""
    said = Answer([f"w{n} " for n in range(20)], reasoning="hm ", title="Words")
    with Emulator(("chat-ui", "autonomous"), replies=lambda _: said, pace=0.02) as running:
        yield running


def test_answers__hold_what_came_of_each(slow: Emulator) -> None:
    """Text, reasoning, title, both times and the reply are there at the end, in order."""
    with ChatUI(slow.url("chat-ui"), model="command-a-03-2025") as one:
        with AutonomousAI(slow.url("autonomous")) as two:
            with Answers.ask("Count!", {"b": one, "a": two}) as answers:
                frames = list(answers.frames())

    last = frames[-1]
    whole = "".join(f"w{n} " for n in range(20))
    assert ["b", "a"] == [each.label for each in last]
    assert [whole.strip()] * 2 == [each.text.strip() for each in last]
    assert ("hm", "Words") == (last[0].reasoning.strip(), last[0].title)
    assert all(each.ended and each.reply is not None for each in last)
    assert all(0 < (each.first_token or 0) < each.total for each in last)
    assert not frames[0][0].text
    grown = [len(frame[0].text) for frame in frames]
    assert sorted(grown) == grown
    assert len(set(grown)) > 3


def test_answers__are_yielded_at_most_so_often(slow: Emulator) -> None:
    """Twenty pieces in 0.4 s are few frames where only five a second are wanted."""
    with ChatUI(slow.url("chat-ui"), model="command-a-03-2025") as client:
        began = time.monotonic()
        frames = list(Answers.ask("Count!", [client]).frames(rate=5))
        seconds = time.monotonic() - began

    assert 1 < len(frames) <= 2 + 5 * seconds
    assert frames[-1][0].ended


def test_answers__of_a_silent_server_are_yielded_as_the_clock_goes_on(emulator: Emulator) -> None:
    """Where nothing comes, the seconds that are shown go on all the same."""
    emulator.fail("stall", at=0, seconds=30)
    with ChatUI(emulator.url("chat-ui"), model="command-a-03-2025") as client:
        with Answers.ask("Hi", [client]) as answers:
            frames = answers.frames()
            seconds = [next(frames)[0].total for _ in range(3)]

    assert seconds[2] - seconds[1] > 0.5


def test_answers__that_fail_leave_the_others_alone(emulator: Emulator, slow: Emulator) -> None:
    """One error stands in its own answer, with what came before it; the other is whole."""
    emulator.fail("upstream", at=3)
    with ChatUI(emulator.url("chat-ui"), model="command-a-03-2025") as bad:
        with AutonomousAI(slow.url("autonomous")) as good:
            with Answers.ask("Hi", {"bad": bad, "good": good}) as answers:
                *_, (failed, whole) = answers.frames()

    assert isinstance(failed.error, C4AIError)
    assert failed.reply is None
    assert failed.text
    assert failed.text == failed.error.partial
    assert whole.reply is not None
    assert whole.text.endswith("w19 ")


def test_answers__cancelled_keep_what_came(slow: Emulator) -> None:
    """Leaving hangs up; the text so far is in the answer and, marked, in the conversation."""
    with ChatUI(slow.url("chat-ui"), model="command-a-03-2025") as client:
        talk = client.conversation()
        with Answers({"it": talk.stream("Count!")}) as answers:
            for (now,) in answers.frames():
                if now.text:
                    break
        (left,) = answers.now()

    assert isinstance(left.error, CancelledError)
    assert left.text
    assert {"role": "assistant", "content": left.text, "interrupted": True} == talk.messages[-1]
    assert [] == [name for name in threads_of_ours() if name.startswith("c4ai-pool")]


def test_answers__ask_nobody_where_one_cannot_be_asked(emulator: Emulator) -> None:
    """A question that one client refuses goes to none."""
    clients = [ChatUI(emulator.url("chat-ui")), AutonomousAI(emulator.url("autonomous"))]
    with pytest.raises(UsageError):
        Answers.ask("Hi", clients, system=7)

    assert 0 == emulator.processed


@pytest.mark.parametrize("whom", [[], None, ["chat-ui"], "chat-ui", ChatUI("http://127.0.0.1:1")])
def test_answers__of_nobody_say_whom_to_give(whom: Any) -> None:
    """What is no list and no dict of clients, as one client alone is not, is told what is."""
    with pytest.raises(UsageError, match=r"^whom to ask\? Give clients: \[client, …\], or "):
        Answers.ask("Hi", whom)


def test_answers__labels_are_as_short_as_tell_them_apart(emulator: Emulator) -> None:
    """Name alone, then with model, then URL, then a number."""

    def labels(*clients: ChatUI | Qwen) -> list[str]:
        return [each.label for each in Answers.ask("Hi", clients).now()]

    url = emulator.url("chat-ui")
    assert [C4AICommand.label, Qwen.label] == labels(C4AICommand(), Qwen())
    assert [f"{ChatUI.label}, a", f"{ChatUI.label}, b"] == labels(
        ChatUI(url, model="a"), ChatUI(url, model="b")
    )
    assert f"{ChatUI.label}, a, {url}" in labels(
        ChatUI(url, model="a"), ChatUI("http://localhost:1", model="a")
    )
    same = labels(ChatUI(url, model="a"), ChatUI(url, model="a"))
    assert [f"{ChatUI.label}, a, {url}, 1", f"{ChatUI.label}, a, {url}, 2"] == same
