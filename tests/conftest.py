"""What holds in every test: loopback only, and nothing of ours left behind."""

from __future__ import annotations

import gc
import ipaddress
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from c4ai_clients import RetryPolicy
from c4ai_clients.emulator import Emulator


def _loopback_only(event: str, args: tuple[Any, ...]) -> None:
    if event != "socket.connect" or not isinstance(args[1], tuple):
        return
    host = str(args[1][0])
    if host != "localhost" and not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        raise AssertionError(f"a test connects to {host}, which is not loopback")


sys.addaudithook(_loopback_only)

# A shell has what it starts with & ignore Ctrl-C, and so would all that we start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What we start imports the package hundreds of times over, and shall not compile it each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A file goes to one worker as a whole, so what takes longest begins first.
_LONGEST = (
    "test_real_gradio.py",
    "test_cli.py",
    "test_faults.py",
    "test_fuzz.py",
    "test_notebook.py",
    "test_leaks.py",
    "test_batch.py",
    "test_secrets.py",
    "test_transport.py",
    "test_chatui_eras.py",
    "test_odd_json.py",
    "test_doctor.py",
    "test_threads.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: (*_LONGEST, item.path.name).index(item.path.name))


def wait_until(condition: Callable[[], bool], seconds: float = 3.0) -> bool:
    """Wait until *condition* holds; tell whether it came to hold."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


def threads_of_ours() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("c4ai-")]


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fail a test that leaves a thread of the package running."""
    before = set(threads_of_ours())
    yield
    if not wait_until(lambda: set(threads_of_ours()) <= before):
        gc.collect()
    assert set(threads_of_ours()) <= before


@pytest.fixture
def quick() -> RetryPolicy:
    """A policy that tries three times and hardly waits."""
    return RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.02, wait_unsaid=0.05)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """An emulator of every protocol."""
    with Emulator() as running:
        yield running
