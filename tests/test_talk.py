"""What can be typed in a talk, through the real entry point in a pseudo-terminal."""

from __future__ import annotations

import importlib.util
import json
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from terminals import Terminal, chat_ui

from c4ai_clients import Conversation, UsageError
from c4ai_clients.cli.talk import Session, state_of

needs_readline = pytest.mark.skipif(
    not importlib.util.find_spec("readline"), reason="this Python has no readline"
)


def typed(terminal: Terminal, *turns: tuple[str, str]) -> None:
    """Type each line at a prompt, and wait for the words that must come of it."""
    for keys, shown in turns:
        terminal.wait_for("> ")
        terminal.type(keys)
        terminal.wait_for(shown)


def test_session__of_many_that_keep_at_once_one_is_kept(tmp_path: Path) -> None:
    """Where several write one file within a moment, one does, and the others are told."""
    kept = str(tmp_path / "sky.json")
    at_once = threading.Barrier(8)

    def keep(number: int) -> str:
        conversation = Conversation(None, model=f"model-{number}")
        session = Session(None, None, kept, state_of(kept), conversation=conversation)  # type: ignore[arg-type]
        at_once.wait()
        try:
            session.keep()
        except UsageError:
            return ""
        return conversation.model

    with ThreadPoolExecutor(8) as threads:
        said = [model for model in threads.map(keep, range(8)) if model]

    assert said == [Conversation.load(kept).model]


def test_commands__go_on_in_the_conversation(tmp_path: Path) -> None:
    """Each command does what /help says of it, and the server sees it."""
    kept, exported, sent = tmp_path / "talk.json", tmp_path / "talk.md", tmp_path / "note.txt"
    sent.write_text("attached words")
    answers = iter(["First.", "Second.", "Third.", "With a file.", "Fourth.", "Fifth."])
    with (
        chat_ui(replies=lambda _: next(answers), multimodal=["command-a-03-2025"]) as emulator,
        Terminal("chat", "--url", emulator.url("chat-ui")) as terminal,
    ):
        typed(
            terminal,
            ("/help\n", "/regenerate"),
            ("/edit\n", "nothing has been asked yet"),
            ("one\n", "First."),
            ("/regenerate\n", "Second."),
            ("/edit uno\n", "Third."),
            ("/system Be brief.\n", "the system prompt is: Be brief."),
            (f"/file {sent}\n", "note.txt goes along"),
            ("/file\n", "no file goes along"),
            (f"/file {sent}\n", "note.txt goes along"),
            ("two\n", "With a file."),
            ("/file nowhere\n", "no file 'nowhere'"),
            ("/model nonsense\n", "no model 'nonsense'"),
            (f"/save {sent}\n", "is there already"),
            (f"/save {exported}\n", "saved in"),
            (f"/save {kept}\n", "saved in"),
            ("/save\n", "saved in"),
            (" /usr is what?\n", "Fourth."),
            ('"""a\nb"""\n', "Fifth."),
            ("/quit\n", ""),
        )
        assert 0 == terminal.status()

        # Another system prompt is another conversation of the server's, told what was said.
        retold = "User: uno\nAssistant: Third.\nUser: two\nAssistant:"
        assert ["one", "one", "uno", retold, "/usr is what?", "a\nb"] == emulator.prompts
    said = json.loads(kept.read_text())
    assert "Be brief." == said["system"]
    assert ["uno", "two", "/usr is what?", "a\nb"] == [m["content"] for m in said["messages"][::2]]
    assert 0o600 == stat.S_IMODE(kept.stat().st_mode)
    assert "> Be brief." in exported.read_text()
    assert "Fourth." not in exported.read_text()


def test_continue__and_begin_anew() -> None:
    """/continue shows the rest alone; /new leaves the conversation, /model changes who answers."""
    answers = iter(["Half an", " answer.", "Fresh."])
    with (
        chat_ui(replies=lambda _: next(answers)) as emulator,
        Terminal("chat", "--url", emulator.url("chat-ui")) as terminal,
    ):
        typed(
            terminal,
            ("one\n", "Half an"),
            ("/continue\n", " answer."),
            ("/model\n", "* "),
            ("/new\n", ""),
            ("two\n", "Fresh."),
            ("/save\n", "in which file"),
            ("/quit\n", ""),
        )

        assert 0 == terminal.status()
        assert 2 == [request.step for request in emulator.requests].count("create")


def test_model__that_fails_loses_nothing(tmp_path: Path) -> None:
    """Where another model does not answer, what was said stays, here and in the file."""
    kept = tmp_path / "talk.json"
    with (
        chat_ui(replies="answered.") as emulator,
        Terminal("chat", "--url", emulator.url("chat-ui"), "--conversation", str(kept)) as terminal,
    ):
        typed(terminal, ("one\n", "answered."), ("/model command-r-08-2024\n", "goes to"))
        emulator.fail("status", step="create", status=401)
        typed(terminal, ("two\n", "401"), ("three\n", "answered."), ("/quit\n", ""))

        assert 0 == terminal.status()
    said = json.loads(kept.read_text())
    assert "command-r-08-2024" == said["model"]
    assert ["one", "three"] == [m["content"] for m in said["messages"][::2]]


@needs_readline
def test_interrupt__drops_what_is_half_typed() -> None:
    """Ctrl-C in the lines of a question, or in one that is edited, goes back to the prompt."""
    with (
        chat_ui(replies="answered.") as emulator,
        Terminal("chat", "--url", emulator.url("chat-ui")) as terminal,
    ):
        typed(terminal, ("one\n", "answered."))
        for keys, mark in (("/edit\n", "edit> one"), ('"""half\n', ". ")):
            typed(terminal, (keys, mark))
            time.sleep(0.2)  # readline sees no key in the instant of its prompt
            terminal.type("\x03")
        typed(terminal, ("two\n", "answered."), ("/quit\n", ""))

        assert 0 == terminal.status()
        assert ["one", "two"] == emulator.prompts
    assert b"stopped" not in terminal.shown


@needs_readline
def test_interrupt__at_the_prompt_drops_the_line() -> None:
    """Ctrl-C clears what is typed, or says how to leave; neither ends the talk."""
    with (
        chat_ui(replies="answered.") as emulator,
        Terminal("chat", "--url", emulator.url("chat-ui")) as terminal,
    ):
        for keys, said in (("half", ""), ("", "Ctrl-D or /exit ends"), ("more", "")):
            terminal.wait_for("> ")
            time.sleep(0.2)  # readline sees no key in the instant of its prompt
            terminal.type(keys)
            terminal.wait_for(keys)
            terminal.type("\x03")
            terminal.wait_for(said)
        typed(terminal, ("one\n", "answered."), ("/Help\n", "twice at an empty"), ("/exit\n", ""))

        assert 0 == terminal.status()
        assert ["one"] == emulator.prompts


def test_interrupt__pressed_again_and_again_stops_the_answer_alone(tmp_path: Path) -> None:
    """However often Ctrl-C is pressed while an answer is stopped, the talk goes on with it kept."""
    kept = tmp_path / "talk.json"
    answers = iter(["word " * 500, "second."])
    with (
        chat_ui(replies=lambda _: next(answers), pace=0.02) as emulator,
        Terminal("chat", "--url", emulator.url("chat-ui"), "--conversation", str(kept)) as terminal,
    ):
        typed(terminal, ("one\n", "word"))
        for _ in range(4):
            terminal.type("\x03")
            time.sleep(0.002)
        # One in the same instant as the prompt takes the next line with it: CPython's
        # readline sees it at the next key.
        terminal.wait_for("> ")
        for _ in range(4):
            time.sleep(0.2)
            terminal.type("\n")
        time.sleep(0.2)
        terminal.type("two\n")
        terminal.wait_for("second.")
        typed(terminal, ("/quit\n", ""))

        assert 0 == terminal.status()
    assert b"Traceback" not in terminal.shown
    said = json.loads(kept.read_text())["messages"]
    assert [True, None] == [message.get("interrupted") for message in said[1::2]]


@needs_readline
def test_edit__without_words_has_the_question_there() -> None:
    """The last question stands in the line, and is changed with the keys of line editing."""
    with (
        chat_ui(replies="answered.") as emulator,
        Terminal("chat", "--url", emulator.url("chat-ui")) as terminal,
    ):
        typed(terminal, ("why is it blu\n", "answered."), ("/edit\n", "why is it blu"))
        terminal.type("e?\n")
        typed(terminal, ("/quit\n", ""))

        assert 0 == terminal.status()
        assert ["why is it blu", "why is it blue?"] == emulator.prompts


@needs_readline
def test_history__lasts_and_is_its_owners(tmp_path: Path) -> None:
    """The arrow up brings back what an earlier talk asked; the file is private."""
    with chat_ui(replies="answered.") as emulator:
        for keys in ("first\n", "\x1b[A again\n"):
            with Terminal(
                "chat", "--url", emulator.url("chat-ui"), XDG_STATE_HOME=str(tmp_path)
            ) as terminal:
                typed(terminal, (keys, "answered."), ("\x04", ""))
                assert 0 == terminal.status()

        assert ["first", "first again"] == emulator.prompts
    history = tmp_path / "c4ai_clients" / "history"
    assert ["first", "first again"] == history.read_text().splitlines()
    assert 0o600 == stat.S_IMODE(history.stat().st_mode)


@needs_readline
def test_tab__completes_commands_and_files(tmp_path: Path) -> None:
    """Tab completes a command, and the name of a file behind one."""
    (tmp_path / "some notes.txt").write_text("x")
    with Terminal("chat", "--local") as terminal:
        typed(terminal, (f"/fi\t{tmp_path}/so\t\n", "some notes.txt goes along"), ("\x04", ""))

        assert 0 == terminal.status()


@needs_readline
def test_paste__of_several_lines_is_one_question() -> None:
    """What a terminal pastes in brackets is asked as one text."""
    with (
        chat_ui(replies="answered.") as emulator,
        Terminal("chat", "--url", emulator.url("chat-ui")) as terminal,
    ):
        typed(terminal, ("\x1b[200~one\ntwo\x1b[201~\n", "answered."), ("/quit\n", ""))

        assert 0 == terminal.status()
        assert ["one\ntwo"] == emulator.prompts
