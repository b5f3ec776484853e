"""What the tests of every client do alike."""

from __future__ import annotations

import pytest

from c4ai_clients import CancelledError, ChatClient, IncompleteReplyError, Stream

__all__ = ["WAYS", "cut_off", "joined", "leave"]

WAYS = ("break", "cancel", "with", "drop")


def joined(tokens: list[str]) -> str:
    """Return a model's tokens as one text; two may be the halves of a character."""
    raw = "".join(tokens).encode("utf-16-le", "surrogatepass")
    return raw.decode("utf-16-le", "surrogatepass")


def leave(client: ChatClient, way: str) -> None:
    """Ask, and leave the answer at its first piece."""
    if way == "break":
        for _ in client.stream("Hi"):
            return
    stream = client.stream("Hi")
    if way == "with":
        with stream:
            next(stream)
        return
    next(stream)
    if way == "cancel":
        stream.cancel()
        stream.cancel()
        with pytest.raises(CancelledError):
            next(stream)
        with pytest.raises(CancelledError):
            stream.reply()


def cut_off(stream: Stream) -> IncompleteReplyError | None:
    """Read to the end, and return the error that it ended in."""
    try:
        list(stream)
    except IncompleteReplyError as error:
        return error
    return None
