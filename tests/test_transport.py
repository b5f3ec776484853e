"""What may happen to a request on its way, by peers that really do it."""

from __future__ import annotations

import base64
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import peers
import pytest
import requests
from conftest import threads_of_ours, wait_until

from c4ai_clients import (
    H2O,
    AuthError,
    AutonomousAI,
    C4AICommand,
    C4AIError,
    CancelledError,
    ChatUI,
    ConnectError,
    IncompleteReplyError,
    ProtocolError,
    RetryPolicy,
    ServerError,
    StatusError,
    TimedOutError,
    Timeout,
    UsageError,
    clocks,
    http_answer,
)
from c4ai_clients.emulator import Answer, Emulator

NEVER = RetryPolicy.none()
OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n[{"id":"m"}]'


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> peers.Authority:
    return peers.Authority(str(tmp_path_factory.mktemp("ca") / "ca.pem"))


def client_of(address: str, **settings: object) -> ChatUI:
    return ChatUI(f"http://{address}", model="m", **{"retry": NEVER, **settings})  # type: ignore[arg-type]


RAW = [
    pytest.param(b"", IncompleteReplyError, id="nothing"),
    pytest.param(b"HTTP/1.1 200 O", IncompleteReplyError, id="cut-in-status-line"),
    pytest.param(OK[:40], IncompleteReplyError, id="cut-in-headers"),
    pytest.param(OK[:-4], IncompleteReplyError, id="cut-in-body"),
    pytest.param(b"SSH-2.0-OpenSSH_9.9\r\n", ProtocolError, id="not-http"),
    pytest.param(
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", ProtocolError, id="many-headers"
    ),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", ProtocolError, id="long-header"
    ),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        IncompleteReplyError,
        id="chunk-size",
    ),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nabcde",
        ProtocolError,
        id="not-gzip",
    ),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{'a'}", ProtocolError, id="not-json"
    ),
    pytest.param(
        b"HTTP/1.1 302 Found\r\nLocation: https://sso.test/login\r\nContent-Length: 0\r\n\r\n",
        AuthError,
        id="login-redirect",
    ),
    pytest.param(
        b"HTTP/1.1 301 Moved\r\nLocation: https://new.test/\r\nContent-Length: 0\r\n\r\n",
        StatusError,
        id="moved",
    ),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
        ProtocolError,
        id="html",
    ),
]


PAGES = [
    pytest.param(b'<form><input type="password"></form>', AuthError, "login", id="login"),
    pytest.param(b"<p>This Space is sleeping</p>", ServerError, "wake", id="sleeping"),
    pytest.param(b"<p>Your Space is building</p>", ServerError, "built", id="building"),
    pytest.param(b"<p>The Space is paused</p>", ServerError, "paused", id="paused"),
    pytest.param(b"<p>Welcome</p>", ProtocolError, "base URL", id="other"),
]


@pytest.mark.parametrize(("page", "error", "words"), PAGES)
def test_page__in_place_of_an_answer(page: bytes, error: type[C4AIError], words: str) -> None:
    """A page that says why there is no answer is told in those terms."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(page)
    with peers.listening(peers.answering(head + page)) as at, client_of(at) as client:
        with pytest.raises(error, match=words):
            client._fetch("GET", "/x", phase="x")


@pytest.mark.parametrize(("answer", "error"), RAW)
def test_answer__that_is_none(answer: bytes, error: type[C4AIError]) -> None:
    """Whatever a server sends in place of an answer has its own class and text."""
    with peers.listening(peers.answering(answer)) as address, client_of(address) as client:
        with pytest.raises(error) as caught:
            client.models()

    assert ("chat-ui", "models", 1) == (
        caught.value.provider,
        caught.value.phase,
        caught.value.attempts,
    )
    assert len(str(caught.value)) < 600


def test_answer__informational_ones_are_skipped() -> None:
    """A 100 or 103 before the answer is not the answer."""
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    with peers.listening(peers.answering(early + OK)) as address, client_of(address) as client:
        assert ["m"] == [model.id for model in client.models()]


def test_answer__endless_informational_ones() -> None:
    """A server that only ever says 103 is given up."""
    early = b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000
    with peers.listening(peers.answering(early)) as address, client_of(address) as client:
        with pytest.raises(C4AIError):
            client.models()


def test_answer__content_of_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is bounded is what comes without content: neither a long reply nor a file is."""
    monkeypatch.setattr(clocks, "_BARREN", 1 << 20)
    chunk = json.dumps({"choices": [{"delta": {"content": "x" * 99}}]})
    events = f"data: {chunk}\n\n" * 30_000 + "data: [DONE]\n\n"
    handle = peers.routed(
        {"POST /": peers.http(events.encode()), "GET /": peers.http(events.encode())}, []
    )
    with peers.listening(handle) as address, AutonomousAI(f"http://{address}") as client:
        assert 30_000 * 99 == sum(map(len, client.stream("Hi")))
        assert events.encode() == client._download("/file", phase="file")


@pytest.mark.parametrize("at_once", [True, False])
def test_answer__what_trails_it_is_no_answer(at_once: bool) -> None:
    """Bytes behind an answer are not taken for the answer to the next request."""
    smuggled = OK.replace(b'"m"', b'"x"')
    trailing = threading.Semaphore(0)

    def handle(connection: socket.socket) -> None:
        while peers.read_request(connection):
            connection.sendall(OK + smuggled if at_once else OK)
            if not at_once:
                connection.sendall(smuggled)
            trailing.release()

    with peers.listening(handle) as address, client_of(address) as client:
        for _ in range(3):
            assert ["m"] == [model.id for model in client.models()]
            assert trailing.acquire(timeout=5)


def test_answer__encoded_as_nobody_here_can_read() -> None:
    """Without a library for br and zstd such a body is an error by name, not text."""
    code = (
        "import sys\n"
        "for name in ('brotli', 'brotlicffi', 'backports', 'compression'):\n"
        "    sys.modules[name] = None\n"
        "import c4ai_clients as c\n"
        "for name in ('br', 'zstd'):\n"
        "    with c.AutonomousAI(f'{sys.argv[1]}/{name}') as client:\n"
        "        try:\n"
        "            client.chat('Hi')\n"
        "        except c.ProtocolError as error:\n"
        "            print(error)\n"
    )
    head = b'HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: 12\r\n\r\n[{"id":"m"}]'

    def handle(connection: socket.socket) -> None:
        connection.sendall(head % peers.read_request(connection).split(b"/")[1])

    with peers.listening(handle) as address:
        ran = subprocess.run(
            [sys.executable, "-c", code, f"http://{address}"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )

    br, zstd = ran.stdout.splitlines()
    assert "encoded as br" in br
    assert "encoded as zstd" in zstd


def test_redirect__of_a_get_on_the_same_server() -> None:
    """A GET follows where the same server sends it; a loop ends."""
    moved = b"HTTP/1.1 307 Moved\r\nLocation: /api/models/\r\nContent-Length: 0\r\n\r\n"
    with peers.listening(peers.answering(moved, OK)) as address, client_of(address) as client:
        assert ["m"] == [model.id for model in client.models()]
    other = moved.replace(b"models/", b"models/x")
    with peers.listening(peers.answering(*[moved, other] * 9)) as address:
        with client_of(address) as client, pytest.raises(StatusError):
            client.models()


def test_connect__refused_is_tried_again(quick: RetryPolicy) -> None:
    """A refused connection is tried as often as the policy says."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with client_of(f"127.0.0.1:{port}", retry=quick) as client:
        with pytest.raises(ConnectError, match="refused") as caught:
            client.models()

    assert 3 == caught.value.attempts


def test_connect__unknown_name_is_said_at_once() -> None:
    """A name that does not exist is not tried again."""
    with client_of("no-such-host.invalid", retry=RetryPolicy(wait_initial=30)) as client:
        with pytest.raises(ConnectError, match="URL right"):
            client.models()


CLOCKS = [
    pytest.param(Timeout(connect=0.3), "connect", id="connect"),
    pytest.param(Timeout(total=0.3), "total", id="total"),
]


@pytest.mark.parametrize(("timeout", "kind"), CLOCKS)
def test_clock__a_host_that_never_accepts(timeout: Timeout, kind: str) -> None:
    """A connect that hangs ends near its limit, and leaves no thread."""
    with peers.never_accepting() as address, client_of(address, timeout=timeout) as client:
        start = time.monotonic()
        with pytest.raises(TimedOutError) as caught:
            client.models()

    assert kind == caught.value.kind
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(("timeout", "kind"), CLOCKS)
def test_clock__tls_that_never_answers(timeout: Timeout, kind: str) -> None:
    """A handshake that hangs belongs to connect."""
    with peers.listening(peers.wait_for_end) as address:
        with ChatUI(f"https://{address}", model="m", timeout=timeout, retry=NEVER) as client:
            start = time.monotonic()
            with pytest.raises(TimedOutError) as caught:
                client.models()

    assert kind == caught.value.kind
    assert time.monotonic() - start < 2


def test_clock__an_upload_that_nobody_reads() -> None:
    """Sending ends where there is no progress for idle seconds."""

    def handle(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peers_done.wait(20)

    peers_done = threading.Event()
    with (
        peers.listening(handle) as address,
        client_of(address, timeout=Timeout(idle=0.4)) as client,
    ):
        start = time.monotonic()
        with pytest.raises(TimedOutError) as caught:
            client._fetch("POST", "/conversation", phase="create", data=b"x" * (64 << 20))
        elapsed = time.monotonic() - start
        peers_done.set()

    assert "idle" == caught.value.kind
    assert elapsed < 4


def test_clock__a_slow_upload_with_progress_is_no_stall() -> None:
    """An upload may take longer than connect and idle, as long as it moves."""

    def handle(connection: socket.socket) -> None:
        data = b""
        while not data.endswith(b"END"):
            data = (data + connection.recv(1 << 20))[-3:]
            time.sleep(0.03)
        connection.sendall(OK)

    with (
        peers.listening(handle) as address,
        client_of(address, timeout=Timeout(connect=0.4, idle=0.4)) as client,
    ):
        start = time.monotonic()
        body = b"x" * (40 << 20) + b"END"
        assert client._fetch("POST", "/x", phase="create", data=body)

    assert time.monotonic() - start > 0.4


def test_clock__a_slow_reader_uses_up_no_clock() -> None:
    """Time between next calls is the reader's own."""
    with (
        Emulator(("chat-ui",), replies=Answer(tokens=["a", "b", "c"]), pace=0.05) as emulator,
        C4AICommand(emulator.url("chat-ui"), timeout=0.3) as client,
    ):
        pieces = []
        for piece in client.stream("Hi"):
            pieces.append(piece)
            time.sleep(0.4)

    assert ["a", "b", "c"] == pieces


REFUSED = b"HTTP/1.1 401 No\r\n\r\nwrong "
DRIPS: dict[str, Callable[[socket.socket], object]] = {
    "silent": peers.wait_for_end,
    "dripping": lambda connection: [
        (time.sleep(0.01), connection.sendall(b"key ")) for _ in range(300)
    ],
}


@pytest.mark.parametrize("drips", DRIPS)
def test_clock__a_refusal_that_does_not_end_is_one(
    drips: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the words of a refusal those count that come soon; total ends the wait at once."""
    monkeypatch.setattr(http_answer, "_PATIENCE", 0.1)

    def handle(connection: socket.socket) -> None:
        peers.read_request(connection)
        connection.sendall(REFUSED)
        DRIPS[drips](connection)

    with peers.listening(handle) as address:
        start = time.monotonic()
        with client_of(address) as client, pytest.raises(AuthError, match="wrong") as caught:
            client.models()
        assert 401 == caught.value.status
        with client_of(address, timeout=Timeout(total=0.05)) as client:
            with pytest.raises(TimedOutError) as ended:
                client.models()

    assert "total" == ended.value.kind
    assert time.monotonic() - start < 2


def test_cancel__of_a_refusal_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """cancel() ends the wait for a refusal's words."""
    monkeypatch.setattr(http_answer, "_PATIENCE", 20.0)

    def handle(connection: socket.socket) -> None:
        peers.read_request(connection)
        connection.sendall(REFUSED)
        threading.Timer(0.1, stream.cancel).start()
        peers.wait_for_end(connection)

    with peers.listening(handle) as address, client_of(address) as client:
        stream = client.stream("Hi")
        start = time.monotonic()
        with pytest.raises(CancelledError):
            next(stream)

    assert time.monotonic() - start < 2


HOLD: dict[str, Callable[[socket.socket], None]] = {
    "headers": lambda connection: (peers.read_request(connection), peers.wait_for_end(connection))[
        1
    ],
    "body": lambda connection: (
        peers.read_request(connection),
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        peers.wait_for_end(connection),
    )[2],
}


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("phase", ["connect", "headers", "body"])
def test_cancel__wakes_a_blocked_reader(
    scheme: str, phase: str, authority: peers.Authority
) -> None:
    """cancel() from another thread ends the wait soon, and the server sees us go."""
    gone = threading.Event()

    def handle(connection: socket.socket) -> None:
        if phase == "connect":
            peers.wait_for_end(connection)  # a handshake that is never answered
        elif scheme == "https":
            with authority.server.wrap_socket(connection, server_side=True) as secure:
                HOLD[phase](secure)
        else:
            HOLD[phase](connection)
        gone.set()

    plain_connect = (scheme, phase) == ("http", "connect")
    with peers.never_accepting() if plain_connect else peers.listening(handle) as address:
        client = ChatUI(f"{scheme}://{address}", model="m", verify=authority.path, retry=NEVER)
        stream = client.stream("Hi")
        woken: list[float] = []

        def cancel() -> None:
            woken.append(time.monotonic())
            stream.cancel()

        timer = threading.Timer(0.3, cancel)
        timer.start()
        with pytest.raises(CancelledError):
            next(stream)
        late = time.monotonic() - woken[0]
        timer.join()
        client.close()
        assert plain_connect or wait_until(gone.is_set)

    assert late < 1


def test_cancel__while_waiting_to_try_again() -> None:
    """cancel() ends the wait before a next try."""
    busy = b"HTTP/1.1 503 Busy\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n"
    with peers.listening(peers.answering(busy)) as address:
        with ChatUI(f"http://{address}", model="m") as client:
            stream = client.stream("Hi")
            timer = threading.Timer(0.2, stream.cancel)
            timer.start()
            start = time.monotonic()
            with pytest.raises(CancelledError):
                next(stream)
            timer.join()

    assert time.monotonic() - start < 2


def test_hold__threads_of_one_client_share_a_429() -> None:
    """When one request is told to wait, the client's others wait too."""
    times: list[float] = []
    lock = threading.Lock()

    def handle(connection: socket.socket) -> None:
        while peers.read_request(connection):
            with lock:
                times.append(time.monotonic())
                first = len(times) == 1
            connection.sendall(
                b"HTTP/1.1 429 Slow\r\nRetry-After: 0.6\r\nContent-Length: 0\r\n\r\n"
                if first
                else OK
            )

    with (
        peers.listening(handle) as address,
        client_of(address, retry=RetryPolicy(wait_initial=0)) as client,
    ):
        one = threading.Thread(target=client.models)
        one.start()
        assert wait_until(lambda: bool(times))
        time.sleep(0.1)
        client.models()
        one.join()

    assert 3 == len(times)
    assert min(times[1:]) - times[0] >= 0.55


def test_connections__ten_turns_over_one() -> None:
    """A finished stream gives its connection back."""
    with Emulator(("chat-ui",)) as emulator, C4AICommand(emulator.url("chat-ui")) as client:
        for _ in range(10):
            assert list(client.stream("Hi"))

        assert 1 == emulator.connections


@pytest.mark.parametrize("framing", ["chunked", "length", "close", "gzip"])
def test_pieces__come_as_they_are_sent(framing: str) -> None:
    """No framing holds pieces back."""
    with (
        Emulator(
            ("chat-ui",), replies=Answer(tokens=["a", "b", "c"]), pace=0.15, framing=framing
        ) as emulator,
        C4AICommand(emulator.url("chat-ui")) as client,
    ):
        times = [time.monotonic() for _ in client.stream("Hi")]

    assert 3 == len(times)
    assert min(b - a for a, b in zip(times, times[1:], strict=False)) > 0.05


def test_tls__own_authority(authority: peers.Authority) -> None:
    """A server with a certificate of one's own is trusted by its CA, and not without."""
    with Emulator(("chat-ui",), tls=authority.server) as emulator:
        with C4AICommand(emulator.url("chat-ui"), verify=authority.path) as client:
            assert client.chat("Hi").text
        with C4AICommand(emulator.url("chat-ui"), verify=False) as client:
            with pytest.warns(match="Unverified HTTPS"):
                assert client.chat("Hi").text
        with C4AICommand(emulator.url("chat-ui")) as client:
            with pytest.raises(ConnectError, match="verify=PATH") as caught:
                client.chat("Hi")

    assert 1 == caught.value.attempts


def test_tls__spoken_to_a_plain_server(emulator: Emulator) -> None:
    """https to a server that speaks http is a ConnectError that says so."""
    url = emulator.url("chat-ui").replace("http:", "https:")
    with C4AICommand(url, retry=NEVER) as client, pytest.raises(ConnectError, match="https"):
        client.chat("Hi")


# requests does not check an https proxy's certificate for an http server, and warns.
@pytest.mark.parametrize(
    ("scheme", "proxy"),
    [(s, p) for s in ("http", "https") for p in ("http", "socks5", "socks5h")]
    + [("https", "https")],
)
def test_proxy__carries_every_request(scheme: str, proxy: str, authority: peers.Authority) -> None:
    """A turn works through an http, an https and a socks proxy, on http and https."""
    seen: list[str] = []
    handle = peers.socks5(seen) if proxy.startswith("socks") else peers.proxying(seen)
    if proxy == "https":
        handle = peers.behind_tls(authority, handle)
    tls = authority.server if scheme == "https" else None
    with Emulator(("chat-ui",), tls=tls) as emulator, peers.listening(handle) as address:
        settings = {"proxy": f"{proxy}://{address}", "verify": authority.path}
        with C4AICommand(emulator.url("chat-ui"), **settings) as client:  # type: ignore[arg-type]
            assert client.chat("Hi").text

    assert seen
    assert all(emulator.url("chat-ui").split("//")[1] in line for line in seen)


def silent(connection: socket.socket) -> None:
    """Read to the end, and say nothing."""
    while connection.recv(1 << 16):
        pass


@pytest.mark.parametrize("proxy", ["http", "socks5"])
def test_cancel__of_a_proxy_that_says_nothing(proxy: str) -> None:
    """The proxy sees the connection go, and no thread waits for it any longer."""
    ended = threading.Event()

    def handle(connection: socket.socket) -> None:
        silent(connection)
        ended.set()

    with peers.listening(handle) as address:
        settings = {"proxy": f"{proxy}://{address}", "timeout": Timeout(connect=20)}
        with AutonomousAI("https://chat.test", **settings) as client:  # type: ignore[arg-type]
            stream = client.stream("Hi")
            threading.Timer(0.2, stream.cancel).start()
            with pytest.raises(CancelledError):
                stream.reply()
            assert ended.wait(5)
            assert wait_until(lambda: "c4ai-connect" not in threads_of_ours())


@pytest.mark.parametrize("proxied", [False, True])
def test_cancel__on_tls(authority: peers.Authority, proxied: bool) -> None:
    """A reader on TLS wakes, also where the TLS runs within that of a proxy."""
    proxy = peers.behind_tls(authority, peers.proxying([], 5))
    slow = Emulator(("chat-ui",), tls=authority.server, pace=5)
    with slow as emulator, peers.listening(proxy) as at:
        settings = {"proxy": f"https://{at}"} if proxied else {}
        url = emulator.url("chat-ui")
        with C4AICommand(url, verify=authority.path, **settings) as client:  # type: ignore[arg-type]
            stream = client.stream("Hi")
            threading.Timer(0.5, stream.cancel).start()
            start = time.monotonic()
            with pytest.raises(CancelledError):
                list(stream)

    assert time.monotonic() - start < 5


def test_shutdown__leaves_tls_as_it_is(authority: peers.Authority) -> None:
    """Whoever sends while another thread shuts the socket does not go on in the clear."""
    with peers.listening(peers.behind_tls(authority, silent)) as address:
        host, port = address.split(":")
        trusting = ssl.create_default_context(cafile=authority.path)
        with socket.create_connection((host, int(port))) as plain:
            with trusting.wrap_socket(plain, server_hostname=host) as sock:
                clocks.Clocked(sock).shutdown(socket.SHUT_RDWR)
                assert sock.version() is not None
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    sock.send(b"in the clear")


def test_bytes_behind_an_answer__on_tls(authority: peers.Authority) -> None:
    """What TLS has decrypted with the answer before is not taken for the next answer."""
    first, second = peers.http(b"[" + b" " * 8_149 + b"]"), peers.http(b'[{"id":"old"}]')
    assert 8192 == len(first)  # all that a reader takes at once
    asked: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        while request := peers.read_request(connection):
            asked.append(request)
            connection.sendall(first + second if len(asked) == 1 else peers.http(b'[{"id":"new"}]'))

    with peers.listening(peers.behind_tls(authority, handle)) as address:
        with ChatUI(f"https://{address}", verify=authority.path, retry=NEVER) as client:
            assert [] == client.models()
            assert ["new"] == [model.id for model in client.models()]


def test_cancel__by_a_signal_while_a_call_is_changed() -> None:
    """A handler may cancel whatever the thread that it interrupts is doing."""
    call = clocks.Call(Timeout())
    woken = threading.Event()
    call.on_cancel(woken.set)

    def interrupted(*_: object) -> None:
        call.cancel()

    before = signal.signal(signal.SIGUSR1, interrupted)
    try:
        with call._lock:
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert woken.is_set()


def test_redirect__to_no_url() -> None:
    """A Location that is no URL is told, as a redirect that is not followed."""
    with peers.listening(
        peers.answering(peers.http(b"", "Location: http://[", status="302 Found"))
    ) as at:
        with client_of(at) as client, pytest.raises(StatusError) as caught:
            client.models()

    assert 302 == caught.value.status


def test_proxy__that_is_not_there() -> None:
    """An unreachable proxy is named as such."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    with client_of("127.0.0.1:1", proxy=f"http://{address}") as client:
        with pytest.raises(ConnectError, match="proxy"):
            client.models()


def test_proxy__from_the_environment(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's proxy is used unless trust_env says no."""
    seen: list[str] = []
    with peers.listening(peers.proxying(seen)) as address:
        monkeypatch.setenv("http_proxy", f"http://{address}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with C4AICommand(emulator.url("chat-ui"), trust_env=False) as client:
            client.chat("Hi")
        assert [] == seen
        with C4AICommand(emulator.url("chat-ui")) as client:
            client.chat("Hi")
        assert seen


def test_proxy__unknown_scheme() -> None:
    """A proxy that nobody can use is a UsageError."""
    with client_of("127.0.0.1:1", proxy="gopher://127.0.0.1:9") as client:
        with pytest.raises(UsageError):
            client.models()


def test_close__waits_for_a_goodbye_and_not_for_ever() -> None:
    """A goodbye that the server never answers holds close() up two seconds at the most."""
    with Emulator(("h2o",)) as emulator:
        emulator.fail("stall", step="delete", seconds=30)
        client = H2O(emulator.url("h2o"))
        start = time.monotonic()
        assert list(client.stream("Hi"))
        assert time.monotonic() - start < 1.5
        client.close()

        assert time.monotonic() - start < 5
        assert ["delete"] == emulator.goodbyes or "delete" in [r.step for r in emulator.requests]


def test_goodbye__of_a_key_that_cannot_be_had(caplog: pytest.LogCaptureFixture) -> None:
    """A function of the caller's that fails in a goodbye is logged; nobody waits for it."""
    caplog.set_level("INFO")
    shut = False

    def key() -> str:
        if shut:
            raise LookupError("the vault is shut")
        return "k"

    with Emulator(("h2o",)) as emulator, H2O(emulator.url("h2o"), api_key=key) as client:
        stream = client.stream("Hi")
        assert next(stream)
        shut = True
        stream.cancel()
        assert wait_until(lambda: "the vault is shut" in caplog.text)


def test_auth__of_a_session_fails_in_its_own_words() -> None:
    """A caller's function that fails is no failure of the network, and not tried again."""
    asked = []

    def auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
        asked.append(request.url)
        raise ValueError("the token's file is empty")

    session = requests.Session()
    session.auth = auth
    with client_of("127.0.0.1:1", session=session, retry=RetryPolicy()) as client:
        with pytest.raises(ValueError, match="the token's file is empty"):
            client.chat("Hi")

    assert 1 == len(asked)


@pytest.mark.parametrize("lent", [False, True])
def test_login__in_any_letters(lent: bool) -> None:
    """A user's name and password are sent as UTF-8."""
    session = requests.Session()
    session.auth = ("üser", "ключ")
    login = "" if lent else "%C3%BCser:%D0%BA%D0%BB%D1%8E%D1%87@"
    with Emulator(("chat-ui",)) as emulator:
        url = emulator.url("chat-ui").replace("//", f"//{login}")
        with ChatUI(url, model="m", session=session if lent else None) as client:
            client.models()
        (sent,) = {request.headers["authorization"] for request in emulator.requests}

    assert "üser:ключ" == base64.b64decode(sent.removeprefix("Basic ")).decode()


def test_proxy__password_beyond_latin_1() -> None:
    """What the libraries cannot write is told so, and not tried again."""
    with client_of("127.0.0.1:1", proxy="http://u:%D0%BA@127.0.0.1:9") as client:
        with pytest.raises(UsageError, match="cannot send this"):
            client.models()


def test_queue__is_one_clock_however_often_it_is_entered() -> None:
    """A server that has us leave the queue and come back gains nothing by it."""
    call = clocks.Call(Timeout(first=3, queue=8))
    call.sent()
    call.waited(1)
    call.queued()
    call.waited(6)
    call.queued()
    assert 2 == call.before_wait()
    call.left_queue()
    assert 2 == call.before_wait()
    call.waited(1)
    call.queued()
    assert 2 == call.before_wait()
    call.waited(3)
    with pytest.raises(TimedOutError) as caught:
        call.before_wait()

    assert "queue" == caught.value.kind


def test_headers__secrets_stay_out_of_errors_and_logs(caplog: pytest.LogCaptureFixture) -> None:
    """A key is in no error text and in no log line, at any level."""
    caplog.set_level(1)
    with peers.listening(peers.answering(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")) as at:
        with client_of(at, api_key="sk-secret", cookies={"c": "s3ss10n"}) as client:
            with pytest.raises(C4AIError) as caught:
                client.models()

    assert "sk-secret" not in str(caught.value) + caplog.text
    assert "s3ss10n" not in str(caught.value) + caplog.text


def test_key__from_a_function_that_gives_nonsense() -> None:
    """A key with a line break is refused before anything is sent, and not shown."""
    with client_of("127.0.0.1:1", api_key=lambda: "sk-secret\n") as client:
        with pytest.raises(UsageError) as caught:
            client.chat("Hi")

    assert "sk-secret" not in str(caught.value)


def test_cookies__an_impossible_date_loses_none(tmp_path: Path) -> None:
    """Every cookie of an answer is kept, odd dates and all; an expired one goes."""
    made = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 24\r\n"
        b"Set-Cookie: a=1; Expires=Thu, 99 Foo 2099 99:99:99 GMT; Secure\r\n"
        b"Set-Cookie: b=2=3; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=60\r\n"
        b"Set-Cookie: c=1\r\nSet-Cookie: c=; Max-Age = 0\r\n"
        b"Set-Cookie: d=1\r\nSet-Cookie: d=0; expires=Thu, 01-Jan-1970 00:00:00 GMT\r\n"
        b"Set-Cookie: e=1\r\nSet-Cookie: e=; Max-Age=-1\r\n\r\n"
        b'{"conversationId":"abc"}'
    )
    tree = json.dumps({"messages": [{"id": "root"}]}).encode()
    seen: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        for answer in (
            made,
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(tree), tree),
        ):
            seen.append(peers.read_request(connection))
            connection.sendall(answer)

    with peers.listening(handle) as address, client_of(address) as client:
        stream = client.stream("Hi")
        with pytest.raises(C4AIError):
            stream.reply()

    assert {"a": "1", "b": "2=3"} == stream.conversation.cookies
    assert b"Cookie: a=1; b=2=3" in seen[1]


@pytest.mark.parametrize("wrong", [(5, 30), "5"], ids=repr)
def test_timeout__of_what_is_no_number(wrong: object) -> None:
    """A pair, as requests takes it, is refused by saying how it is written here."""
    with pytest.raises(UsageError, match=r"Timeout\(connect=…, idle=…\)"):
        H2O(timeout=wrong)  # type: ignore[arg-type]


def test_cookies__that_an_answer_sets_and_says() -> None:
    """An error does not quote the session that its own answer has begun."""
    said = peers.http(
        b"session s3ss10n-77 failed", "Set-Cookie: c = s3ss10n-77; Path=/", status="400 No"
    )
    with peers.listening(peers.answering(said)) as at, AutonomousAI(f"http://{at}") as client:
        with pytest.raises(StatusError, match=r"session \*\*\* failed") as caught:
            client.chat("Hi")

    assert "s3ss10n" not in caught.value.body
