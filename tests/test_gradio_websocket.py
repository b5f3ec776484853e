"""Gradio 3.50's websocket, against recordings that are spoken again over real sockets."""

from __future__ import annotations

import builtins
import contextlib
import gc
import json
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import threads_of_ours, wait_until
from replay import Exchange, Replay, recorded

from c4ai_clients import (
    AuthError,
    CancelledError,
    Gradio,
    IncompleteReplyError,
    ModelError,
    ProtocolError,
    Qwen,
    RateLimitError,
    RetryPolicy,
    ServerError,
    TimedOutError,
    Timeout,
    UsageError,
)
from c4ai_clients.events import Finish, Queued, Started

HELLO = "Hello, wörld! "


@contextlib.contextmanager
def spoken(*cases: str | Exchange) -> Iterator[Replay]:
    """Serve the config and these recordings of 3.50.2."""
    exchanges = recorded("gradio/3.50.2/config")
    for case in cases:
        exchanges += [case] if isinstance(case, Exchange) else recorded(f"gradio/3.50.2/{case}")
    server = Replay(exchanges, 0.0)
    try:
        yield server
    finally:
        server.stop()


def talk(*frames: tuple[bool, int, bytes], end: str = "close 1000") -> Exchange:
    """A websocket made by hand, up to the message that it has taken."""
    begun = [
        (True, 1, b'{"msg":"send_hash"}'),
        (False, 1, b""),
        (True, 1, b'{"msg":"send_data"}'),
        (False, 1, b""),
    ]
    exchange = Exchange("GET", "/queue/join", 101, "Switching Protocols", [], [], end)
    exchange.frames = [*begun, *frames]
    return exchange


def generating(text: str) -> tuple[bool, int, bytes]:
    said = {"msg": "process_generating", "output": {"data": ["", [["q", text]], ""]}}
    return True, 1, json.dumps({**said, "success": True}).encode()


def completed(text: str) -> tuple[bool, int, bytes]:
    said = {"msg": "process_completed", "output": {"data": ["", [["q", text]], ""]}}
    return True, 1, json.dumps({**said, "success": True}).encode()


@pytest.mark.parametrize("case", ["first_turn", "second_turn"])
def test_recorded__text_and_requests(case: str) -> None:
    """The text is the server's last value, and we say what the recorded client said."""
    rows = [row for row in recorded(f"gradio/3.50.2/{case}") if row.frames]
    with spoken(case) as server, Qwen(server.url) as client:
        conversation = client.conversation(system="You are a lab.")
        for row in rows:
            asked = json.loads([data for ours, _, data in row.frames if not ours][1])
            final = [data for ours, _, data in row.frames if b"process_completed" in data]
            stream = conversation.stream(asked["data"][0])
            pieces = list(stream)
            assert json.loads(final[0])["output"]["data"][1][-1][1] == "".join(pieces)
            assert len(pieces) > 1
            said = [json.loads(r.body) for r in server.requests if r.method == "WS"][-2:]
            assert said[1].pop("session_hash") == said[0]["session_hash"]
            asked.pop("session_hash")
            assert asked == said[1]


def test_recorded__chat_interface() -> None:
    """A ChatInterface keeps its session from turn to turn."""
    rows = [row for row in recorded("gradio/3.50.2/chatinterface") if row.frames]
    asked = [json.loads([data for ours, _, data in row.frames if not ours][1]) for row in rows]
    config = recorded("gradio/3.50.2/chatinterface")[0]
    server = Replay([config, *rows], 0.0)
    try:
        with Gradio(server.url) as client:
            conversation = client.conversation()
            for each in asked[:2]:
                conversation.chat(each["data"][0])
            said = [json.loads(r.body)["session_hash"] for r in server.requests if r.method == "WS"]
            assert 1 == len(set(said))
    finally:
        server.stop()


def test_recorded__errors() -> None:
    """An app's failures have its words, where it tells them; a spent quota is a limit."""
    with spoken("errors_show_error_off") as server, Gradio(server.url) as client:
        for prompt, words, partial in [
            ("boom first", "does not say why", ""),
            ("gr first", r": lab: gr\.Error before first yield$", ""),
            ("boom mid", "does not say why", HELLO),
            ("gr mid", r": lab: gr\.Error mid stream$", HELLO),
        ]:
            with pytest.raises(ModelError, match=words) as caught:
                client.chat(prompt)
            assert partial == caught.value.partial
        with pytest.raises(RateLimitError, match="exceeded your GPU quota"):
            client.chat("quota")
        assert "" == client.chat("empty gen").text
    with spoken("errors_show_error_on") as server, Gradio(server.url) as client:
        with pytest.raises(ModelError, match=r"lab: boom before first yield$"):
            client.chat("boom first")


def test_recorded__killed_server(quick: RetryPolicy) -> None:
    """A server that dies leaves an error with what had come, and is not asked again."""
    with spoken("server_killed") as server, Qwen(server.url, retry=quick) as client:
        with pytest.raises(IncompleteReplyError) as caught:
            client.chat("slow 0.3")
        assert "Hello" == caught.value.partial
        assert [] == server.unexpected


def test_recorded__queue_full_and_a_place_in_it() -> None:
    """A full queue is a ServerError; a place in it is told as it moves."""
    with spoken("queue_full") as server, Qwen(server.url) as client:
        with pytest.raises(ServerError, match="queue is full") as caught:
            client.chat("hi")
        assert 503 == caught.value.status
    with spoken("estimation") as server, Qwen(server.url) as client:
        events = list(client.stream("hi").events())
        places = [event.position for event in events if isinstance(event, Queued)]
        assert [1, 0] == places
        assert isinstance(events[0], Started)
        assert isinstance(events[-1], Finish)


def test_recorded__login() -> None:
    """Without its cookie the upgrade is refused, which is an AuthError; a login opens it."""
    with spoken("auth_nocookie") as server, Qwen(server.url) as client:
        with pytest.raises(AuthError, match="403"):
            client.chat("hi")
    rows = recorded("gradio/3.50.2/auth")
    with spoken(*rows[1:]) as server, Qwen(server.url, auth=("me", "secret")) as client:
        assert "turn 1 you said: echo hi" in client.chat("echo hi").text
        joined = [r for r in server.requests if r.method == "GET" and r.path == "/queue/join"]
        assert "access-token" in joined[0].headers["cookie"]


@pytest.mark.parametrize("leave", ["with", "cancel", "drop"])
def test_leaving__hangs_up(leave: str) -> None:
    """However it is left, the server sees us go, and no thread stays."""
    left = talk(generating("Hi"), end="client-closed")
    with spoken(left) as server, Qwen(server.url) as client:
        stream: Any = client.stream("q")
        assert "Hi" == next(stream)
        if leave == "with":
            with stream:
                pass
        elif leave == "cancel":
            stream.cancel()
        del stream
        gc.collect()
        assert [] == threads_of_ours()
        # The server's thread waits for us to go; stop() would wake it too.
        ours = [thread for thread in server._threads[1:] if thread.is_alive()]
        assert wait_until(lambda: not any(thread.is_alive() for thread in ours[-1:]), 2)


def test_cancel__wakes_a_reader() -> None:
    """A reader that waits for the next frame is woken at once."""
    left = talk(generating("Hi"), end="client-closed")
    with spoken(left) as server, Qwen(server.url) as client:
        stream = client.stream("q")
        next(stream)
        threading.Timer(0.1, stream.cancel).start()
        start = time.monotonic()
        with pytest.raises(CancelledError):
            next(stream)
        assert time.monotonic() - start < 2


def test_silence__runs_out_of_time() -> None:
    """A server that goes silent is an error of the clock that ran out."""
    left = talk(generating("Hi"), end="client-closed")
    with spoken(left) as server, Qwen(server.url, timeout=Timeout(idle=0.3)) as client:
        with pytest.raises(TimedOutError) as caught:
            client.chat("q")
        assert ("idle", "Hi") == (caught.value.kind, caught.value.partial)


def test_pings__are_answered() -> None:
    """A ping in between is answered and is no message."""
    row = talk((True, 9, b"hey"), (False, 10, b""), generating("Hi"), completed("Hi"))
    with spoken(row) as server, Qwen(server.url) as client:
        assert "Hi" == client.chat("q").text
        assert b"hey" == server.requests[-1].body


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        pytest.param((True, 8, b"\x03\xf4"), IncompleteReplyError, id="restarting"),
        pytest.param((True, 3, b"x"), ProtocolError, id="reserved"),
        pytest.param((True, 0, b"x"), ProtocolError, id="nothing-continued"),
    ],
)
def test_frames__that_make_no_sense(frame: Any, error: type[Exception]) -> None:
    """A closing frame ends the reply too early; other nonsense is a ProtocolError."""
    with spoken(talk(generating("Hi"), frame)) as server, Qwen(server.url) as client:
        with pytest.raises(error) as caught:
            client.chat("q")
        assert "Hi" == caught.value.partial  # type: ignore[attr-defined]


def test_frames__large_and_hostile() -> None:
    """A value of half a megabyte is exact, raw line separators and halves included."""
    text = "a\u2028\u0085 😀 " * 50_000
    with spoken(talk(generating(text), completed(text))) as server, Qwen(server.url) as client:
        assert text == client.chat("q").text


@pytest.mark.parametrize(
    ("url", "said"),
    [("data:image/png;base64,iVBORw==", (b"\x89PNG", "image/png")), ("data:x", (b"", ""))],
)
def test_files__an_image_in_another_output(url: str, said: tuple[bytes, str]) -> None:
    """3.50 shows images as data: URLs, and files by their names; both come out."""
    rows = recorded("gradio/3.50.2/config")
    config = json.loads(rows[0].body)
    for component in config["components"]:
        component["type"] = "image" if component["id"] in (18, 25) else component["type"]
    config["dependencies"][3]["inputs"] = [24]
    rows[0].chunks = [(0.0, json.dumps(config).encode())]
    pair = ["q", {"name": "/srv/a.txt", "is_file": True, "data": None, "mime_type": "text/plain"}]
    value = [pair, [None, "Here."]]
    done = {"msg": "process_completed", "success": True, "output": {"data": [url, value, None]}}
    server = Replay([*rows, talk((True, 1, json.dumps(done).encode()))], 0.0)
    try:
        with Gradio(server.url, fn_index=3) as client:
            reply = client.chat("q")
            assert "Here." == reply.text
            assert server.url + "/file=/srv/a.txt" == reply.files[0].url
            assert said == (reply.files[1].read(), reply.files[1].mime)
    finally:
        server.stop()


def test_files__an_image_that_cannot_be_read() -> None:
    """A torn data: URL of the server's is a ProtocolError, not ours to mend."""
    rows = recorded("gradio/3.50.2/config")
    config = json.loads(rows[0].body)
    for component in config["components"]:
        component["type"] = "image" if component["id"] == 18 else component["type"]
    rows[0].chunks = [(0.0, json.dumps(config).encode())]
    output = {"data": ["", [["q", "a"]], "data:image/png;base64,!"]}
    done = {"msg": "process_completed", "success": True, "output": output}
    server = Replay([*rows, talk((True, 1, json.dumps(done).encode()))], 0.0)
    try:
        with Gradio(server.url) as client:
            with pytest.raises(ProtocolError, match="an image that the app shows"):
                client.chat("q")
    finally:
        server.stop()


@pytest.mark.parametrize("kind", ["image", "file"])
def test_files__go_in_as_3_50_wants_them(kind: str) -> None:
    """An image goes as a data: URL, a file by the name that the upload gave it."""
    rows = recorded("gradio/3.50.2/config")
    config = json.loads(rows[0].body)
    for component in config["components"]:
        if component["id"] == 12:
            component.update(type=kind, props={})
    rows[0].chunks = [(0.0, json.dumps(config).encode())]
    said = [("content-type", "application/json")]
    body = [(0.0, b'["/srv/a.png"]')]
    up = Exchange("POST", "/upload", 200, "OK", said, body, "complete")
    server = Replay([*rows, up, talk(completed("a"))], 0.0)
    try:
        with Gradio(server.url) as client:
            client.chat("q", files=[b"\x89PNG\r\n\x1a\n"])
            data = json.loads(server.requests[-1].body)["data"]
            if kind == "image":
                assert "data:image/png;base64,iVBORw0KGgo=" == data[3]
            else:
                told = {"name": "/srv/a.png", "data": None, "is_file": True}
                assert {**told, "orig_name": "file-1.png", "size": 8} == data[3]
    finally:
        server.stop()


def test_upgrade__that_is_none(quick: RetryPolicy) -> None:
    """A server that answers the upgrade with something else is told so."""
    plain = Exchange("GET", "/queue/join", 200, "OK", [], [(0.0, b"{}")], "complete")
    with spoken(plain) as server, Qwen(server.url, retry=quick) as client:
        with pytest.raises(ProtocolError, match="opens no websocket: it answered 200"):
            client.chat("q")


def test_without_websocket_client__says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra is missing, nothing is sent but the config's request."""
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name == "websocket":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with spoken() as server, Qwen(server.url) as client:
        with pytest.raises(UsageError, match=r"c4ai-clients\[gradio3\]"):
            client.chat("q")
        assert ["/config"] == [request.path for request in server.requests]


def test_import__only_when_needed() -> None:
    """websocket-client is loaded by the first turn that needs it, and warns of nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with spoken(talk(completed("Hi"))) as server, Qwen(server.url) as client:
            assert "Hi" == client.chat("q").text
    assert "websocket" in sys.modules
