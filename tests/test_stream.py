"""Stream and Reply: one cursor, one reader, an end that is known."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from c4ai_clients import CancelledError, IncompleteReplyError, ModelError, Timeout, UsageError
from c4ai_clients.clocks import Call
from c4ai_clients.conversation import Conversation
from c4ai_clients.events import (
    Event,
    File,
    Finish,
    Queued,
    Reasoning,
    Sources,
    Text,
    Title,
    ToolCall,
    Unknown,
    Usage,
)
from c4ai_clients.stream import Stream, Turn


def stream_of(*events: Any, conversation: Conversation | None = None) -> Stream:
    """Return a stream over *events*; an exception among them is raised there."""
    turn = Turn(
        call=Call(Timeout()),
        conversation=conversation or Conversation(None),
        message={"role": "user", "content": "Hi"},
        history=[],
        system=None,
        model="m",
    )

    def tell(turn: Turn) -> Iterator[Event]:
        for event in events:
            if isinstance(event, BaseException):
                raise event
            if callable(event):
                event()
            else:
                yield event

    return Stream(turn, tell)


def test_iter__is_the_stream_itself() -> None:
    """A stream is its own iterator."""
    stream = stream_of(Text("a"), Finish())

    assert iter(stream) is stream
    assert "a" == next(stream)


def test_stream__one_cursor() -> None:
    """for, events() and reply() go on where another of them stopped."""
    stream = stream_of(Text("a"), Text("b"), Text("c"), Finish())

    assert "a" == next(stream)
    assert Text("b") == next(stream.events())
    assert "abc" == stream.reply().text
    assert [] == list(stream)
    assert "abc" == stream.reply().text


def test_stream__keeps_the_last_title_and_usage_alone() -> None:
    """Of titles and usages the last holds, and the others are not kept."""

    def tell(turn: Turn) -> Iterator[Event]:
        for number in range(1000):
            yield Usage(number)
            yield Title(f"{number}")
        yield Finish()

    stream = stream_of()
    stream._open = tell
    reply = stream.reply()
    kept = sum(type(thing) in (Title, Usage) for thing in gc.get_objects())

    assert ("999", Usage(999)) == (reply.title, reply.usage)
    assert kept < 10


def test_stream__nothing_happens_before_the_first_next() -> None:
    """Making a stream does nothing at all."""
    touched: list[int] = []
    stream = stream_of(lambda: touched.append(1), Finish())

    assert [] == touched
    stream.reply()
    assert [1] == touched


def test_stream__empty_pieces_are_not_given() -> None:
    """A piece has at least one character."""
    assert ["a"] == list(stream_of(Text(""), Text("a"), Text(""), Finish()))


def test_stream__text_is_the_pieces() -> None:
    """text is what has been given, at every moment."""
    stream = stream_of(Text("a"), Text("b"), Finish())
    given = ""
    for piece in stream:
        given += piece
        assert given == stream.text


def test_stream__an_empty_answer_is_complete() -> None:
    """A model may say nothing."""
    stream = stream_of(Finish("stop", ""))

    assert [] == list(stream)
    assert stream.done


def test_stream__without_finish_is_incomplete() -> None:
    """Events that just end are no reply, and the error keeps what came."""
    stream = stream_of(Text("half"))

    assert "half" == next(stream)
    with pytest.raises(IncompleteReplyError) as caught:
        next(stream)
    assert "half" == caught.value.partial
    assert [] == list(stream)
    with pytest.raises(IncompleteReplyError) as again:
        stream.reply()
    assert again.value is caught.value


def test_stream__an_error_is_filled_in() -> None:
    """An error knows the text so far, whatever raised it."""
    stream = stream_of(Text("half"), ModelError("broke"))
    with pytest.raises(ModelError) as caught:
        stream.reply()

    assert ("half", "message") == (caught.value.partial, caught.value.phase)


def test_stream__after_finish_nothing_goes_wrong() -> None:
    """What happens behind the end mark does not change the outcome."""
    stream = stream_of(Text("a"), Finish(), ModelError("late"))

    assert ["a"] == list(stream)
    assert "a" == stream.reply().text


def test_stream__ctrl_c_keeps_the_text() -> None:
    """An interrupt comes out as it is; text and conversation keep what came."""
    talk = Conversation(None)
    stream = stream_of(Text("half"), KeyboardInterrupt(), conversation=talk)
    with pytest.raises(KeyboardInterrupt):
        list(stream)

    assert "half" == stream.text
    assert [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "half", "interrupted": True},
    ] == talk.messages
    assert [] == list(stream)


def test_stream__a_second_reader_is_refused() -> None:
    """Two threads cannot read one stream; the first goes on undisturbed."""
    inside, leave = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        leave.wait(5)

    stream = stream_of(wait, Text("a"), Finish())
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.extend(stream))
    reader.start()
    inside.wait(5)
    with pytest.raises(UsageError, match="another thread"):
        next(stream)
    leave.set()
    reader.join()

    assert ["a"] == got


def test_stream__cancel_while_its_reader_is_busy() -> None:
    """A reader that waits for nothing finds the mark; what it had got is kept, the talk is free."""
    inside, leave = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        leave.wait(5)

    talk = Conversation(None)
    stream = stream_of(Text("a"), wait, Text("b"), Text("c"), Finish(), conversation=talk)
    assert "a" == next(stream)
    ended: list[BaseException] = []

    def read() -> None:
        try:
            next(stream)
        except CancelledError as error:
            ended.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    inside.wait(5)
    stream.cancel()
    leave.set()
    reader.join()

    assert ["a"] == [error.partial for error in ended if isinstance(error, CancelledError)]
    assert ["Hi", "a"] == [message["content"] for message in talk.messages]
    assert talk._busy_with() is None


def test_stream__dropped_or_left_raises_nothing() -> None:
    """Leaving in any way but reading on is silent."""
    with stream_of(Text("a"), Text("b"), Finish()) as stream:
        next(stream)
    unstarted = stream_of(Text("a"))
    with unstarted:
        pass
    dropped = stream_of(Text("a"), Finish())
    next(dropped)
    del dropped
    gc.collect()

    with pytest.raises(CancelledError):
        next(stream)
    with pytest.raises(CancelledError):
        next(unstarted)


def test_stream__cancel_of_a_complete_one_changes_nothing() -> None:
    """A complete reply stays complete."""
    stream = stream_of(Text("a"), Finish())
    reply = stream.reply()
    stream.cancel()

    assert reply == stream.reply()


def test_reply__tells_everything() -> None:
    """What came in events is in the reply; what is not known is not lost on the way."""
    image = File("a.png", reader=lambda: b"png", mime="image/png")
    stream = stream_of(
        Queued(1, 2, 3.0),
        Reasoning("hm"),
        Title("first"),
        ToolCall("1", "search", {"q": "x"}),
        Sources([{"link": "https://a.test"}]),
        image,
        Text("a"),
        Unknown({"type": "new"}),
        Usage(1, 2, 3),
        Finish("length"),
        Title("second"),
    )
    events = list(stream.events())
    reply = stream.reply()

    assert Unknown({"type": "new"}) in events
    assert ("a", "hm", "second", "length", Usage(1, 2, 3)) == (
        reply.text,
        reply.reasoning,
        reply.title,
        reply.finish_reason,
        reply.usage,
    )
    assert [{"link": "https://a.test"}] == reply.sources
    assert [ToolCall("1", "search", {"q": "x"})] == reply.tool_calls
    assert b"png" == reply.files[0].read()
    assert reply.timing.first_token is not None
    assert reply.timing.first_token <= reply.timing.total


FINAL_TEXTS = [
    pytest.param(["a", "b"], "ab", ["a", "b"], "ab", False, id="same"),
    pytest.param(["a", "b \n"], "ab", ["a", "b \n"], "ab \n", False, id="right-trimmed"),
    pytest.param(["a"], "abc", ["a", "bc"], "abc", False, id="extended"),
    pytest.param([], "abc", ["abc"], "abc", False, id="only-final"),
    pytest.param(["a", "</s>"], "a", ["a", "</s>"], "a", True, id="stop-word-removed"),
    pytest.param(["ab"], "xy", ["ab"], "xy", True, id="rewritten"),
    pytest.param(["ab"], "", ["ab"], "", True, id="emptied"),
    pytest.param(["ab"], None, ["ab"], "ab", False, id="none"),
]


@pytest.mark.parametrize(("sent", "final", "given", "text", "rewritten"), FINAL_TEXTS)
def test_reply__the_servers_final_text(
    sent: list[str], final: str | None, given: list[str], text: str, rewritten: bool
) -> None:
    """The reply's text is the server's own; whether that differs from the pieces is said."""
    stream = stream_of(*map(Text, sent), Finish("stop", final))

    assert given == list(stream)
    assert (text, rewritten) == (stream.reply().text, stream.reply().rewritten)
    assert text == stream.conversation.messages[-1]["content"]
