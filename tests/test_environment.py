"""What the environment says, and what has the last word over it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import peers
import pytest
import requests

from c4ai_clients import AutonomousAI, ConnectError, UsageError
from c4ai_clients.emulator import Emulator

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
Asked = Callable[..., int]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, *map(str.upper, VARIABLES), *BUNDLES):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> peers.Authority:
    return peers.Authority(str(tmp_path_factory.mktemp("ca") / "ca.pem"))


@pytest.fixture(scope="module")
def servers(authority: peers.Authority) -> Iterator[dict[str, str]]:
    """The same server on http and on https."""
    with (
        Emulator(("autonomous",)) as plain,
        Emulator(("autonomous",), tls=authority.server) as secure,
    ):
        yield {"http": plain.url("autonomous"), "https": secure.url("autonomous")}


def ask(url: str, **settings: object) -> None:
    with AutonomousAI(url, retry=None, **settings) as client:  # type: ignore[arg-type]
        assert client.chat("Hi").text


@pytest.mark.parametrize(
    ("scheme", "variable"),
    [
        *(("http", name) for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")),
        *(("https", name) for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")),
    ],
)
def test_environment__names_a_proxy(
    scheme: str,
    variable: str,
    servers: dict[str, str],
    authority: peers.Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is used, but not with trust_env=False, not for a host of no_proxy, nor over proxy=."""
    by_environment: list[str] = []
    by_setting: list[str] = []
    url, verify = servers[scheme], authority.path
    with (
        peers.listening(peers.proxying(by_environment)) as one,
        peers.listening(peers.proxying(by_setting)) as other,
    ):
        monkeypatch.setenv(variable, f"http://{one}")
        ask(url, verify=verify)
        assert 1 == len(by_environment)
        ask(url, verify=verify, proxy=f"http://{other}")
        assert 1 == len(by_setting)
        ask(url, verify=verify, trust_env=False)
        lent = requests.Session()
        lent.proxies = {scheme: f"http://{other}"}
        ask(url, verify=verify, session=lent, trust_env=False)
        assert 2 == len(by_setting)
        for name in ("no_proxy", "NO_PROXY"):
            with monkeypatch.context() as away:
                away.setenv(name, "example.test,127.0.0.1")
                ask(url, verify=verify)
                # What is asked for by name is not undone by the environment.
                ask(url, verify=verify, proxy=f"http://{other}")

    assert 1 == len(by_environment)
    assert 4 == len(by_setting)


@pytest.mark.parametrize("variable", BUNDLES[:2])
def test_environment__names_authorities(
    variable: str,
    servers: dict[str, str],
    authority: peers.Authority,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """They are trusted, but not with trust_env=False, nor over verify=."""
    other = peers.Authority(str(tmp_path / "other.pem"))
    monkeypatch.setenv(variable, authority.path)
    ask(servers["https"])
    with pytest.raises(ConnectError, match="not trusted"):
        ask(servers["https"], trust_env=False)
    with pytest.raises(ConnectError, match="not trusted"):
        ask(servers["https"], verify=other.path)
    monkeypatch.setenv(variable, other.path)
    ask(servers["https"], verify=authority.path)
    with pytest.warns(match="Unverified HTTPS"):
        ask(servers["https"], verify=False)


@pytest.mark.parametrize("variable", BUNDLES[2:])
def test_environment__names_authorities_in_vain(
    variable: str,
    servers: dict[str, str],
    authority: peers.Authority,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """What requests does not read neither adds an authority nor takes one away."""
    monkeypatch.setenv(variable, authority.path)
    with pytest.raises(ConnectError, match="not trusted"):
        ask(servers["https"])
    monkeypatch.setenv(variable, str(tmp_path / "none"))
    ask(servers["https"], verify=authority.path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", authority.path)
    ask(servers["https"])


def test_environment__the_first_bundle_wins(
    servers: dict[str, str],
    authority: peers.Authority,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Where two variables name authorities, those of REQUESTS_CA_BUNDLE alone are trusted."""
    other = peers.Authority(str(tmp_path / "other.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", authority.path)
    monkeypatch.setenv("CURL_CA_BUNDLE", other.path)
    ask(servers["https"])
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", other.path)
    monkeypatch.setenv("CURL_CA_BUNDLE", authority.path)
    with pytest.raises(ConnectError, match="not trusted"):
        ask(servers["https"])


def test_environment__bundle_that_is_not_there(
    servers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path to nothing is an error that names it."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/ca.pem")
    with pytest.raises(UsageError, match=r"at '/no/such/ca\.pem'"):
        ask(servers["https"])


def test_proxy__socks_is_read_as_socks5h(servers: dict[str, str]) -> None:
    """The proxy looks the name up, as browsers have it do; desktops write socks://."""
    seen: list[str] = []
    url = servers["http"].replace("127.0.0.1", "localhost")
    with peers.listening(peers.socks5(seen)) as address:
        ask(url, proxy=f"socks://{address}")

    assert [url.removeprefix("http://")] == seen


def test_proxy__socks_in_the_environment(
    servers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same where the environment says it."""
    seen: list[str] = []
    url = servers["http"].replace("127.0.0.1", "localhost")
    with peers.listening(peers.socks5(seen)) as address:
        monkeypatch.setenv("ALL_PROXY", f"socks://{address}")
        ask(url)

    assert [url.removeprefix("http://")] == seen


def run(code: str, *arguments: str, path: str) -> subprocess.CompletedProcess[str]:
    """Run *code* in a process that looks for modules at *path* first."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_proxy__socks_without_its_library(tmp_path: Path) -> None:
    """One clear sentence says what to install, before anything is sent."""
    (tmp_path / "socks.py").write_text("raise ImportError('not here')\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ran = run(
            "import sys, c4ai_clients as c\n"
            "for scheme in ('socks', 'socks5', 'socks5h', 'socks4'):\n"
            "    proxy = scheme + '://127.0.0.1:' + sys.argv[1]\n"
            "    try:\n"
            "        c.AutonomousAI('http://127.0.0.1:1', proxy=proxy).chat('Hi')\n"
            "    except c.UsageError as error:\n"
            "        print(error)\n",
            str(listener.getsockname()[1]),
            path=str(tmp_path),
        )
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()

    told = ran.stdout.splitlines()
    assert 4 == len(told), ran.stderr
    assert all("pip install 'c4ai-clients[socks]'" in line for line in told)


def test_import__the_dead_sseclient(tmp_path: Path) -> None:
    """Where another package has taken the module's name, the import says so and what helps."""
    (tmp_path / "sseclient.py").write_text("class SSEClient:\n    def __next__(self): ...\n")
    ran = run("import c4ai_clients; c4ai_clients.AutonomousAI", path=str(tmp_path))

    assert 1 == ran.returncode
    assert "pip install --force-reinstall sseclient-py" in ran.stderr.splitlines()[-1]
    assert "ImportError" in ran.stderr.splitlines()[-1]
