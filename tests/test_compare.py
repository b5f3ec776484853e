"""``c4ai compare``, through its real entry point."""

from __future__ import annotations

import contextlib
import json
import signal
import socket

from terminals import SECONDS, Terminal, c4ai, sentence, started

from c4ai_clients.emulator import Emulator


def port(server: socket.socket) -> int:
    return int(server.getsockname()[1])


def test_compare__each_answer_under_its_name() -> None:
    """In a pipe each answer stands whole under a line with its name and times."""
    with Emulator(("chat-ui", "gradio"), replies="Because of Rayleigh.\nTruly.") as emulator:
        urls = [emulator.url("chat-ui"), emulator.url("gradio")]
        ran = c4ai("compare", "--to", urls[0], "--to", urls[1], "Why?")

        assert ["Why?", "Why?"] == emulator.prompts
    said = ran.stdout.decode()
    for url in urls:
        head, _, text = said.partition(f"== {url}: first ")[2].partition("\n\n")
        assert head.endswith(" s")
        assert text.startswith("Because of Rayleigh.\nTruly.\n")
    assert (0, b"") == (ran.returncode, ran.stderr)


def test_compare__prompt_and_options_of_all() -> None:
    """Standard input is the prompt where - says so, and an option goes to each."""
    with Emulator(("chat-ui",), replies="Yes.") as emulator:
        asking = ("compare", "--to", emulator.url("chat-ui"), "Really:", "-", "--option")
        ran = c4ai(*asking, "web_search=true", stdin="this?")
        refused = c4ai(*asking, "size=7B", stdin="this?")

        assert ["Really:\n\nthis?"] == emulator.prompts
        assert any(b'"web_search": true' in request.body for request in emulator.requests)
    assert (0, 2) == (ran.returncode, refused.returncode)
    assert "no option 'size'; there are: web_search" in sentence(refused)


def test_compare__one_that_fails_leaves_the_others() -> None:
    """What fails is said in its place, and by the status; the model is the one behind the #."""
    with Emulator(("chat-ui", "h2o"), replies="fine.") as emulator:
        emulator.fail("status", step="settings", status=401, times=9)
        chat_ui, h2o = f"{emulator.url('chat-ui')}#command-r7b-12-2024", emulator.url("h2o")
        ran = c4ai("compare", "--to", h2o, "--to", chat_ui, "--json", stdin="Why?")

    failed, fine = (json.loads(line) for line in ran.stdout.splitlines())
    assert (h2o, None) == (failed["label"], failed["reply"])
    assert "401" in failed["error"]
    assert (chat_ui, None) == (fine["label"], fine["error"])
    assert ("fine.", "command-r7b-12-2024") == (fine["reply"]["text"], fine["reply"]["model"])
    assert 1 == ran.returncode


def test_compare__a_server_that_is_not_there() -> None:
    """A server that is not there fails in its place; one that is named twice is asked twice."""
    with Emulator("autonomous", replies="fine.") as emulator:
        alive = emulator.url("autonomous")
        without_scheme = alive.removeprefix("http://")
        to = ("http://127.0.0.1:1", without_scheme, without_scheme)
        ran = c4ai("compare", *(word for each in to for word in ("--to", each)), "Why?", "--json")

    dead, *fine = (json.loads(line) for line in ran.stdout.splitlines())
    assert "nothing listens at 127.0.0.1:1" in dead["error"]
    assert [to[0], to[1], f"{to[1]}, 2"] == [each["label"] for each in (dead, *fine)]
    assert ["fine."] * 2 == [each["reply"]["text"] for each in fine]
    assert 1 == ran.returncode


def test_compare__connects_to_all_at_once_and_can_be_stopped() -> None:
    """Servers that never answer are all asked what they are beside each other; Ctrl-C ends it."""
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        to = [word for each in silent for word in ("--to", f"http://127.0.0.1:{port(each)}")]
        with started("compare", *to, "--timeout", "60", "Why?") as process:
            for each in silent:
                each.settimeout(SECONDS)
                stack.enter_context(each.accept()[0])
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=SECONDS)

    assert (130, (b"", b"")) == (process.returncode, said)


def test_compare__the_key_goes_to_the_first_alone() -> None:
    """A key is for one server; the others must not see it."""
    with Emulator(replies="fine.") as emulator:
        urls = [emulator.url("chat-ui"), emulator.url("autonomous")]
        c4ai("compare", "--to", urls[0], "--to", f"{urls[1]}", "--api-key", "k3y-word", "Why?")
        told = {
            request.protocol: "authorization" in {name.lower() for name in request.headers}
            for request in emulator.requests
            if request.step == "message"
        }

    assert {"chat-ui": True, "autonomous": False} == told


def test_compare__local_has_its_own_servers() -> None:
    """A URL beside --local is one sentence."""
    ran = c4ai("compare", "--local", "--to", "http://127.0.0.1:9", "Hi")

    assert "no provider 'http://127.0.0.1:9'; there are: " in sentence(ran)
    assert 2 == ran.returncode


def test_compare__nobody_to_ask() -> None:
    """Whom to ask is said before anything is sent."""
    ran = c4ai("compare", "Why?")
    nobody = c4ai("compare", "--to", "nobody", "Why?")

    assert b"c4ai: whom to ask? Name each with --to, or say --local\n" == ran.stderr
    assert b"no provider 'nobody'" in nobody.stderr
    assert (2, 2) == (ran.returncode, nobody.returncode)


def test_compare__columns_in_a_terminal() -> None:
    """In a terminal the answers grow side by side; Ctrl-C leaves what came, with status 130."""
    with Emulator(("chat-ui", "h2o"), replies="word " * 400, pace=0.05) as emulator:
        to = [word for name in ("chat-ui", "h2o") for word in ("--to", emulator.url(name))]
        with Terminal("compare", *to, "Why?") as terminal:
            terminal.wait_for("word word")
            terminal.wait_for("word word word")
            terminal.type("\x03")

            assert 130 == terminal.status()
    last = terminal.shown[terminal.shown.rindex("┏".encode()) :].decode()
    assert 2 == last.count("ended after")
    assert "word word" in last
    assert "Traceback" not in last
