"""connect(url): what a server is, in four requests at most, and what to do where nothing fits."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from peers import (
    Authority,
    behind_tls,
    listening,
    never_accepting,
    read_request,
    wait_for_end,
)
from replay import replay

from c4ai_clients import (
    H2O,
    AuthError,
    AutonomousAI,
    C4AICommand,
    C4AIError,
    ChatUI,
    ConnectError,
    Gradio,
    IncompleteReplyError,
    ModelNotFoundError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    RetryPolicy,
    ServerError,
    StatusError,
    TimedOutError,
    UsageError,
    connect,
)
from c4ai_clients.address import addresses
from c4ai_clients.detect import Finding, examine
from c4ai_clients.emulator import Emulator

PAGE = "text/html; charset=utf-8"
JSON = "application/json"
SVELTE = '<link href="{}/_app/immutable/entry/start.js" rel="modulepreload">'
LAYOUT = {"type": "data", "nodes": [{"type": "data", "data": [{"loginRequired": 1}, False]}]}

Answer = tuple[int, str, Any]


def told(status: int, kind: str, body: Any, *headers: str) -> bytes:
    """Return an answer's bytes."""
    data = body if isinstance(body, bytes) else body.encode()
    head = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {len(data)}"]
    return "\r\n".join([*head, *headers, "", ""]).encode() + data


@contextmanager
def serving(
    pages: dict[str, bytes], other: bytes = told(404, JSON, '{"detail":"Not Found"}')
) -> Iterator[tuple[str, list[bytes]]]:
    """Serve *pages* by path, *other* elsewhere; yield the URL and the requests that came."""
    seen: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        while request := read_request(connection):
            seen.append(request)
            path = urlsplit(request.split(b" ")[1].decode()).path  # a whole URL at a proxy
            connection.sendall(pages.get(path, other))

    with listening(handle) as address:
        yield f"http://{address}", seen


def saw(finding: Finding, name: str) -> list[str]:
    """Return what was seen in the checks of one name."""
    return [check.saw for check in finding.checks if check.name == name]


ERAS = {
    **dict.fromkeys(("A", "A2"), (H2O, "A, summer 2023")),
    **dict.fromkeys(("B00", "B0", "B", "B2"), (ChatUI, "B, 2024-01 to 2025-06")),
    **dict.fromkeys(("D", "C1", "C"), (ChatUI, "C, since 2025-06")),
}


@pytest.mark.parametrize("era", ERAS)
def test_connect__knows_each_era_of_chat_ui(era: str) -> None:
    """The era is right, its models are listed, and no conversation was begun."""
    client, version = ERAS[era]
    with Emulator("chat-ui", era=era) as emulator:
        finding = examine(emulator.url("chat-ui"))
        asked = [(request.method, request.path) for request in emulator.requests]

    assert (client, version) == (finding.client, finding.found and finding.found.version)
    assert finding.found is not None
    assert (False, False) == (finding.found.login, finding.found.terms)
    assert finding.found.models
    assert len(asked) == len(finding.tried) <= 4
    assert not [path for method, path in asked if method == "POST" and "stop" not in path]


@pytest.mark.parametrize("era", ["A", "B", "C"])
def test_connect__knows_what_real_servers_answered(era: str) -> None:
    """The recorded page, page data and models of a real server are enough."""
    with replay(f"chatui/{era}/connect") as server:
        finding = examine(server.url)

    client, version = ERAS[era]
    assert (client, version) == (finding.client, finding.found and finding.found.version)
    assert finding.found is not None
    assert (
        "h2oai" in finding.found.models[1]
        if era == "A"
        else finding.found.models[0] == ("test/model-1")
    )


@pytest.mark.parametrize(
    "version", ["4.2.0", "4.16.0", "4.19.2", "4.21.0", "4.44.1", "5.50.0", "6.31.0"]
)
def test_connect__knows_each_version_of_gradio(version: str) -> None:
    """The version is right, and the listener that chats is shown."""
    with Emulator("gradio", version=version) as emulator:
        finding = examine(emulator.url("gradio"))
        count = len(emulator.requests)

    assert (Gradio, version) == (finding.client, finding.found and finding.found.version)
    assert any(line.startswith("chat: fn_index 3") for line in saw(finding, "chat"))
    assert any("prompt, textbox" in line for line in saw(finding, "chat"))
    assert 2 == count


def test_connect__gives_a_client_that_answers() -> None:
    """The client has the settings that were given, and chats."""
    with Emulator(replies="Hello.") as emulator:
        for name in ("chat-ui", "h2o", "autonomous", "gradio"):
            with connect(emulator.url(name), strict=True) as client:
                assert "Hello." == client.chat("Hi").text
                assert client.strict
                assert emulator.url(name) == client.base_url


def test_connect__says_that_autonomous_is_a_guess() -> None:
    """AutonomousAI tells nothing of itself; its path is what is known."""
    with Emulator("autonomous") as emulator:
        finding = examine(emulator.url("autonomous"))

    assert AutonomousAI is finding.client
    assert [None] == [check.ok for check in finding.checks if check.name == "kind"]


def test_connect__tells_login_and_terms() -> None:
    """What the server wants before it answers is told, with what to do."""
    with Emulator(["chat-ui", "gradio"], login_required=True, auth=("me", "secret")) as emulator:
        chat_ui, gradio = (examine(emulator.url(name)) for name in ("chat-ui", "gradio"))
        tried = examine(emulator.url("gradio"), auth=("me", "secret"))
    with Emulator("chat-ui", login_required=True, era="C") as emulator:
        today = examine(emulator.url("chat-ui"))
    with Emulator(["chat-ui", "h2o"], disclaimer=True, era="C") as emulator:
        terms = [examine(emulator.url(name)) for name in ("chat-ui", "h2o")]

    assert "give cookies=, that of a session in a browser" in [c.remedy for c in chat_ui.checks]
    assert 'give auth=("user", "password")' in [c.remedy for c in gradio.checks]
    assert [["wants a login"]] * 2 == [saw(each, "login") for each in (chat_ui, today)]
    assert ["wants a login; auth is given, and was not tried"] == saw(tried, "login")
    assert [ChatUI, H2O] == [each.client for each in terms]
    assert [["wants its terms accepted"]] * 2 == [saw(each, "terms") for each in terms]


@pytest.mark.parametrize(
    "form",
    [
        *("{}/", "{}?view=api", "{}/#x", "  {}\n", "{}/conversation/6b00d48f418437b5b9beb725"),
        *("{}/r/abc1234", "{}/settings/application", "{}/__data.json"),
    ],
)
def test_connect__understands_what_is_pasted(form: str) -> None:
    """A page's URL is the server's, also without its scheme."""
    with Emulator("chat-ui", era="C") as emulator:
        url = emulator.url("chat-ui")
        for given in (url, url.removeprefix("http://")):
            with connect(form.format(given)) as client:
                assert url == client.base_url


@pytest.mark.parametrize(
    ("given", "origin", "base"),
    [
        ("chat.example.org", "https://chat.example.org", ""),
        ("chat.example.org/chat/", "https://chat.example.org", "/chat"),
        ("HTTPS://Chat.Example.org:443/a", "https://Chat.Example.org:443", "/a"),
        ("localhost:7860", "http://localhost:7860", ""),
        ("127.0.0.1:7860/", "http://127.0.0.1:7860", ""),
        ("[::1]:7860", "http://[::1]:7860", ""),
        ("gpu-box:8000", "http://gpu-box:8000", ""),
        ("https://huggingface.co/spaces/Qwen/Qwen2.5", "https://qwen-qwen2-5.hf.space", ""),
        ("hf.co/spaces/CohereForAI/c4ai-command", "https://cohereforai-c4ai-command.hf.space", ""),
        ("huggingface.co/spaces/a/b_c/tree/main", "https://a-b-c.hf.space", ""),
        ("https://huggingface.co/chat/conversation/ab", "https://huggingface.co", "/chat"),
        ("https://h/app/?__theme=dark", "https://h", "/app"),
    ],
)
def test_addresses__likely_first(given: str, origin: str, base: str) -> None:
    """Public hosts are asked by https, local ones and other ports by http."""
    assert (origin, base) == addresses(given)[0]


@pytest.mark.parametrize(
    "url",
    ["", "foo bar", "foo", "ftp://x", "http://", "http://[::1", "host:port", "a\tb.c", None, 7],
)
def test_connect__refuses_what_is_no_url(url: Any) -> None:
    """What is no URL is refused before anything is sent."""
    with pytest.raises(UsageError, match="is no URL of a server: write it as") as caught:
        connect(url)

    assert "Tried" not in str(caught.value)
    assert 1 == len(examine(url).checks)


def test_connect__finds_the_path_that_the_page_tells() -> None:
    """A chat-ui below a path is found from any page of it, also behind a redirect."""
    page = told(200, PAGE, SVELTE.format("/chat"))
    pages = {
        "/": told(302, PAGE, "", "Location: /chat/"),
        "/chat/": page,
        "/chat/models/x/": page,
        "/chat/__data.json": told(200, JSON, json.dumps(LAYOUT)),
        "/chat/api/models": told(200, JSON, '[{"id": "m"}]'),
    }
    with serving(pages) as (url, seen):
        for path in ("", "/chat", "/chat/models/x"):
            with connect(url + path) as client:
                assert f"{url}/chat" == client.base_url
        assert 4 * 3 == len(seen)


def test_connect__gradio_below_a_path() -> None:
    """A mounted app's own URL has the slash that it redirects to."""
    config = {"version": "5.50.0", "protocol": "sse_v3", "components": [], "dependencies": []}
    pages = {
        "/app/": told(200, PAGE, "<script>window.gradio_config = {}"),
        "/app/config": told(200, JSON, json.dumps(config)),
    }
    with serving(pages) as (url, _):
        finding = examine(f"{url}/app")

    assert isinstance(finding.error, UsageError)
    assert "Gradio (5.50.0); its client is Gradio" in saw(finding, "kind")
    assert ["no chat found in this app"] == saw(finding, "chat")


def test_connect__sends_the_key_only_where_it_is_asked_for() -> None:
    """A page that is open is read without the key, one that is not with it."""
    open_, locked = {"/": told(200, PAGE, "<p>")}, {"/": told(401, PAGE, "no")}
    with serving(open_) as (url, seen):
        examine(url, api_key="hf_secretsecret")
        assert not [request for request in seen if b"hf_secretsecret" in request]
    with serving(locked) as (url, seen), pytest.raises(AuthError, match="another api_key"):
        connect(url, api_key="hf_secretsecret")
    assert [False, True] == [b"Bearer hf_secretsecret" in request for request in seen]


def test_connect__knows_public_servers_by_their_host() -> None:
    """A preset is given for its own server, and AutonomousAI without asking it what it is."""
    page = told(200, PAGE, SVELTE.format(""))
    pages = {
        "/": page,
        "/__data.json": told(200, JSON, json.dumps(LAYOUT)),
        "/api/models": told(200, JSON, '[{"id": "m"}]'),
    }
    with serving(pages) as (proxy, seen):
        given = examine("http://cohereforai-c4ai-command.hf.space", proxy=proxy)
        autonomous = examine("http://chatgpt.autonomous.ai/", proxy=proxy)
        assert 4 + 1 == len(seen)
    with serving({}) as (proxy, _):
        private = examine("http://me-mine.hf.space", proxy=proxy)

    assert (C4AICommand, AutonomousAI) == (given.client, autonomous.client)
    assert all(check.ok for check in autonomous.checks)
    assert "no such Space, or it is private" in private.checks[-1].saw


def test_connect__repeats_no_secret_and_no_control_character() -> None:
    """What a server says back of the key, and what would draw in a terminal, is not shown."""

    def echo(connection: socket.socket) -> None:
        while request := read_request(connection):
            known = b"Bearer" in request
            said = b"<title>\x1b[2J" + request.partition(b"Bearer ")[2][:20] + b"</title>"
            connection.sendall(told(200 if known else 401, PAGE, said))

    with raw(echo) as url:
        finding = examine(url, api_key="hf_secretsecretsecre")

    assert "***" in finding.checks[-1].saw
    assert "hf_secret" not in repr(finding) + str(finding.error)
    assert finding.checks[-1].saw.isprintable()


def test_connect__keeps_a_login_of_the_url_to_itself() -> None:
    """User and password go to the server, and into no finding."""
    with Emulator("gradio") as emulator:
        url = emulator.url("gradio").replace("://", "://me:secretsecret@")
        with connect(url) as client:
            client.chat("Hi")
        assert all(request.header("authorization") for request in emulator.requests)
        assert "secretsecret" not in repr(examine(url))
    with pytest.raises(ConnectError) as caught:
        connect("http://me:secretsecret@127.0.0.1:1")
    assert "secretsecret" not in repr(caught.value)
    with pytest.raises(UsageError) as refused:
        connect("ftp://me:secretsecret@host")
    assert "secretsecret" not in str(refused.value)


def test_connect__refuses_a_setting_that_the_client_does_not_take() -> None:
    """A setting for another client is an error that names both."""
    with Emulator("chat-ui") as emulator, pytest.raises(UsageError, match="takes no auth"):
        connect(emulator.url("chat-ui"), auth=("me", "secret"))


def test_connect__tries_nothing_again() -> None:
    """The caller's retry policy is the client's, not that of the four requests."""
    waits: list[float] = []
    policy = RetryPolicy(wait_initial=0, on_wait=lambda seconds, _: waits.append(seconds))
    with nowhere() as url, pytest.raises(ConnectError) as caught:
        connect(url, retry=policy)

    assert [] == waits
    assert isinstance(caught.value.__cause__, C4AIError)
    assert 1 == caught.value.__cause__.attempts


@contextmanager
def nowhere() -> Iterator[str]:
    """A port where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextmanager
def pages(path: str = "", **given: bytes) -> Iterator[str]:
    """A server of a few pages, named without their slashes; ``other`` is any other."""
    other = given.pop("other", told(404, JSON, '{"detail":"Not Found"}'))
    paths = {"/" + name.replace("__", "/"): answer for name, answer in given.items()}
    paths["/"] = given.get("root", other)
    with serving(paths, other) as (url, _):
        yield url + path


@contextmanager
def raw(handle: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that does as it likes."""
    with listening(handle) as address:
        yield f"http://{address}"


@contextmanager
def emulated(protocol: str, path: str, scheme: str = "http", **settings: Any) -> Iterator[str]:
    """A server of ours, with another scheme or path."""
    with Emulator(protocol, **settings) as emulator:
        yield emulator.url(protocol).replace("http", scheme) + path


def garbage(connection: socket.socket) -> None:
    """Say what is no HTTP."""
    read_request(connection)
    connection.sendall(b"\x00\x01SSH-2.0-x\r\n\r\n")


def silent(connection: socket.socket) -> None:
    """Read, and say nothing."""
    wait_for_end(connection)


def gone(connection: socket.socket) -> None:
    """Hang up."""
    read_request(connection)


@contextmanager
def stalled() -> Iterator[str]:
    """A host that never takes the connection."""
    with never_accepting() as address:
        yield f"http://{address}"


IMAGES = {
    "version": "6.31.0",
    "protocol": "sse_v3",
    "components": [{"id": 1, "type": "textbox", "props": {}}, {"id": 2, "type": "image"}],
    "dependencies": [{"id": 0, "inputs": [1], "outputs": [2], "targets": [[1, "submit"]]}],
}
OK = told(200, PAGE, "<title>My garden</title><p>Roses")
EMPTY = told(200, "text/plain", "")

Wrong = tuple[Callable[[], AbstractContextManager[str]], type[C4AIError], str, str]
WRONG: dict[str, Wrong] = {
    "nothing listens": (nowhere, ConnectError, "nothing listens at", "start the server"),
    "never accepts": (
        stalled,
        TimedOutError,
        "takes no connection",
        "a firewall may drop",
    ),
    "never answers": (lambda: raw(silent), TimedOutError, "does not answer", "timeout="),
    "garbage": (lambda: raw(garbage), ProtocolError, "does not speak HTTP", "correct the port"),
    "hangs up": (lambda: raw(gone), IncompleteReplyError, "hangs up", "scheme and port"),
    "https to an http port": (
        lambda: emulated("gradio", "", scheme="https"),
        ConnectError,
        "does not speak https",
        "it speaks http: use http://",
    ),
    "another site": (
        lambda: pages(root=OK, other=OK),
        ProtocolError,
        "a web page, 'My garden', of another kind",
        "correct the URL",
    ),
    "404 everywhere": (pages, NotFoundError, "answers 404", "is a path missing"),
    "404 below a path": (
        lambda: pages(path="/chat"),
        NotFoundError,
        "answers 404",
        "is a path missing, such as /chat, or one too many?",
    ),
    "login redirect": (
        lambda: pages(root=told(302, PAGE, "", "Location: /login?next=%2F")),
        AuthError,
        "sends us on to a login",
        "cookies=, or give api_key",
    ),
    "login page": (
        lambda: pages(root=told(200, PAGE, '<input type="password">')),
        AuthError,
        "shows a login page",
        "cookies=, or give api_key",
    ),
    "401": (lambda: pages(root=told(401, JSON, "{}")), AuthError, "answers 401", "--api-key"),
    "403": (lambda: pages(root=told(403, PAGE, "no")), AuthError, "answers 403", "--api-key"),
    "429": (lambda: pages(root=told(429, PAGE, "")), RateLimitError, "too many", "wait a minute"),
    "500": (lambda: pages(root=told(500, PAGE, "")), ServerError, "answers 500", "server's log"),
    "502": (lambda: pages(root=told(502, PAGE, "")), ServerError, "answers 502", "server's log"),
    "503 of a Space": (
        lambda: pages(root=told(503, PAGE, "Building your Space")),
        ServerError,
        "this Space is being built",
        "ask again",
    ),
    "a Space sleeps": (
        lambda: pages(root=told(200, PAGE, "This Space is sleeping due to inactivity")),
        ServerError,
        "this Space sleeps",
        "open it in a browser",
    ),
    "OpenAI": (
        lambda: pages(v1__models=told(200, JSON, '{"object": "list", "data": []}')),
        ProtocolError,
        "an OpenAI-compatible server",
        "a client for OpenAI's API",
    ),
    "OpenAI with a page": (
        lambda: pages(root=OK, v1__models=told(200, JSON, '{"object": "list", "data": []}')),
        ProtocolError,
        "an OpenAI-compatible server",
        "a client for OpenAI's API",
    ),
    "empty": (
        lambda: pages(root=EMPTY, other=EMPTY),
        ProtocolError,
        "gives an empty answer",
        "correct the URL",
    ),
    "other JSON": (
        lambda: pages(root=told(200, JSON, '{"status": "up"}')),
        ProtocolError,
        'something else, which begins: {"status": "up"}',
        "correct the URL",
    ),
    "SvelteKit without a chat": (
        lambda: pages(
            root=told(200, PAGE, SVELTE.format("")),
            __data_json=told(200, JSON, '{"type":"data","nodes":[null,null]}'),
        ),
        ProtocolError,
        "a web page of another kind",
        "correct the URL",
    ),
    "Gradio without a chat": (
        lambda: pages(
            root=told(200, PAGE, "<script>window.gradio_config = {}"),
            config=told(200, JSON, json.dumps(IMAGES)),
        ),
        UsageError,
        "no chat found in this app",
        "choose by api_name= or fn_index=. There are: fn_index=0",
    ),
    "Gradio of tomorrow": (
        lambda: pages(
            root=told(200, PAGE, "<script>window.gradio_config = {}"),
            config=told(200, JSON, json.dumps({**IMAGES, "protocol": "sse_v9"})),
        ),
        UsageError,
        "no chat found",
        "choose by",
    ),
    "sent elsewhere": (
        lambda: pages(root=told(301, PAGE, "", "Location: https://127.0.0.1:1/x?key=1")),
        StatusError,
        "sends us on to https://127.0.0.1:1/x",
        "give that server as the URL",
    ),
    "sent in a circle": (
        lambda: pages(root=told(302, PAGE, "", "Location: /")),
        StatusError,
        "sends us on to",
        "correct the server",
    ),
    "wrong path of Gradio": (
        lambda: emulated("gradio", "/wrong"),
        NotFoundError,
        "nothing that chats is at",
        "where Gradio answers",
    ),
    "wrong path of chat-ui": (
        lambda: emulated("chat-ui", "/wrong/way", era="C"),
        NotFoundError,
        "nothing that chats is at",
        "where chat-ui answers",
    ),
    "wrong path of 2023": (
        lambda: emulated("h2o", "/wrong/way"),
        NotFoundError,
        "nothing that chats is at",
        "where chat-ui answers",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_connect__wrong_urls_have_a_remedy(case: str) -> None:
    """What was seen, what to do and what was tried are told; four requests were enough."""
    start, kind, words, remedy = WRONG[case]
    with start() as url:
        finding = examine(url, timeout=0.3)
        with pytest.raises(kind) as caught:
            connect(url, timeout=0.3)

    failed = [check for check in finding.checks if check.ok is False]
    assert finding.client is None
    assert 1 == len(failed)
    assert finding.checks[-1] is failed[0]
    assert words in failed[0].saw
    assert remedy in failed[0].remedy
    assert type(finding.error) is type(caught.value)
    assert f"{failed[0].saw}: {failed[0].remedy}" in str(caught.value).replace("  ", " ")
    assert 1 <= len(finding.tried) <= 4
    assert f"Tried: {finding.tried[0]}" in str(caught.value)


def test_connect__a_name_that_is_unknown() -> None:
    """A name without an address is told as that, tried once."""
    finding = examine("nobody.invalid")

    assert isinstance(finding.error, ConnectError)
    assert ["no address is known for the name nobody.invalid"] == saw(finding, "connection")
    assert ("GET /",) == finding.tried


def test_connect__tls(tmp_path: Path) -> None:
    """An unknown CA and http on an https port have their remedy; a bare host is asked by both."""
    authority = Authority(str(tmp_path / "ca.pem"))
    config = told(200, JSON, json.dumps({**IMAGES, "dependencies": []}))
    page = told(200, PAGE, "<script>window.gradio_config = {}")

    def handle(connection: socket.socket) -> None:
        while request := read_request(connection):
            connection.sendall(config if b" /config " in request else page)

    with ExitStack() as stack:
        address = stack.enter_context(listening(behind_tls(authority, handle)))
        untrusted = examine(f"https://{address}")
        plain = examine(f"http://{address}")
        bare = examine(address)
        right = examine(address, verify=authority.path)

    assert isinstance(untrusted.error, ConnectError)
    assert "verify=PATH" in untrusted.checks[-1].remedy
    assert "is not trusted" in untrusted.checks[-1].saw
    assert f"it speaks https: use https://{address}" == plain.checks[-1].remedy
    assert "verify=PATH" in bare.checks[-1].remedy
    assert ["no chat found in this app"] == saw(right, "chat")
    assert f"https://{address}" == right.url


def test_connect__http_on_an_https_port_that_says_so() -> None:
    """Servers that answer plain http with 400 and words are understood."""
    said = told(400, PAGE, "The plain HTTP request was sent to HTTPS port")
    with serving({"/": said}) as (url, _):
        finding = examine(url)

    assert isinstance(finding.error, ConnectError)
    assert url.replace("http", "https") in finding.checks[-1].remedy
    assert ("GET / (400)",) == finding.tried


def test_connect__reads_only_a_page_s_beginning() -> None:
    """An endless page and an endless JSON are read as far as is needed."""

    def endless(connection: socket.socket) -> None:
        request = read_request(connection)
        kind = JSON if b"/config" in request else PAGE
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode())
        for _ in range(2000):
            connection.sendall(b"x" * 65536)

    with raw(endless) as url:
        finding = examine(url)

    assert isinstance(finding.error, ProtocolError)


def test_connect__with_a_model_that_only_the_server_lists() -> None:
    """connect() has asked the server anyway, so it looks for the model there."""
    other = "h2oai/h2ogpt-gm-oasst1-en-2048-falcon-7b-v2"
    with Emulator(("h2o",)) as emulator:
        with connect(emulator.url("h2o"), model=other) as client:
            assert other == client.chat("Hi").model
        with pytest.raises(ModelNotFoundError, match="7b-v2"):
            connect(emulator.url("h2o"), model="nix")
