"""Saved conversations: for their owner only, whole or not at all, and read as JSON alone."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import stat
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peers
import pytest

from c4ai_clients import (
    H2O,
    AutonomousAI,
    C4AICommand,
    C4AIError,
    ChatClient,
    ChatUI,
    Conversation,
    Qwen,
    RetryPolicy,
    UsageError,
)
from c4ai_clients.emulator import Emulator

NEVER = RetryPolicy.none()
COOKIE = "c00k1e-of-a-saved-one"


def talk() -> Conversation:
    made = Conversation(None, model="m")
    made.url, made.id, made.cookies = "http://chat.test", "abc", {"session": COOKIE}
    return made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_save__is_readable_by_its_owner_only(tmp_path: Path, umask: int) -> None:
    """The mode is 0600 under any umask, also where a wide file was there before."""
    path = tmp_path / "talk.json"
    path.write_text("before")
    path.chmod(0o666)
    before = os.umask(umask)
    try:
        talk().save(path)
        talk().save(tmp_path / "new.json")
    finally:
        os.umask(before)

    wanted = 0o600 & ~umask if umask == 0o777 else 0o600
    assert wanted == mode(path) == mode(tmp_path / "new.json")
    assert ["new.json", "talk.json"] == sorted(each.name for each in tmp_path.iterdir())


def test_save__is_never_wider_for_a_moment(tmp_path: Path) -> None:
    """The file that is written beside is closed to others from its first moment."""
    seen: list[int] = []

    class Watching(dict[str, Any]):
        def items(self) -> Any:
            seen.extend(mode(each) for each in tmp_path.iterdir())
            return super().items()

    watched = talk()
    watched.state = Watching(a=1)
    before = os.umask(0)
    try:
        watched.save(tmp_path / "talk.json")
    finally:
        os.umask(before)

    assert seen
    assert {0o600} == set(seen)


@pytest.mark.parametrize("target", ["file", "dangling", "directory", "itself"])
def test_save__never_through_a_link(tmp_path: Path, target: str) -> None:
    """A symbolic link at the path is refused; it and what it leads to stay as they were."""
    away = tmp_path / "away"
    away.mkdir()
    to = {"file": away / "f", "dangling": away / "none", "directory": away, "itself": "talk.json"}
    (away / "f").write_text("mine")
    path = tmp_path / "talk.json"
    path.symlink_to(to[target])
    with pytest.raises(UsageError, match=r"cannot write .*/talk\.json: it is a symbolic link"):
        talk().save(path)

    assert path.is_symlink()
    assert "mine" == (away / "f").read_text()
    assert [away / "f"] == list(away.iterdir())
    assert ["away", "talk.json"] == sorted(each.name for each in tmp_path.iterdir())


def test_save__leaves_a_pipe(tmp_path: Path) -> None:
    """What is no regular file, as a pipe or a device, is refused and not replaced."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(UsageError, match=r"cannot write .*/pipe: it is no regular file"):
        talk().save(path)

    assert stat.S_ISFIFO(path.lstat().st_mode)
    assert [path] == list(tmp_path.iterdir())


def test_save__a_hard_link_keeps_what_it_had(tmp_path: Path) -> None:
    """Another name of the file that was there keeps the old words."""
    path = tmp_path / "talk.json"
    path.write_text("old")
    os.link(path, tmp_path / "other")
    talk().save(path)

    assert "old" == (tmp_path / "other").read_text()
    assert COOKIE in path.read_text()


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("missing/talk.json", "No such file or directory"),
        ("file/talk.json", "Not a directory"),
        ("directory", "it is a directory; name another file"),
        ("x" * 300, "File name too long"),
    ],
)
def test_save__where_nothing_can_be_written(tmp_path: Path, where: str, why: str) -> None:
    """What cannot be written is told of the path that was given, and leaves nothing beside."""
    (tmp_path / "file").write_text("")
    (tmp_path / "directory").mkdir()
    with pytest.raises(UsageError) as caught:
        talk().save(tmp_path / where)

    assert f"cannot write {tmp_path / where}: {why}" == str(caught.value)
    assert ["directory", "file"] == sorted(each.name for each in tmp_path.rglob("*"))


KILLED = """
    import sys
    from c4ai_clients import Conversation

    talk = Conversation(None)
    talk.messages = [{"role": "user", "content": "new " * 200}] * 2000
    print("ready", flush=True)
    while True:
        talk.save(sys.argv[1])
        print("saved", flush=True)
"""


def test_save__killed_at_any_moment(tmp_path: Path) -> None:
    """A process that is killed while it saves leaves the file as it was before or after."""
    path = tmp_path / "talk.json"
    talk().save(path)
    sizes = {path.stat().st_size}
    for wait in (0.0, 0.004, 0.009):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(KILLED), str(path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline() if wait else None
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)
        loaded = Conversation.load(path)
        assert len(loaded.messages) in (0, 2000)
        sizes.add(path.stat().st_size)
        # What is left beside it is its owner's as well.
        assert {0o600} == {mode(each) for each in tmp_path.iterdir()}
    assert 1 <= len(sizes) <= 2


class Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("content", ["pickle", "python", "huge-number", "deep", "endless"])
def test_load__reads_nothing_that_runs(tmp_path: Path, content: str) -> None:
    """A pickle, Python, or JSON that nobody wrote by hand is refused by name, and runs nothing."""
    mark = tmp_path / "it ran"
    path = tmp_path / "talk.json"
    told = {
        "pickle": pickle.dumps(Runs(mark)),
        "python": f"__import__('os').mkdir({str(mark)!r})".encode(),
        "huge-number": b'{"format": ' + b"1" * 10_000 + b"}",
        "deep": b'{"format": 1, "state": ' + b"[" * 100_000,
    }
    if content == "endless":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(told[content])
    with pytest.raises(UsageError, match=r"talk\.json holds no saved conversation"):
        Conversation.load(path)

    assert not mark.exists()


SOUND: dict[str, Any] = {
    "format": 1,
    "provider": "chat-ui",
    "url": "http://chat.test",
    "id": "abc",
    "model": "m",
    "system": None,
    "messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "eins"}],
    "state": {},
    "cookies": {"session": COOKIE},
    "keep": True,
}
WRONG: list[tuple[str, Any]] = [
    *(
        ("id", bad)
        for bad in ("../../admin", "a/b", "", "x" * 129, "a\r\nX: y", "abc\n", 7, ["abc"])
    ),
    *(("url", bad) for bad in (None, 7, "")),
    *(("messages", bad) for bad in (None, {}, "x", [7], ["x"], [{}], [{"role": "user"}])),
    ("messages", [{"role": "root", "content": "x"}]),
    ("messages", [{"role": "user", "content": 7}]),
    ("messages", [{"role": "user", "content": [{"type": "x"}]}]),
    *(("cookies", bad) for bad in (None, [], {"a": 7}, {"a": None}, {"a": ["b"]})),
    *(("state", bad) for bad in (None, [], "x")),
    *(("keep", bad) for bad in (None, 1, "yes")),
    *(("model", bad) for bad in (None, 7, [])),
    *(("system", bad) for bad in (7, ["x"], {})),
    *(("provider", bad) for bad in (None, 7)),
    *(("format", bad) for bad in (None, 2, "1")),
]


def written(path: Path, **changed: Any) -> Path:
    path.write_text(json.dumps({**SOUND, **changed}))
    return path


@pytest.mark.parametrize(("field", "value"), WRONG, ids=ascii)
def test_load__a_field_of_another_kind(tmp_path: Path, field: str, value: Any) -> None:
    """Each field is checked before anything is made of it, and no cookie is shown."""
    path = written(tmp_path / "talk.json", **{field: value})
    with pytest.raises(UsageError) as caught:
        Conversation.load(path)

    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert COOKIE not in "".join(shown.format())
    assert str(caught.value).isprintable()


def test_load__a_cut_file_shows_no_cookie(tmp_path: Path) -> None:
    """What is not whole is refused, and its words are in no traceback."""
    path = written(tmp_path / "talk.json")
    path.write_text(path.read_text()[:-3])
    with pytest.raises(UsageError, match="not JSON") as caught:
        Conversation.load(path)

    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert COOKIE not in "".join(shown.format())


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\x00b", "\u20ac", "\x7f"])
def test_load__a_cookie_that_breaks_a_line(tmp_path: Path, value: str) -> None:
    """A cookie with a line break in it is not sent, nor shown."""
    seen: list[bytes] = []
    with peers.listening(peers.routed({}, seen)) as at:
        path = written(tmp_path / "t", url=f"http://{at}", cookies={"s": f"{COOKIE}{value}"})
        with ChatUI(f"http://{at}", model="m", retry=NEVER) as client:
            with pytest.raises(UsageError, match="a cookie holds") as caught:
                Conversation.load(path, client).chat("two")

    assert [] == seen
    assert COOKIE not in "".join(traceback.format_exception(caught.value))


def test_load__for_another_server(tmp_path: Path) -> None:
    """A file's cookies go to the server that it names and to no other, however the client comes."""
    seen: list[bytes] = []
    with peers.listening(peers.routed({"": peers.http(b"{}")}, seen)) as at:
        path = written(tmp_path / "talk.json")
        other = written(
            tmp_path / "other.json", url=f"http://{at.replace('127.0.0.1', 'localhost')}"
        )
        with ChatUI(f"http://{at}", model="m", retry=NEVER) as client:
            for each in (path, other):
                with pytest.raises(UsageError, match="this conversation is with"):
                    Conversation.load(each, client)
                with pytest.raises(UsageError, match="this conversation is with"):
                    client.chat("two", conversation=Conversation.load(each))
                loaded = Conversation.load(each)
                loaded.client = client
                with pytest.raises(UsageError, match="this conversation is with"):
                    loaded.chat("two")

    assert [] == seen


KINDS: list[tuple[type[ChatClient], str]] = [
    (C4AICommand, "chat-ui"),
    (H2O, "h2o"),
    (AutonomousAI, "autonomous"),
    (Qwen, "gradio"),
]
ODD = [None, -1, 1, 10**30, 0.5, "x", "../x", [], [None], [[]], [7], {}, {"id": "../x"}, True]


def states(state: Any) -> Iterator[Any]:
    """Yield what a provider kept, with one value at a time of another kind."""
    if isinstance(state, dict):
        for key, value in state.items():
            yield from ({**state, key: odd} for odd in ODD)
            yield from ({**state, key: each} for each in states(value))
    elif isinstance(state, list) and state:
        yield from ([odd, *state[1:]] for odd in ODD)
        yield from ([each, *state[1:]] for each in states(state[0]))


@pytest.mark.parametrize(("kind", "protocol"), KINDS)
def test_load__a_state_that_somebody_changed(
    kind: type[ChatClient], protocol: str, tmp_path: Path
) -> None:
    """Whatever stands in a state, going on gives an answer or an error of ours."""
    with Emulator((protocol,)) as emulator, kind(emulator.url(protocol), retry=NEVER) as client:
        first = client.conversation()
        first.chat("one")
        path = tmp_path / "talk.json"
        first.save(path)
        record = json.loads(path.read_text())
        tried = 0
        for state in states(record["state"]):
            path.write_text(json.dumps({**record, "state": state}))
            loaded = Conversation.load(path, client)
            for act in (lambda t: t.stream("two"), lambda t: t.regenerate()):
                with contextlib.suppress(C4AIError):
                    assert act(loaded).reply().text
                tried += 1
        assert tried or protocol == "autonomous"
        assert not [asked for asked in emulator.requests if ".." in asked.path]
