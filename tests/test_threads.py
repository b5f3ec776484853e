"""Threads: a stream in the background, a pool, and nothing that holds up an exit."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import pytest
from conftest import threads_of_ours, wait_until
from test_stream import stream_of

from c4ai_clients import (
    AutonomousAI,
    C4AIError,
    CancelledError,
    ChatUI,
    IncompleteReplyError,
    ModelError,
    Stream,
    UsageError,
)
from c4ai_clients.emulator import Answer, Emulator
from c4ai_clients.events import Finish, Text
from c4ai_clients.threads import Future, Pool, background

MIDDLE = 360  # behind the first of two tokens of AutonomousAI

SERVER = """
    import resource, sys
    from c4ai_clients.emulator import Answer, Emulator

    tokens, pace = int(sys.argv[1]), float(sys.argv[2])
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    def reply(prompt):
        return Answer(tokens=[f"{prompt}-{i} " for i in range(tokens)])

    with Emulator(("autonomous", "chat-ui"), replies=reply, pace=pace) as emulator:
        print(emulator.url("autonomous"), emulator.url("chat-ui"), flush=True)
        sys.stdin.read()
"""


def python(code: str, *args: str, **how: Any) -> subprocess.Popen[str]:
    """Start a real process, in which warnings are errors."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        **how,
    )


@pytest.fixture
def echo() -> Iterator[Emulator]:
    """An emulator that answers with the prompt, in two tokens."""
    with Emulator(
        ("autonomous", "chat-ui"), replies=lambda prompt: Answer(tokens=["echo ", prompt])
    ) as emulator:
        yield emulator


@pytest.fixture
def client(echo: Emulator) -> Iterator[AutonomousAI]:
    with AutonomousAI(echo.url("autonomous")) as opened:
        yield opened


def test_background__is_the_same_iterator(client: AutonomousAI) -> None:
    """Pieces, text, reply and events are those of the stream itself."""
    stream = background(client.stream("one"))

    assert ["echo ", "one"] == list(stream)
    assert "echo one" == stream.text == stream.reply().text == stream.reply().text
    assert stream.done
    assert Finish("stop") in list(background(client.stream("two")).events())
    assert "echo three" == background(client.stream("three")).reply().text


def test_background__reads_ahead(echo: Emulator, client: AutonomousAI) -> None:
    """The question is sent, and the answer read, before anybody asks for a piece."""
    stream = background(client.stream("one"))

    assert wait_until(lambda: not threads_of_ours())
    assert 1 == echo.processed
    assert "" == stream.text
    assert "echo one" == "".join(stream)


def test_background__a_slow_reader_holds_the_thread_back() -> None:
    """No more is read ahead than was allowed."""
    read = itertools.count()
    said: list[Any] = [Text("x"), lambda: next(read)] * 1000
    stream = background(stream_of(*said, Finish()), ahead=4)

    assert "x" == next(stream)
    time.sleep(0.2)
    assert next(read) <= 7
    assert "x" * 1000 == stream.reply().text


def test_background__hands_errors_on() -> None:
    """An error comes where it belongs, with the text before it, and again from reply()."""
    stream = background(stream_of(Text("a"), Text("b"), IncompleteReplyError("cut")))

    assert "a" == next(stream)
    with pytest.raises(IncompleteReplyError) as caught:
        list(stream)
    assert "ab" == stream.text == caught.value.partial
    assert [] == list(stream)
    with pytest.raises(IncompleteReplyError):
        stream.reply()


def test_background__of_a_stream_that_was_begun_or_is_over() -> None:
    """It goes on where the stream stood; what failed before fails again."""
    begun = stream_of(Text("a"), Text("b"), Finish())
    next(begun)
    failed = stream_of(ModelError("no"))
    with pytest.raises(ModelError):
        failed.reply()

    assert "ab" == background(begun).reply().text
    with pytest.raises(ModelError):
        background(failed).reply()


def test_background__cancel_wakes_the_reader(echo: Emulator) -> None:
    """cancel() from another thread ends a wait for a silent server, and what was read ahead."""
    echo.fail("stall", at=MIDDLE, seconds=60)
    with AutonomousAI(echo.url("autonomous")) as client:
        stream = background(client.stream("one"))
        next(stream)
        threading.Timer(0.1, stream.cancel).start()
        begin = time.monotonic()
        with pytest.raises(CancelledError):
            list(stream)
        with pytest.raises(CancelledError):
            next(stream)

        assert time.monotonic() - begin < 5
        assert wait_until(lambda: not threads_of_ours())
    with pytest.raises(CancelledError) as caught:
        (ahead := background(stream_of(*[Text("x")] * 100, Finish()))).cancel()
        ahead.reply()
    assert "" == caught.value.partial


def test_background__a_complete_reply_stays_complete(client: AutonomousAI) -> None:
    """cancel() after the end mark changes nothing."""
    with background(client.stream("one")) as stream:
        list(stream)
    stream.cancel()

    assert "echo one" == stream.reply().text


@pytest.mark.parametrize("leave", ["break", "drop", "with"])
def test_background__leaving_ends_its_thread(echo: Emulator, leave: str) -> None:
    """Leaving the stream in any way ends the thread and hangs up."""
    echo.fail("stall", at=MIDDLE, seconds=60)
    with AutonomousAI(echo.url("autonomous")) as client:
        stream = background(client.stream("one"))
        if leave == "break":
            for _ in stream:
                break
        elif leave == "with":
            with stream:
                next(stream)
        else:
            assert wait_until(lambda: echo.processed == 1)
        del stream

        assert wait_until(lambda: not threads_of_ours())
        assert wait_until(lambda: echo.hang_ups == ["message"])


def test_background__one_reader_at_a_time() -> None:
    """A second thread that reads gets a UsageError, and harms nothing."""
    go = threading.Event()
    stream = background(stream_of(Text("a"), lambda: go.wait(5), Text("b"), Finish()))
    next(stream)
    pieces: list[str] = []
    thread = threading.Thread(target=lambda: pieces.extend(stream))
    thread.start()
    time.sleep(0.1)

    with pytest.raises(UsageError, match="another thread"):
        next(stream)
    go.set()
    thread.join()
    assert ["b"] == pieces


@pytest.mark.parametrize("ahead", [0, True, 1.5])
def test_background__refuses_nonsense(ahead: Any) -> None:
    """Reading nothing ahead is no background."""
    with pytest.raises(UsageError, match="whole number above 0"):
        background(stream_of(Finish()), ahead=ahead)


def test_pool__every_answer_belongs_to_its_prompt(echo: Emulator) -> None:
    """Two hundred prompts by eight threads need eight connections, and none is mixed up."""
    with AutonomousAI(echo.url("autonomous")) as client, Pool(client) as pool:
        asked = {f"p{i}": pool.submit(f"p{i}") for i in range(200)}

        assert {p: f"echo {p}" for p in asked} == {p: f.result().text for p, f in asked.items()}
        assert echo.connections <= 8


def test_pool__starts_as_many_threads_as_there_is_work(client: AutonomousAI) -> None:
    """One prompt after another needs one thread."""
    with Pool(client) as pool:
        for i in range(5):
            assert f"echo {i}" == pool.submit(str(i)).result().text
            assert wait_until(lambda: pool._workers._unfinished == 0)

        assert ["c4ai-pool-1"] == threads_of_ours()


def test_pool__futures_are_those_of_concurrent_futures(client: AutonomousAI) -> None:
    """wait(), as_completed() and asyncio take them."""
    with Pool(client) as pool:
        asked = [pool.submit(str(i)) for i in range(5)]

        assert set(asked) == futures.wait(asked, timeout=5).done
        assert len(list(futures.as_completed(asked))) == 5

        async def ask() -> list[str]:
            one = await asyncio.wrap_future(pool.submit("one"))
            two = await asyncio.to_thread(lambda: pool.submit("two").result())
            three = await asyncio.to_thread(client.chat, "three")
            return [one.text, two.text, three.text]

        assert ["echo one", "echo two", "echo three"] == asyncio.run(ask())


def test_pool__several_clients(echo: Emulator) -> None:
    """Each call may name whom to ask."""
    with (
        AutonomousAI(echo.url("autonomous")) as one,
        ChatUI(echo.url("chat-ui")) as two,
        Pool() as pool,
    ):
        asked = [pool.submit("Hi", client=client) for client in (one, two)]

        assert ["echo Hi"] * 2 == [future.result().text for future in asked]
        assert {"autonomous", "chat-ui"} == {request.protocol for request in echo.requests}
        with pytest.raises(UsageError, match="whom"):
            pool.submit("Hi")


def test_pool__errors_come_out_of_the_future(echo: Emulator, client: AutonomousAI) -> None:
    """Whatever goes wrong, also with the question itself, is the future's."""
    echo.fail("cut", at=MIDDLE)
    with Pool(client) as pool:
        with pytest.raises(IncompleteReplyError):
            pool.submit("Hi").result()
        assert isinstance(pool.submit("").exception(), UsageError)
        assert isinstance(pool.submit("Hi", nonsense=1).exception(), TypeError)
        assert "echo Hi" == pool.submit("Hi").result().text
    with pytest.raises(UsageError, match="closed"):
        pool.submit("Hi")


def test_future__cancel_of_a_running_one(echo: Emulator, client: AutonomousAI) -> None:
    """It ends at once in our CancelledError, with the text so far, and its thread goes on."""
    echo.fail("stall", at=MIDDLE, seconds=60)
    with Pool(client, max_workers=1) as pool:
        running, pending = pool.submit("one"), pool.submit("two")
        assert wait_until(lambda: running._stream is not None and running._stream.text)
        last = pool.submit("three")

        assert running.cancel()
        assert pending.cancel()
        assert running.cancel()
        for future in (running, pending):
            with pytest.raises(CancelledError):
                future.result(timeout=2)
            with pytest.raises(C4AIError):
                raise future.exception() or AssertionError
            assert future.cancelled()
            assert future.done()
        assert "echo three" == last.result(timeout=5).text
        assert not last.cancel()
        assert not last.cancelled()
        assert ["one", "three"] == echo.prompts


def test_future__cancel_at_any_moment(client: AutonomousAI) -> None:
    """cancel() that returned True means CancelledError, False means a reply; never neither."""
    with Pool(client, max_workers=4) as pool:
        for i in range(100):
            future = pool.submit("one")
            time.sleep(i * 1e-4)
            if future.cancel():
                with pytest.raises(CancelledError):
                    future.result(timeout=5)
            else:
                assert "echo one" == future.result(timeout=5).text


def test_map__in_order_and_lazily(client: AutonomousAI) -> None:
    """Replies come in the order of prompts without end, of which few are taken ahead."""
    taken = itertools.count()
    prompts = (f"p{next(taken)}" for _ in itertools.count())
    with Pool(client, max_workers=3) as pool:
        replies = pool.map(prompts)
        got = [str(reply) for reply in itertools.islice(replies, 50)]

        assert [f"echo p{i}" for i in range(50)] == got
        assert next(taken) <= 50 + 4 * 3 + 1
        replies.close()  # type: ignore[attr-defined]


def test_map__as_they_end() -> None:
    """A slow answer holds no other up."""

    def reply(prompt: str) -> Answer:
        if prompt == "slow":
            time.sleep(0.5)
        return Answer(prompt)

    with (
        Emulator("autonomous", replies=reply) as emulator,
        AutonomousAI(emulator.url("autonomous")) as client,
        Pool(client, max_workers=2) as pool,
    ):
        got = [str(r) for r in pool.map(["slow", "a", "b", "c"], ordered=False)]

    assert ["a", "b", "c", "slow"] == [*sorted(got[:-1]), got[-1]]


@pytest.mark.parametrize("ordered", [True, False])
def test_map__errors(client: AutonomousAI, ordered: bool) -> None:
    """An error ends the loop, or comes in the reply's place."""
    with Pool(client, max_workers=2) as pool:
        outcomes = list(pool.map(["a", "", "b"], ordered=ordered, on_error="return"))

        assert ["UsageError", "echo a", "echo b"] == sorted(
            str(o) if not isinstance(o, C4AIError) else type(o).__name__ for o in outcomes
        )
        with pytest.raises(UsageError):
            list(pool.map(["a", "", "b"], ordered=ordered))
        with pytest.raises(UsageError, match="on_error"):
            pool.map(["a"], on_error="ignore")  # type: ignore[arg-type]
        with pytest.raises(ZeroDivisionError):
            list(pool.map((str(1 // (2 - i)) for i in range(9)), ordered=ordered))


@pytest.mark.parametrize("ordered", [True, False])
def test_map__leaving_cancels_the_rest(ordered: bool) -> None:
    """Whoever leaves the loop waits for nobody, and no answer runs on."""

    def reply(prompt: str) -> Answer:
        return Answer(tokens=["x "] * (1 if prompt == "0" else 10_000))

    with (
        Emulator("autonomous", replies=reply, pace=0.01) as emulator,
        AutonomousAI(emulator.url("autonomous")) as client,
        Pool(client, max_workers=4) as pool,
    ):
        for _ in pool.map(map(str, itertools.count()), ordered=ordered):
            break

        assert wait_until(lambda: not pool._workers._running)


def test_merge__waits_for_no_thread_to_begin(client: AutonomousAI) -> None:
    """The first event is given out before the last stream has begun, however busy threads are."""

    def busy(turn: Any) -> Iterator[Any]:
        begun.append(turn)
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass
        yield Text("one")
        yield Finish()

    begun: list[Any] = []
    client._events = busy  # type: ignore[method-assign]
    with Pool(max_workers=60) as pool:
        events = pool.merge({key: client.stream("x") for key in range(60)})
        next(events)
        assert len(begun) < 40
        assert 119 == len(list(events))


def test_merge__all_events_of_all_streams(client: AutonomousAI) -> None:
    """Every event comes under its key, in its order, also with fewer threads than streams."""
    with Pool(client, max_workers=2) as pool:
        texts = dict.fromkeys(range(7), "")
        for key, event in pool.merge({i: client.stream(str(i)) for i in range(7)}):
            if isinstance(event, Text):
                texts[key] += event.text

    assert {i: f"echo {i}" for i in range(7)} == texts


def test_merge__is_fair() -> None:
    """A stream that never pauses cannot keep the others waiting, nor fill the memory."""
    read = itertools.count()
    flood = stream_of(*[Text("x"), lambda: next(read)] * 20_000, Finish())
    slow = [stream_of(*[lambda: time.sleep(0.001), Text("y")] * 20, Finish()) for _ in range(3)]
    order = []
    with Pool() as pool:
        for key, event in pool.merge({"flood": flood, 1: slow[0], 2: slow[1], 3: slow[2]}):
            if isinstance(event, Text):
                order.append(key)
            if len(order) == 10:
                time.sleep(0.05)
                assert next(read) < 200

    # What was said at a moment comes before what was said long after it.
    last = max(i for i, key in enumerate(order) if key != "flood")
    assert Counter(order) == {"flood": 20_000, 1: 20, 2: 20, 3: 20}
    assert last < len(order) - 1000


def test_merge__errors(client: AutonomousAI) -> None:
    """An error ends the loop, or is its stream's last word."""
    with Pool() as pool:
        streams = {"bad": stream_of(Text("a"), ModelError("no")), "good": client.stream("Hi")}
        seen = list(pool.merge(streams, on_error="return"))
        assert "no" in str(next(e for k, e in seen if isinstance(e, ModelError)))
        assert ("good", Text("Hi")) in seen

        quiet = stream_of(Text("a"), Finish())
        with pytest.raises(ModelError):
            list(pool.merge({"bad": stream_of(ModelError("no")), "quiet": quiet}))


def test_merge__leaving_cancels_all(echo: Emulator) -> None:
    """Leaving the loop ends readers in a silent wait and readers held back; close() too."""
    echo.fail("stall", times=3, at=0, seconds=60)
    with AutonomousAI(echo.url("autonomous")) as client, Pool(client, max_workers=9) as pool:
        streams: dict[Any, Stream] = {i: client.stream("Hi") for i in range(3)}
        streams |= {-i: stream_of(*[Text("x")] * 999, Finish()) for i in range(1, 4)}
        for _ in pool.merge(streams):
            break
        assert wait_until(lambda: not pool._workers._running)

        merged = pool.merge({1: stream_of(*[Text("x")] * 999, Finish())})
        next(merged)
        pool.close()
        assert not threads_of_ours()
        with pytest.raises(CancelledError):
            list(merged)


def test_rate__is_shared(client: AutonomousAI) -> None:
    """Six requests at 1,200 a minute begin over a quarter of a second, whoever sends them."""
    with Pool(client, rate=1200) as pool:
        begin = time.monotonic()
        assert 6 == len(list(pool.map(map(str, range(6)))))

        assert 0.25 <= time.monotonic() - begin < 5


def test_rate__a_wait_can_be_cancelled(client: AutonomousAI) -> None:
    """Nobody waits for a turn that is a minute away."""
    begin = time.monotonic()
    with Pool(client, rate=1) as pool:
        assert "echo one" == pool.submit("one").result().text
        second = pool.submit("two")
        assert wait_until(second.running)
        assert second.cancel()
        assert isinstance(second.exception(timeout=2), CancelledError)
        pool.submit("three")

    assert time.monotonic() - begin < 3


@pytest.mark.parametrize(
    "wrong",
    [
        *({"max_workers": 0}, {"max_workers": True}, {"rate": 0}, {"rate": -1}, {"rate": "60"}),
        *({"client": "http://127.0.0.1:9"}, {"client": [None]}, {"client": ChatUI}),
    ],
)
def test_pool__refuses_nonsense(wrong: dict[str, Any]) -> None:
    """A setting that cannot be used is refused at once."""
    with pytest.raises(UsageError):
        Pool(**wrong)


def test_pool__refuses_what_is_no_stream_or_no_prompts(client: AutonomousAI) -> None:
    """One prompt is not taken for several, nor anything else for a stream, and nothing is sent."""
    quiet: Any = stream_of(Text("a"), Finish())
    wrong: Any
    with Pool(client) as pool:
        for wrong in ("hello", {"role": "user", "content": "hello"}):
            with pytest.raises(UsageError, match="several prompts"):
                pool.map(wrong)
        for wrong in ([quiet], "hello"):
            with pytest.raises(UsageError, match="streams by name"):
                pool.merge(wrong)
        with pytest.raises(UsageError, match="a stream is read, not 'hello'"):
            pool.merge({"good": quiet, "bad": "hello"})  # type: ignore[dict-item]
        with pytest.raises(UsageError, match="a client is asked, not str"):
            pool.submit("hello", client="http://127.0.0.1:9")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="a stream is read, not 'hello'"):
        background("hello")  # type: ignore[arg-type]

    assert "a" == quiet.reply().text


def test_pool__leaving_takes_no_second(echo: Emulator) -> None:
    """All of 32 streams in a silent wait end, and 32 more that had not begun."""
    echo.fail("stall", times=32, at=0, seconds=60)
    with AutonomousAI(echo.url("autonomous")) as client:
        with Pool(client, max_workers=32) as pool:
            asked = [pool.submit(str(i)) for i in range(64)]
            assert wait_until(lambda: echo.processed == 32)
            begin = time.monotonic()

        assert time.monotonic() - begin < 2
        assert not threads_of_ours()
        assert all(isinstance(f.exception(timeout=0), CancelledError) for f in asked)


def test_pool__a_dropped_one_ends(client: AutonomousAI) -> None:
    """A pool nobody holds does what it was asked, and its threads end."""
    future = Pool(client).submit("Hi")

    assert "echo Hi" == future.result(timeout=5).text
    assert wait_until(lambda: not threads_of_ours())


BLOCKED = """
    import sys, time
    from c4ai_clients import AutonomousAI
    from c4ai_clients.emulator import Emulator
    from c4ai_clients.threads import Pool, background

    with Emulator("autonomous") as emulator:
        emulator.fail("stall", times=32, at=0, seconds=60)
        client = AutonomousAI(emulator.url("autonomous"))
        def wait():
            while emulator.processed < 32:
                time.sleep(0.01)
            print("ready", flush=True)
        if sys.argv[1] == "with":
            with Pool(client, max_workers=32) as pool:
                replies = pool.map(map(str, range(100)))
                pool.submit("x").add_done_callback(lambda f: None)
                import threading
                threading.Thread(target=wait, daemon=True).start()
                next(replies)
        elif sys.argv[1] == "exit":
            pool = Pool(client, max_workers=32)
            asked = [pool.submit(str(i)) for i in range(40)]
            wait()
        else:
            streams = [background(client.stream(str(i))) for i in range(32)]
            wait()
            sys.exit()
"""


@pytest.mark.parametrize("how", ["with", "exit", "background"])
def test_exit__takes_no_second(how: str) -> None:
    """Ctrl-C and the interpreter's exit wait for none of 32 silent streams."""
    process = python(BLOCKED, how)
    try:
        assert process.stdout is not None
        assert "ready\n" == process.stdout.readline()
        begin = time.monotonic()
        if how == "with":
            process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        took = time.monotonic() - begin
    finally:
        process.kill()
        process.communicate()

    assert took < 4  # of 60; the emulator's own end and the interpreter's are in it
    assert ("KeyboardInterrupt" if how == "with" else "") in err
    assert how == "with" or "" == err


FORK = """
    import os, sys, time
    from c4ai_clients import AutonomousAI, H2O, UsageError
    from c4ai_clients.emulator import Answer, Emulator
    from c4ai_clients.threads import Pool, background

    long = ("parent", "ahead", "plain")  # which are under way when it forks
    reply = lambda prompt: Answer(tokens=["echo "] * (30 if prompt in long else 3) + [prompt])
    with Emulator(("autonomous", "h2o"), replies=reply, pace=0.03) as emulator:
        client, other = AutonomousAI(emulator.url("autonomous")), H2O(emulator.url("h2o"))
        pool = Pool(client, max_workers=4)
        list(pool.map(["before"] * 4))  # leaves four connections, of which two are used below
        other.chat("before")
        under_way = pool.submit("parent")
        ahead, stream = background(client.stream("ahead")), other.stream("plain")
        next(ahead), next(stream)
        fresh = client.stream("fresh")
        kept = emulator.connections
        child = os.fork()
        if not child:
            for running in (under_way.result, ahead.reply, stream.reply):
                try:
                    running()
                except UsageError as error:
                    assert "process" in str(error), error
                else:
                    raise AssertionError(running)
            under_way.cancel(), ahead.cancel(), stream.cancel()
            del under_way, ahead, stream, running
            assert pool.submit("child").result().text.endswith("child")
            assert client.chat("again").text.endswith("again")
            assert other.chat("more").text.endswith("more")
            assert fresh.reply().text.endswith("fresh")
            pool.close()
            client.close()
            other.close()
            sys.stdout.write("child done ")
            sys.stdout.flush()
            os._exit(0)
        assert under_way.result().text.endswith("parent")
        assert ahead.reply().text.endswith("ahead")
        assert stream.reply().text.endswith("plain")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        pool.close()
        other.close()
        asked = emulator.requests
        assert 3 == sum(request.step == "delete" for request in asked), asked
        new = [request.connection for request in asked if request.connection > kept]
        assert 4 <= len(new), asked
        assert 8 == sum(r.step == "message" for r in asked if r.connection <= kept), asked
        print("parent done", flush=True)
"""


def test_fork__the_child_begins_anew_and_the_parent_goes_on() -> None:
    """In a child pool and client work, a running stream raises, and the parent's are unharmed."""
    process = python(FORK)
    try:
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()

    assert "child done parent done\n" == out, err


@pytest.fixture(scope="module")
def far() -> Iterator[Any]:
    """Start emulators in processes of their own: what they use is not measured here."""
    started = []

    def start(tokens: int, pace: float) -> list[str]:
        process = python(SERVER, str(tokens), str(pace))
        started.append(process)
        assert process.stdout is not None
        return process.stdout.readline().split()

    yield start
    for process in started:
        process.communicate("", timeout=30)


def arrive_whole(client: Any, count: int, tokens: int) -> float:
    """Stream *count* answers at once, check every one, and return how long it took."""
    expected = {i: "".join(f"{i}-{n} " for n in range(tokens)) for i in range(count)}
    begin = time.monotonic()
    texts = dict.fromkeys(range(count), "")
    with Pool(client, max_workers=count) as pool:
        for key, event in pool.merge({i: client.stream(str(i)) for i in range(count)}):
            if isinstance(event, Text):
                texts[key] += event.text
    took = time.monotonic() - begin

    assert expected == texts
    assert not threads_of_ours()
    return took


@pytest.mark.parametrize(
    ("count", "tokens", "pace"),
    [
        (50, 25, 0.02),
        pytest.param(200, 500, 0.02, marks=pytest.mark.exhaustive),
        pytest.param(1000, 100, 0.1, marks=pytest.mark.exhaustive),
    ],
)
def test_many__streams_at_once_arrive_whole(far: Any, count: int, tokens: int, pace: float) -> None:
    """Every token of every stream, under its own key, and no thread is left."""
    with AutonomousAI(far(tokens, pace)[0]) as client:
        took = arrive_whole(client, count, tokens)

    sys.stdout.write(f"{count} streams of {tokens} tokens, {1 / pace:.0f} a second: {took:.1f} s\n")
    assert took > tokens * pace * 0.9


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.exhaustive)])
def test_many__prompts_by_32_threads(far: Any, count: int) -> None:
    """Every answer belongs to its prompt, and memory is flat."""
    with ChatUI(far(20, 0.0)[1]) as client, Pool(client, max_workers=32) as pool:
        expected = (f"{i}-0 " for i in range(count))
        list(pool.map(map(str, range(64))))  # each thread has its connection from here on
        tracemalloc.start()
        used = []
        for i, reply in enumerate(pool.map(map(str, range(count)))):
            assert str(reply).startswith(next(expected))
            if i % (count // 4) == count // 8:
                gc.collect()
                used.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()

    sys.stdout.write(f"{count} prompts: {[f'{bytes_ / 1e6:.2f} MB' for bytes_ in used]}\n")
    assert used[-1] < used[0] + 500_000


def test_future__is_public() -> None:
    """What submit() returns can be named in annotations."""
    assert issubclass(Future, futures.Future)
