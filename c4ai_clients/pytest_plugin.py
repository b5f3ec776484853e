"""Fixtures for tests of what is built on this package; pytest finds them by itself.

``chat_emulator`` is a running :class:`~c4ai_clients.emulator.Emulator`, and
``chat_client`` a client of it. The marker ``chat_emulator`` takes what
``Emulator`` takes, and ``provider``, whose client it is to be::

    @pytest.mark.chat_emulator(provider="qwen", replies=["Hello!"])
    def test_greeting(chat_client): ...
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .client import ChatClient
    from .emulator import Emulator

__all__ = ["chat_client", "chat_emulator"]

_MARKER = "chat_emulator(provider, **settings): what the fixtures of c4ai_clients emulate"
_PASSED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER)


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Note whether the test itself has passed."""
    if call.when == "call":
        item.stash[_PASSED] = call.excinfo is None


class _TestFailed(Exception):  # noqa: N818 - it never leaves this file
    """What it needed not ask for any more is no failure beside its own."""


def _settings(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Return the provider and the emulator's settings; the marker nearest to the test wins."""
    settings: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers("chat_emulator"))):
        if marker.args:
            raise TypeError(f"the marker takes keywords only: {_MARKER}")
        settings |= marker.kwargs
    return settings.pop("provider", "c4ai-command"), settings


@pytest.fixture
def chat_emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """A loopback server of one provider; a scripted reply never asked for fails the test."""
    from .emulator import Emulator

    provider, settings = _settings(request)
    running = Emulator(**{"protocols": (provider,), **settings})
    with contextlib.suppress(_TestFailed), running as emulator:
        yield emulator
        if not request.node.stash.get(_PASSED, False):
            raise _TestFailed  # on leaving by an error the emulator has no complaint of its own


@pytest.fixture
def chat_client(chat_emulator: Emulator, request: pytest.FixtureRequest) -> Iterator[ChatClient]:
    """A client of ``chat_emulator`` that hardly waits before it tries again."""
    from .providers import clients
    from .retrying import RetryPolicy

    provider, _ = _settings(request)
    retry = RetryPolicy(wait_initial=0.01, wait_max=0.05, wait_unsaid=0.05)
    with clients()[provider](chat_emulator.url(provider), retry=retry, trust_env=False) as client:
        yield client
