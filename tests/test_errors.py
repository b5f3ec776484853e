"""The error tree: one root, pickled whole, told in one sentence."""

from __future__ import annotations

import concurrent.futures
import pickle

import pytest

import c4ai_clients
from c4ai_clients import errors, markup
from c4ai_clients.errors import C4AIError, quote

ALL = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("kind", ALL)
def test_error__pickles_with_its_fields(kind: type[C4AIError]) -> None:
    """An error comes out of a pickle as it went in."""
    error = kind("why", provider="h2o", phase="message", attempts=3, partial="so far", lasting=True)
    for name in ("kind", "status", "body", "retry_after"):
        if hasattr(error, name):
            setattr(error, name, "value")
    copy = pickle.loads(pickle.dumps(error))

    assert type(error) is type(copy)
    assert vars(error) == vars(copy)
    assert str(error) == str(copy)


def test_error__says_who_where_and_why() -> None:
    """The text names the provider, the step, the words and the attempts."""
    error = errors.ServerError("it broke", provider="h2o", phase="create", attempts=4)

    assert "h2o, create: it broke (4 attempts)" == str(error)


@pytest.mark.parametrize(
    ("kind", "parent"),
    [
        (errors.UsageError, ValueError),
        (errors.ConnectError, ConnectionError),
        (errors.TimedOutError, TimeoutError),
        (errors.CancelledError, concurrent.futures.CancelledError),
        (errors.ModelNotFoundError, errors.UsageError),
        (errors.IncompleteReplyError, errors.TransportError),
        (errors.RateLimitError, errors.StatusError),
        (errors.ModelError, errors.ReplyError),
    ],
)
def test_error__is_also(kind: type[C4AIError], parent: type[BaseException]) -> None:
    """Errors are caught by what callers already catch, and all by the root."""
    assert issubclass(kind, parent)
    assert issubclass(kind, C4AIError)
    assert kind.__name__ in c4ai_clients.__all__


def test_error__no_unknown_field() -> None:
    """A misspelt field is no field."""
    with pytest.raises(TypeError, match="parcial"):
        C4AIError("x", parcial="y")


def test_quote__one_short_line_without_control_characters() -> None:
    """A stranger's words are fit for a terminal."""
    quoted = quote(b"\x1b[31mred\x1b[0m\r\n\x00" + "ü\u2028".encode() * 400 + b"\xff")

    assert len(quoted) <= 300
    assert quoted.isprintable()
    assert quoted.startswith("[31mred")


def test_error__no_word_of_a_stranger_turns_ours() -> None:
    """What turns the direction of writing stands in no error text; an answer keeps its own."""
    turns = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    for mark in turns:
        assert "denied txt.exe" == quote(f"denied{mark}txt.exe".encode())
        assert "denied txt.exe; try again" == str(C4AIError(f"denied{mark}txt.exe; try again"))

    assert f"שלום{turns}" == markup.clean(f"שלום{turns}")


def test_quote__says_where_it_is_cut() -> None:
    """An ellipsis stands for whatever is left out, and for nothing else; half a letter is not."""
    assert "x" * 300 == quote("x" * 300) == quote(b" " * 2000 + b"x" * 300)
    assert "x" * 299 + "…" == quote("x" * 301) == quote("x" * 300, more=True)
    assert ". a…" == quote(b"." + b"\0" * 1198 + b"a" + b"b")
    assert "é…" == quote("éé".encode()[:3], more=True)
    assert "[" + "0, " * 99 + "0…" == quote([0] * 1_000_000)
