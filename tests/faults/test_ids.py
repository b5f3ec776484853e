"""Ids that servers make: letters, digits, ``_`` and ``-``, 1 to 128 of them, or refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import peers
import pytest

from c4ai_clients import H2O, ChatClient, ChatUI, ProtocolError, Qwen, RetryPolicy, UsageError

NEVER = RetryPolicy.none()
BAD: list[Any] = [
    *(
        "../../admin",
        "..",
        "a/b",
        "a\\b",
        "a?b",
        "a#b",
        "a%2fb",
        "a;b",
        "",
        " ",
        "a b",
        "a\r\nX: y",
    ),
    *("a\nb", "a\x00", "abc\n", "\xe9", "\u0661", "x" * 129, "@evil.test", "http://evil.test/"),
    *(7, 7.5, None, True, ["abc"], {"id": "abc"}),
]
GOOD = ["a", "x" * 128, "A-_9", "65f0c9d1e4b0a1b2c3d4e5f6", "-", "_"]
TREE = {"messages": [{"id": "r", "from": "system"}]}
FINAL = peers.http(b'{"type": "finalAnswer", "text": "x"}\n')


def answers(routes: Mapping[str, Any]) -> dict[str, bytes]:
    return {
        route: said if isinstance(said, bytes) else peers.http(json.dumps(said).encode())
        for route, said in routes.items()
    }


def asked_for(
    kind: type[ChatClient], routes: Mapping[str, Any], error: type[Exception] | None
) -> list[str]:
    """Ask a server with these answers; return the request lines that it saw."""
    seen: list[bytes] = []
    with peers.listening(peers.routed(answers(routes), seen)) as at:
        with kind(
            f"http://{at}", model=None if kind is Qwen else MODEL[kind], retry=NEVER
        ) as client:
            if error is None:
                client.chat("Hi")
            else:
                with pytest.raises(error, match="id"):
                    client.chat("Hi")
    return [request.partition(b" HTTP")[0].decode() for request in seen]


MODEL = {ChatUI: "m", H2O: H2O.default_model}


@pytest.mark.parametrize("made", BAD, ids=ascii)
def test_conversation_id__that_is_none(made: Any) -> None:
    """A conversation whose id is none is not asked for, by chat-ui and by H2O."""
    routes = {"POST /conversation": {"conversationId": made}, "POST /settings": {}}

    assert ["POST /conversation"] == asked_for(ChatUI, routes, ProtocolError)
    assert ["POST /settings", "POST /conversation"] == asked_for(H2O, routes, ProtocolError)


@pytest.mark.parametrize("made", BAD, ids=ascii)
def test_event_id__that_is_none(made: Any) -> None:
    """A Gradio event whose id is none is neither streamed nor cancelled."""
    routes = {"POST /queue/join": {"event_id": made}}

    assert ["GET /config", "POST /queue/join"] == asked_for(Qwen, routes, ProtocolError)


@pytest.mark.parametrize("made", BAD, ids=ascii)
def test_message_id__that_is_none(made: Any) -> None:
    """A message whose id is none is nobody's parent."""
    routes = {
        "POST /conversation": {"conversationId": "abc"},
        "GET /api/conversation/abc": {"messages": [{"id": made, "from": "system"}]},
        "POST /conversation/abc": FINAL,
    }
    lines = []
    seen: list[bytes] = []
    with peers.listening(peers.routed(answers(routes), seen)) as at:
        with ChatUI(f"http://{at}", model="m", retry=NEVER) as client:
            with pytest.raises(ProtocolError, match="no messages"):
                client.chat("Hi")
    lines = [request.partition(b" HTTP")[0] for request in seen]

    assert [b"POST /conversation", b"GET /api/conversation/abc"] == lines


@pytest.mark.parametrize("made", BAD, ids=ascii)
def test_listed_id__that_is_none(made: Any) -> None:
    """A conversation that is listed under no id is not given, nor opened by it."""
    rows = [{"id": made, "modelId": "m"}, {"id": "abc", "modelId": "m"}]
    seen: list[bytes] = []
    with peers.listening(peers.routed(answers({"GET /api/conversations": rows}), seen)) as at:
        with ChatUI(f"http://{at}", model="m", retry=NEVER) as client:
            assert ["abc"] == [talk.id for talk in client.conversations()]
            with pytest.raises(UsageError, match="no id"):
                client.open(made)

    assert 1 == len(seen)


@pytest.mark.parametrize("made", GOOD)
def test_id__that_is_one(made: str) -> None:
    """Whatever is made of those letters is used as it is."""
    routes = {
        "POST /conversation": {"conversationId": made},
        f"GET /api/conversation/{made}": TREE,
        f"POST /conversation/{made}": FINAL,
    }

    assert [
        "POST /conversation",
        f"GET /api/conversation/{made}",
        f"POST /conversation/{made}",
    ] == asked_for(ChatUI, routes, None)
