"""The emulator on the wire: its faults, framings and settings, byte by byte.

Nothing of the client is used here: requests are written by http.client and by
plain sockets, so what is seen is what the emulator sends.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import ssl
import threading
import time
import uuid
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
import trustme
from conftest import wait_until

from c4ai_clients.emulator import Answer, Emulator, Fault, Request
from c4ai_clients.emulator.gradio_versions import differences

JSON = {"Content-Type": "application/json"}


class Reply(NamedTuple):
    """One HTTP answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    complete: bool

    def header(self, name: str) -> str:
        return next((v for k, v in self.headers if k.lower() == name), "")

    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    url: str,
    method: str,
    path: str,
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    tls: ssl.SSLContext | None = None,
) -> Reply:
    """Send one request on a connection of its own, and read the answer."""
    host = url.split("//")[1]
    connection = (
        http.client.HTTPSConnection(host, timeout=10, context=tls)
        if tls
        else http.client.HTTPConnection(host, timeout=10)
    )
    try:
        return ask_on(connection, method, path, body, headers)
    finally:
        connection.close()


def ask_on(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send one request on a given connection, and read the answer."""
    connection.request(method, path, body, dict(headers or {}))
    response = connection.getresponse()
    try:
        data, complete = response.read(), True
    except http.client.IncompleteRead as broken:
        data, complete = broken.partial, False
    finally:
        response.close()
    return Reply(response.status, response.getheaders(), data, complete)


def post_json(url: str, path: str, value: object, **headers: str) -> Reply:
    return ask(url, "POST", path, json.dumps(value), {**JSON, **headers})


class Turn(NamedTuple):
    """A chat-ui conversation, ready for its next message."""

    url: str
    thread: str
    cookie: str
    parent: str

    def messages(self) -> list[dict[str, Any]]:
        path = f"/api/conversation/{self.thread}"
        found = ask(self.url, "GET", path, headers={"Cookie": self.cookie})
        messages: list[dict[str, Any]] = found.json()["messages"]
        return messages

    def request(self, inputs: str = "Hi", **more: object) -> tuple[str, bytes, dict[str, str]]:
        data = json.dumps({"inputs": inputs, "id": self.parent, **more})
        part = f'Content-Disposition: form-data; name="data"\r\n\r\n{data}'
        headers = {
            "Cookie": self.cookie,
            "Origin": self.url,
            "Content-Type": "multipart/form-data; boundary=XX",
        }
        return f"/conversation/{self.thread}", f"--XX\r\n{part}\r\n--XX--\r\n".encode(), headers

    def ask(self, inputs: str = "Hi", **more: object) -> Reply:
        path, body, headers = self.request(inputs, **more)
        return ask(self.url, "POST", path, body, headers)

    def raw(self, inputs: str = "Hi", **more: object) -> bytes:
        path, body, headers = self.request(inputs, **more)
        lines = [f"POST {path} HTTP/1.1", f"Host: {self.url.split('//')[1]}"]
        lines += [f"{k}: {v}" for k, v in headers.items()]
        lines += [f"Content-Length: {len(body)}", "", ""]
        return "\r\n".join(lines).encode() + body


def conversation(emulator: Emulator) -> Turn:
    """Make a chat-ui conversation."""
    url = emulator.url("chat-ui")
    made = post_json(url, "/conversation", {"model": "command-a-03-2025"})
    cookie = made.header("set-cookie").partition(";")[0]
    turn = Turn(url, made.json()["conversationId"], cookie, "")
    return turn._replace(parent=turn.messages()[-1]["id"])


def lines_of(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.split(b"\n") if line.strip()]


def connected(url: str) -> socket.socket:
    host, port = url.split("//")[1].split(":")
    return socket.create_connection((host, int(port)), timeout=5)


def read_all(sock: socket.socket) -> bytes:
    """Read to the end; a reset shows as the exception that it is."""
    received = b""
    while piece := sock.recv(65536):
        received += piece
    return received


def read_until(sock: socket.socket, mark: bytes) -> bytes:
    received = b""
    while mark not in received:
        piece = sock.recv(65536)
        assert piece, received
        received += piece
    return received


# Faults, as bytes on a socket.

HALF = b'{"type":"status","status":"started"}\n{"ty'


def test_cut_ends_the_body_at_its_byte_without_a_last_chunk() -> None:
    """A cut sends exactly so many bytes of body, then an orderly end."""
    with Emulator(("chat-ui",)) as emulator:
        turn = conversation(emulator)
        emulator.fail("cut", at=len(HALF))
        with connected(turn.url) as sock:
            sock.sendall(turn.raw())
            received = read_all(sock)

        head, _, rest = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        first = b"25\r\n" + HALF[:37] + b"\r\n"
        assert rest == first + b"27\r\n" + HALF[37:]


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@pytest.mark.parametrize("at", [0, 1, 37, 100])
def test_cut_is_at_the_same_place_in_every_framing(framing: str, at: int) -> None:
    """The offset counts the body, whatever carries it."""
    with Emulator(("chat-ui",), replies="Hello there", framing=framing) as emulator:
        turn = conversation(emulator)
        emulator.fail("cut", at=at)
        with connected(turn.url) as sock:
            sock.sendall(turn.raw())
            rest = read_all(sock).partition(b"\r\n\r\n")[2]

        assert len(unchunked(rest) if framing == "chunked" else rest) == at


def unchunked(rest: bytes) -> bytes:
    """Take chunks apart, also where the last one is torn."""
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body, rest = body + rest[:length], rest[length + 2 :]
    return body


def test_cut_before_anything_sends_nothing() -> None:
    """With no offset the connection ends before the status line."""
    with Emulator(("chat-ui",)) as emulator:
        turn = conversation(emulator)
        emulator.fail("cut")
        with connected(turn.url) as sock:
            sock.sendall(turn.raw())

            assert read_all(sock) == b""
        assert emulator.processed == 1


def test_reset_is_a_reset() -> None:
    """The client sees ECONNRESET, not an end."""
    with Emulator(("chat-ui",)) as emulator:
        turn = conversation(emulator)
        emulator.fail("reset")
        with connected(turn.url) as sock:
            sock.sendall(turn.raw())
            with pytest.raises(ConnectionResetError):
                read_all(sock)


def test_stall_goes_on_after_its_seconds() -> None:
    """Nothing comes for so long, and then the whole rest."""
    with Emulator(("chat-ui",), replies="Hi") as emulator:
        turn = conversation(emulator)
        emulator.fail("stall", at=0, seconds=0.3)
        with connected(turn.url) as sock:
            sock.sendall(turn.raw())
            assert read_until(sock, b"\r\n\r\n").endswith(b"\r\n\r\n")
            started = time.monotonic()
            rest = read_until(sock, b"0\r\n\r\n")

            assert time.monotonic() - started > 0.25
        assert b'"finalAnswer"' in rest


@pytest.mark.parametrize("secure", [False, True])
def test_hang_up_is_noticed_in_a_silent_stall(secure: bool) -> None:
    """A client that goes while nothing is sent is seen to go within moments."""
    server, client = certificates() if secure else (None, None)
    with Emulator(("chat-ui",), tls=server) as emulator:
        turn = secure_conversation(emulator, client)
        emulator.fail("stall", at=40, seconds=30)
        sock = connected(turn.url)
        if client:
            sock = client.wrap_socket(sock, server_hostname="localhost")
        sock.sendall(turn.raw())
        read_until(sock, b'started"}')
        sock.close()
        started = time.monotonic()

        assert wait_until(lambda: emulator.hang_ups == ["message"])
        assert time.monotonic() - started < 0.5


def certificates() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make a certificate for loopback; give the server's and a client's context."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


def secure_conversation(emulator: Emulator, client: ssl.SSLContext | None) -> Turn:
    """Make a conversation, over TLS where a context is given."""
    if client is None:
        return conversation(emulator)
    url = emulator.url("chat-ui")
    body = json.dumps({"model": "command-a-03-2025"})
    made = ask(url, "POST", "/conversation", body, JSON, tls=client)
    cookie = made.header("set-cookie").partition(";")[0]
    thread = made.json()["conversationId"]
    path = f"/api/conversation/{thread}"
    found = ask(url, "GET", path, headers={"Cookie": cookie}, tls=client).json()
    return Turn(url, thread, cookie, found["messages"][-1]["id"])


def test_tls_answers_like_http() -> None:
    """With a context the same conversation happens over https."""
    server, client = certificates()
    with Emulator(("chat-ui",), tls=server, replies="Hi") as emulator:
        turn = secure_conversation(emulator, client)
        path, body, headers = turn.request()
        answer = ask(turn.url, "POST", path, body, headers, tls=client)

        assert turn.url.startswith("https://")
        assert lines_of(answer.body)[-1]["text"] == "Hi"


def test_drip_sends_byte_by_byte_with_the_headers() -> None:
    """Without an offset the headers come in drops as well."""
    with Emulator(("chat-ui",)) as emulator:
        turn = conversation(emulator)
        emulator.fail("drip", step="create", seconds=0.02)
        sent = b'{"model":"command-a-03-2025"}'
        with connected(turn.url) as sock:
            head = b"POST /conversation HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            sock.sendall(head + b"Content-Length: %d\r\n\r\n%s" % (len(sent), sent))
            pieces = [sock.recv(4096) for _ in range(5)]

        assert b"".join(pieces).startswith(b"HTTP/")
        assert all(len(piece) <= 3 for piece in pieces)


@pytest.mark.parametrize(
    ("protocol", "beat"),
    [
        pytest.param("chat-ui", b'{"type":"status","status":"keepAlive"}\n', id="chat-ui"),
        pytest.param("h2o", b":\n\n", id="h2o"),
        pytest.param("autonomous", b": keep-alive\n\n", id="autonomous"),
        pytest.param("gradio", b'data: {"msg":"heartbeat","event_id":null}\n\n', id="gradio"),
    ],
)
def test_keepalives_are_all_that_comes(protocol: str, beat: bytes) -> None:
    """From there on only the protocol's own keep-alives are sent, then the rest."""
    with Emulator((protocol,), replies="one two") as emulator:
        plain_body = first_answer(emulator, protocol).body
        emulator.fail("keepalives", at=1, seconds=0.35)
        kept = first_answer(emulator, protocol)

        assert kept.complete
        assert kept.body.count(beat) >= plain_body.count(beat) + 3
        assert len(kept.body) - len(plain_body) < 6 * len(beat)


def first_answer(emulator: Emulator, protocol: str, prompt: str = "Hi") -> Reply:
    """Ask one question by the shortest way that a protocol has."""
    if protocol == "chat-ui":
        return conversation(emulator).ask(prompt)
    url = emulator.url(protocol)
    if protocol == "h2o":
        model = "h2oai/h2ogpt-gm-oasst1-en-2048-falcon-40b-v1"
        made = post_json(url, "/conversation", {"model": model})
        cookie = made.header("set-cookie").partition(";")[0]
        body = {"inputs": prompt, "options": {}, "stream": True}
        path = f"/conversation/{made.json()['conversationId']}"
        return post_json(url, path, body, Cookie=cookie)
    if protocol == "autonomous":
        messages = json.dumps([{"role": "user", "content": prompt}]).encode()
        body = {"messages": base64.b64encode(messages).decode(), "aiAgent": "llama"}
        return post_json(url, "/api/v1/ai/chat", {**body, "threadId": "llama", "stream": True})
    joined = join(url, prompt)
    if joined.status != 200:
        return joined
    return ask(url, "GET", "/gradio_api/queue/data?session_hash=abc")


def join(url: str, prompt: str = "Hi", size: str = "72B", session: str = "abc") -> Reply:
    data = [prompt, [], "You are a lab.", size]
    body = {"data": data, "fn_index": 3, "session_hash": session}
    return post_json(url, "/gradio_api/queue/join", body)


PROTOCOLS = ("chat-ui", "h2o", "autonomous", "gradio")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("status", [429, 500, 503])
def test_status_is_answered_instead_and_not_processed(protocol: str, status: int) -> None:
    """The answer has the status, the headers and a real server's body."""
    with Emulator((protocol,)) as emulator:
        emulator.fail("status", status=status, headers={"Retry-After": "7"})
        answer = first_answer(emulator, protocol)

        assert answer.status == status
        assert answer.header("retry-after") == "7"
        assert re.search(b"message|detail|Internal Server Error", answer.body)
        assert emulator.processed == 0
        assert first_answer(emulator, protocol).status == 200


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_rate_limit_is_the_protocols_own(protocol: str) -> None:
    """Each protocol says in its own way that it was asked too often."""
    told = {
        "chat-ui": (429, b'{"message":"You are sending too many messages. Try again later."}'),
        "h2o": (429, b'{"message":"You are sending too many messages. Try again later."}'),
        "gradio": (503, b'{"detail":"Queue is full. Max size is 2 and size is 2."}'),
    }
    with Emulator((protocol,)) as emulator:
        emulator.fail("rate_limit")
        answer = first_answer(emulator, protocol)

        if protocol == "autonomous":
            assert (answer.status, answer.json()["error"]["code"]) == (429, 429)
        else:
            assert (answer.status, answer.body) == told[protocol]
        assert emulator.processed == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("kind", "media", "begins"),
    [
        pytest.param("html", "text/html", b"<!doctype html>", id="html"),
        pytest.param("empty", "text/html", b"", id="empty"),
        pytest.param("json", "application/json", b'{"error":', id="json"),
        pytest.param("garbage", "application/octet-stream", b"\x00\xff", id="garbage"),
    ],
)
def test_a_200_that_is_no_stream(protocol: str, kind: str, media: str, begins: bytes) -> None:
    """Something else comes with status 200, and nothing is processed."""
    with Emulator((protocol,)) as emulator:
        # For Gradio that is the stream's answer; joining has been processed then.
        emulator.fail(kind, step="stream" if protocol == "gradio" else "message")
        answer = first_answer(emulator, protocol)

        assert answer.status == 200
        assert answer.header("content-type").startswith(media)
        assert answer.body.startswith(begins)
        assert not (kind == "empty" and answer.body)
        assert emulator.processed == (protocol == "gradio")


def test_keepalives_without_an_offset_follow_the_headers() -> None:
    """They are part of a body, so the status line comes first."""
    with Emulator(("chat-ui",), replies="Hi") as emulator:
        turn = conversation(emulator)
        emulator.fail("keepalives", seconds=0.15)
        answer = turn.ask()

        assert lines_of(answer.body)[0]["status"] == "keepAlive"
        assert lines_of(answer.body)[-1]["text"] == "Hi"


def test_a_fault_may_have_any_status_and_header() -> None:
    """A proxy's own number, and a header that replaces ours."""
    with Emulator(("chat-ui",)) as emulator:
        headers = {"Content-Type": "text/plain", "Connection": "close"}
        emulator.fail("status", step="models", status=520, headers=headers, body=b"odd")
        with connected(emulator.url("chat-ui")) as sock:
            sock.sendall(b"GET /api/models HTTP/1.1\r\nHost: x\r\n\r\n")
            head, _, body = read_all(sock).partition(b"\r\n\r\n")

        assert head.startswith(b"HTTP/1.1 520")
        assert re.findall(rb"(?i)(content-type|connection): (.*)\r", head + b"\r") == [
            (b"Content-Type", b"text/plain"),
            (b"Connection", b"close"),
        ]
        assert body == b"odd"


def test_json_fault_takes_a_body() -> None:
    """The caller's own bytes are sent in place of the stream."""
    with Emulator(("autonomous",)) as emulator:
        emulator.fail("json", body=b'{"error":{"message":"no"}}')

        assert first_answer(emulator, "autonomous").body == b'{"error":{"message":"no"}}'


def test_length_promises_more_than_comes() -> None:
    """Content-Length is larger than the body, and the connection ends."""
    with Emulator(("chat-ui",), replies="Hi") as emulator:
        turn = conversation(emulator)
        emulator.fail("length")
        answer = turn.ask()

        assert not answer.complete
        assert int(answer.header("content-length")) == len(answer.body) + 1000
        assert b"finalAnswer" in answer.body


def test_informational_answers_come_first() -> None:
    """Two 103 come before the real answer, on the same connection."""
    with Emulator(("chat-ui",), replies="Hi") as emulator:
        turn = conversation(emulator)
        emulator.fail("informational", at=2)
        with connected(turn.url) as sock:
            sock.sendall(turn.raw())
            received = read_until(sock, b"0\r\n\r\n")

        assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"103", b"103", b"200"]


def test_unread_takes_no_body() -> None:
    """A large upload does not get through, and the socket stays open."""
    with Emulator(("chat-ui",)) as emulator:
        turn = conversation(emulator)
        emulator.fail("unread", seconds=5)
        with connected(turn.url) as sock:
            sock.settimeout(0.5)
            head = f"POST /conversation/{turn.thread} HTTP/1.1\r\nHost: x\r\n"
            sock.sendall(f"{head}Content-Length: 30000000\r\n\r\n".encode())
            with pytest.raises(TimeoutError):
                sock.sendall(b"x" * 30_000_000)

            assert emulator.open_connections == 1
        assert emulator.processed == 0


def test_close_leaves_a_stale_connection() -> None:
    """The answer is whole and promises keep-alive, but the connection is over."""
    with Emulator(("chat-ui",), replies="Hi") as emulator:
        turn = conversation(emulator)
        emulator.fail("close")
        with connected(turn.url) as sock:
            sock.sendall(turn.raw())
            received = read_all(sock)

        assert b"Connection: keep-alive" in received
        assert received.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("body", [None, b"processed"])
def test_deaf_closes_without_a_byte(body: bytes | None) -> None:
    """Nothing is answered; the message is processed and stored only if asked."""
    with Emulator(("chat-ui",), replies="Hi") as emulator:
        turn = conversation(emulator)
        emulator.fail("deaf", body=body)
        with connected(turn.url) as sock:
            sock.sendall(turn.raw("Hear me"))

            assert read_all(sock) == b""
        said = [message["content"] for message in turn.messages()]
        assert said == (["", "Hear me", "Hi"] if body else [""])
        assert emulator.processed == (1 if body else 0)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_upstream_fails_mid_answer_in_the_protocols_way(protocol: str) -> None:
    """Two tokens come, and then what this protocol says of a failed model."""
    ways = {
        "chat-ui": rb'"one".*" two".*"status":"error","message":"mid-stream upstream error"}\n$',
        "h2o": rb'"one".*" two".*data:{"error":"mid-stream upstream error","error_type":',
        "autonomous": rb'"one".*" two".*data: {"error":{"message":"mid-stream upstream error"',
        "gradio": rb'"one".*" two".*"output":{"error":null},"success":false.*close_stream',
    }
    with Emulator((protocol,), replies=Answer(["one", " two", " three"])) as emulator:
        emulator.fail("upstream", at=2)
        answer = first_answer(emulator, protocol)

        body = answer.body.replace(rb"\u0000", b"")
        assert re.search(ways[protocol], body, re.DOTALL)
        assert b"three" not in body
        assert answer.complete


def test_slow_queue_moves_up_before_it_starts() -> None:
    """Estimations come with a falling rank until the call starts."""
    with Emulator(("gradio",), replies="Hi") as emulator:
        emulator.fail("slow_queue", seconds=0.4)
        events = events_of(first_answer(emulator, "gradio").body)

        ranks = [event["rank"] for event in events if event["msg"] == "estimation"]
        assert ranks == [4, 3, 2, 1, 0]
        assert [event["msg"] for event in events][5] == "process_starts"


def events_of(body: bytes) -> list[dict[str, Any]]:
    found = [each for each in body.split(b"\n\n") if each.startswith(b"data: ")]
    return [json.loads(each[6:]) for each in found]


def test_tail_keeps_the_body_open_after_the_end_mark() -> None:
    """The final answer is there long before the body ends."""
    with Emulator(("chat-ui",), replies="Hi") as emulator:
        turn = conversation(emulator)
        emulator.fail("tail", seconds=0.4)
        with connected(turn.url) as sock:
            sock.sendall(turn.raw())
            read_until(sock, b" " * 4096)
            started = time.monotonic()
            read_until(sock, b"0\r\n\r\n")

        assert time.monotonic() - started > 0.3


def test_faults_count_the_requests_of_their_step() -> None:
    """The second and third are hit, the first and fourth are not."""
    fault = Fault("status", step="models", nth=2, times=2, status=503)
    with Emulator(("chat-ui",), faults=[fault]) as emulator:
        url = emulator.url("chat-ui")
        statuses = [ask(url, "GET", "/api/models").status for _ in range(4)]

        assert statuses == [200, 503, 503, 200]
        assert fault.fired == 2


def test_an_unknown_fault_is_refused() -> None:
    """A misspelt kind would never happen, so it is an error at once."""
    with pytest.raises(ValueError, match="no fault is called 'cutt'"):
        Fault("cutt")
    with pytest.raises(ValueError, match="100 to 599, not 9999"):
        Fault("status", status=9999)


# The server itself.


def test_keep_alive_uses_one_connection() -> None:
    """Ten requests on one connection are one connection, and named as one."""
    with Emulator(("chat-ui",)) as emulator:
        connection = http.client.HTTPConnection(emulator.url("chat-ui").split("//")[1])
        for _ in range(10):
            assert ask_on(connection, "GET", "/api/models").status == 200
        connection.close()

        assert emulator.connections == 1
        assert {request.connection for request in emulator.requests} == {1}
        assert wait_until(lambda: emulator.open_connections == 0)


@pytest.mark.parametrize("framing", ["chunked", "length", "close", "gzip"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_framing_carries_the_same_answer(protocol: str, framing: str) -> None:
    """Framing changes nothing but the headers that tell it."""
    with Emulator((protocol,), replies="Hello there", framing=framing) as emulator:
        turn = conversation(emulator) if protocol == "chat-ui" else None
        if turn:
            path, body, headers = turn.request()
            answer = ask(turn.url, "POST", path, body, {**headers, "Accept-Encoding": "gzip"})
        else:
            answer = first_answer(emulator, protocol)
        given = answer.body
        if answer.header("content-encoding") == "gzip":
            given = zlib.decompress(given, wbits=zlib.MAX_WBITS | 16)

        assert b"Hello" in given
        assert re.search(b'finalAnswer|generated_text":"Hello there|DONE|close_stream', given)
        told = answer.header("transfer-encoding") or answer.header("content-length")
        expected = {"close": "", "length": str(len(answer.body))}.get(framing, "chunked")
        assert told == expected
        assert (answer.header("content-encoding") == "gzip") == bool(turn and framing == "gzip")


def test_pieces_can_share_a_chunk() -> None:
    """With chunk_tokens=1000 the whole body is one HTTP chunk."""
    with Emulator(("chat-ui",), replies="Hello there", chunk_tokens=1000) as emulator:
        turn = conversation(emulator)
        with connected(turn.url) as sock:
            sock.sendall(turn.raw())
            body = read_until(sock, b"0\r\n\r\n").partition(b"\r\n\r\n")[2]

        assert len(re.findall(rb"(?:^|\r\n)[0-9a-f]+\r\n", body)) == 2


def test_stop_ends_everything_at_once() -> None:
    """Streams, stalls, idle connections: no thread and no socket is left."""
    before = set(threading.enumerate())
    emulator = Emulator(PROTOCOLS, pace=60)
    emulator.start()
    turn = conversation(emulator)
    emulator.fail("stall", step="models", seconds=60)
    socks = [connected(turn.url) for _ in range(3)]
    socks[0].sendall(turn.raw())
    socks[1].sendall(b"GET /api/models HTTP/1.1\r\nHost: x\r\n\r\n")
    read_until(socks[0], b"keepAlive")
    assert wait_until(lambda: len(emulator.requests) == 4)
    started = time.monotonic()
    emulator.stop()
    emulator.stop()

    assert time.monotonic() - started < 2
    assert set(threading.enumerate()) <= before
    assert emulator.open_connections == 0
    for sock in socks:
        sock.close()


def test_a_survivor_ends_with_the_emulator() -> None:
    """An answer that goes on for nobody does not outlive stop()."""
    before = set(threading.enumerate())
    with Emulator(("chat-ui",), era="C", pace=60) as emulator:
        turn = conversation(emulator)
        with connected(turn.url) as sock:
            sock.sendall(turn.raw())
            read_until(sock, b"keepAlive")
        assert wait_until(lambda: emulator.hang_ups == ["message"])

    assert set(threading.enumerate()) <= before


def test_secrets_are_not_shown() -> None:
    """A request's repr hides cookies and tokens; its headers have them."""
    with Emulator(("chat-ui",)) as emulator:
        secret = {"Authorization": "Bearer hf_secret", "Cookie": "hf-chat=private"}
        ask(emulator.url("chat-ui"), "GET", "/api/models", headers=secret)
        (request,) = emulator.requests

        assert "hf_secret" not in repr(request)
        assert "private" not in repr(request)
        assert request.headers["AUTHORIZATION"] == "Bearer hf_secret"


def test_requests_read_their_bodies() -> None:
    """JSON, urlencoded and multipart bodies can be looked at."""
    with Emulator(("chat-ui",)) as emulator:
        turn = conversation(emulator)
        part = b'--XX\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
        body = part % (b"data", b"", b"{}")
        more = b'; filename="base64;caf\xc3\xa9.png"\r\nContent-Type: image/png'
        body += part % (b"files", more, b"\x00\r\n--X\xff") + b"--XX--\r\n"
        _, _, headers = turn.request()
        ask(turn.url, "POST", f"/conversation/{turn.thread}?a=1", body, headers)
        request: Request = emulator.requests[-1]

        form = request.form()
        assert form.fields == {"data": "{}"}
        (upload,) = form.files
        assert (upload.filename, upload.content_type) == ("base64;café.png", "image/png")
        assert upload.content == b"\x00\r\n--X\xff"
        assert request.query == {"a": "1"}
        assert emulator.requests[0].json() == {"model": "command-a-03-2025"}


def test_a_chunked_upload_is_read() -> None:
    """A body sent in chunks arrives whole, and the connection stays usable."""
    with Emulator(("chat-ui",)) as emulator:
        with connected(emulator.url("chat-ui")) as sock:
            head = b"POST /conversation HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            sock.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
            sock.sendall(b'8\r\n{"model"\r\n16;x=y\r\n: "command-a-03-2025"}\r\n0\r\nT: 1\r\n\r\n')
            assert b"conversationId" in read_until(sock, b"0\r\n\r\n")
            sock.sendall(b"GET /healthcheck HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"OK" in read_until(sock, b"0\r\n\r\n")

        assert emulator.requests[0].json() == {"model": "command-a-03-2025"}


# What the model says.


def test_the_made_up_answer_is_the_same_everywhere() -> None:
    """Prompt and seed decide, not the protocol."""
    with Emulator(PROTOCOLS, version="4.44.1") as emulator, Emulator(seed=1) as other:
        said = lines_of(first_answer(emulator, "chat-ui", "Why?").body)[-1]["text"]
        h2o = first_answer(emulator, "h2o", "Why?").body

        assert "Why?" in said
        assert not said.isascii()
        assert json.dumps(said, ensure_ascii=False).encode() in h2o
        assert lines_of(first_answer(other, "chat-ui", "Why?").body)[-1]["text"] != said
        assert emulator.prompts == ["Why?", "Why?"]


def test_the_made_up_answer_quotes_the_beginning_of_a_long_prompt() -> None:
    """At a pace, all of it would take minutes; the model is given it whole."""
    prompt = "word " * 2000
    with Emulator(("chat-ui",)) as emulator:
        text = lines_of(conversation(emulator).ask(prompt).body)[-1]["text"]

        assert [prompt] == emulator.prompts
    assert f"{prompt[:200]}…" in text
    assert len(text) < 1000


def test_a_made_up_title_is_short(emulator: Emulator) -> None:
    """chat-ui's title begins as the prompt does, and does not repeat it."""
    titles = [
        update["title"]
        for prompt in ("Why is the sky\nblue?", "x" * 400, "Hi")
        for update in lines_of(first_answer(emulator, "chat-ui", prompt).body)
        if update["type"] == "title"
    ]

    assert ["💬 Why is the", f"💬 {'x' * 30}", "💬 Hi"] == titles


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a  b\n\n",
        "naïve—café 日本語",
        "👩\u200d👩\u200d👧 e\u0301",
        "x" * 50,
        "[0, 1]\t{}",
    ],
)
def test_a_text_is_split_without_loss(text: str) -> None:
    """The pieces join to it again, and none is long."""
    pieces = list(Answer(text).said())

    assert "".join(pieces) == text
    assert all(0 < len(piece) <= 9 for piece in pieces)


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"nope": 1}, TypeError, "no setting 'nope'; there are: protocols, era,.* queue_size,"),
        ({"replies": 5}, ValueError, "replies is a text, .*, not 5"),
        ({"replies": ["one", 2]}, ValueError, r"replies is a text, .*, not \['one', 2\]"),
        ({"replies": {"a": "b"}}, ValueError, "replies is a text, .*, not {"),
        ({"pace": "a"}, ValueError, "seconds before each token, not 'a'"),
        ({"pace": -1}, ValueError, "seconds before each token, not -1"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused(
    settings: dict[str, Any], error: type[Exception], said: str
) -> None:
    """A sentence says what is wrong, and what there is."""
    with pytest.raises(error, match=said):
        Emulator(("chat-ui",), **settings)


@pytest.mark.parametrize("block_fails", [False, True])
def test_a_function_for_replies_that_raises(block_fails: bool) -> None:
    """The model fails for the client, and leaving the block raises the very error."""

    def replies(prompt: str) -> str:
        raise LookupError(prompt)

    with pytest.raises(LookupError, match="Hello"):
        with Emulator(("chat-ui",), replies=replies) as emulator:
            body = conversation(emulator).ask("Hello").body
            assert "LookupError('Hello')" in lines_of(body)[-1]["message"]
            if block_fails:
                raise KeyError
    with pytest.raises(TypeError, match="replies gave 5, which is no text"):
        with Emulator(("chat-ui",), replies=lambda _: 5) as emulator:  # type: ignore[arg-type, return-value]
            conversation(emulator).ask("Hello")


def test_scripted_replies_are_given_out_in_order() -> None:
    """One by one; when there is none left, the model fails."""
    with Emulator(("chat-ui",), replies=["one", Answer("two")]) as emulator:
        bodies = [conversation(emulator).ask().body for _ in range(3)]

        assert lines_of(bodies[0])[-1]["text"] == "one"
        assert lines_of(bodies[1])[-1]["text"] == "two"
        assert lines_of(bodies[2])[-1]["message"] == "no scripted reply is left"


def test_a_scripted_reply_never_asked_for_is_a_failure() -> None:
    """Leaving the block complains, unless something else failed already."""
    with pytest.raises(AssertionError, match="1 scripted replies were never asked for"):
        with Emulator(("chat-ui",), replies=["one"]):
            pass
    with pytest.raises(KeyError):
        with Emulator(("chat-ui",), replies=["one"]):
            raise KeyError


def test_upstream_answers_are_passed_on() -> None:
    """An OpenAI-compatible server says what is streamed; its key is sent."""
    seen: list[str] = []

    def upstream(sock: socket.socket) -> None:
        client, _ = sock.accept()
        with client:
            request = client.recv(65536)
            while b'"stream"' not in request:
                request += client.recv(65536)
            seen.append(request.decode())
            chunk = b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n'
            body = chunk % b"from" + chunk % b" above" + b"data: [DONE]\n\n"
            client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)

    with socket.create_server(("127.0.0.1", 0)) as sock:
        thread = threading.Thread(target=upstream, args=(sock,))
        thread.start()
        base = f"http://127.0.0.1:{sock.getsockname()[1]}/v1"
        with Emulator(("chat-ui",), upstream=base, upstream_key="k1") as emulator:
            answer = conversation(emulator).ask("Hello up there")
        thread.join()

    assert lines_of(answer.body)[-1]["text"] == "from above"
    assert "POST /v1/chat/completions" in seen[0]
    assert "Bearer k1" in seen[0]
    assert '"content": "Hello up there"' in seen[0]


def test_an_upstream_that_is_not_there_is_a_failed_model() -> None:
    """The client reads an error of the protocol, not an exception of ours."""
    with Emulator(("chat-ui",), upstream="http://127.0.0.1:1/v1") as emulator:
        last = lines_of(conversation(emulator).ask().body)[-1]

        assert last["status"] == "error"
        assert last["message"].startswith("upstream: ")


# What the recordings could not be replayed for.


def test_leaving_keeps_what_was_said_in_the_older_eras() -> None:
    """The text up to that moment is stored, and stays so."""
    with Emulator(("chat-ui",), replies="one two three", pace=0.2) as emulator:
        turn = conversation(emulator)
        with connected(turn.url) as sock:
            sock.sendall(turn.raw())
            read_until(sock, b"two")
        assert wait_until(lambda: emulator.hang_ups == ["message"])

        assert turn.messages()[-1]["content"] == "one two"


def test_leaving_stops_nothing_in_the_newer_eras() -> None:
    """The answer goes on, is stored, and can be taken up again."""
    with Emulator(("chat-ui",), era="C", replies="one two three", pace=0.1) as emulator:
        turn = conversation(emulator)
        with connected(turn.url) as sock:
            sock.sendall(turn.raw())
            read_until(sock, b'"one')
        cookie = {"Cookie": turn.cookie}
        path = f"/conversation/{turn.thread}/stream"
        resumed = ask(turn.url, "GET", path, headers=cookie)
        later = ask(turn.url, "GET", f"{path}?fromSeq=4", headers=cookie)

        assert turn.messages()[-1]["content"] == "one two three"
        assert resumed.body.startswith(b"id: 1\nevent: update\ndata: {")
        assert resumed.body.endswith(b'event: end\ndata: {"status":"completed"}\n\n')
        assert later.body.startswith(b"id: 5\n")


@pytest.mark.parametrize(
    ("era", "last"),
    [
        pytest.param("B", "finalAnswer", id="B-ignores-it"),
        pytest.param("B2", "stream", id="B2-falls-silent"),
        pytest.param("D", "finalAnswer", id="D-says-interrupted"),
        pytest.param("C", "status", id="C-says-finished"),
    ],
)
def test_stop_generating_by_era(era: str, last: str) -> None:
    """What stop does to a running answer changed three times."""
    said = ["one", " two", " three", " four"]
    with Emulator(("chat-ui",), era=era, replies=Answer(said, title="T"), pace=0.15) as emulator:
        turn = conversation(emulator)
        with connected(turn.url) as sock:
            sock.sendall(turn.raw())
            received = read_until(sock, b"two")
            path = f"/conversation/{turn.thread}/stop-generating"
            assert ask(turn.url, "POST", path, headers={"Cookie": turn.cookie}).status == 200
            received += read_until(sock, b"0\r\n\r\n")
        found = re.findall(rb'"type":"(\w+)"(?![^\n]*keepAlive|[^\n]*title)', received)

        assert found[-1].decode() == last
        assert (b"four" in received) == (era == "B")
        assert (b'"interrupted":true' in received) == (era in "DC")
        assert emulator.goodbyes == ["stop"]


def test_stop_trims_to_what_was_seen() -> None:
    """The newest era cuts the text to the length that the client has shown."""
    name = str(uuid.uuid4())
    with Emulator(("chat-ui",), era="C", replies="one two three four", pace=0.15) as emulator:
        turn = conversation(emulator)
        with connected(turn.url) as sock:
            sock.sendall(turn.raw(generationId=name))
            received = read_until(sock, b"two")
            body = {"generationId": name, "seenContentLength": 3}
            path = f"/conversation/{turn.thread}/stop-generating"
            post_json(turn.url, path, body, Cookie=turn.cookie)
            received += read_until(sock, b"0\r\n\r\n")

        assert b'"finalAnswer","text":"one","interrupted":true' in received
        assert turn.messages()[-1]["content"] == "one"


@pytest.mark.parametrize(
    ("era", "kind", "v2"),
    [
        pytest.param("B0", "text/event-stream", 200, id="B0"),
        pytest.param("B", "application/jsonl", 200, id="B"),
        pytest.param("B2", "application/jsonl", 200, id="B2"),
        pytest.param("D", "application/jsonl", 500, id="D"),
        pytest.param("C1", "application/jsonl", 404, id="C1"),
        pytest.param("C", "application/jsonl", 404, id="C"),
    ],
)
def test_eras_differ_where_they_are_told_apart(era: str, kind: str, v2: int) -> None:
    """Content type, /api/v2 and its errors, and where reasoning goes."""
    answer = Answer("Hi", reasoning=["hm"])
    with Emulator(("chat-ui",), era=era, replies=answer) as emulator:
        turn = conversation(emulator)
        reply = turn.ask()
        missing = ask(turn.url, "GET", "/api/v2/conversations/" + "0" * 24)

        assert reply.header("content-type") == kind
        assert missing.status == v2
        assert (b'"reasoning"' in reply.body) == (era in ("B", "B2"))
        assert (b"<think>" in reply.body) == (era not in ("B", "B2"))


def test_h2o_stop_cuts_the_socket() -> None:
    """In 2023 stopping ended the stream without a last chunk."""
    with Emulator(("h2o",), replies="one two three", pace=0.1) as emulator:
        url = emulator.url("h2o")
        model = "h2oai/h2ogpt-gm-oasst1-en-2048-falcon-40b-v1"
        made = post_json(url, "/conversation", {"model": model})
        cookie = made.header("set-cookie").partition(";")[0]
        path = f"/conversation/{made.json()['conversationId']}"
        body = json.dumps({"inputs": "x", "options": {}, "stream": True})
        with connected(url) as sock:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            sock.sendall((head + body).encode())
            read_until(sock, b'"one"')
            ask(url, "POST", f"{path}/stop-generating", headers={"Cookie": cookie})
            rest = read_all(sock)

        assert b'generated_text":"' not in rest
        assert not rest.endswith(b"0\r\n\r\n")
        deleted = ask(url, "DELETE", path, headers={"Cookie": cookie})
        assert (deleted.status, emulator.goodbyes) == (200, ["stop", "delete"])


def test_the_oldest_era_speaks_on_chatuis_port() -> None:
    """A chat-ui of 2023 is what H2O is, under the other name."""
    with Emulator(("chat-ui",), era="A2", replies="Hi") as emulator:
        url = emulator.url("chat-ui")
        model = "h2oai/h2ogpt-gm-oasst1-en-2048-falcon-40b-v1"
        made = post_json(url, "/conversation", {"model": model})
        cookie = made.header("set-cookie").partition(";")[0]
        path = f"/conversation/{made.json()['conversationId']}"
        body = {"inputs": "x", "options": {}, "stream": True}
        answer = post_json(url, path, body, Cookie=cookie)

        assert answer.body.startswith(b'data:{"token":')
        assert [request.protocol for request in emulator.requests] == ["chat-ui"] * 2


@pytest.mark.parametrize("body", ["{}", '{"messages":"%%%"}', '{"messages":"bm8="}', "no"])
def test_autonomous_wants_base64_of_a_list(body: str) -> None:
    """Anything else is a 400 that says so, and is not processed."""
    with Emulator(("autonomous",)) as emulator:
        answer = ask(emulator.url("autonomous"), "POST", "/api/v1/ai/chat", body, JSON)

        assert answer.status == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert emulator.processed == 0


def test_autonomous_settings_move_the_finish_reason() -> None:
    """At the top of the chunk or inside the choice; usage only if asked for."""
    with Emulator(("autonomous",), replies=Answer("Hi", finish="length")) as top:
        chunks = events_of(first_answer(top, "autonomous").body.replace(b"[DONE]", b"{}"))
        assert chunks[-2]["finish_reason"] == "length"
        assert "finish_reason" not in chunks[-2]["choices"][0]
    with Emulator(("autonomous",), finish_at="choice", usage=True) as inside:
        chunks = events_of(first_answer(inside, "autonomous").body.replace(b"[DONE]", b"{}"))
        assert chunks[-3]["choices"][0]["finish_reason"] == "stop"
        assert chunks[-2]["choices"] == []
        assert chunks[-2]["usage"]["completion_tokens"] > 0


def test_autonomous_without_a_stream_is_one_body() -> None:
    """With "stream": false the whole answer comes as one JSON object."""
    messages = base64.b64encode(b'[{"role":"user","content":"Hi"}]').decode()
    with Emulator(("autonomous",), replies="Hello") as emulator:
        body = {"messages": messages, "aiAgent": "hermes", "stream": False}
        answer = post_json(emulator.url("autonomous"), "/api/v1/ai/chat-hermes", body)

        assert answer.json()["choices"][0]["message"]["content"] == "Hello"


def test_gradio_cancel_ends_with_an_empty_output() -> None:
    """The stream says success without data, and closes in order."""
    with Emulator(("gradio",), replies="one two three", pace=0.2) as emulator:
        url = emulator.url("qwen")
        event = join(url).json()["event_id"]
        with connected(url) as sock:
            sock.sendall(b"GET /gradio_api/queue/data?session_hash=abc HTTP/1.1\r\nHost: x\r\n\r\n")
            read_until(sock, b'"one"')
            body = {"session_hash": "abc", "fn_index": 3, "event_id": event}
            assert post_json(url, "/gradio_api/cancel", body).json() == {"success": True}
            rest = read_until(sock, b"0\r\n\r\n")

        assert b'"process_completed"' in rest
        assert b'"output":{},"success":true' in rest
        assert emulator.goodbyes == ["cancel"]


def test_gradio_loses_a_session_whose_reader_left() -> None:
    """There is no way back to a stream that was left."""
    with Emulator(("gradio",), replies="one two three", pace=0.2) as emulator:
        url = emulator.url("gradio")
        join(url)
        with connected(url) as sock:
            sock.sendall(b"GET /gradio_api/queue/data?session_hash=abc HTTP/1.1\r\nHost: x\r\n\r\n")
            read_until(sock, b'"one"')
        assert wait_until(lambda: emulator.hang_ups == ["stream"])
        again = ask(url, "GET", "/gradio_api/queue/data?session_hash=abc")

        assert not again.complete
        assert events_of(again.body)[0]["msg"] == "unexpected_error"


def test_gradio_tells_two_calls_of_one_session_together() -> None:
    """Both come on one stream, told apart by their ids."""
    with Emulator(("gradio",), replies="one two") as emulator:
        url = emulator.url("gradio")
        ids = [join(url, prompt).json()["event_id"] for prompt in ("a", "b")]
        events = events_of(ask(url, "GET", "/gradio_api/queue/data?session_hash=abc").body)

        order = [event["event_id"] for event in events if event["event_id"]]
        assert order[:4] == [ids[0], ids[1], ids[0], ids[1]]
        assert [event["msg"] for event in events].count("close_stream") == 1


def test_gradio_is_silent_after_the_end() -> None:
    """Asking again brings heartbeats and nothing else."""
    with Emulator(("gradio",), heartbeat=0.1) as emulator:
        url = emulator.url("gradio")
        first_answer(emulator, "gradio")
        with connected(url) as sock:
            sock.sendall(b"GET /gradio_api/queue/data?session_hash=abc HTTP/1.1\r\nHost: x\r\n\r\n")
            received = read_until(sock, b"heartbeat")
            received += read_until(sock, b"heartbeat")

        assert re.findall(rb'"msg":"(\w+)"', received) == [b"heartbeat"] * 2


def test_gradio_queue_is_full_above_its_size() -> None:
    """One waits, the next is refused in the server's words."""
    with Emulator(("gradio",), queue_size=1) as emulator:
        url = emulator.url("gradio")
        statuses = [join(url, session=name).status for name in ("a", "b")]

        assert statuses == [200, 503]
        assert emulator.processed == 1


@pytest.mark.parametrize("version", ["4.44.1", "5.50.0", "6.31.0"])
def test_gradio_chat_interface_streams_a_text(version: str) -> None:
    """The listener that config names has plain text as its first output."""
    with Emulator(("gradio",), version=version, layout="chat_interface", replies="a b") as emulator:
        url = emulator.url("gradio")
        found = ask(url, "GET", "/config").json()
        prefix = found.get("api_prefix", "")
        kinds = {part["id"]: part["type"] for part in found["components"]}
        name = "reply" if version == "6.31.0" else "chat"
        (chat,) = [each for each in found["dependencies"] if each["api_name"] == name]
        body = {"data": ["hi", None], "fn_index": chat["id"], "session_hash": "s"}
        post_json(url, f"{prefix}/queue/join", body)
        events = events_of(ask(url, "GET", f"{prefix}/queue/data?session_hash=s").body)

        assert [kinds[each] for each in chat["inputs"]] == ["textbox", "state"]
        said = [each["output"]["data"] for each in events if "output" in each]
        assert said == [["a", None], [[["append", [], " b"]], []], ["a b", None]]


def test_gradio_before_4_9_takes_the_data_after_joining() -> None:
    """The stream is opened first and asks for the data by send_data."""
    with Emulator(("gradio",), version="4.2.0", replies="a b") as emulator:
        url = emulator.url("gradio")
        with connected(url) as sock:
            path = b"/queue/join?fn_index=3&session_hash=s"
            sock.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
            received = read_until(sock, b"send_data")
            received += read_until(sock, b"}") if b"}" not in received[-40:] else b""
            event = re.findall(rb'"event_id": "(\w+)"', received)[-1].decode()
            data = ["hi", [], "s", "72B"]
            body = {"event_id": event, "data": data, "fn_index": 3, "session_hash": "s"}
            assert post_json(url, "/queue/data", body).body == b"null"
            rest = read_until(sock, b"0\r\n\r\n")

        assert re.findall(rb'"msg": "(\w+)"', rest) == [
            b"process_starts",
            b"process_generating",
            b"process_generating",
            b"process_completed",
        ]
        assert b'[["hi", "a b"]]' in rest


def test_gradio_calls_give_whole_values() -> None:
    """The REST way streams full values, as ASCII, and just ends."""
    with Emulator(("gradio",), replies="é b") as emulator:
        url = emulator.url("gradio")
        called = post_json(url, "/gradio_api/call/model_chat", {"data": ["hi", [], "s", "72B"]})
        path = f"/gradio_api/call/model_chat/{called.json()['event_id']}"
        body = ask(url, "GET", path).body.decode()

        assert body.split("\n\n")[:-1] == [
            'event: generating\ndata: ["", [["hi", "\\u00e9"]], "s"]',
            'event: generating\ndata: ["", [["hi", "\\u00e9 b"]], "s"]',
            'event: complete\ndata: ["", [["hi", "\\u00e9 b"]], "s"]',
        ]


def test_gradio_keeps_uploads() -> None:
    """What was uploaded is read back from the path that was given."""
    with Emulator(("gradio",)) as emulator:
        url = emulator.url("gradio")
        part = (
            b'--B\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\nhey\r\n'
        )
        kind = {"Content-Type": "multipart/form-data; boundary=B"}
        (path,) = ask(url, "POST", "/gradio_api/upload", part + b"--B--\r\n", kind).json()

        assert ask(url, "GET", f"/gradio_api/file={path}").body == b"hey"


@pytest.mark.parametrize(
    ("provider", "settings"),
    [
        pytest.param("gradio", {"version": "9.9"}, id="version"),
        pytest.param("smoke", {}, id="protocol"),
        pytest.param("chat-ui", {"framing": "smoke"}, id="framing"),
    ],
)
def test_what_is_not_emulated_is_refused(provider: str, settings: dict[str, Any]) -> None:
    """A wrong name is told at once, with the names that there are."""
    with pytest.raises(ValueError, match=r"9\.9|smoke"):
        Emulator((provider,), **settings)


def test_a_provider_that_is_not_served_has_no_url() -> None:
    """Asking for another protocol's URL says which are there."""
    with Emulator(("h2o",)) as emulator:
        with pytest.raises(ValueError, match="'qwen' is not served here, but h2o"):
            emulator.url("qwen")


RICH = Answer(
    "The answer",
    tool=("calculator", "42"),
    sources=["http://127.0.0.1/a"],
    files=[("plot.png", "image/png", b"\x89PNG")],
)


@pytest.mark.parametrize("era", ["B", "C"])
def test_chatui_tells_of_tools_sources_and_files(era: str) -> None:
    """The updates come before the text, in the keys of their era."""
    with Emulator(("chat-ui",), era=era, replies=RICH) as emulator:
        turn = conversation(emulator)
        told = [each for each in lines_of(turn.ask().body) if each["type"] != "stream"]
        kinds = [f"{each['type']} {each.get('subtype', '')}".strip() for each in told]
        search = ["webSearch update", "webSearch update", "webSearch sources", "webSearch finished"]
        tool = ["tool call", *(["tool eta"] if era == "C" else []), "tool result"]
        (file,) = [each for each in told if each["type"] == "file"]
        path = f"/conversation/{turn.thread}/output/{file['sha']}"
        found = ask(turn.url, "GET", path, headers={"Cookie": turn.cookie})

        wanted = [*(search if era == "B" else []), *tool, "file", "title", "finalAnswer"]
        assert [kind for kind in kinds if kind not in ("status", "title")] == [
            kind for kind in wanted if kind != "title"
        ]
        assert (found.body, found.header("content-type")) == (b"\x89PNG", "image/png")
        call = next(each for each in told if each.get("subtype") == "call")
        assert ("argumentsRaw" in call) == (era == "C")


def test_chatui_web_search_without_sources_says_why() -> None:
    """Asked for and not configured, it is an error, and the answer follows."""
    with Emulator(("chat-ui",), replies="Hi") as emulator:
        told = lines_of(conversation(emulator).ask(web_search=True).body)

        assert [each["subtype"] for each in told if each["type"] == "webSearch"] == [
            "update",
            "error",
            "finished",
        ]
        assert told[-1]["text"] == "Hi"


def test_a_final_text_of_its_own_is_what_is_stored() -> None:
    """The server's last word may differ from what was streamed."""
    with Emulator(("chat-ui",), replies=Answer("Hi there", final="Hello")) as emulator:
        turn = conversation(emulator)

        assert lines_of(turn.ask().body)[-1]["text"] == "Hello"
        assert turn.messages()[-1]["content"] == "Hello"


def test_gradio_shows_thinking_logs_and_rewrites() -> None:
    """Thinking is a message of its own, logs come first, rewrites replace."""
    answer = Answer("Done", reasoning="hm", status_updates=["Warming up"], rewrites=["Wait"])
    with Emulator(("gradio",), chatbot="messages", replies=answer) as emulator:
        events = events_of(first_answer(emulator, "gradio").body)
        last = events[-2]["output"]["data"][1]

        assert [each["msg"] for each in events[:3]] == ["estimation", "process_starts", "log"]
        assert events[2]["log"] == "Warming up"
        assert [edit[:2] for edit in events[4]["output"]["data"][1]] == [["add", [2]]]
        assert events[5]["output"]["data"][1] == [["replace", [2, "content"], "Done"]]
        assert [each["metadata"] for each in last] == [None, {"title": "Thinking"}, None]


def test_gradio_edits_of_a_shorter_list_are_as_wrong_as_the_servers() -> None:
    """Older versions count deletions by old positions; from 5.29.1 they shift."""
    old, new = [1, 2, 3, 4], [1, 2]
    assert differences(old, new, shift=False) == [["delete", [2], None], ["delete", [3], None]]
    assert differences(old, new, shift=True) == [["delete", [2], None], ["delete", [2], None]]
    assert differences({"a": "x", "b": 1}, {"a": "xy", "c": 2}, shift=True) == [
        ["append", ["a"], "y"],
        ["delete", ["b"], None],
        ["add", ["c"], 2],
    ]


def test_head_has_no_body() -> None:
    """The headers of the answer and nothing else, so the connection goes on."""
    with Emulator(("chat-ui",)) as emulator:
        connection = http.client.HTTPConnection(emulator.url("chat-ui").split("//")[1])
        assert ask_on(connection, "HEAD", "/").body == b""
        assert ask_on(connection, "GET", "/healthcheck").body == b"OK"
        connection.close()

        assert emulator.connections == 1


def test_protocols_may_be_named_by_their_providers() -> None:
    """One name needs no list, and a provider stands for what it speaks."""
    with Emulator("qwen") as emulator:
        assert emulator.url("qwen") == emulator.url("gradio")
        assert ask(emulator.url("qwen"), "GET", "/config").json()["version"] == "5.50.0"


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff\xfe", b'{"data": [], "fn_index": {}}'])
@pytest.mark.parametrize("path", ["/conversation", "/queue/join", "/api/v1/ai/chat"])
def test_nonsense_is_answered_and_never_drops_the_connection(path: str, body: bytes) -> None:
    """Whatever is posted as JSON, each server says in its way that it is wrong."""
    with Emulator(PROTOCOLS, version="4.44.1") as emulator:
        for protocol in PROTOCOLS:
            answer = ask(emulator.url(protocol), "POST", path, body, JSON)

            assert answer.complete
            assert 400 <= answer.status <= 500 or "html" in answer.header("content-type")
        assert emulator.processed == 0


def test_a_torn_upload_is_no_request() -> None:
    """A body that ends early is neither noted nor answered."""
    with Emulator(("chat-ui",)) as emulator:
        head = b"POST /conversation HTTP/1.1\r\nHost: x\r\n"
        for sent in (
            b"Content-Length: 9\r\n\r\nshort",
            b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        ):
            with connected(emulator.url("chat-ui")) as sock:
                sock.sendall(head + sent)
                sock.shutdown(socket.SHUT_WR)

                assert read_all(sock) == b""
        assert emulator.requests == []


def test_start__where_a_port_is_taken() -> None:
    """Nothing stays open, and it can be started when the port is free."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        emulator = Emulator(("chat-ui", "h2o"), ports={"h2o": taken.getsockname()[1]})
        before = threading.active_count()
        with pytest.raises(OSError, match="in use"):
            emulator.start()
        assert before == threading.active_count()
    with emulator:
        assert emulator.url("h2o")
