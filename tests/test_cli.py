"""The command line, through its real entry point, in pipes and in a pseudo-terminal."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import wait_until
from terminals import (
    C4AI,
    SECONDS,
    Terminal,
    at_once,
    c4ai,
    chat_ui,
    environment,
    sentence,
    started,
)

import c4ai_clients
from c4ai_clients import ChatClient
from c4ai_clients.emulator import Answer, Emulator

PROVIDERS = sorted(
    kind.provider
    for kind in (getattr(c4ai_clients, name) for name in c4ai_clients.__all__)
    if isinstance(kind, type) and issubclass(kind, ChatClient) and kind.provider
)
LOCAL = "c4ai: the local emulator answers, not a model: it makes its answers up\n"


@pytest.fixture(scope="module")
def local_answers() -> dict[str, subprocess.CompletedProcess[bytes]]:
    """What ``chat --local`` does for each provider, all asked at once to save time."""
    args = [("chat", "--local", "--provider", name, "Why is the sky blue?") for name in PROVIDERS]
    return dict(zip(PROVIDERS, at_once(args), strict=True))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_local__answers_for_each_provider(
    provider: str, local_answers: Mapping[str, subprocess.CompletedProcess[bytes]]
) -> None:
    """Without any server, every provider's client prints an answer, and says whose it is."""
    ran = local_answers[provider]

    assert 0 == ran.returncode
    assert LOCAL == ran.stderr.decode()
    assert "Why is the sky blue?" in ran.stdout.decode()
    assert ran.stdout.endswith(b"\n")


def test_chat__prints_piece_by_piece() -> None:
    """Pieces are printed as they are sent, over the whole time that the answer takes."""
    times = []
    with (
        chat_ui(replies="one two three four five six seven eight nine ten", pace=0.05) as emulator,
        started("chat", "--url", emulator.url("chat-ui"), "Hi") as process,
    ):
        assert process.stdout is not None
        while os.read(process.stdout.fileno(), 65536):
            times.append(time.monotonic())

    assert len(times) >= 6
    assert times[-1] - times[0] > 0.05 * 10 / 2


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[bold]no[/bold] **markup** " + "in a long line " * 50, id="markup"),
        pytest.param("\x1b[31mred\x1b[0m \x07\r\na\u2028b\u0085c 日本語 😀\n\n", id="characters"),
    ],
)
def test_chat__piped_text_is_exact(text: str) -> None:
    """Into a pipe goes the answer as it is and one newline, on any console's encoding."""
    with chat_ui(replies=text) as emulator:
        ran = c4ai("chat", "--url", emulator.url("chat-ui"), "Hi", PYTHONIOENCODING="ascii")

    assert f"{text}\n".encode() == ran.stdout
    assert b"" == ran.stderr
    assert 0 == ran.returncode


def test_chat__reads_standard_input() -> None:
    """A piped prompt is read to its end, and loses its last newline and Windows' mark only."""
    with chat_ui() as emulator:
        ran = c4ai("chat", "--url", emulator.url("chat-ui"), stdin="\ufeff  é\ntwo lines\n")

        assert 0 == ran.returncode
        assert ["  é\ntwo lines"] == emulator.prompts


def test_chat__standard_input_among_the_prompts() -> None:
    """Words make one prompt; - is standard input, which is not left unread unsaid."""
    with chat_ui() as emulator:
        asking = ("chat", "--url", emulator.url("chat-ui"))
        ran = [
            c4ai(*asking, "Summarise:", "-", "Briefly.", stdin="the text\n"),
            c4ai(*asking, "-", stdin="alone"),
            c4ai(*asking, "one", "two", stdin="unread"),
            c4ai(*asking, "three"),
        ]
        refused = [c4ai(*asking, "a", "-"), c4ai(*asking, "-", "-", stdin="text")]

        assert [0, 0, 0, 0] == [each.returncode for each in ran]
        expected = ["Summarise:\n\nthe text\n\nBriefly.", "alone", "one two", "three"]
        assert expected == emulator.prompts
    assert [b"", b"", b""] == [each.stderr for each in (*ran[:2], ran[3])]
    assert "standard input was not read: - among" in sentence(ran[2])
    assert "standard input is empty" in sentence(refused[0])
    assert "say - once" in sentence(refused[1])


def test_option__is_of_the_providers_own() -> None:
    """--option is given as JSON where it parses, else as text; others are refused by a list."""
    with Emulator(("h2o", "gradio")) as emulator:
        h2o = ("chat", "--provider", "h2o", "--url", emulator.url("h2o"), "Hi", "--option")
        qwen = ("chat", "--provider", "qwen", "--url", emulator.url("qwen"), "Hi", "--option")
        warm, small, unknown, common, half = at_once(
            [
                (*h2o, "temperature=0.2"),
                (*qwen, "size=7B"),
                (*h2o, "size=7B"),
                (*h2o, "system=Be brief."),
                (*h2o, "temperature"),
            ]
        )

        assert [0, 0, 2, 2, 2] == [ran.returncode for ran in (warm, small, unknown, common, half)]
        bodies = [request.json() for request in emulator.requests if request.body[:1] == b"{"]
        assert any(0.2 == body.get("parameters", {}).get("temperature") for body in bodies)
        assert any("7B" in (body.get("data") or ()) for body in bodies)
    assert "h2o has no option 'size'; there are: temperature, truncate," in sentence(unknown)
    assert "no option 'system'" in sentence(common)
    assert "write NAME=VALUE" in sentence(half)


def test_chat__no_stream_and_json() -> None:
    """--no-stream prints the server's final text, --json the whole reply on one line."""
    with chat_ui(replies=Answer("streamed", final="rewritten")) as emulator:
        url = emulator.url("chat-ui")
        asked = ("chat", "--url", url, "Hi")
        streamed, whole, as_json = at_once([asked, (*asked, "--no-stream"), (*asked, "--json")])

    assert b"streamed\n" == streamed.stdout
    assert "rewrote" in sentence(streamed)
    assert b"rewritten\n" == whole.stdout
    assert "rewritten" == json.loads(as_json.stdout)["text"]
    assert 1 == as_json.stdout.count(b"\n")


BAD_INPUT = [
    pytest.param(["--local", "--model", "nope", "Hi"], 2, "nope", id="model"),
    pytest.param(["--local", ""], 2, "empty", id="empty-prompt"),
    pytest.param(["--local"], 2, "empty", id="empty-input"),
    pytest.param(["--provider", "nobody", "Hi"], 2, "nobody", id="provider"),
    pytest.param(["--provider", "chat-ui", "Hi"], 2, "--url", id="no-url"),
    pytest.param(["--url", "nonsense", "Hi"], 2, "nonsense", id="bad-url"),
    pytest.param(["--url", "", "Hi"], 2, "--url is empty", id="empty-url"),
    pytest.param(["--url", "http://127.0.0.1:9", "Hi"], 1, "nothing listens", id="no-server"),
    pytest.param(["--local", "--url", "http://127.0.0.1:9", "Hi"], 2, "--local", id="two-servers"),
    pytest.param(["--local", "--file", "/no/such/file", "Hi"], 2, "/no/such/file", id="no-file"),
    pytest.param(["--local", "--conversation", "/", "Hi"], 2, "cannot read /", id="no-talk"),
    pytest.param(["--local", "--conversation", __file__, "Hi"], 2, "not JSON", id="other-file"),
    pytest.param(["--local", "--conversation", "/no/where", "Hi"], 2, "/no/where", id="no-folder"),
    pytest.param(["--local", "--timeout", "0", "Hi"], 2, "timeout", id="timeout"),
    pytest.param(["--local", "--proxy", "http://127.0.0.1:9", "Hi"], 2, "--proxy", id="proxy"),
    pytest.param(["--nonsense", "Hi"], 2, "--nonsense", id="option"),
]


@pytest.fixture(scope="module")
def bad_runs() -> dict[str, subprocess.CompletedProcess[bytes]]:
    """What each bad input leads to, all tried at once to save time."""
    tried = at_once([("chat", *case.values[0]) for case in BAD_INPUT])
    return {str(case.values[0]): ran for case, ran in zip(BAD_INPUT, tried, strict=True)}


@pytest.mark.parametrize(("args", "status", "word"), BAD_INPUT)
def test_bad_input__is_one_sentence(
    args: list[str],
    status: int,
    word: str,
    bad_runs: Mapping[str, subprocess.CompletedProcess[bytes]],
) -> None:
    """What cannot work is said in one sentence that names it, with a status, without an answer."""
    ran = bad_runs[str(args)]

    assert word in sentence(ran)
    assert status == ran.returncode
    assert b"" == ran.stdout


def test_bad_input__bytes_that_are_no_text() -> None:
    """What is not UTF-8 is refused, not sent garbled: standard input, and arguments."""
    ran = [c4ai("chat", "--local", stdin=b"\xff\xfe\x00"), c4ai("chat", "--local", "a\udcff")]

    assert "UTF-8" in sentence(ran[0])
    assert "encoding" in sentence(ran[1])
    assert [2, 2] == [each.returncode for each in ran]


def test_serve__says_why_it_cannot_start() -> None:
    """A port that is taken, and a setting that is none, are one sentence."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        in_use = c4ai("serve", "--provider", "chat-ui", "--port", port)
    faults = (("--fault", "cut,at=soon"), ("--fault", "status,status=9999"))
    wrong = (("--era", "Z"), ("--upstream", "me:pw@nonsense"), *faults)
    unknown, upstream, fault, status = at_once([("serve", *setting) for setting in wrong])

    assert "Address already in use" in in_use.stderr.decode().splitlines()[0]
    assert "'Z'" in sentence(unknown)
    assert "'soon' is no value of at" in sentence(fault)
    assert "100 to 599, not 9999" in sentence(status)
    assert "upstream is a URL such as http://localhost:8000/v1, not 'nonsense'" in sentence(
        upstream
    )
    tried = (in_use, unknown, upstream, fault, status)
    assert [2, 2, 2, 2, 2] == [ran.returncode for ran in tried]


def test_error__ends_the_line_of_a_partial_answer() -> None:
    """An answer that breaks off keeps what came of it, on a line of its own."""
    with chat_ui(replies=Answer("one two", error="overloaded")) as emulator:
        ran = c4ai("chat", "--url", emulator.url("chat-ui"), "Hi")

    assert b"one two\n" == ran.stdout
    assert "overloaded" in sentence(ran)
    assert 1 == ran.returncode


def test_error__a_bug_is_not_hidden() -> None:
    """An exception that nobody expects is one sentence, and with -v its traceback."""
    code = (
        "import sys, c4ai_clients.__main__ as entry; from c4ai_clients import C4AICommand\n"
        "C4AICommand.models = lambda self: 1 / 0; entry.main()"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", code, "models", *flags],
            capture_output=True,
            timeout=SECONDS,
            env=environment(),
            check=False,
        )
        for flags in ([], ["-v"])
    ]

    assert "ZeroDivisionError" in sentence(said[0])
    assert b"Traceback" in said[1].stderr
    assert [1, 1] == [ran.returncode for ran in said]


def test_interrupt__ends_a_piped_answer() -> None:
    """Ctrl-C hangs up, ends the line, and is status 130 without a traceback."""
    with chat_ui(replies="word " * 500, pace=0.02) as emulator:
        with started("chat", "--url", emulator.url("chat-ui"), "Hi") as process:
            assert process.stdout is not None
            assert process.stderr is not None
            first = os.read(process.stdout.fileno(), 65536)
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read()
            said = process.stderr.read()
            status = process.wait(SECONDS)

        assert 130 == status
        assert (first + rest).startswith(b"word")
        assert (first + rest).endswith(b"\n")
        assert b"" == said
        assert wait_until(lambda: emulator.hang_ups == ["message"])


@pytest.mark.parametrize(
    ("kind", "pace", "shown", "end"),
    [
        pytest.param("xterm", 0.02, "word", b"^C\r\n", id="in-the-answer"),
        pytest.param("xterm", 30, "waiting", b"\x1b[2K", id="before-it"),
        pytest.param("dumb", 30, "", b"^C\r\n", id="before-it-undrawn"),
    ],
)
def test_interrupt__leaves_a_clean_line_in_a_terminal(
    kind: str, pace: float, shown: str, end: bytes
) -> None:
    """After Ctrl-C in a terminal the cursor is on a line of its own, without one left blank."""
    with (
        chat_ui(replies="word " * 500, pace=pace) as emulator,
        Terminal("chat", "--url", emulator.url("chat-ui"), "Hi", TERM=kind) as terminal,
    ):
        assert wait_until(lambda: emulator.processed == 1, SECONDS)
        terminal.wait_for(shown)
        terminal.type("\x03")

        assert 130 == terminal.status()
        assert terminal.shown.endswith(end)
        assert b"Traceback" not in terminal.shown


def test_pipe__a_reader_that_leaves_is_no_error() -> None:
    """`c4ai chat x | head -1` says nothing, and hangs up."""
    with chat_ui(replies="word " * 500, pace=0.01) as emulator:
        with started("chat", "--url", emulator.url("chat-ui"), "Hi") as process:
            assert process.stdout is not None
            assert process.stderr is not None
            os.read(process.stdout.fileno(), 4)
            process.stdout.close()

            assert b"" == process.stderr.read()
            assert 1 == process.wait(SECONDS)
        assert wait_until(lambda: emulator.hang_ups == ["message"])


@pytest.mark.parametrize(
    ("args", "told"),
    [
        pytest.param(["models", "--provider", "c4ai-command", "--local"], LOCAL, id="models"),
        pytest.param(["chat", "--help"], "", id="help"),
    ],
)
def test_pipe__a_full_disk_is_one_sentence(args: list[str], told: str) -> None:
    """What cannot be written is an error."""
    with open("/dev/full", "wb") as full:
        ran = subprocess.run(
            [*C4AI, *args],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=SECONDS,
            env=environment(),
            check=False,
        )

    assert f"{told}c4ai: No space left on device\n" == ran.stderr.decode()
    assert 1 == ran.returncode


@pytest.mark.parametrize("args", [["chat", "--json", "Hi"], ["chat", "Hi"], ["models"]], ids=str)
def test_pipe__a_closed_output_is_one_sentence(args: list[str]) -> None:
    """An answer that goes nowhere is an error."""
    with chat_ui(replies="Yes.") as emulator:
        ran = subprocess.run(
            ["sh", "-c", '"$@" >&-', "sh", *C4AI, *args, "--url", emulator.url("chat-ui")],
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            timeout=SECONDS,
            env=environment(),
            check=False,
        )

    assert (1, b"c4ai: standard output is closed\n") == (ran.returncode, ran.stderr)


def test_talk__goes_on_after_ctrl_c(tmp_path: Path) -> None:
    """Ctrl-C stops an answer, which stays in the conversation; the talk goes on in it."""
    kept = tmp_path / "talk.json"
    answers = iter(["first.", "word " * 500, "third."])
    with (
        chat_ui(replies=lambda _: next(answers), pace=0.02) as emulator,
        Terminal("chat", "--url", emulator.url("chat-ui"), "--conversation", str(kept)) as terminal,
    ):
        for question, answer, keys in (
            ("one", "first.", ""),
            ("two", "word word", "\x03"),
            ("three", "third.", ""),
        ):
            terminal.wait_for("> ")
            terminal.type(f"{question}\n")
            terminal.wait_for(answer)
            terminal.type(keys)
        terminal.wait_for("> ")
        terminal.type("/quit\n")

        assert 0 == terminal.status()
        assert ["one", "two", "three"] == emulator.prompts
        assert 1 == [request.step for request in emulator.requests].count("create")
    said = json.loads(kept.read_text())["messages"]
    assert [None, True, None] == [message.get("interrupted") for message in said[1::2]]


@pytest.mark.parametrize(
    ("keys", "status"),
    [(["\x04"], 0), (["\x03", "\x03"], 130), (["/Exit\n"], 0)],
    ids=["ctrl-d", "ctrl-c-twice", "exit"],
)
def test_talk__ends(keys: list[str], status: int) -> None:
    """Ctrl-D and /exit end a talk well, two Ctrl-C at the prompt with 130; the line is ended."""
    with Terminal("chat", "--local") as terminal:
        for key in keys:
            terminal.wait_for("> ")
            # A Ctrl-C in the same instant as the prompt is not seen by CPython's
            # readline before the next key; nobody types so fast.
            time.sleep(0.2)
            terminal.type(key)

        assert status == terminal.status()
        assert terminal.shown.removesuffix(b"\x1b[?2004l\r").endswith(b"\r\n")
        assert b"Traceback" not in terminal.shown


@pytest.mark.skipif(not importlib.util.find_spec("readline"), reason="this Python has no readline")
def test_talk__edits_lines_and_remembers_them() -> None:
    """The keys of line editing work, and the arrow up brings the last question back."""
    with (
        chat_ui(replies="answered.") as emulator,
        Terminal("chat", "--url", emulator.url("chat-ui")) as terminal,
    ):
        for keys in ("hellx\x7fo\n", "\x1b[A again\n"):
            terminal.wait_for("> ")
            terminal.type(keys)
            terminal.wait_for("answered.")
        terminal.wait_for("> ")
        terminal.type("\x04")

        assert 0 == terminal.status()
        assert ["hello", "hello again"] == emulator.prompts


def test_talk__an_error_does_not_end_it() -> None:
    """What goes wrong with one question is said, and the next one can be asked."""
    answers = iter([Answer(error="overloaded", error_after=0), "fine."])
    with (
        chat_ui(replies=lambda _: next(answers)) as emulator,
        Terminal("chat", "--url", emulator.url("chat-ui")) as terminal,
    ):
        for keys, shown in (
            ("one\n", "overloaded"),
            ("/nonsense\n", "no command /nonsense"),
            ("\n", ""),
            ("two\n", "fine."),
            ("/quit\n", ""),
        ):
            terminal.wait_for("> ")
            terminal.type(keys)
            terminal.wait_for(shown)

        assert 0 == terminal.status()
        assert ["one", "two"] == emulator.prompts


def test_conversation__goes_on_in_another_process(tmp_path: Path) -> None:
    """The file knows the server and the conversation; only its owner may read it."""
    kept = tmp_path / "sky.json"
    with chat_ui() as emulator:
        first = c4ai("chat", "--url", emulator.url("chat-ui"), "--conversation", str(kept), "one")
        second = c4ai("chat", "--conversation", str(kept), "two")

        assert (0, 0) == (first.returncode, second.returncode), second.stderr
        assert ["one", "two"] == emulator.prompts
        assert 1 == [request.step for request in emulator.requests].count("create")
    assert 4 == len(json.loads(kept.read_text())["messages"])
    assert 0o600 == stat.S_IMODE(kept.stat().st_mode)


def test_conversation__of_two_at_once_neither_loses_words(tmp_path: Path) -> None:
    """Where another has written the file meanwhile, its words stay, and it is said."""
    kept = tmp_path / "sky.json"
    both_asked = threading.Barrier(2, timeout=SECONDS)

    def answer(_: str) -> str:
        """Answer the second when the first is in the file."""
        first = both_asked.wait() == 0
        return "answered." if first or wait_until(kept.exists, SECONDS) else "too early."

    with chat_ui(replies=answer) as emulator:
        asking = ("chat", "--url", emulator.url("chat-ui"), "--conversation", str(kept))
        both = at_once([(*asking, "one"), (*asking, "two")])

    assert [0, 2] == sorted(ran.returncode for ran in both)
    assert {b"answered.\n"} == {ran.stdout for ran in both}
    won, lost = sorted(both, key=lambda ran: ran.returncode)
    assert "written by somebody else" in sentence(lost)
    said = json.loads(kept.read_text())["messages"]
    assert [won.args[-1], "answered."] == [message["content"] for message in said]


def test_conversation__no_key_goes_to_a_server_that_only_the_file_names(tmp_path: Path) -> None:
    """A key of the environment's is not sent where nobody said that it should go."""
    kept = tmp_path / "sky.json"
    with chat_ui() as emulator:
        url = emulator.url("chat-ui")
        c4ai("chat", "--url", url, "--conversation", str(kept), "one")
        asked = len(emulator.requests)
        refused = c4ai("chat", "--conversation", str(kept), "two", C4AI_API_KEY="sesame-42")
        silent = len(emulator.requests)
        said = c4ai(
            "chat", "--conversation", str(kept), "--url", url, "two", C4AI_API_KEY="sesame-42"
        )

        assert f"--url {url}" in sentence(refused)
        assert (2, asked) == (refused.returncode, silent)
        assert 0 == said.returncode
        assert "Bearer sesame-42" == emulator.requests[-1].headers["authorization"]


def test_conversation__of_a_server_and_of_local_stay_apart(tmp_path: Path) -> None:
    """--local leaves the file of a real conversation as it is, and the reverse.

    Each --local is a new server, which is told what was said before.
    """
    real, local = tmp_path / "real.json", tmp_path / "local.json"
    with chat_ui() as emulator:
        at_once(
            [
                ("chat", "--url", emulator.url("chat-ui"), "--conversation", str(real), "one"),
                ("chat", "--local", "--conversation", str(local), "first-word"),
            ]
        )
        before = real.read_bytes()
        (tmp_path / "again.json").write_bytes(local.read_bytes())
        taken, left, again = at_once(
            [
                ("chat", "--local", "--conversation", str(real), "two"),
                ("chat", "--conversation", str(local), "two"),
                ("chat", "--local", "--conversation", str(tmp_path / "again.json"), "second-word"),
            ]
        )

        assert ["one"] == emulator.prompts
    assert "leave --local out" in sentence(taken)
    assert "made with --local" in sentence(left)
    assert [2, 2, 0] == [ran.returncode for ran in (taken, left, again)]
    assert before == real.read_bytes()
    assert 2 == len(json.loads(local.read_text())["messages"])
    assert "first-word" in again.stdout.decode()
    assert 4 == len(json.loads((tmp_path / "again.json").read_text())["messages"])


def test_conversation__of_another_provider_is_refused(tmp_path: Path) -> None:
    """A conversation is not taken to a server of another kind."""
    kept = tmp_path / "sky.json"
    with chat_ui() as emulator:
        c4ai("chat", "--url", emulator.url("chat-ui"), "--conversation", str(kept), "one")
    record = json.loads(kept.read_text())
    kept.write_text(json.dumps({**record, "provider": "nobody"}))

    ran = c4ai("chat", "--conversation", str(kept), "two")

    assert "nobody" in sentence(ran)
    assert 2 == ran.returncode


def test_environment__sets_and_flags_win() -> None:
    """URL, key and model come from the environment where no flag says otherwise."""
    with chat_ui() as emulator:
        settings = {
            "C4AI_PROVIDER": "c4ai-command",
            "C4AI_URL": emulator.url("chat-ui"),
            "C4AI_API_KEY": "sesame-42",
            "C4AI_MODEL": "command-r",
        }
        usual = c4ai("chat", "--json", "Hi", **settings)
        named = c4ai("chat", "--json", "--model", "command-r7b", "Hi", **settings)

        assert "Bearer sesame-42" == emulator.requests[0].headers["authorization"]
    assert "command-r-08-2024" == json.loads(usual.stdout)["model"]
    assert "command-r7b-12-2024" == json.loads(named.stdout)["model"]


def test_environment__is_for_its_own_provider() -> None:
    """Another provider than the environment's is not given its URL and key."""
    with chat_ui() as emulator:
        url = emulator.url("chat-ui")
        ran = c4ai("models", "--provider", "chat-ui", C4AI_PROVIDER="c4ai-command", C4AI_URL=url)

        assert "--url" in sentence(ran)
        assert [] == emulator.requests


def test_key__is_shown_nowhere() -> None:
    """Neither help nor log nor error repeats a key."""
    with chat_ui() as emulator:
        url = emulator.url("chat-ui")
        said = [
            c4ai("chat", "--help", C4AI_API_KEY="sesame-42"),
            c4ai("chat", "-vv", "--url", url, "Hi", C4AI_API_KEY="sesame-42"),
            c4ai("chat", "--url", url, "--api-key", "sesame-42\n", "Hi"),
        ]

    assert [0, 0, 2] == [ran.returncode for ran in said]
    assert not any(b"sesame" in ran.stdout + ran.stderr for ran in said)


def test_terminal__shows_no_control_characters() -> None:
    """A model cannot move the cursor or colour the screen of whoever asks it."""
    text = "a\x1b[31mb\x1b]0;title\x07c\x9b2Jd\te\r\nf"
    with (
        chat_ui(replies=text) as emulator,
        Terminal("chat", "--url", emulator.url("chat-ui"), "Hi", TERM="dumb") as terminal,
    ):
        assert 0 == terminal.status()

    assert terminal.shown.decode().startswith("a[31mb]0;titlec2Jd\te\r\nf\r\n")
    assert not set("\x1b\x07\x9b") & set(terminal.shown.decode())


def test_terminal__replaces_what_its_encoding_lacks() -> None:
    """A console without UTF-8 shows a question mark, and nothing fails."""
    with (
        chat_ui(replies="é 😀.") as emulator,
        Terminal(
            *("chat", "--url", emulator.url("chat-ui"), "Hi"),
            TERM="dumb",
            PYTHONIOENCODING="latin-1",
        ) as terminal,
    ):
        assert 0 == terminal.status()

    assert terminal.shown.startswith(b"\xe9 ?.\r\n")


@pytest.mark.parametrize(
    ("more", "dimmed"), [({}, True), ({"NO_COLOR": "1"}, False)], ids=["colours", "no-colour"]
)
def test_terminal__words_go_beside_a_piped_answer(
    tmp_path: Path, more: Mapping[str, str], dimmed: bool
) -> None:
    """Reasoning and title are dimmed words on standard error; the answer stays exact."""
    answer = Answer("The answer.", reasoning=["Let me ", "think."], title="Thoughts")
    with (
        chat_ui(replies=answer) as emulator,
        (tmp_path / "out").open("wb") as output,
        Terminal("chat", "--url", emulator.url("chat-ui"), "Hi", output=output, **more) as terminal,
    ):
        assert 0 == terminal.status()

    assert b"The answer.\n" == (tmp_path / "out").read_bytes()
    assert b"Let me " in terminal.shown
    assert b"Thoughts" in terminal.shown
    assert dimmed == (b"\x1b[2m" in terminal.shown)


def test_terminal__shows_the_place_in_the_queue() -> None:
    """Whoever waits in a queue sees the place."""
    with Emulator(("gradio",)) as emulator:
        emulator.fail("slow_queue", seconds=1.0)
        url = emulator.url("qwen")
        with Terminal("chat", "--provider", "qwen", "--url", url, "Hi") as terminal:
            terminal.wait_for("in the queue, place ")

            assert 0 == terminal.status()


def test_models__one_a_line() -> None:
    """Into a pipe go the names that a server lists, each may be asked; or that none are."""
    with Emulator(("chat-ui", "gradio"), models=["one", "org/two"]) as emulator:
        ran = c4ai("models", "--url", emulator.url("chat-ui"))
        as_json = c4ai("models", "--url", emulator.url("chat-ui"), "--json")
        none = c4ai("models", "--provider", "gradio", "--url", emulator.url("gradio"))
        asking = ("chat", "--provider", "c4ai-command", "--url", emulator.url("chat-ui"), "Hi")
        chat = c4ai(*asking, "--json", "--model", "org/two")

    assert "org/two" == json.loads(chat.stdout)["model"]
    assert (b"one\norg/two\n", b"") == (ran.stdout, ran.stderr)
    listed = [json.loads(line) for line in as_json.stdout.splitlines()]
    assert ["one", "org/two"] == [model["id"] for model in listed]
    assert {"label", "description", "multimodal"} < set(listed[0])
    assert "gradio lists no models" in sentence(none)
    assert (b"", 0) == (none.stdout, none.returncode)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve__until_it_is_told_to_end(number: signal.Signals) -> None:
    """serve prints a URL for each provider, answers there, fails as told, and ends well."""
    fault = "status,status=403,step=message,nth=2,retry_after=1"
    with started("serve", "--pace", "0", "--fault", fault) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        urls = dict(process.stdout.readline().decode().split() for _ in PROVIDERS)
        asking = ("chat", "--provider", "c4ai-command", "--url", urls["c4ai-command"], "Hi")
        answered, refused = c4ai(*asking), c4ai(*asking)
        process.send_signal(number)
        said = process.stderr.read().decode()

        assert 0 == process.wait(SECONDS)
        assert PROVIDERS == sorted(urls)
        assert (0, 1) == (answered.returncode, refused.returncode)
        assert b"403" in refused.stderr
        assert "Traceback" not in said


@pytest.mark.parametrize("name", ["click", "rich", "platformdirs"])
def test_extra__its_absence_is_said(name: str) -> None:
    """Without the extra the command says how to install it, and nothing more."""
    code = (
        f"import sys; sys.modules[{name!r}] = None\nfrom c4ai_clients.__main__ import main; main()"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, "chat", "--local", "Hi"],
        capture_output=True,
        timeout=SECONDS,
        env=environment(),
        check=False,
    )

    assert b"pip install 'c4ai-clients[cli]'\n" == ran.stderr
    assert (1, b"") == (ran.returncode, ran.stdout)


def test_help__for_a_newcomer() -> None:
    """c4ai alone shows what there is; --help of each command tells its options."""
    alone, version, chat = at_once([(), ("--version",), ("chat", "--help")])
    told = chat.stdout.decode()

    assert 0 == alone.returncode
    assert all(word in alone.stdout for word in (b"chat --local", b"models", b"serve"))
    assert f"c4ai {c4ai_clients.__version__}\n".encode() == version.stdout
    assert all(f"--{name}" in told for name in ("provider", "url", "local", "conversation"))
    assert all(f"C4AI_{name}" in told for name in ("PROVIDER", "URL", "API_KEY", "MODEL", "PROXY"))


def test_completion__of_commands_providers_and_models() -> None:
    """What the shell asks for when Tab is pressed: the words that may stand there."""
    scripts = at_once([("completion", shell) for shell in ("bash", "zsh", "fish")])
    assert all(b"_C4AI_COMPLETE" in ran.stdout and 0 == ran.returncode for ran in scripts)
    words = {"c4ai do": "doctor", "c4ai chat --provider h2": "h2o"}
    words["c4ai chat --provider c4ai-command --model command-r7b-1"] = "command-r7b-12-2024"
    for line, word in words.items():
        count = str(line.count(" "))
        ran = c4ai(_C4AI_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=count)

        assert f"plain,{word}\n".encode() == ran.stdout
