"""Nothing is left: no socket, no thread, and a connection is kept where it can be."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from conftest import threads_of_ours, wait_until
from playing import CLIENTS, PROTOCOL
from turns import MIDDLE

from c4ai_clients import C4AIError, Stream
from c4ai_clients.emulator import Answer, Emulator

NAMES = ("c4ai-command", "h2o", "autonomous", "qwen")
KEPT = 8  # idle connections: as many as were ever wanted at once, by goodbyes too
ABANDONED = 50  # for each provider and way: 1,000 in all


def dropped(stream: Stream) -> None:
    next(stream)


def left_by_break(stream: Stream) -> None:
    for _ in stream:
        break


def left_by_error(stream: Stream) -> None:
    with pytest.raises(ZeroDivisionError):
        for _ in stream:
            1 / 0  # noqa: B018


def cancelled(stream: Stream) -> None:
    next(stream)
    stream.cancel()


def cancelled_by_another_thread(stream: Stream) -> None:
    next(stream)
    thread = threading.Thread(target=stream.cancel)
    thread.start()
    with pytest.raises(C4AIError):
        for _ in stream:
            time.sleep(0.001)
    thread.join()


WAYS: tuple[Callable[[Stream], None], ...] = (
    dropped,
    left_by_break,
    left_by_error,
    cancelled,
    cancelled_by_another_thread,
)


def open_sockets() -> int:
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except OSError:
            continue
    return count


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("leave", WAYS)
def test_leak__abandoned_streams(name: str, leave: Callable[[Stream], None]) -> None:
    """Streams left in any way leave no socket and no thread."""
    threads, sockets = threading.active_count(), open_sockets()
    protocol = PROTOCOL.get(name, name)
    answer = Answer(tokens=["word "] * 200)
    with (
        Emulator((protocol,), replies=lambda prompt: answer, pace=0.002) as emulator,
        CLIENTS[name](emulator.url(name)) as client,
    ):
        for _ in range(ABANDONED):
            leave(client.stream("Hi"))
        gc.collect()

        assert wait_until(lambda: emulator.open_connections <= KEPT)
        assert wait_until(lambda: not threads_of_ours())
    assert wait_until(lambda: (threads, sockets) == (threading.active_count(), open_sockets()))


@pytest.mark.parametrize("name", NAMES)
def test_leak__a_finished_stream_gives_its_connection_back(name: str) -> None:
    """Ten turns need one connection, or two where a goodbye overlaps the next turn."""
    protocol = PROTOCOL.get(name, name)
    with Emulator((protocol,)) as emulator, CLIENTS[name](emulator.url(name)) as client:
        for _ in range(10):
            assert list(client.stream("Hi"))
        assert emulator.connections == 1 if name != "h2o" else emulator.connections <= 4


@pytest.mark.parametrize("name", NAMES)
def test_leak__an_error_that_is_kept_keeps_nothing_open(name: str) -> None:
    """A notebook keeps the last traceback; the next turn works, and close() closes."""
    protocol = PROTOCOL.get(name, name)
    kept: list[BaseException] = []
    with Emulator((protocol,)) as emulator:
        step = "stream" if name == "qwen" else "message"
        emulator.fail("cut", step=step, at=100)
        with CLIENTS[name](emulator.url(name)) as client:
            with pytest.raises(C4AIError) as caught:
                client.chat("Hi")
            kept.append(caught.value)
            assert client.chat("Hi").text
        assert wait_until(lambda: emulator.open_connections == 0)
    assert kept


SCRIPT = """
    import sys, threading, time
    from c4ai_clients.emulator import Answer, Emulator
    from c4ai_clients.providers import clients

    name, protocol, step, at = sys.argv[1:]
    with Emulator((protocol,), replies=lambda p: Answer(tokens=["one "] * 50)) as emulator:
        with clients()[name](emulator.url(name)) as client:
            talk = client.conversation()
            emulator.fail("stall", step=step, at=eval(at), seconds=60)
            stream = talk.stream("Hi")
            def tell():  # once the server has the request that it lets wait
                while not any(request.step == step for request in emulator.requests):
                    time.sleep(0.01)
                print("ready", flush=True)

            if at == "None":
                threading.Thread(target=tell, daemon=True).start()
            else:
                print("ready", flush=True)
            try:
                for piece in stream:
                    print(piece, flush=True)
            except KeyboardInterrupt as interrupt:
                kept = interrupt  # as a notebook keeps its last traceback
                if at != "None":
                    assert talk.messages[-1]["interrupted"] is True
                    assert talk.messages[-1]["content"] == stream.text != ""
                assert talk.chat("Again").text == "one " * 50
                end = time.monotonic() + 5  # the goodbye may be connecting
                while any(t.name == "c4ai-connect" for t in threading.enumerate()):
                    assert time.monotonic() < end
                    time.sleep(0.01)
                print("done", flush=True)
"""


def reading(name: str, kind: str) -> subprocess.Popen[str]:
    """Start a process that reads from a server which falls silent in *kind*."""
    return subprocess.Popen(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            textwrap.dedent(SCRIPT),
            name,
            PROTOCOL.get(name, name),
            "stream" if name == "qwen" else "message",
            str(MIDDLE[name] if kind == "body" else None),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.fixture(scope="module")
def readers() -> Iterator[dict[tuple[str, str], subprocess.Popen[str]]]:
    """A process for each place where it may wait, all at once to save time, and waiting."""
    with contextlib.ExitStack() as stack:
        running = {}
        for name, kind in itertools.product(NAMES, ("headers", "body")):
            running[name, kind] = stack.enter_context(reading(name, kind))
            stack.callback(running[name, kind].kill)
        for (_, kind), process in running.items():
            assert process.stdout is not None
            assert "ready\n" == process.stdout.readline()
            if kind == "body":
                assert "one" in process.stdout.readline()
        time.sleep(0.3)
        yield running


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["headers", "body"])
def test_ctrl_c__keeps_the_text_and_the_next_call_works(
    name: str, kind: str, readers: dict[tuple[str, str], subprocess.Popen[str]]
) -> None:
    """A real interrupt, in a real process, while the reader waits for a silent server."""
    process = readers[name, kind]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)

    assert "done" in out, err
    assert "" == err
    assert 0 == process.returncode
