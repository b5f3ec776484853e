"""The real entry point ``c4ai``, run in pipes or in a terminal of its own."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

from c4ai_clients.emulator import Emulator

C4AI = [sys.executable, "-W", "error", "-m", "c4ai_clients"]
# What a shell does when it starts a program in a terminal: that becomes its own.
IN_TERMINAL = """
import fcntl, runpy, termios
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
runpy.run_module("c4ai_clients", run_name="__main__")
"""
SECONDS = 20.0


def environment(**more: str) -> dict[str, str]:
    """Return this environment without what changes output, and with *more*."""
    # PYTHONUNBUFFERED, say, would hide a flush that is missing.
    changing = ("NO_COLOR", "FORCE_COLOR", "PYTHONUNBUFFERED", "PYTHONIOENCODING", "PYTHONUTF8")
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("C4AI_") and name not in changing
    }
    # No history is read or written but where a test says so.
    return {**ours, "TERM": "xterm-256color", "XDG_STATE_HOME": "/dev/null/none", **more}


def c4ai(*args: str, stdin: str | bytes = "", **more: str) -> subprocess.CompletedProcess[bytes]:
    given = stdin.encode() if isinstance(stdin, str) else stdin
    return subprocess.run(
        [*C4AI, *args],
        input=given,
        capture_output=True,
        timeout=SECONDS,
        env=environment(**more),
        check=False,
    )


def at_once(commands: Sequence[tuple[str, ...]]) -> list[subprocess.CompletedProcess[bytes]]:
    with ThreadPoolExecutor(6) as threads:
        return list(threads.map(lambda args: c4ai(*args), commands))


def sentence(ran: subprocess.CompletedProcess[bytes]) -> str:
    """Return what a failed command said, which is one line of ours."""
    said = ran.stderr.decode()
    assert said.startswith("c4ai: ")
    assert said.endswith("\n")
    assert said.count("\n") == 1
    return said.removeprefix("c4ai: ").rstrip("\n")


@contextlib.contextmanager
def started(*args: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command in pipes; it is gone when the block ends."""
    process = subprocess.Popen(
        [*C4AI, *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(**more),
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


class Terminal:
    """A command in a terminal of its own, which can be typed into."""

    def __init__(self, *args: str, output: IO[bytes] | None = None, **more: str) -> None:
        self._terminal, end = pty.openpty()
        self.shown = b""
        self._read = 0
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", IN_TERMINAL, *args],
            stdin=end,
            stdout=output or end,
            stderr=end,
            env=environment(**more),
            start_new_session=True,
        )
        os.close(end)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)

    def type(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def wait_for(self, words: str) -> None:
        """Wait until the terminal shows *words* after what was waited for before."""
        end = time.monotonic() + SECONDS
        while (found := self.shown.find(words.encode(), self._read)) < 0:
            assert time.monotonic() < end, f"{words!r} never came; shown: {self.shown!r}"
            assert self._more(), f"it ended without {words!r}; shown: {self.shown!r}"
        self._read = found + len(words.encode())

    def status(self) -> int:
        """Wait for its end and return its exit status."""
        end = time.monotonic() + SECONDS
        while self._more():
            assert time.monotonic() < end, f"it does not end; shown: {self.shown!r}"
        return self._process.wait(SECONDS)

    def _more(self) -> bool:
        if not select.select([self._terminal], [], [], 0.2)[0]:
            return True
        try:
            chunk = os.read(self._terminal, 65536)
        except OSError:  # how Linux says that nobody has it open any more
            return False
        self.shown += chunk
        return bool(chunk)


def chat_ui(**how: Any) -> Emulator:
    return Emulator(("chat-ui",), **how)
