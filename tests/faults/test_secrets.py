"""No secret is in any place that people show: a matrix of sources, failures and places.

Each source has a value of its own that stands nowhere else, and each failure
happens over a real socket, to a server that says back all that it was sent.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import peers
import pytest
import requests

from c4ai_clients import (
    H2O,
    AutonomousAI,
    C4AICommand,
    C4AIError,
    ChatClient,
    ChatUI,
    Qwen,
    RetryPolicy,
    Timeout,
    UsageError,
)
from c4ai_clients.batch import run_batch
from c4ai_clients.emulator import Emulator
from c4ai_clients.errors import quote as quoted
from c4ai_clients.prompts import Asked
from c4ai_clients.records import of_error
from c4ai_clients.secret import Secret, withhold, without

NAMES = ("c4ai-command", "h2o", "autonomous", "qwen")
CLIENTS = dict(zip(NAMES, (C4AICommand, H2O, AutonomousAI, Qwen), strict=True))
PROTOCOL = {"c4ai-command": "chat-ui", "qwen": "gradio"}
QUICK = RetryPolicy(attempts=2, wait_initial=0.001, wait_max=0.002, wait_unsaid=0.002)

KEY = "sk-K3y7f21c9d40"
CALLED = "sk-C4ll3d0b5e77a1"
COOKIE = "c00k1e-9d13f0aa"
HEADER = {
    "Authorization": "T0k3n-41c7e2b9",
    "Cookie": "own-c00kie-77aa12",
    "X-Api-Key": "ap1-5e90cc31",
    "X-Whatever": "unkn0wn-86d2ab",
}
LOGIN = "l0g1n/p+w-3c55"  # needs percent-encoding in a URL
PROXY = "pr0xy/p+w-f00d"
LENT = "l3nt-p4ssw0rd-19"
LENT_COOKIE = "l3nt-c00kie-2b6e"
GRADIO = "gr4d10/p+w-a8e1"
SET = "s3t-by-server-60d1"
SECRETS = (*(KEY, CALLED, COOKIE, *HEADER.values(), LOGIN, PROXY, LENT, LENT_COOKIE, GRADIO, SET),)
FORMS = {
    form: secret
    for secret in SECRETS
    for form in (
        secret,
        quote(secret, safe=""),
        *(
            base64.b64encode(plain.encode()).decode().rstrip("=")
            for plain in (secret, f"me:{secret}")
        ),
    )
}


def called() -> str:
    return CALLED


def lent() -> requests.Session:
    session = requests.Session()
    session.auth = ("me", LENT)
    session.headers["X-Whatever"] = HEADER["X-Whatever"]
    session.cookies.set("own", LENT_COOKIE, domain="127.0.0.1")
    return session


def through(proxy: str, scheme: str) -> dict[str, Any]:
    login = f"me:{quote(PROXY, safe='')}"
    return {"base_url": f"{scheme}://chat.test", "proxy": f"http://{login}@{proxy}"}


# What a client is given, by source; the address is that of the server, or of the proxy.
SOURCES: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "key": lambda at, scheme: {
        "api_key": KEY,
        "cookies": {"session": COOKIE},
        "headers": {"X-Api-Key": HEADER["X-Api-Key"]},
    },
    "headers": lambda at, scheme: {"headers": HEADER},
    "login": lambda at, scheme: {"base_url": f"{scheme}://me:{quote(LOGIN, safe='')}@{at}"},
    "proxy, called key": lambda at, scheme: {**through(at, scheme), "api_key": called},
    "environment, session": lambda at, scheme: {
        "base_url": f"{scheme}://chat.test",
        "session": lent(),
    },
    "gradio": lambda at, scheme: {"auth": ("me", GRADIO)},
}


def no_more(at: str, scheme: str) -> dict[str, Any]:
    return {}


def made(name: str, source: str, at: str, scheme: str = "http", **more: Any) -> ChatClient:
    given = {
        "base_url": f"{scheme}://{at}",
        "retry": QUICK,
        **SOURCES.get(source, no_more)(at, scheme),
        **more,
    }
    return CLIENTS[name](**given)


def echo(request: bytes) -> bytes:
    """Return what was sent, as one line that fits into JSON."""
    head, _, body = request.partition(b"\r\n\r\n")
    keep = [
        line
        for line in head.split(b"\r\n")
        if line.lower().startswith((b"auth", b"cookie", b"x-", b"proxy-auth"))
    ]
    said = b" ".join([*keep, body if b"password" in body else b""])
    return b'{"error": "' + said.replace(b'"', b"") + b'"}'


def answer(status: str, kind: str, body: bytes, *more: str, length: int | None = None) -> bytes:
    head = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body) if length is None else length}",
        f"Set-Cookie: session-of-server={SET}; Path=/",
        *more,
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def sent_on(request: bytes) -> bytes:
    return answer("302 Found", "text/plain", b"", "Location: http://evil.test/?" + _words(request))


def _words(request: bytes) -> str:
    return quote(echo(request).decode("latin-1"), safe="=/+:-")


ANSWERS: dict[str, Callable[[bytes], bytes]] = {
    "401": lambda asked: answer("401 No", "application/json", echo(asked)),
    "422": lambda asked: answer("422 No", "application/json", echo(asked)),
    "503": lambda asked: answer("503 No", "application/json", echo(asked)),
    "407": lambda asked: answer("407 No", "text/plain", echo(asked)),
    "sent-on": sent_on,
    "no-json": lambda asked: answer("200 OK", "application/json", echo(asked)[:-1]),
    "json": lambda asked: answer("200 OK", "application/json", echo(asked)),
    "stream": lambda asked: answer("200 OK", "text/event-stream", b"data: %b\n\n" % echo(asked)),
    "page": lambda asked: answer("200 OK", "text/html", b"<p>" + echo(asked)),
    "cut": lambda asked: answer("200 OK", "application/json", echo(asked), length=9999),
    "nothing": lambda asked: b"",
    "no-http": lambda asked: b"SSH-2.0 " + echo(asked) + b"\r\n",
    "chunks": lambda asked: (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + echo(asked) + b"\r\n"
    ),
}
FAILURES = (*ANSWERS, "refused", "tls", "silence", "reset")


def failing(kind: str) -> Callable[[socket.socket], None]:
    def handle(connection: socket.socket) -> None:
        if kind == "reset":
            connection.recv(1)
            return  # with bytes unread, which is a reset while the rest is sent
        if kind == "tls":
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 400 No\r\n\r\n")
            return
        while request := peers.read_request(connection):
            if kind == "silence":
                peers.wait_for_end(connection)
            elif not (said := ANSWERS[kind](request)):
                return
            else:
                connection.sendall(said)
                if b"9999" in said or b"SSH" in said:
                    return

    return handle


def error_of(client: ChatClient, prompt: str) -> C4AIError:
    """Return what a turn ends in; only these frames stand above ours in its traceback."""
    try:
        client.chat(prompt, timeout=Timeout(connect=5, first=0.05, idle=0.05))
    except C4AIError as error:
        return error
    raise AssertionError("it did not fail")


def places_of_client(client: ChatClient) -> Iterator[tuple[str, str]]:
    inside = [client, client._settings, client._transport]
    for thing in inside:
        yield f"repr of {type(thing).__name__}", repr(thing) + str(thing) + f"{thing}"
        yield f"vars of {type(thing).__name__}", repr(vars(thing))
    yield "base_url", client.base_url
    yield "pickle of client", pickle.dumps(client, 0).decode("latin-1")


def places_of_error(error: C4AIError) -> Iterator[tuple[str, str]]:
    yield "str", str(error)
    yield "repr", repr(error) + repr(vars(error)) + repr(error.args)
    yield "traceback", "".join(traceback.format_exception(error))
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    yield "traceback with variables", "".join(shown.format())
    yield "pickle of error", pickle.dumps(error, 0).decode("latin-1")
    asked = Asked(id="1", index=0, messages=[], options={})
    yield "record", json.dumps(of_error(asked, error), ensure_ascii=False)


def found_in(places: Iterable[tuple[str, str]] | Mapping[str, str]) -> list[str]:
    """Return where which secret is, and what stands around it."""
    rows = places.items() if isinstance(places, Mapping) else places
    return [
        f"{place}: {secret}: …{text[max(0, text.find(form) - 200) : text.find(form) + 40]}…"
        for place, text in rows
        for form, secret in FORMS.items()
        if form in text
    ]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("no_proxy", "NO_PROXY", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "netrc").write_text(f"default login me password {LOGIN}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return monkeypatch


def test_forms__are_found() -> None:
    """The search finds each form of a secret, so that finding none says something."""
    basic = base64.b64encode(f"me:{LOGIN}".encode()).decode()

    assert {f"x: {LOGIN}"} == {line.partition(": …")[0] for line in found_in({"x": basic})}
    assert len(found_in({"x": f"{KEY} {quote(PROXY, safe='')} 'Cookie': '{COOKIE}'"})) == 3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", FAILURES)
def test_failure__shows_no_secret(
    name: str,
    kind: str,
    environment: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Whatever goes wrong, with secrets from wherever: no text that comes of it holds one."""
    caplog.set_level(1)
    scheme = "https" if kind == "tls" else "http"
    found: list[str] = []
    with peers.listening(failing(kind)) as listening:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            at = f"127.0.0.1:{closed.getsockname()[1]}" if kind == "refused" else listening
        for source in SOURCES:
            if source == "gradio" and name != "qwen":
                continue
            with environment.context() as proxied:
                if source.startswith("environment"):
                    login = f"me:{quote(PROXY, safe='')}"
                    proxied.setenv(f"{scheme}_proxy", f"http://{login}@{at}")
                with made(name, source, at, scheme) as client:
                    error = error_of(client, "Hi" * (1 << 19 if kind == "reset" else 1))
                    found += [f"{source}, {at}" for at in found_in(places_of_error(error))]
                    found += [f"{source}, {at}" for at in found_in(places_of_client(client))]
    out, err = capfd.readouterr()
    found += found_in({"log": caplog.text, "out": out, "err": err})

    assert [] == found
    assert threading.active_count() < 20


# How a refusal begins, and after how many bytes our quotation of it ends.
QUOTED: dict[str, tuple[bytes, bytes, int]] = {
    "no stream": (peers.http(b"", "Content-Type: text/plain"), b"", 299),
    "no stream, longer": (peers.http(b"", "Content-Type: text/plain"), b"", 300),
    "an event": (peers.http(b"", "Content-Type: text/event-stream"), b"data: ", 299),
    "a refusal": (peers.http(b"", status="401 No"), b".", 299),
    "control characters": (peers.http(b"", status="401 No"), b"." + b"\0" * 1100, 1200),
}


@pytest.mark.parametrize("kind", QUOTED)
def test_quotation__that_ends_within_a_secret(kind: str) -> None:
    """Where we cut what a server says back, no beginning of a secret is left."""
    head, start, end = QUOTED[kind]
    head = head.replace(b"Content-Length: 0\r\n", b"")
    for shown in range(6, len(KEY) + 1):
        body = start.ljust(end - shown, b"x") + KEY.encode() + b"y" * 1_100_000
        with peers.listening(peers.answering(head + body)) as at:
            with AutonomousAI(f"http://{at}", api_key=KEY, retry=RetryPolicy.none()) as client:
                error = error_of(client, "Hi")
        assert KEY[:6] not in f"{error} {getattr(error, 'body', '')}"


def test_secret__that_is_long_is_looked_for_in_proportion() -> None:
    """A cookie of 64 KB, which a server may have set, does not hold up its error."""
    cookie = "\\".join(["s3cret-"] * (1 << 13))
    error = C4AIError(f"the server says {quoted(cookie[:1000])}; ask less, with Timeout(first=…)")
    began = time.process_time()
    withhold(error, [cookie, cookie[1:], "s3cret-"])

    assert time.process_time() - began < 0.2
    assert "the server says ***…; ask less, with Timeout(first=…)" == str(error)


def test_secret__that_begins_with_another_is_taken_out_whole() -> None:
    """Of two secrets, one of which the other begins with, nothing is left of the longer."""
    assert "key: ***" == without(f"key: {KEY}", [KEY[:8], KEY])


VERBS: dict[str, Callable[[Any], object]] = {
    "models": lambda client: client.models(),
    "conversations": lambda client: client.conversations(),
    "open": lambda client: client.open("abc"),
    "delete": lambda client: deleted(client),
    "h2o-models": lambda client: client.models(),
    "describe": lambda client: client.describe(),
}


def deleted(client: ChatClient) -> None:
    talk = client.conversation()
    talk.id = "abc"
    talk.delete()


def error_of_verb(client: ChatClient, verb: str) -> C4AIError | None:
    try:
        VERBS[verb](client)
    except C4AIError as error:
        return error
    return None


@pytest.mark.parametrize("verb", list(VERBS))
def test_verb__shows_no_secret(
    verb: str, environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What belongs to no turn is as quiet when it fails."""
    caplog.set_level(1)
    name = {"h2o-models": "h2o", "describe": "qwen"}.get(verb, "c4ai-command")
    failed, found = 0, []
    for kind in ANSWERS:
        with peers.listening(failing(kind)) as at:
            for source in ("key", "headers", "proxy, called key"):
                with made(name, source, at) as client:
                    error = error_of_verb(client, verb)
                if error is not None:
                    failed += 1
                    # JSON of another shape stands in the variables of who asked for it.
                    variables = "traceback with variables" if kind == "json" else ""
                    rows = (row for row in places_of_error(error) if row[0] != variables)
                    found += [f"{kind}, {source}, {place}" for place in found_in(rows)]
    found += found_in({"log": caplog.text})

    assert [] == found
    assert failed >= 10


@pytest.mark.parametrize("name", NAMES)
def test_turn__shows_no_secret(
    name: str,
    tmp_path: Path,
    environment: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A turn that goes well leaves no secret in what it gives, writes, logs or pickles."""
    caplog.set_level(1)
    protocol = PROTOCOL.get(name, name)
    gradio = {"auth": ("me", GRADIO)} if name == "qwen" else {}
    found: list[str] = []
    with Emulator((protocol,), **gradio) as emulator:  # type: ignore[arg-type]
        at = emulator.url(name).partition("//")[2]
        for source in ("key", "headers", "login", "called key", "session"):
            given = {"called key": {"api_key": called}, "session": {"session": lent()}}
            with made(name, source, at, **given.get(source, {}), **gradio) as client:
                talk = client.conversation()
                talk.cookies["of-server"] = Secret(SET)
                stream = talk.stream("Hi")
                events = list(stream.events())
                reply = stream.reply()
                run_batch(["one"], tmp_path / source, client, workers=1, progress=False)
                talk.save(tmp_path / "talk.json")
                places = {
                    "stream": repr(stream) + repr(vars(stream)),
                    "events": repr(events),
                    "reply": repr(reply) + str(reply) + json.dumps(reply.to_dict()),
                    "conversation": repr(talk) + repr(vars(talk)),
                    "pickle of conversation": pickle.dumps(talk, 0).decode("latin-1"),
                    "batch": (tmp_path / source).read_text(),
                    "timeout": repr(client.timeout),
                }
                found += [f"{source}, {at}" for at in found_in(places)]
                found += [f"{source}, {at}" for at in found_in(places_of_client(client))]
        found += found_in({"requests": repr(emulator.requests), "emulator": repr(vars(emulator))})
        assert any(KEY in str(asked.headers) for asked in emulator.requests)
    out, err = capfd.readouterr()
    found += found_in({"log": caplog.text, "out": out, "err": err})

    assert [] == found
    assert SET in (tmp_path / "talk.json").read_text()
    assert 0o600 == (tmp_path / "talk.json").stat().st_mode & 0o777


@pytest.mark.parametrize("kind", ["401", "407", "no-http", "refused"])
def test_command_line__shows_no_secret(kind: str, environment: pytest.MonkeyPatch) -> None:
    """``c4ai -vv`` with a key, and a proxy with a password, tells neither when it fails."""
    with peers.listening(failing(kind)) as at:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            at = f"127.0.0.1:{closed.getsockname()[1]}" if kind == "refused" else at
        proxy = through(at, "http")["proxy"]
        asked = [
            "chat",
            "-vv",
            "--provider",
            "chat-ui",
            "--url",
            "http://chat.test",
            "--proxy",
            proxy,
        ]
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-m", "c4ai_clients", *asked, "Hi"],
            input=b"",
            capture_output=True,
            timeout=30,
            env={**os.environ, "C4AI_API_KEY": KEY, "C4AI_MODEL": "m", "TERM": "dumb"},
            check=False,
        )

    assert 1 == ran.returncode
    assert b"c4ai: " in ran.stderr
    assert [] == found_in({"out": ran.stdout.decode(), "err": ran.stderr.decode()})


BAD_PROXIES = [
    f"http://me:{PROXY}@proxy.test:99999",
    f"http://me:{PROXY}@proxy.test:3128",  # the slash was not encoded
    f"socks9://me:{quote(PROXY, safe='')}@proxy.test:1080",
    f"http://me:{quote(PROXY, safe='')}@proxy.test\r\nX: y",
    f"http://me:{quote(PROXY, safe='')}@",
    f"http://me:{quote(PROXY, safe='')}@proxy.test:80/path",
    f"http://me:{quote(PROXY, safe='')}@[::1",
]


@pytest.mark.parametrize("proxy", BAD_PROXIES)
def test_proxy__that_cannot_be_read_is_not_quoted(
    proxy: str, environment: pytest.MonkeyPatch
) -> None:
    """A proxy's URL that nobody can read is refused without its password, from anywhere."""
    with pytest.raises(UsageError, match="proxy") as caught:
        ChatUI("http://chat.test", proxy=proxy)
    told = [str(caught.value), "".join(traceback.format_exception(caught.value)[-1:])]
    if "\n" not in proxy:
        environment.setenv("http_proxy", proxy)
        with ChatUI("http://chat.test", model="m", retry=QUICK) as client:
            error = error_of(client, "Hi")
        assert isinstance(error, UsageError)
        told += [text for _, text in places_of_error(error)]

    assert [] == found_in(dict(enumerate(told)))  # type: ignore[arg-type]
    assert not any("pr0xy" in text or "f00d" in text for text in told)


REFUSED = [
    ("api_key", "sk-K3y7f21c9d40\r\nX: y"),
    ("api_key", "sk-K3y7f21c9d40\x00"),
    ("headers", {"X-Api-Key": "sk-K3y7f21c9d40\r\nX: y"}),
    ("cookies", {"c": "sk-K3y7f21c9d40\nX"}),
    ("cookies", {"c": "sk-K3y7f21c9d40\x00"}),
    ("base_url", "http://me:sk-K3y7f21c9d40@chat.test\r\nX: y"),
    ("base_url", "http://me:sk-K3y7f21c9d40@chat.test/\x00"),
    ("base_url", "http://me:sk-K3y7f21c9d40@chat.test:port"),
    ("proxy", "http://me:sk-K3y7f21c9d40@chat.test\r\n"),
    ("model", "m\r\nX: y"),
    ("model", "m\x00"),
]


@pytest.mark.parametrize(("setting", "value"), REFUSED)
def test_setting__with_a_control_character(setting: str, value: Any) -> None:
    """Line breaks and NUL are refused when a client is made, and no secret is shown."""
    given = {"base_url": "http://chat.test", setting: value}
    with pytest.raises(UsageError) as caught:
        ChatUI(**given)

    assert KEY not in str(caught.value)
    assert str(caught.value).isprintable()


def test_key__that_a_function_gives_with_a_line_break() -> None:
    """A called key is checked each time, before a connection is made, and not shown."""
    connections: list[socket.socket] = []
    with peers.listening(connections.append) as at:
        for bad in (f"{KEY}\n", f"{KEY}\r\nX: y", f"{KEY}\x00", f" {KEY}", None, KEY.encode()):
            client = ChatUI(f"http://{at}", model="m", api_key=lambda bad=bad: bad)
            with client:
                error = error_of(client, "Hi")
            assert isinstance(error, UsageError)
            # What the function itself holds is the caller's.
            assert [] == found_in([row for row in places_of_error(error) if row[0] != "x"])
        assert [] == connections


def test_key__a_function_that_fails_says_so_itself() -> None:
    """An error of the caller's own function comes out as it is; nothing is asked again."""
    calls: list[int] = []

    def read() -> str:
        calls.append(1)
        raise FileNotFoundError("no key file")

    with ChatUI("http://127.0.0.1:1", model="m", api_key=read, retry=QUICK) as client:
        with pytest.raises(FileNotFoundError, match="no key file"):
            client.chat("Hi")

    assert [1] == calls


def test_key__is_not_replaced_by_a_login() -> None:
    """Of a key and a login of a lent session or of the URL, the key is sent; each alone is."""
    with Emulator(("chat-ui",)) as emulator:
        at = emulator.url("chat-ui").partition("//")[2]
        for given in (
            {"session": lent(), "api_key": KEY},
            {"base_url": f"http://me:{quote(LOGIN, safe='')}@{at}", "api_key": KEY},
            {"base_url": f"http://me:{quote(LOGIN, safe='')}@{at}"},
        ):
            with ChatUI(
                **{"base_url": f"http://{at}", "model": "command-a-03-2025", **given}
            ) as client:
                client.chat("Hi")
        sent = [
            asked.header("authorization") for asked in emulator.requests if asked.step == "create"
        ]

    basic = base64.b64encode(f"me:{LOGIN}".encode()).decode()
    assert [f"Bearer {KEY}", f"Bearer {KEY}", f"Basic {basic}"] == sent


def test_cookies__go_along_with_those_in_a_header(emulator: Emulator) -> None:
    """A Cookie header of the caller's stays when the server sets cookies of its own."""
    with C4AICommand(emulator.url("chat-ui"), headers={"Cookie": "own=1"}) as client:
        client.chat("Hi")

    cookies = emulator.requests[-1].cookies()
    assert "1" == cookies["own"]
    assert cookies["hf-chat"]


def test_pickle__keeps_only_headers_that_say_nothing_secret() -> None:
    """Whatever a header is called: unless it is known to be plain, a pickle leaves it out."""
    headers = {**HEADER, "Accept-Language": "de", "X-Signature": KEY}
    client = ChatUI("http://chat.test", headers=headers)
    raw = pickle.dumps(client, 0).decode("latin-1")

    assert [] == found_in({"pickle": raw})
    assert {"Accept-Language": "de"} == pickle.loads(pickle.dumps(client))._settings.headers
    with pytest.raises(UsageError, match="X-Signature"):
        pickle.loads(pickle.dumps(client)).chat("Hi")
