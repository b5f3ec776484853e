"""Batches: each prompt has one right record, whatever happened in between."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import pickle
import random
import re
import resource
import signal
import subprocess
import sys
import textwrap
import time
import types
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from conftest import threads_of_ours, wait_until

from c4ai_clients import (
    AutonomousAI,
    C4AICommand,
    C4AIError,
    ChatUI,
    ConnectError,
    IncompleteReplyError,
    Reply,
    RetryPolicy,
    ServerError,
    TimedOutError,
    UsageError,
)
from c4ai_clients.batch import BatchSummary, read_batch, run_batch
from c4ai_clients.emulator import Emulator
from c4ai_clients.prompts import Asked
from c4ai_clients.records import of_error, of_reply


@pytest.fixture
def echo() -> Iterator[Emulator]:
    """An emulator that answers with the prompt."""
    with Emulator(("autonomous", "chat-ui"), replies=lambda prompt: f"echo {prompt}") as emulator:
        yield emulator


@pytest.fixture
def client(echo: Emulator) -> Iterator[AutonomousAI]:
    with AutonomousAI(echo.url("autonomous"), retry=RetryPolicy.none()) as opened:
        yield opened


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def texts(output: Path) -> list[str]:
    return [record["text"] for record in read_batch(output)]


def python(code: str, *args: str) -> subprocess.Popen[str]:
    """Start a real process, in which warnings are errors."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_batch__one_record_a_prompt(client: AutonomousAI, output: Path) -> None:
    """Each prompt has its reply, in the order of the prompts, with all that was said of it."""
    summary = run_batch((f"p{i}" for i in range(40)), output, client)

    assert [f"echo p{i}" for i in range(40)] == texts(output)
    assert 40 == summary.done == output.read_bytes().count(b"\n")
    record = read_batch(output)[3]
    assert ("llama", "stop", 3) == (record["model"], record["finish_reason"], record["index"])
    assert 1 == record["timing"]["attempts"]
    assert 0 < record["timing"]["first_token"] <= record["timing"]["total"]
    assert summary.total is not None
    assert summary.total[0] <= summary.total[1]
    assert "40 done in" in str(summary)
    assert not threads_of_ours()


def test_batch__run_again_does_nothing(echo: Emulator, client: AutonomousAI, output: Path) -> None:
    """A second run of the same prompts sends nothing and changes no byte."""
    prompts = ["a", "b", "a"]
    run_batch(prompts, output, client)
    before = output.read_bytes()
    summary = run_batch(prompts, output, client)

    assert (0, 3) == (summary.done, summary.skipped)
    assert before == output.read_bytes()
    assert 3 == echo.processed
    assert "3 were there already" in str(summary)


def test_batch__ids(client: AutonomousAI, output: Path) -> None:
    """An id is the one given, or made of content, options and how many equal ones came before."""
    run_batch([{"id": "x", "prompt": "a"}, {"id": 7, "prompt": "b"}, "a", "a"], output, client)
    ids = [record["id"] for record in read_batch(output)]

    assert ["x", "7"] == ids[:2]
    assert f"{ids[2]}-1" == ids[3]
    more = [{"prompt": "a"}, {"prompt": "a", "model": "hermes"}, {"prompt": "a", "system": "s"}]
    assert 2 == run_batch(["a", *more], output, client).done
    with pytest.raises(UsageError, match="two prompts have the id 'y'"):
        run_batch([{"id": "y", "prompt": "a"}, {"id": "y", "prompt": "b"}], output, client)


def test_batch__what_a_prompt_may_hold(echo: Emulator, client: AutonomousAI, output: Path) -> None:
    """Messages, system prompt, model and options are sent; what cannot be is an error record."""
    summary = run_batch(
        [
            {"messages": [{"role": "user", "content": "a"}], "system": "Be brief."},
            {"prompt": "b", "model": "hermes", "options": {"streamed": False}},
            {"prompt": "c", "promt": "d"},
            {"id": "both", "prompt": "c", "messages": []},
            {"prompt": ""},
            {"prompt": "f", "options": []},
            {"id": [], "prompt": "g"},
            3,
        ],
        output,
        client,
        retry_failed=True,
    )
    records = read_batch(output)

    assert 2 == summary.done
    assert {"UsageError": 6} == summary.failed
    assert ["text", "text"] + ["error"] * 6 == [
        "error" if "error" in record else "text" for record in records
    ]
    assert "hermes" == records[1]["model"]
    assert any(request.path.endswith("chat-hermes") for request in echo.requests)
    assert "promt" in records[2]["error"]["text"]
    assert "both" == records[3]["id"]
    assert not any(record["error"]["retry"] for record in records[2:])


def test_batch__files(client: AutonomousAI, output: Path, tmp_path: Path) -> None:
    """Prompts come from lines of JSON or from a table."""
    lines, table = tmp_path / "prompts.jsonl", tmp_path / "prompts.csv"
    lines.write_text('"a"\n\n{"id": "x", "prompt": "b\u2028"}\n{"id": \n', encoding="utf-8")
    with table.open("w", newline="", encoding="utf-8-sig") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "prompt", "model", "options"])
        rows.writerow(["1", "two\nlines", "", '{"streamed": false}'])
        rows.writerow(["2", "x" * 140_000, "hermes", ""])
        rows.writerow(["3", "c", "", "{"])
    run_batch(lines, output, client)
    assert ["echo a", "echo b\u2028"] == [r["text"] for r in read_batch(output) if "text" in r]
    assert "line 4 of" in read_batch(output)[2]["error"]["text"]

    output.unlink()
    run_batch(str(table), output, client)
    records = read_batch(output)
    assert ["echo two\nlines", "echo " + "x" * 140_000] == [r["text"] for r in records[:2]]
    assert "options" in records[2]["error"]["text"]
    for path in (tmp_path / "none.jsonl", tmp_path / "none.csv"):
        with pytest.raises(UsageError, match="cannot read"):
            run_batch(path, output, client)
    lines.write_bytes(b"\xff")
    with pytest.raises(UsageError, match="UTF-8"):
        run_batch(lines, output, client)
    table.write_text("question\nx\n")
    with pytest.raises(UsageError, match="column prompt"):
        run_batch(table, output, client)


def test_batch__of_plain_text_sends_nothing(
    echo: Emulator, client: AutonomousAI, output: Path, tmp_path: Path
) -> None:
    """A file whose first line is not JSON is of another kind: said at once, with what to do."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text('\nWhy is the sky blue?\n"And the sea?"\n')
    with pytest.raises(UsageError) as caught:
        run_batch(prompts, output, client)

    assert str(caught.value).startswith(f"line 2 of {prompts} is not JSON: Why is the sky blue?; ")
    assert 'write each prompt as a line "…"' in str(caught.value)
    assert 0 == echo.processed


def test_batch__an_error_is_a_record(echo: Emulator, client: AutonomousAI, output: Path) -> None:
    """It says class, text and what came, and whether a later run may fare better."""
    echo.fail("cut", at=500)
    echo.fail("status", status=401, nth=2)
    summary = run_batch(["a", "b", "c"], output, client, workers=1)
    cut, refused, _ = read_batch(output)

    assert {"IncompleteReplyError": 1, "AuthError": 1} == summary.failed
    assert "IncompleteReplyError" == cut["error"]["class"]
    assert cut["error"]["partial"].startswith("echo")
    assert "autonomous, message:" in cut["error"]["text"]
    assert [True, True] == [cut["error"]["retry"], refused["error"]["retry"]]
    assert f"2 failed (1 AuthError, 1 IncompleteReplyError), {output} says why" in str(summary)

    before = output.read_bytes()
    again = run_batch(["a", "b", "c"], output, client)
    assert (3, 2, {}) == (again.skipped, again.failed_before, again.failed)
    assert "3 were there already, 2 of them failed" in str(again)
    assert 2 == run_batch(["a", "b", "c"], output, client, retry_failed=True).done
    assert ["echo a", "echo b", "echo c"] == texts(output)
    assert output.read_bytes().startswith(before)


@pytest.mark.parametrize("where", ["here", "executor"])
def test_batch__a_mistake_in_code_is_no_record(
    echo: Emulator, output: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody raises on purpose ends the run, whose replies are kept; so does an option."""
    stream = AutonomousAI.stream

    def wrong(self: AutonomousAI, messages: Any, **options: Any) -> Any:
        return None + 1 if "b" == messages else stream(self, messages, **options)  # type: ignore[operator]

    unknown = {"prompt": "b", "options": {"nonsense": 1}}
    with ThreadPoolExecutor(1) as threads, AutonomousAI(echo.url("autonomous")) as asked:
        executor = threads if where == "executor" else None
        with pytest.raises(UsageError, match=r"prompt 2: .* no option 'nonsense'.*: streamed"):
            run_batch(["a", unknown, "c"], output, asked, workers=1, executor=executor)
        assert ["echo a"] == texts(output)
        monkeypatch.setattr(AutonomousAI, "stream", wrong)
        with pytest.raises(TypeError):
            run_batch(["a", "b", "c"], output, asked, workers=1, executor=executor)

    assert ["echo a"] == texts(output)


@pytest.mark.parametrize("where", ["here", "executor"])
def test_batch__options_for_all(echo: Emulator, output: Path, where: str) -> None:
    """They go with every prompt that does not say otherwise, and change no id."""
    prompts: Any = ["a", {"prompt": "b", "options": {"streamed": True}}]
    with ThreadPoolExecutor(1) as threads, AutonomousAI(echo.url("autonomous")) as client:
        executor = threads if where == "executor" else None
        run_batch(prompts, output, client, executor=executor, options={"streamed": False})
        again = run_batch(prompts, output, client)

    assert [False, True] == sorted(request.json()["stream"] for request in echo.requests)
    assert 2 == again.skipped


@pytest.mark.parametrize("where", ["here", "executor"])
def test_batch__raise(echo: Emulator, client: AutonomousAI, output: Path, where: str) -> None:
    """With on_error="raise" the first error ends the run, is not written, and is asked again."""
    echo.fail("cut", at=500, nth=2)
    with ThreadPoolExecutor(1) as threads:
        executor = threads if where == "executor" else None
        with pytest.raises(IncompleteReplyError) as caught:
            run_batch(
                ["a", "b", "c"], output, client, workers=1, executor=executor, on_error="raise"
            )
        assert caught.value.partial.startswith("echo")
        assert ["echo a"] == texts(output)
        run_batch(["a", "b", "c"], output, client, executor=executor, on_error="raise")

    assert ["echo a", "echo b", "echo c"] == texts(output)


class Late(Future[Any]):
    """A future whose answer comes while somebody cancels it."""

    def cancel(self) -> bool:
        if not self.done():
            self.set_result(self.answer)
        return False


class Three(Executor):
    """Answers two prompts, and fails the first of three."""

    def __init__(self, failure: Any, together: bool) -> None:
        self._failure, self._together = failure, together
        self._asked: list[tuple[Late, Asked]] = []

    def submit(self, ask: Any, asked: Any, /) -> Any:  # type: ignore[override]
        self._asked.append((Late(), asked))
        if 3 == len(self._asked):
            for late, each in self._asked[1:]:
                late.answer = of_reply(each, Reply(each.id))
                if self._together:
                    late.set_result(late.answer)
            first, asked_first = self._asked[0]
            if isinstance(self._failure, C4AIError):
                first.set_result(of_error(asked_first, self._failure))
            else:
                first.set_exception(self._failure)
        return self._asked[-1][0]


@pytest.mark.parametrize("together", [True, False], ids=["together", "late"])
@pytest.mark.parametrize(
    "failure",
    [
        ServerError("no"),
        ConnectError("no"),  # an OSError too
        TimedOutError("no", kind="first"),
        RuntimeError("the worker died"),
        ConnectionResetError("the worker's connection"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_batch__what_has_come_is_kept(
    client: AutonomousAI, output: Path, failure: Exception, together: bool
) -> None:
    """Whatever ends a run, replies that came beside it or just behind it are written."""
    three = Three(failure, together)
    with pytest.raises(type(failure)):
        run_batch(["a", "b", "c"], output, client, workers=3, executor=three, on_error="raise")

    assert [1, 2] == [record["index"] for record in read_batch(output)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"workers": 0},
        {"workers": True},
        {"on_error": "ignore"},
        {"client": "http://127.0.0.1:9"},
        {"client": str},
        {"options": {"nonsense": 1}},
    ],
    ids=str,
)
def test_batch__refuses_nonsense(client: AutonomousAI, output: Path, wrong: dict[str, Any]) -> None:
    """A setting that cannot be used is refused, and no file is made."""
    with pytest.raises(UsageError):
        run_batch(["a"], output, **{"client": client, **wrong})
    assert [] == list(output.parent.iterdir())


def test_batch__a_refused_run_leaves_no_file(client: AutonomousAI, tmp_path: Path) -> None:
    """Prompts that cannot be read, or an output that cannot be, leave the disk as it was."""
    prompts, plain = tmp_path / "prompts.jsonl", tmp_path / "plain.txt"
    prompts.write_text('{"id": "a", "prompt": "b"}\n')
    plain.write_text("Why is the sky blue?\n")
    read, write = os.pipe()
    for given, to, said in [
        (tmp_path / "none", tmp_path / "out", "cannot read"),
        (plain, tmp_path / "out", "not JSON"),
        (prompts, prompts, "holds the prompts"),
        (prompts, f"/dev/fd/{write}", "is no file"),
        (prompts, tmp_path / "no" / "out", "cannot write .*its directory"),
    ]:
        with pytest.raises(UsageError, match=said):
            run_batch(given, to, client)
    os.close(read)
    os.close(write)

    assert {prompts, plain} == set(tmp_path.iterdir())
    assert '{"id": "a", "prompt": "b"}\n' == prompts.read_text()


def test_batch__a_factory_makes_the_client(echo: Emulator, output: Path) -> None:
    """A function is called for the client, which is closed at the end."""
    made = []

    def factory() -> ChatUI:
        made.append(ChatUI(echo.url("chat-ui")))
        return made[-1]

    run_batch(["a", "b"], output, factory)

    assert ["echo a", "echo b"] == texts(output)
    assert 1 == len(made)
    assert wait_until(lambda: echo.open_connections == 0)


def test_batch__memory_is_bounded(echo: Emulator, client: AutonomousAI, output: Path) -> None:
    """Of prompts without end few are taken ahead of the answers."""
    taken = []

    def prompts() -> Iterator[str]:
        for i in range(100):
            taken.append(i)
            assert len(taken) <= echo.processed + 4 + 1
            yield f"p{i}"

    run_batch(prompts(), output, client, workers=4)

    assert 100 == len(read_batch(output))


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.exhaustive)])
def test_cut__at_every_byte(echo: Emulator, client: AutonomousAI, output: Path, step: int) -> None:
    """Cut anywhere, the file is completed by what is missing, and no finished line changes."""
    prompts = ["a", "b"]
    run_batch(prompts, output, client, workers=1)
    whole = output.read_bytes()
    ends = [whole.index(b"\n"), len(whole) - 1]  # here a record is whole, but for its newline
    for size in sorted({*range(0, len(whole), step), *ends}):
        kept = whole[:size]
        output.write_bytes(kept)
        before = echo.processed
        run_batch(prompts, output, client)

        finished = kept[: kept.rfind(b"\n") + 1]
        assert ["echo a", "echo b"] == texts(output)
        assert output.read_bytes().startswith(finished)
        assert output.read_bytes().count(b"\n") == 2
        assert echo.processed - before == sum(size < end for end in ends)


def test_cut__only_the_newline_is_missing(
    echo: Emulator, client: AutonomousAI, output: Path
) -> None:
    """A record that is whole is kept."""
    run_batch(["a"], output, client)
    output.write_bytes(output.read_bytes()[:-1])

    assert 1 == run_batch(["a"], output, client).skipped
    assert output.read_bytes().endswith(b"}\n")
    assert 1 == echo.processed


JUNK = {
    "nuls": b"\0" * 5000,
    "nul-line": b"\0" * 10 + b"\n",
    "hole": b'{"id": "x", \0\0\0\n',
    "garbage": b"half\xff",
    "torn-line": b'{"id": "\n',
    "blank": b"\n",
}


@pytest.mark.parametrize(
    ("place", "junk"),
    [
        pytest.param(place, junk, id=f"{place}-{name}")
        for place in ("end", "middle", "begin")
        for name, junk in JUNK.items()
        # A file that begins with something else is no batch's, and refused.
        if (place, name) != ("begin", "garbage")
    ],
)
def test_cut__junk_is_no_record(
    client: AutonomousAI, output: Path, junk: bytes, place: str
) -> None:
    """What a crash leaves costs no record, wherever it lies."""
    prompts = ["a", "b", "c"]
    run_batch(prompts, output, client, workers=1)
    lines = output.read_bytes().splitlines(keepends=True)
    at = {"begin": 0, "middle": 1, "end": 3}[place]
    if place != "end" and not junk.endswith(b"\n"):
        junk += b"\n"
    output.write_bytes(b"".join([*lines[:at], junk, *lines[at:]]))
    run_batch(prompts, output, client)

    assert ["echo a", "echo b", "echo c"] == texts(output)
    assert all(line in output.read_bytes() for line in lines)


@pytest.mark.parametrize(
    "there", [b'{"prompt": "a"}\n', b"some text", b"\x89PNG\r\n\x1a\n", b'["id"]\n']
)
def test_batch__a_file_of_something_else_is_left_alone(
    client: AutonomousAI, output: Path, there: bytes
) -> None:
    """An output that is no batch's, such as the prompts themselves, is refused and unchanged."""
    output.write_bytes(there)

    with pytest.raises(UsageError, match="something else"):
        run_batch(["a"], output, client)
    assert there == output.read_bytes()
    with pytest.raises(UsageError, match="is no file"):
        run_batch(["a"], "/dev/null", client)
    with pytest.raises(UsageError, match=f"{output.parent} is no file"):
        run_batch(["a"], output.parent, client)


def test_read_batch__a_later_line_wins(output: Path) -> None:
    """One record an id, the last; what is no record is passed over."""
    lines = [
        {"id": "x", "index": 1, "error": {}},
        {"id": "y", "index": 0, "text": "y"},
        {"id": "x", "index": 1, "text": "x"},
    ]
    output.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"id": "z", "ind')

    assert ["y", "x"] == [record["text"] for record in read_batch(output)]
    with pytest.raises(UsageError, match="cannot read"):
        read_batch(output.with_name("none"))


def test_lock__two_runs_on_one_file(echo: Emulator, client: AutonomousAI, output: Path) -> None:
    """A second run is refused while the first writes, by another name too, and not after."""
    link = output.with_name("link.jsonl")
    link.symlink_to(output)

    def prompts() -> Iterator[str]:
        yield "a"
        with pytest.raises(UsageError, match="another run writes"):
            run_batch(["b"], link, client)
        yield "c"

    run_batch(prompts(), output, client)
    run_batch(["d"], link, client)

    assert ["a", "c", "d"] == sorted(echo.prompts)


def test_disk__full(client: AutonomousAI, output: Path) -> None:
    """A full disk ends the run with its own error; whatever is written is whole."""
    prompts = [f"p{i}" for i in range(20)]
    run_batch(prompts[:3], output, client)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (output.stat().st_size + 700, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            run_batch(prompts, output, client)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert errno.EFBIG == caught.value.errno
    assert output.read_bytes().endswith(b"}\n")
    there = len(read_batch(output))

    assert 20 - there == run_batch(prompts, output, client).done
    assert [f"echo {p}" for p in prompts] == texts(output)


SERVER = """
    import sys
    from c4ai_clients.emulator import Emulator

    with Emulator("autonomous", replies=lambda p: f"echo {p}", pace=float(sys.argv[1])) as emulator:
        print(emulator.url("autonomous"), flush=True)
        for _ in sys.stdin:
            print(emulator.processed, flush=True)
"""
RUN = """
    import sys
    from c4ai_clients import AutonomousAI
    from c4ai_clients.batch import run_batch

    prompts = (f"p{i}" for i in range(int(sys.argv[3])))
    print("begun", flush=True)
    run_batch(prompts, sys.argv[2], AutonomousAI(sys.argv[1]), workers=int(sys.argv[4]))
"""


class Server:
    """An emulator in a process of its own."""

    def __init__(self, pace: float = 0.0) -> None:
        self._process = python(SERVER, str(pace))
        self.url = self._line().strip()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    @property
    def processed(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._line())

    def stop(self) -> None:
        self._process.communicate("", timeout=20)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    started = Server(0.001)
    yield started
    started.stop()


def killed_again_and_again(server: Server, output: Path, prompts: int, kills: int) -> Counter[str]:
    """Kill runs of one batch at random moments, then let one end; return what that cost."""
    chance = random.Random(os.urandom(8))
    before, cost = server.processed, Counter[str]()
    finished = b""
    while cost["kills"] < kills:
        process = python(RUN, server.url, str(output), str(prompts), "4")
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.25))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        cost["kills" if process.returncode < 0 else "ends"] += 1
        there = output.read_bytes() if output.exists() else b""
        assert there.startswith(finished)
        finished = there[: there.rfind(b"\n") + 1]
        if cost["ends"]:
            break
    process = python(RUN, server.url, str(output), str(prompts), "4")
    _, err = process.communicate(timeout=120)
    assert 0 == process.returncode, err
    lines = output.read_bytes().splitlines()
    assert prompts == len(lines) == len({json.loads(line)["id"] for line in lines})
    assert [f"echo p{i}" for i in range(prompts)] == texts(output)
    cost["requests"] = server.processed - before
    assert cost["requests"] <= prompts + 4 * cost["kills"]
    return cost


def test_kill__a_few_at_random_moments(server: Server, output: Path) -> None:
    """Killed runs of a batch end in one right record a prompt, for few requests more."""
    cost = killed_again_and_again(server, output, 500, 4)

    sys.stdout.write(f"{dict(cost)}\n")
    assert cost["kills"] >= 1


@pytest.mark.exhaustive
def test_kill__200_at_random_moments(server: Server, tmp_path: Path) -> None:
    """So do two hundred kills, over as many batches as that takes."""
    total = Counter[str]()
    while total["kills"] < 200:
        output = tmp_path / f"{total['batches']}.jsonl"
        total += killed_again_and_again(server, output, 500, 200 - total["kills"])
        total["batches"] += 1

    sys.stdout.write(f"{dict(total)}\n")


INTERRUPTED = """
    import sys, threading, time
    from c4ai_clients import AutonomousAI
    from c4ai_clients.batch import run_batch
    from c4ai_clients.emulator import Emulator

    with Emulator("autonomous", replies=lambda p: f"echo {p}") as emulator:
        emulator.fail("stall", nth=6, times=100, at=0, seconds=60)
        def wait():
            while emulator.processed < 37:
                time.sleep(0.01)
            print("ready", flush=True)
        threading.Thread(target=wait, daemon=True).start()
        client = AutonomousAI(emulator.url("autonomous"))
        run_batch(map(str, range(99)), sys.argv[1], client, workers=32)
"""


def test_ctrl_c__says_how_to_go_on(client: AutonomousAI, output: Path) -> None:
    """With 32 streams in silence the run ends within a second, its lines whole."""
    process = python(INTERRUPTED, str(output))
    try:
        assert process.stdout is not None
        assert "ready\n" == process.stdout.readline()
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        took = time.monotonic() - begin
    finally:
        process.kill()
        process.communicate()

    assert took < 4  # of 60; the emulator's own end and the interpreter's are in it
    last = err.strip().splitlines()[-1]
    assert f"KeyboardInterrupt: stopped; 5 records are in {output}: run the same again" in last
    assert output.read_bytes().endswith(b"}\n")
    assert 94 == run_batch(map(str, range(99)), output, client).done


def test_executor__threads(echo: Emulator, output: Path) -> None:
    """Any executor will do; threads share the client, keys and all."""
    url = echo.url("autonomous")
    with ThreadPoolExecutor(3) as threads, AutonomousAI(url, api_key="k") as keyed:
        run_batch(map(str, range(20)), output, keyed, workers=3, executor=threads)

    assert [f"echo {i}" for i in range(20)] == texts(output)
    assert all("Bearer k" == request.headers["authorization"] for request in echo.requests)


def test_executor__processes_make_the_client_once(echo: Emulator, output: Path) -> None:
    """Another process gets the client by pickle once, and keeps its connection."""
    with AutonomousAI(echo.url("autonomous")) as client:
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
            run_batch(map(str, range(20)), output, client, workers=2, executor=processes)

    assert [f"echo {i}" for i in range(20)] == texts(output)
    assert echo.connections <= 2


def test_executor__a_lost_key_ends_the_run(echo: Emulator, output: Path) -> None:
    """A client that a pickle has robbed of its key asks nothing, and says so."""
    with AutonomousAI(echo.url("autonomous"), api_key="secret") as client:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
            with pytest.raises(UsageError, match="without api_key"):
                run_batch(["a", "b"], output, client, executor=processes)

    assert [] == read_batch(output) == echo.requests
    assert b"secret" not in pickle.dumps(client)


def test_executor__a_dead_worker_is_no_prompts_fault(echo: Emulator, output: Path) -> None:
    """What a broken executor says is raised, not written down as an answer."""
    echo.fail("stall", nth=3, at=0, seconds=60)
    with AutonomousAI(echo.url("autonomous")) as client:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:

            def prompts() -> Iterator[str]:
                yield from "abc"
                assert wait_until(lambda: echo.processed == 3)
                for process in processes._processes.values():
                    process.kill()
                yield "d"

            with pytest.raises(BrokenProcessPool):
                run_batch(prompts(), output, client, workers=4, executor=processes)
        assert all("text" in record for record in read_batch(output))
        run_batch(list("abcd"), output, client)

    assert [f"echo {p}" for p in "abcd"] == texts(output)


def test_summary__of_nothing(client: AutonomousAI, output: Path) -> None:
    """No prompts are no error."""
    summary = run_batch([], output, client)

    assert isinstance(summary, BatchSummary)
    assert (0, None, None, {}) == (summary.done, summary.total, summary.first_token, summary.failed)
    assert [] == read_batch(output)


DASK = """
    import os, sys, threading, time, signal
    from c4ai_clients import AutonomousAI
    from c4ai_clients.batch import run_batch
    from distributed import Client, LocalCluster, get_worker

    url, output = sys.argv[1:]


    def client():
        return AutonomousAI(url, api_key=f"key of {os.getpid()}")


    if __name__ == "__main__":
        with LocalCluster(
            n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None
        ) as cluster, Client(cluster) as dask:
            pids = list(dask.run(os.getpid).values())

            def prompts():
                for i in range(60):
                    if i == 20:
                        os.kill(pids[0], signal.SIGKILL)
                    yield f"p{i}"

            summary = run_batch(
                prompts(), output, client, workers=4, executor=dask.get_executor(), progress=False
            )
        print("done", summary.done, len(set(pids)), flush=True)
"""


def test_dask__a_worker_is_killed_and_nothing_is_lost(
    echo: Emulator, output: Path, tmp_path: Path
) -> None:
    """Dask's executor over separate processes, each with a client and a key of its own."""
    script = tmp_path / "run.py"  # a file: the workers' processes import it
    script.write_text(textwrap.dedent(DASK))
    ran = subprocess.run(
        [sys.executable, str(script), echo.url("autonomous"), str(output)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )

    assert "done 60 2\n" == ran.stdout, ran.stderr
    assert [f"echo p{i}" for i in range(60)] == texts(output)
    assert echo.processed <= 60 + 4  # what was under way, or answered and not yet fetched
    keys = {request.headers["authorization"] for request in echo.requests}
    assert 2 <= len(keys) <= 3


def c4ai(*args: object, **how: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "c4ai_clients", "batch", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        **how,
    )


def test_cli__a_batch(echo: Emulator, output: Path, tmp_path: Path) -> None:
    """The command asks a file's prompts, sums up, goes on, and tells of failures by its status."""
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('"a"\n"b"\n{"prompt": ""}\n')
    server = ("--provider", "autonomous", "--url", echo.url("autonomous"))
    ran = c4ai(prompts, output, *server)

    assert "" == ran.stderr
    assert ran.stdout.startswith("2 done in ")
    assert "1 failed (1 UsageError)" in ran.stdout
    assert 1 == ran.returncode
    assert ["echo a", "echo b"] == [r["text"] for r in read_batch(output) if "text" in r]
    ran = c4ai(prompts, output, *server, "--retry-failed", "--workers", "2")
    assert "3 were there already, 1 of them failed" in ran.stdout
    assert 1 == ran.returncode
    assert 2 == echo.processed
    ran = c4ai(tmp_path / "none", output, *server)
    assert (2, 1) == (ran.returncode, ran.stderr.count("\n"))
    assert "cannot read" in ran.stderr


def test_cli__prompts_from_standard_input(echo: Emulator, output: Path) -> None:
    """- are lines of JSON in standard input, of which a second run finds the records again."""
    server = ("--provider", "autonomous", "--url", echo.url("autonomous"))
    ran = [
        c4ai("-", output, *server, "--option", "streamed=false", input='"a"\n{"prompt": "b"}\n')
        for _ in range(2)
    ]
    refused = [
        c4ai("-", "-", *server, input='"a"\n'),
        c4ai("-", output, *server, "--option", "size=7B", input='"a"\n'),
    ]

    assert [0, 0, 2, 2] == [each.returncode for each in (*ran, *refused)]
    assert ran[0].stdout.startswith("2 done")
    assert "2 were there already" in ran[1].stdout
    assert ["echo a", "echo b"] == texts(output)
    assert [False, False] == [request.json()["stream"] for request in echo.requests]
    assert "answers go into a file" in refused[0].stderr
    assert "no option 'size'; there are: streamed" in refused[1].stderr


def test_cli__ctrl_c_says_how_to_go_on(echo: Emulator, output: Path, tmp_path: Path) -> None:
    """Ctrl-C ends a batch with a sentence and status 130."""
    echo.fail("stall", times=9, at=0, seconds=60)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(f'"p{i}"\n' for i in range(20)))
    server = ("--provider", "autonomous", "--url", echo.url("autonomous"))
    process = subprocess.Popen(
        [sys.executable, "-m", "c4ai_clients", "batch", str(prompts), str(output), *server],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert wait_until(lambda: echo.processed == 8, 20)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    finally:
        process.kill()
        process.communicate()

    sentence = f"c4ai: stopped; 0 records are in {output}: run the same again to go on\n"
    assert sentence == err
    assert 130 == process.returncode


def test_progress__is_shown_in_a_terminal_only(
    client: AutonomousAI, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bar with rate, failures and time left in a terminal, and nothing elsewhere."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    # Whoever starts a kernel has this loaded, and is no notebook.
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    shown: dict[str, str] = {}
    for name, kind, progress in (
        ("terminal", Terminal, True),
        ("pipe", io.StringIO, True),
        ("unwanted", Terminal, False),
    ):
        monkeypatch.setattr(sys, "stderr", kind())
        run_batch(["a", "b", ""], output, client, progress=progress)
        shown[name] = sys.stderr.getvalue()  # type: ignore[attr-defined]
        output.unlink()

    assert "3/3" in shown["terminal"]
    assert "reply/s" in shown["terminal"]
    assert "failed=1" in shown["terminal"]
    assert "" == shown["pipe"] == shown["unwanted"]


SCALE = (Path(__file__).parent.parent / "docs" / "scale.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", re.findall(r"^```python\n(.*?)^```", SCALE, re.DOTALL | re.M))
def test_docs__examples(
    echo: Emulator,
    block: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The examples of docs/scale.md run as they stand."""
    monkeypatch.setattr(C4AICommand, "default_url", echo.url("c4ai-command"))
    monkeypatch.chdir(tmp_path)
    exec(compile(block.replace("rate=60", "rate=6000"), "scale.md", "exec"), {})

    assert "echo Why is the sky blue?" in capsys.readouterr().out
