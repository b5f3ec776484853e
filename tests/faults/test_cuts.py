"""A reply cut at any byte: never a silent end, never half an event, never a torn character."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest
from cases import TEXT, TOKENS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playing import CLIENTS, LONG, PROTOCOL

from c4ai_clients import ChatClient, IncompleteReplyError, RetryPolicy
from c4ai_clients.emulator import Answer, Emulator

NAMES = ("c4ai-command", "h2o", "autonomous", "qwen")
SHAPES = [(name, framing) for name in NAMES for framing in ("chunked", "length", "close")]
# Ids and times of a reply may differ in length from one turn to the next.
SLACK = 60
PREFIXES = {"".join(TOKENS[:count]) for count in range(len(TOKENS) + 1)}


class Shape:
    """A provider and a framing: cuts a turn's reply at a byte, and checks what comes of it."""

    def __init__(self, name: str, emulator: Emulator, client: ChatClient) -> None:
        self.emulator = emulator
        self.client = client
        self.step = "stream" if name == "qwen" else "message"
        self.complete_from = self._complete_from()

    def cut(self, at: int, kind: str) -> bool:
        """Tell whether a reply cut behind *at* bytes was complete."""
        self.emulator.fail(kind, step=self.step, at=at)
        stream = self.client.stream("Hi")
        pieces: list[str] = []
        try:
            pieces.extend(stream)
        except IncompleteReplyError as error:
            assert stream.text == error.partial in PREFIXES
            assert not stream.done
            return False
        assert TEXT == "".join(pieces) == stream.reply().text
        return True

    def _complete_from(self) -> int:
        low, high = 0, 1 << 14
        while low < high:
            middle = (low + high) // 2
            if self.cut(middle, "cut"):
                high = middle
            else:
                low = middle + 1
        return low


def opened(stack: ExitStack, name: str, framing: str) -> Shape:
    protocol = PROTOCOL.get(name, name)
    answer = partial(Answer, TOKENS, title="T")
    emulator = stack.enter_context(
        Emulator((protocol,), replies=lambda prompt: answer(), framing=framing)
    )
    client = CLIENTS[name](emulator.url(name), timeout=LONG, retry=RetryPolicy.none())
    return Shape(name, emulator, stack.enter_context(client))


@pytest.fixture(scope="module")
def shapes() -> Iterator[dict[tuple[str, str], Shape]]:
    with ExitStack() as stack:
        yield {shape: opened(stack, *shape) for shape in SHAPES}


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_cut__anywhere(shapes: dict[tuple[str, str], Shape], data: st.DataObject) -> None:
    """A cut before the end mark is an error with whole pieces; behind it, it is nothing."""
    shape = shapes[data.draw(st.sampled_from(SHAPES))]
    at = data.draw(st.integers(0, shape.complete_from + 2 * SLACK))
    complete = shape.cut(at, data.draw(st.sampled_from(["cut", "reset"])))

    if abs(at - shape.complete_from) > SLACK:
        assert complete is (at > shape.complete_from)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "framing"), SHAPES)
def test_cut__at_every_byte(name: str, framing: str) -> None:
    """The same for each byte of a reply, one after the other."""
    with ExitStack() as stack:
        shape = opened(stack, name, framing)
        for at in range(shape.complete_from + SLACK):
            complete = shape.cut(at, "cut")
            if abs(at - shape.complete_from) > SLACK:
                assert complete is (at > shape.complete_from)
