"""One case, played against the emulator, and what must hold in each."""

from __future__ import annotations

import re
import time

from cases import TEXT, TOKENS, Case
from conftest import wait_until
from ways import PLAIN_TO_TLS, TLS_TO_PLAIN, arriving

from c4ai_clients import (
    C4AIError,
    IncompleteReplyError,
    RetryPolicy,
    StatusError,
    TimedOutError,
    Timeout,
)
from c4ai_clients.emulator import Answer, Emulator
from c4ai_clients.providers import clients

CLIENTS = clients()
PROTOCOL = {"c4ai-command": "chat-ui", "qwen": "gradio"}
LIMIT = 0.7
SHORT = Timeout(connect=LIMIT, first=LIMIT, idle=LIMIT, queue=LIMIT)
LONG = Timeout(connect=20, first=20, idle=20, queue=20)
QUICK = RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.02, wait_unsaid=0.02)


def play(case: Case) -> None:
    """Check that a turn is the whole reply or the named error, and leaves nothing."""
    name = case.provider.name
    protocol = PROTOCOL.get(name, name)
    pieces: list[str] = []
    error: C4AIError | None = None
    with (
        arriving(case.way) as (tls, settings),
        Emulator(
            (protocol,), replies=lambda prompt: Answer(tokens=TOKENS), tls=tls, **case.emulator
        ) as emulator,
    ):
        if case.fault["step"] != "none":
            emulator.fail(**case.fault)
        timeout = SHORT if case.error is TimedOutError else LONG
        url = emulator.url(name)
        if case.way == TLS_TO_PLAIN:
            url = url.replace("http:", "https:")
        if case.way == PLAIN_TO_TLS:
            url = url.replace("https:", "http:")
        with CLIENTS[name](url, timeout=timeout, retry=QUICK, **settings) as client:
            start = time.monotonic()
            stream = client.stream("Hi")
            try:
                pieces.extend(stream)
            except C4AIError as caught:
                error = caught
            elapsed = time.monotonic() - start
        assert wait_until(lambda: emulator.open_connections == 0)
        asked = sum(request.step == case.fault["step"] for request in emulator.requests)
        processed = emulator.processed

    assert all(type(piece) is str and piece for piece in pieces)
    assert "".join(pieces) == stream.text
    assert processed <= 1
    assert processed in case.processed
    assert case.tries in (None, asked, asked or 1), asked
    if case.or_unheard and error is not None:
        assert (IncompleteReplyError, "") == (type(error), error.partial)
        return
    if case.error is None:
        assert error is None, error
        assert TEXT == "".join(pieces) == stream.reply().text
        assert stream.done
        assert elapsed < 2
        return
    assert type(error) is case.error, repr(error)
    assert TEXT.startswith(error.partial)
    assert stream.text == error.partial
    assert not stream.done
    assert (name, True, True) == (error.provider, bool(error.phase), error.attempts >= 1)
    assert re.search(case.words, str(error)), error
    assert len(str(error)) < 700
    assert str(error).replace("\n", " ").isprintable()
    if case.partial is not None:
        assert case.partial is bool(error.partial)
    if isinstance(error, StatusError) and case.part == "retry-after":
        least, most = case.retry_after or (None, None)
        told = error.retry_after
        assert (least is None) is (told is None)
        assert told is None or least <= told <= most
    if isinstance(error, TimedOutError):
        assert case.kind == error.kind
        assert LIMIT * 0.9 < elapsed < LIMIT + 4
    else:
        assert elapsed < 8
