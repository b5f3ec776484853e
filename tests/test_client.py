"""What every client can do, and what it keeps to itself."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import pytest
import requests
import responses

from c4ai_clients import C4AICommand, ChatClient, ChatUI, Gradio, UsageError
from c4ai_clients.emulator import Emulator

SECRETS = ("sk-secret", "s3ss10n", "pr0xypw", "t0k3n", "l0g1n")


def secretive(**settings: object) -> ChatUI:
    return ChatUI(
        "https://me:l0g1n@chat.test/base/",
        model="m",
        api_key="sk-secret",
        cookies={"session": "s3ss10n"},
        proxy="http://me:pr0xypw@127.0.0.1:9",
        headers={"X-Auth-Token": "t0k3n", "Accept-Language": "de"},
        **settings,  # type: ignore[arg-type]
    )


def key() -> str:
    return "from-a-function"


def test_client__nothing_is_sent_by_making_one() -> None:
    """A client of a server that is not there can be made."""
    assert "http://127.0.0.1:1" == ChatUI("http://127.0.0.1:1/").base_url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host.test",
        "ftp://host.test",
        "http://",
        "https://a b",
        "http://h:99999",
        "http://h/?q=1",
        "http://h/\n",
        7,
    ],
)
def test_client__a_url_that_is_none(url: object) -> None:
    """A base URL that cannot work is refused in one sentence."""
    with pytest.raises(UsageError):
        ChatUI(url)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("127.0.0.1:9102", "is no URL: write http://127.0.0.1:9102; connect() takes it as it is"),
        ("host.test/chat/", "is no URL: write https://host.test/chat; connect() takes it as it is"),
        (
            "https://huggingface.co/spaces/a/B_1",
            "is a page about the server: write https://a-b-1.hf.space; connect() takes it as it is",
        ),
        ("me:l0g1n@host.test", "is no URL: write it as https://host or http://host:port"),
    ],
)
def test_client__the_url_that_is_meant(url: str, meant: str) -> None:
    """What people paste for a URL is refused with the URL that it means, and no login is shown."""
    with pytest.raises(UsageError) as caught:
        ChatUI(url)

    assert f"base_url {url.rpartition('@')[2]!r} {meant}" == str(caught.value)


def test_stream__none_is_nothing_given(emulator: Emulator) -> None:
    """None for files, inputs and tools is as if they were not given."""
    with (
        ChatUI(emulator.url("chat-ui")) as chatui,
        Gradio(emulator.url("gradio")) as gradio,
    ):
        assert chatui.chat("Hi", files=None, tools=None).text
        assert gradio.chat("Hi", files=None, inputs=None).text
        with pytest.raises(UsageError, match=r"write files=\[…\]"):
            chatui.stream("Hi", files=7)  # type: ignore[arg-type]


def test_client__no_server_of_its_own() -> None:
    """A client for any server wants to know which."""
    with pytest.raises(UsageError, match="base_url"):
        ChatUI()


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": "sk\n"},
        {"api_key": "sk-ü"},
        {"api_key": 7},
        {"headers": {"X": "a\r\nb"}},
        {"headers": {"X\n": "a"}},
        {"headers": {"X": 7}},
        {"headers": [("X", "a")]},
        {"cookies": {"c": "a\n"}},
        {"cookies": "c=sk"},
        {"retry": 3},
        {"timeout": 0},
        {"timeout": "1"},
        {"model": ""},
        {"model": "a\nb"},
    ],
)
def test_client__a_setting_that_cannot_be_sent(settings: dict[str, object]) -> None:
    """A setting that no request can carry is refused, and not shown where it is a secret."""
    if settings.get("model") == "":
        assert ChatUI("https://chat.test", model="").model is None
        return
    with pytest.raises(UsageError) as caught:
        ChatUI("https://chat.test", **settings)  # type: ignore[arg-type]
    assert "sk" not in str(caught.value)


def test_client__a_certificate_that_is_not_there() -> None:
    """A path that leads to no certificate is named, and nothing is tried again."""
    with ChatUI("https://127.0.0.1:1", cert="/no/certificate") as client:
        with pytest.raises(UsageError, match="/no/certificate") as caught:
            client.models()

    assert 1 == caught.value.attempts


def test_stream__of_no_conversation() -> None:
    """An id in the place of a conversation is refused at the call."""
    with pytest.raises(UsageError, match="not str"):
        ChatUI("http://127.0.0.1:1").stream("Hi", conversation="66a1")  # type: ignore[arg-type]


def test_chat__names_what_it_hands_to_stream() -> None:
    """chat() names all that every stream() takes, and hands that and the rest on as given."""

    class Noting(ChatUI):
        def stream(self, messages: Any, **given: Any) -> Any:
            noted.append({"messages": messages, **given})
            raise UsageError("noted")

    noted: list[dict[str, Any]] = []
    taken = list(inspect.signature(ChatClient.stream).parameters)[1:]
    given = {name: object() for name in taken} | {"web_search": True}
    with pytest.raises(UsageError, match="noted"):
        Noting("http://127.0.0.1:1").chat(**given)

    assert [*taken, "options"] == list(inspect.signature(ChatClient.chat).parameters)[1:]
    assert [given] == noted


def test_client__shows_no_secret() -> None:
    """Neither the client nor its settings show what is secret."""
    client = secretive()
    shown = repr(client) + str(client) + repr(client._settings) + client.base_url

    assert "https://chat.test/base" == client.base_url
    assert not any(secret in shown for secret in SECRETS)


def test_pickle__drops_secrets_and_says_so() -> None:
    """The copy of a client with secrets raises at its first use, naming what is missing."""
    raw = pickle.dumps(secretive())
    copy = pickle.loads(raw)

    assert not any(secret.encode() in raw for secret in SECRETS)
    assert b"Accept-Language" in raw
    with pytest.raises(UsageError, match=r"api_key.*proxy.*X-Auth-Token.*cookies.*login"):
        copy.stream("Hi")


def test_pickle__keeps_a_key_that_is_a_function(emulator: Emulator) -> None:
    """A client without stored secrets works on the other side."""
    client = C4AICommand(emulator.url("chat-ui"), api_key=key, timeout=7)
    with pickle.loads(pickle.dumps(client)) as copy:
        assert copy.chat("Hi").text
        assert 7 == copy.timeout.first

    assert "Bearer from-a-function" == emulator.requests[-1].headers["Authorization"]


def test_client__lists_given_by_the_caller_are_copied() -> None:
    """What the caller does to a dict afterwards changes no request."""
    headers = {"X-Mine": "1"}
    client = ChatUI("https://chat.test", headers=headers)
    headers["X-Mine"] = "2"

    assert "1" == client._settings.headers["X-Mine"]


@responses.activate
def test_session__lends_its_auth_and_not_its_cookies() -> None:
    """A caller's session gives auth; its cookies stay its own, and it stays open."""
    responses.get("https://chat.test/api/models", json=[{"id": "m"}])
    session = requests.Session()
    session.auth = ("user", "password")
    session.cookies.set("private", "1", domain="chat.test")
    with ChatUI("https://chat.test", session=session) as client:
        assert ["m"] == [model.id for model in client.models()]

    sent = responses.calls[0].request.headers
    assert sent["Authorization"].startswith("Basic ")
    assert "Cookie" not in sent


def test_session__lends_its_adapters(emulator: Emulator) -> None:
    """An adapter of the caller's own carries the requests, and a whole turn works on it."""
    seen: list[str] = []

    class Counting(requests.adapters.HTTPAdapter):
        def send(self, request, *args, **kwargs):  # type: ignore[no-untyped-def]
            seen.append(request.method)
            return super().send(request, *args, **kwargs)

    session = requests.Session()
    session.mount("http://", Counting())
    with C4AICommand(emulator.url("chat-ui"), session=session) as client:
        assert client.chat("Hi").text
    session.close()

    assert ["POST", "GET", "POST"] == seen


@responses.activate
def test_netrc__does_not_replace_a_key(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A netrc entry for the server neither replaces nor adds credentials."""
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("machine chat.test login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    responses.get("https://chat.test/api/models", json=[])
    with ChatUI("https://chat.test", api_key="k") as client:
        client._fetch("GET", "/api/models", phase="models")
    with ChatUI("https://chat.test") as client:
        client._fetch("GET", "/api/models", phase="models")

    assert "Bearer k" == responses.calls[0].request.headers["Authorization"]
    assert "Authorization" not in responses.calls[1].request.headers


@responses.activate
def test_verify__false_is_not_undone_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """verify=False holds for its client, whatever CA bundles the environment names."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle")
    responses.get("https://chat.test/api/models", json=[])
    with ChatUI("https://chat.test", verify=False) as client:
        client.models()
    assert responses.calls[0].request.req_kwargs["verify"] is False  # type: ignore[attr-defined]
