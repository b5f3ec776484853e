"""Nothing leaves the conversation's own server: no redirect, cookie, credential or download."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peers
import pytest
from replay import recorded

from c4ai_clients import (
    H2O,
    AutonomousAI,
    C4AICommand,
    C4AIError,
    ChatClient,
    ChatUI,
    ConnectError,
    Conversation,
    Gradio,
    NotFoundError,
    ProtocolError,
    Qwen,
    RetryPolicy,
    StatusError,
    UsageError,
)
from c4ai_clients.emulator import Emulator

NEVER = RetryPolicy.none()
KEY = "sk-of-this-server"
CLIENTS: dict[str, tuple[type[ChatClient], str, str]] = {
    "chat-ui": (C4AICommand, "message", "conversation"),
    "h2o": (H2O, "message", ""),
    "autonomous": (AutonomousAI, "message", ""),
    "gradio": (Qwen, "join", "stream"),
}
MADE = {
    "POST /conversation": peers.http(b'{"conversationId": "abc"}'),
    "GET /api/conversation/abc": peers.http(b'{"messages": [{"id": "r", "from": "system"}]}'),
}


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[bytes]]]:
    """Another server, and what it is asked."""
    seen: list[bytes] = []
    with peers.listening(peers.routed({"": peers.http(b"{}")}, seen)) as at:
        yield at, seen


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("protocol", list(CLIENTS))
def test_redirect__of_the_message_is_not_followed(
    protocol: str, status: int, elsewhere: tuple[str, list[bytes]]
) -> None:
    """A message is sent to no other place, be it on another server or the same one."""
    kind, message, _ = CLIENTS[protocol]
    with Emulator((protocol,)) as emulator:
        url = emulator.url(protocol)
        for target in (f"http://{elsewhere[0]}/x", f"{url}/elsewhere", "/elsewhere", "//evil.test"):
            emulator.fail("status", step=message, status=status, headers={"Location": target})
            with kind(url, api_key=KEY) as client, pytest.raises(StatusError) as caught:
                client.chat("Hi")
            assert status == caught.value.status
            assert target in str(caught.value)

        assert 0 == emulator.processed
        assert not [asked for asked in emulator.requests if "elsewhere" in asked.path]
    assert [] == elsewhere[1]


def away_from(at: str, other: str) -> list[str]:
    """Return the places that are not the server *at*, one of which is *other*."""
    port = at.rpartition(":")[2]
    return [
        f"http://{other}/api/models",
        f"//{other}/api/models",
        f"https://{at}/api/models",
        f"http://localhost:{port}/api/models",
        f"http://{at}@{other}/api/models",
        f"http://{at}.evil.test/",
        f"http:\\\\{other}/",
        f"HTTP://{other}/",
        f" http://{other}/",
        "file:///etc/passwd",
        "data:application/json,[]",
        "javascript:1",
        "ftp://127.0.0.1/",
    ]


@pytest.mark.parametrize("n", range(13))
def test_redirect__of_a_preparing_step_stays_on_its_server(
    n: int, elsewhere: tuple[str, list[bytes]]
) -> None:
    """A GET is not followed to another host, port or scheme, and takes no credential there."""
    routes: dict[str, bytes] = {}
    seen: list[bytes] = []
    with peers.listening(peers.routed(routes, seen)) as at:
        target = away_from(at, elsewhere[0])[n]
        routes["GET /api/models"] = peers.http(b"", f"Location: {target}", status="302 Found")
        given: dict[str, Any] = {"api_key": KEY, "cookies": {"c": "of-this-server"}}
        with ChatUI(f"http://{at}", retry=NEVER, **given) as client:
            with pytest.raises(C4AIError) as caught:
                client.models()

    assert isinstance(caught.value, (StatusError, ProtocolError)), caught.value
    assert [] == elsewhere[1]
    # Whatever was followed was followed on the server itself.
    assert all(
        request.startswith(b"GET /") and KEY.encode() not in request[:30] for request in seen
    )


def test_redirect__a_circle_ends() -> None:
    """Pages that lead to each other are given up after a few."""
    routes = {
        "GET /api/models": peers.http(b"", "Location: /a", status="302 Found"),
        "GET /a": peers.http(b"", "Location: /b", status="307 On"),
        "GET /b": peers.http(b"", "Location: /a", status="301 On"),
    }
    seen: list[bytes] = []
    with peers.listening(peers.routed(routes, seen)) as at:
        with ChatUI(f"http://{at}", retry=NEVER) as client, pytest.raises(StatusError):
            client.models()

    assert 3 <= len(seen) <= 6


@pytest.mark.parametrize("others", [0, 5, 6, 50])
def test_redirect__a_chain_is_followed_five_times(others: int) -> None:
    """Five redirects lead to the answer, a sixth is the error; a chain has no body to send."""
    listed = json.dumps([{"id": "m"}]).encode()
    routes = {
        f"GET /{n}": peers.http(b"", f"Location: /{n + 1}", status="307 On") for n in range(99)
    }
    routes[f"GET /{others}"] = peers.http(listed)
    routes["GET /api/models"] = routes.pop("GET /0")
    seen: list[bytes] = []
    with peers.listening(peers.routed(routes, seen)) as at:
        with ChatUI(f"http://{at}", retry=NEVER) as client:
            if others <= 5:
                assert ["m"] == [model.id for model in client.models()]
            else:
                with pytest.raises(StatusError, match="sends us on"):
                    client.models()

    assert 1 + min(others, 5) == len(seen)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect__at_the_end_of_a_chain_leads_nowhere_else(
    status: int, elsewhere: tuple[str, list[bytes]]
) -> None:
    """What was followed within the server is not followed away from it."""
    routes = {
        "GET /api/models": peers.http(b"", "Location: /a", status=f"{status} On"),
        "GET /a": peers.http(b"", f"Location: http://{elsewhere[0]}/b", status=f"{status} On"),
    }
    seen: list[bytes] = []
    with peers.listening(peers.routed(routes, seen)) as at:
        with ChatUI(f"http://{at}", retry=NEVER, api_key=KEY) as client:
            with pytest.raises(StatusError) as caught:
                client.models()

    assert status == caught.value.status
    assert 2 == len(seen)
    assert [] == elsewhere[1]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("step", ["create", "delete"])
def test_redirect__with_a_body_is_not_followed(step: str, status: int) -> None:
    """What creates or deletes is sent once, to no other path of the same server either."""
    with Emulator(("chat-ui",)) as emulator:
        url = emulator.url("chat-ui")
        emulator.fail("status", step=step, status=status, headers={"Location": "/elsewhere"})
        with C4AICommand(url, retry=NEVER) as client, pytest.raises(StatusError) as caught:
            talk = client.conversation()
            talk.chat("Hi")
            talk.delete()

        assert status == caught.value.status
        assert [] == [asked for asked in emulator.requests if "elsewhere" in asked.path]
        assert 1 == [asked.step for asked in emulator.requests].count(step)


@pytest.mark.parametrize("protocol", ["chat-ui", "gradio"])
def test_redirect__of_what_comes_before_or_after_the_message(
    protocol: str, elsewhere: tuple[str, list[bytes]]
) -> None:
    """Reading a conversation, or a queue's stream, is not followed to another server either."""
    kind, _, step = CLIENTS[protocol]
    target = f"http://{elsewhere[0]}/x"
    with Emulator((protocol,)) as emulator:
        emulator.fail("status", step=step, status=302, headers={"Location": target}, times=9)
        with kind(emulator.url(protocol), api_key=KEY, retry=NEVER) as client:
            with pytest.raises(StatusError, match="sends us on"):
                client.chat("Hi")
    assert [] == elsewhere[1]


PREFIXES = [
    "@{other}",
    ".evil.test",
    ":80@{other}",
    "@{other}/x/../..",
    "\\@{other}",
    "x",
    "/../..",
    "/%2e%2e/admin",
    "/.%2E",
    "/\\..\\..",
    "/..;/x",
    "/\t../x",
    "/x?y=",
    "/x#",
    "/x\r\nX: y",
]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_gradio__a_prefix_leads_nowhere_else(
    prefix: str, elsewhere: tuple[str, list[bytes]]
) -> None:
    """What an app's config says comes before its paths cannot name another server."""
    config = json.loads(recorded("gradio/5.50.0/config")[0].body)
    config["api_prefix"] = prefix.format(other=elsewhere[0])
    seen: list[bytes] = []
    routes = {"GET /config": peers.http(json.dumps(config).encode())}
    with peers.listening(peers.routed(routes, seen)) as at:
        with Gradio(f"http://{at}", api_key=KEY, retry=NEVER) as client:
            with pytest.raises(ProtocolError, match="leads elsewhere"):
                client.chat("Hi")
        assert 1 == len(seen)
        with Qwen(f"http://{at}", api_key=KEY, retry=NEVER) as client:
            with pytest.raises(NotFoundError):  # it goes by the Space's own numbers
                client.chat("Hi")
        assert seen[2].startswith(b"POST /queue/join HTTP/1.1\r\n")

    assert [] == elsewhere[1]


FILES = [
    ("http://{other}/x.png", "/file=http%3A//"),
    ("//{other}/x.png", "/file=//"),
    ("file:///etc/passwd", "/file=file%3A///etc/passwd"),
    ("/etc/passwd", "/file=/etc/passwd"),
    ("a?b#c\r\nX: y", "/file=a%3Fb%23c%0D%0AX%3A%20y"),
    ("..%2f..%2fadmin", "/file=..%252f..%252fadmin"),
]


def app_that_shows(path: str) -> dict[str, bytes]:
    """Return the routes of an app whose answer shows a file."""
    said = [["Hi", "look"], [None, {"file": {"path": path}, "alt_text": None}]]
    done = {"msg": "process_completed", "success": True, "output": {"data": ["", said, ""]}}
    return {
        "POST /queue/join": peers.http(b'{"event_id": "e1"}', "Set-Cookie: s=of-this-server"),
        "GET /queue/data": peers.http(
            b"data: %b\n\n" % json.dumps({**done, "event_id": "e1"}).encode(),
            "Content-Type: text/event-stream",
        ),
        "GET /file=": peers.http(b"png"),
    }


@pytest.mark.parametrize(("path", "asked"), FILES)
def test_download__is_asked_of_the_server_that_names_it(
    path: str, asked: str, elsewhere: tuple[str, list[bytes]]
) -> None:
    """Whatever a file is called, it is read from the conversation's server, as one path."""
    seen: list[bytes] = []
    routes = app_that_shows(path.format(other=elsewhere[0]))
    with peers.listening(peers.routed(routes, seen)) as at:
        with Qwen(f"http://{at}", retry=NEVER) as client:
            (file,) = client.chat("Hi").files
            assert b"png" == file.read()
            assert file.url.startswith(f"http://{at}/file=")

    assert seen[-1].startswith(f"GET {asked}".encode())
    assert b"Cookie: s=of-this-server" in seen[-1]
    assert [] == elsewhere[1]


@pytest.mark.parametrize("path", ["../../admin", "/tmp/../../etc", "a/./b"])
def test_download__a_path_that_climbs_is_refused(path: str) -> None:
    """A file's path with dots for directories is asked of nobody."""
    seen: list[bytes] = []
    with peers.listening(peers.routed(app_that_shows(path), seen)) as at:
        with Qwen(f"http://{at}", retry=NEVER) as client:
            (file,) = client.chat("Hi").files
            before = len(seen)
            with pytest.raises(ProtocolError, match="leads elsewhere"):
                file.read()

    assert before == len(seen)


def test_download__is_not_followed_elsewhere(elsewhere: tuple[str, list[bytes]]) -> None:
    """Where the server sends a download on to another host, it ends with an error."""
    to = f"Location: http://{elsewhere[0]}/file"
    routes = {**app_that_shows("x"), "GET /file=": peers.http(b"", to, status="307 On")}
    with peers.listening(peers.routed(routes, [])) as at, Qwen(f"http://{at}") as client:
        (file,) = client.chat("Hi").files
        with pytest.raises(StatusError, match="sends us on"):
            file.read()

    assert [] == elsewhere[1]


@pytest.mark.parametrize(
    "sha", ["../../x", "a/b", "", "a?b", "x" * 129, 7, None, "http://evil.test/"]
)
def test_download__chat_ui_names_a_file_by_an_id(sha: object) -> None:
    """A file whose id is none is no file, but an Unknown event; a good one is read here."""
    lines = [
        {"type": "file", "sha": sha, "name": "../../x.png", "mime": "image/png"},
        {"type": "file", "sha": "0a9f", "name": "../../x.png", "mime": "image/png"},
        {"type": "finalAnswer", "text": ""},
    ]
    seen: list[bytes] = []
    routes = {
        **MADE,
        "POST /conversation/abc": peers.http("\n".join(map(json.dumps, lines)).encode() + b"\n"),
        "GET /conversation/abc/output/0a9f": peers.http(b"png"),
    }
    with (
        peers.listening(peers.routed(routes, seen)) as at,
        ChatUI(f"http://{at}", model="m") as client,
    ):
        (file,) = client.chat("Hi").files
        assert b"png" == file.read()
    assert seen[-1].startswith(b"GET /conversation/abc/output/0a9f HTTP")


DOMAINS = [
    "Domain=evil.test",
    "Domain=.test",
    "Domain=127.0.0.1",
    "Domain=com",
    "Path=/other",
    "Secure",
]


def test_cookies__stay_with_the_server_that_set_them(elsewhere: tuple[str, list[bytes]]) -> None:
    """Whatever domain a cookie names, only its server is sent it, in its conversation only."""
    cookies = [f"Set-Cookie: c{i}=v{i}; {domain}" for i, domain in enumerate(DOMAINS)]
    final = peers.http(b'{"type": "finalAnswer", "text": "x"}\n')
    routes = {
        **MADE,
        "POST /conversation": peers.http(b'{"conversationId": "abc"}', *cookies),
        "POST /conversation/abc": final,
    }
    seen: list[bytes] = []
    with peers.listening(peers.routed(routes, seen)) as at:
        with ChatUI(f"http://{at}", model="m", retry=NEVER) as client:
            talk = client.conversation()
            talk.chat("one")
            with ChatUI(f"http://{elsewhere[0]}", model="m", retry=NEVER) as other:
                with pytest.raises(UsageError, match="this conversation is with"):
                    other.chat("two", conversation=talk)
                with pytest.raises(C4AIError):
                    other.chat("two")
            first = len(seen)
            client.chat("another conversation")

    assert b"Cookie: c0=v0; c1=v1; c2=v2; c3=v3; c4=v4; c5=v5" in seen[first - 1]
    assert b"Cookie" not in seen[first]
    assert elsewhere[1]
    assert not any(b"Cookie" in request for request in elsewhere[1])


def test_cookies__of_a_conversation_that_began_without_a_client(
    elsewhere: tuple[str, list[bytes]],
) -> None:
    """A conversation made by hand belongs to the first server that it is asked of."""
    with Emulator(("chat-ui",)) as emulator:
        talk = Conversation(None, model="command-a-03-2025")
        with C4AICommand(emulator.url("chat-ui")) as client:
            client.chat("one", conversation=talk)
        assert talk.cookies
        with ChatUI(f"http://{elsewhere[0]}", model="m") as other, pytest.raises(UsageError):
            other.chat("two", conversation=talk)

    assert [] == elsewhere[1]


def test_netrc__is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A netrc for the server neither replaces a key nor stands in for one."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password from-netrc\ndefault login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with Emulator(("chat-ui",)) as emulator:
        for key in (KEY, None):
            with C4AICommand(emulator.url("chat-ui"), api_key=key) as client:
                client.chat("Hi")
        sent = {asked.header("authorization") for asked in emulator.requests}

    assert {f"Bearer {KEY}", ""} == sent


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> peers.Authority:
    return peers.Authority(str(tmp_path_factory.mktemp("ca") / "ca.pem"))


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_verify__false_holds_for_its_client_alone(
    variable: str, authority: peers.Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment does not undo verify=False, and the next client in the process verifies."""
    other = peers.Authority(str(tmp_path / "other.pem"))
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, other.path)
    with Emulator(("chat-ui",), tls=authority.server) as emulator:
        url = emulator.url("chat-ui")
        with C4AICommand(url, verify=False) as careless:
            with pytest.warns(match="Unverified HTTPS"):
                assert careless.chat("Hi").text
            for settings in ({}, {"verify": True}, {"verify": other.path}, {"trust_env": False}):
                with C4AICommand(url, retry=NEVER, **settings) as careful:  # type: ignore[arg-type]
                    with pytest.raises(ConnectError, match="certificate"):
                        careful.chat("Hi")
            with pytest.warns(match="Unverified HTTPS"):
                assert careless.chat("Hi").text
        monkeypatch.setenv(variable, authority.path)
        with C4AICommand(url) as trusting:
            assert trusting.chat("Hi").text
