"""What stands at a URL: check by check, and what to do about the first that fails.

The page at the URL comes first: what it shows says who is asked next. Each
provider recognises its own servers, in ``providers/NAME_site.py``; here stand
their order, and what to do where nothing fits. No message is sent and no
conversation begun.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from socket import gaierror
from typing import Any, NoReturn
from urllib.parse import urlsplit

from .address import addresses, base_of, swapped
from .client import ChatClient
from .errors import (
    AuthError,
    C4AIError,
    ConnectError,
    IncompleteReplyError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    ServerError,
    StatusError,
    TimedOutError,
    TransportError,
    UsageError,
    causes,
    quote,
)
from .failures import page_error, wants_login
from .providers import autonomous_site, chatui_site, gradio_site, h2o_site
from .providers.autonomous import AutonomousAI
from .providers.chatui import C4AICommand, ChatUI
from .providers.gradio import Gradio, Qwen
from .providers.h2o import H2O
from .site import Found, Seen, Site

__all__ = ["Check", "Examination", "Failed", "Finding"]


@dataclass(frozen=True)
class _Kind:
    """A client, and how its servers are recognised."""

    client: type[ChatClient]
    shows: Callable[[Seen], bool]
    base: Callable[[Site, Seen], str | None]
    found: Callable[[Site, Seen], Found | None]


_KINDS = tuple(
    _Kind(client, site.shows, site.base, site.found)
    for client, site in (
        (Gradio, gradio_site),
        (ChatUI, chatui_site),
        (H2O, h2o_site),
        (AutonomousAI, autonomous_site),
    )
)
_PRESETS = {
    str(urlsplit(str(preset.default_url)).hostname): preset
    for preset in (C4AICommand, Qwen, H2O, AutonomousAI)
}
_SHOWN = 8


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: ``url``, ``connection``, ``answer``, ``kind``, ``chat``,
            ``login``, ``terms`` or ``models``.
        ok: Whether it is as it should be; None where one should know of it.
        saw: What was seen.
        remedy: What to do; ``""`` where there is nothing.
    """

    name: str
    ok: bool | None
    saw: str
    remedy: str = ""


@dataclass(frozen=True)
class Finding:
    """What stands at a URL.

    Attributes:
        url: The URL as it was understood, without a login.
        client: The class that fits, or None.
        found: What the server is, or None.
        checks: What was looked at, in order.
        tried: The requests, such as ``"GET /config (200)"``.
        error: Why nothing fits, or None.
    """

    url: str
    client: type[ChatClient] | None = None
    found: Found | None = None
    checks: tuple[Check, ...] = ()
    tried: tuple[str, ...] = ()
    error: C4AIError | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values that JSON can hold."""
        found = self.found or Found("")
        return {
            "url": self.url,
            "fits": self.client is not None,
            "client": self.client and self.client.__name__,
            "provider": self.client and self.client.provider,
            "what": found.what or None,
            "version": found.version or None,
            "login": found.login,
            "terms": found.terms,
            "models": list(found.models),
            "checks": [asdict(check) for check in self.checks],
            "requests": list(self.tried),
        }


class Failed(Exception):  # noqa: N818 - it never leaves this file
    """A check failed, and those behind it cannot be made."""

    def __init__(self, error: C4AIError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass
class Examination:
    """One look at a server: what was asked, and what came of it."""

    settings: Mapping[str, Any]
    url: str = ""
    checks: list[Check] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)

    def of(self, url: str) -> Finding:
        """Look at what stands at *url*."""
        try:
            pasted = addresses(url)
        except (UsageError, ValueError) as error:
            shown = quote(url).rpartition("@")[2] if isinstance(url, str) else quote(url)
            self.url = shown
            self.fail(
                "url",
                f"{shown!r} is no URL of a server",
                "write it as https://host, http://host:port or host",
                UsageError,
                cause=error,
            )
        site, page = self._reached(pasted)
        site, page = self._followed(site, page)
        self.url = site.url
        self._check_status(site, page)
        kind, found = self._recognised(site, page)
        self.url = site.url
        return self._described(kind, found)

    def fail(
        self,
        name: str,
        saw: str,
        remedy: str,
        raises: type[C4AIError] = ProtocolError,
        *,
        cause: BaseException | None = None,
        **fields: Any,
    ) -> NoReturn:
        """Note a check that failed, and end the examination."""
        self.checks.append(Check(name, False, saw, remedy))
        tried = f". Tried: {', '.join(self.tried)}" if self.tried else ""
        error = raises(f"{saw}: {remedy}{tried}", phase="connect", **fields)
        error.__cause__ = cause
        raise Failed(error) from cause

    def finding(
        self,
        client: type[ChatClient] | None = None,
        found: Found | None = None,
        error: C4AIError | None = None,
    ) -> Finding:
        """Return what was found."""
        return Finding(self.url, client, found, tuple(self.checks), tuple(self.tried), error)

    def _site(self, origin: str, base: str) -> Site:
        self.sites.append(Site(origin, base, self.settings, self.tried))
        return self.sites[-1]

    def _reached(self, pasted: list[tuple[str, str]]) -> tuple[Site, Seen]:
        """Return the first address that answers, and its page.

        A URL without a scheme has two; of one with a scheme the other is only
        tried to say that it would do.
        """
        certain = len(pasted) == 1
        site = self._site(*pasted[0])
        self.url = site.url
        page, trouble = _page(site)
        if page is not None:
            return site, page
        if _mixed_up(trouble) or not (certain or _of(trouble, gaierror)):
            origin = pasted[-1][0] if not certain else swapped(pasted[0][0])
            other = self._site(origin, pasted[0][1])
            said = certain and isinstance(trouble, StatusError)
            page, worse = (None, trouble) if said else _page(other)
            untrusted = _of(worse, ssl.SSLCertVerificationError) is not None
            if certain and (said or page is not None or untrusted):
                scheme = urlsplit(origin).scheme
                self.fail(
                    "connection",
                    f"{site.origin} does not speak {urlsplit(site.origin).scheme}",
                    f"it speaks {scheme}: use {other.url}",
                    ConnectError,
                    cause=trouble,
                    lasting=True,
                )
            if page is not None:
                return other, page
            if untrusted:
                self._unreached(other, worse)
        return self._unreached(site, trouble)

    def _unreached(self, site: Site, error: C4AIError) -> NoReturn:
        """Fail for what kept the page from coming."""
        host = urlsplit(site.origin).netloc
        words = str(error.args[0]) if error.args else ""
        saw, remedy = f"{site.origin} cannot be reached: {words}", "is the URL right?"
        fields: dict[str, Any] = {}
        if _of(error, UsageError):
            saw, remedy = words, "correct that setting"
        elif "proxy" in words:
            saw, remedy = words, "correct the proxy, or leave it out"
        elif untrusted := _of(error, ssl.SSLCertVerificationError):
            said = getattr(untrusted, "verify_message", "") or "it cannot be verified"
            saw = f"the certificate of {host} is not trusted ({said})"
            remedy = (
                "if you trust the server, give the file of its CA as verify=PATH, "
                "or in the environment as REQUESTS_CA_BUNDLE"
            )
        elif _of(error, ssl.SSLError):
            saw = f"{host} does not speak https as we do: {words}"
            remedy = "correct scheme and port"
        elif _of(error, gaierror):
            saw = f"no address is known for the name {urlsplit(site.origin).hostname}"
            remedy = "check its spelling, and that this machine is on the network that knows it"
        elif _of(error, ConnectionRefusedError):
            saw = f"nothing listens at {host}"
            remedy = "start the server, or correct the port"
        elif isinstance(error, TimedOutError) and error.kind == "connect":
            saw = f"{host} takes no connection ({words.partition(':')[0]})"
            remedy = "check host and port; a firewall may drop what you send, or a proxy be needed"
            fields["kind"] = error.kind
        elif isinstance(error, TimedOutError):
            saw = f"{host} takes connections and does not answer ({words.partition(':')[0]})"
            remedy = "see whether the server hangs, or give it longer with timeout="
            fields["kind"] = error.kind
        elif isinstance(error, ProtocolError):
            saw = f"what answers at {host} does not speak HTTP ({words})"
            remedy = "correct the port: another service has this one"
        elif isinstance(error, IncompleteReplyError):
            saw = f"{host} hangs up without an answer"
            remedy = "correct scheme and port, or look at the server's log"
        self.fail("connection", saw, remedy, type(error), cause=error, **fields)

    def _followed(self, site: Site, page: Seen) -> tuple[Site, Seen]:
        """Follow a redirect to another path of the same server, once."""
        for last in (False, True):
            if not (300 <= page.status < 400 and page.location):
                break
            path = site.path_of(page.location)
            shown = quote(page.location.partition("?")[0])
            if wants_login(page.location):
                self.fail(
                    "login",
                    f"{site.url} sends us on to a login, {shown}",
                    "log in with a browser and give that session's cookies=, or give api_key",
                    AuthError,
                    status=page.status,
                )
            onward = None if path is None else base_of(path)
            if last or onward is None or onward == site.base:
                remedy = "give that server as the URL" if onward is None else "correct the server"
                self.fail(
                    "answer",
                    f"{site.url} sends us on to {shown}",
                    remedy,
                    StatusError,
                    status=page.status,
                )
            site.base = onward
            page = site.page()
        return site, page

    def _check_status(self, site: Site, page: Seen) -> None:
        """Fail for a status that tells all."""
        known: dict[str, Any] = {"status": page.status, "body": quote(page.body)}
        if page.status in (401, 403):
            key = "another api_key" if self.settings.get("api_key") else "api_key (--api-key)"
            self.fail(
                "login",
                f"{site.url} answers {page.status}: it lets in only those whom it knows",
                f"give {key}, or cookies=, that it accepts",
                AuthError,
                **known,
            )
        if page.status == 404 and site.origin.endswith(".hf.space"):
            self.fail(
                "answer",
                f"{site.url} answers 404: there is no such Space, or it is private",
                "check its name, and give your Hugging Face token as api_key (--api-key)",
                NotFoundError,
                **known,
            )
        if page.status == 429:
            self.fail(
                "answer",
                f"{site.url} answers 429: too many requests",
                "wait a minute, and ask again",
                RateLimitError,
                **known,
            )
        if page.status >= 500:
            said = page_error(page.status, page.body)
            words = str(said.args[0]).rpartition("page: ")[2] if said else ""
            self.fail(
                "answer",
                f"{site.url} answers {page.status}" + (f", {words}" if words else ""),
                "look at the server's log" if not words else "then ask again",
                ServerError,
                **known,
            )

    def _recognised(self, site: Site, page: Seen) -> tuple[type[ChatClient], Found]:
        """Return whose server it is: those are asked whose page it looks like, or else all.

        The page of a wrong path may tell the right one; if it does not, what
        stands above all paths is looked at too.
        """
        preset = _PRESETS.get(str(urlsplit(site.origin).hostname))
        if preset is AutonomousAI:
            return preset, Found("AutonomousAI")
        given, top = page, page
        likely = _likely(page)
        if not likely and site.base and not site.spent:
            below, site.base = site.base, ""
            top = site.ask("/")
            likely = _likely(top)
            if not likely and page.status == 200:
                site.base, top = below, page
        elif likely and (told := likely[0].base(site, page)) is not None:
            site.base = told
        right = top is given and given.status != 404
        for base in dict.fromkeys((site.base, "")):
            right, site.base = right and base == site.base, base
            for kind in likely or _KINDS:
                try:
                    found = kind.found(site, top)
                except (TransportError, ProtocolError) as error:
                    self._unreached(site, error)
                if found is None:
                    continue
                if not right and self.url != site.url:
                    self._wrong_path(site, given, found)
                wanted = preset is not None and issubclass(preset, kind.client)
                return preset if preset is not None and wanted else kind.client, found
        return self._stranger(site, given)

    def _wrong_path(self, site: Site, page: Seen, found: Found) -> NoReturn:
        """Fail for a path that is not the application's own."""
        self.fail(
            "url",
            f"nothing that chats is at {self.url}",
            f"use {site.url}, where {found.what} answers",
            NotFoundError,
            status=page.status,
            body=quote(page.body),
        )

    def _stranger(self, site: Site, page: Seen) -> NoReturn:
        """Fail for a server that is nothing of ours."""
        known: dict[str, Any] = {"status": page.status, "body": quote(page.body)}
        listed = site.ask("/v1/models").json
        if isinstance(listed, dict) and isinstance(listed.get("data"), list):
            self.fail(
                "kind",
                f"{self.url} is an OpenAI-compatible server (it lists models at /v1/models)",
                "ask it with a client for OpenAI's API; this package speaks other protocols",
            )
        if page.shows('type="password"'):
            self.fail(
                "login",
                f"{self.url} shows a login page",
                "log in with a browser and give that session's cookies=, or give api_key",
                AuthError,
                **known,
            )
        if page.status != 200:
            self.fail(
                "answer",
                f"{self.url} answers {page.status}, and no chat server was found there",
                "is a path missing, such as /chat, or one too many?",
                NotFoundError if page.status == 404 else StatusError,
                **known,
            )
        asleep = page_error(page.status, page.body) if page.is_page else None
        if isinstance(asleep, ServerError) and page.shows("space"):
            saw, _, remedy = str(asleep.args[0]).rpartition("page: ")[2].partition(": ")
            self.fail("answer", f"{self.url}: {saw}", remedy or "ask again", ServerError, **known)
        if page.is_page:
            title = re.search(r"<title[^>]*>([^<]*)", page.body.decode("utf-8", "replace"), re.I)
            what = f"a web page{f', {quote(title[1])!r},' if title else ''} of another kind"
        elif not page.body.strip():
            what = "an empty answer"
        else:
            what = f"something else, which begins: {quote(page.body[:60])}"
        self.fail(
            "kind",
            f"{self.url} gives {what}; it is neither chat-ui nor Gradio",
            "correct the URL: it is that of the chat itself, such as https://owner-name.hf.space",
        )

    def _described(self, client: type[ChatClient], found: Found) -> Finding:
        """Say what was found, check by check."""
        add = self.checks.append
        add(Check("connection", True, f"{self.url} answers"))
        what = " ".join(
            filter(None, [found.what, f"({quote(found.version)})" if found.version else ""])
        )
        if found.certain:
            add(Check("kind", True, f"{what}; its client is {client.__name__}"))
        else:
            add(
                Check(
                    "kind",
                    None,
                    f"{what}, by its path; its client is {client.__name__}",
                    "a guess: it tells nothing of itself. A question will show",
                )
            )
        if found.problem is not None:
            saw, _, remedy = quote(str(found.problem.args[0])).partition(": ")
            self.fail("chat", saw, remedy, type(found.problem), cause=found.problem)
        for line in found.chat:
            add(Check("chat", True, quote(line)))
        if found.login:
            given = [n for n in ("auth", "cookies", "api_key") if self.settings.get(n)]
            way = 'auth=("user", "password")' if issubclass(client, Gradio) else "cookies="
            add(
                Check(
                    "login",
                    None,
                    "wants a login"
                    + (f"; {given[0]} is given, and was not tried" if given else ""),
                    ""
                    if given
                    else f"give {way}, that of a session in a browser"
                    if way == "cookies="
                    else f"give {way}",
                )
            )
        elif found.login is False:
            add(Check("login", True, "wants no login"))
        if found.terms:
            add(
                Check(
                    "terms",
                    None,
                    "wants its terms accepted",
                    f"read them at {self.url}: the client accepts them with the first question",
                )
            )
        elif found.terms is False:
            add(Check("terms", True, "wants no terms accepted"))
        if found.models:
            some = ", ".join(map(quote, found.models[:_SHOWN]))
            more = f" and {len(found.models) - _SHOWN} more" if found.models[_SHOWN:] else ""
            add(Check("models", True, f"{some}{more}"))
        return self.finding(client, found)


def _page(site: Site) -> tuple[Seen | None, C4AIError]:
    """Return a site's page, or why none comes."""
    try:
        page = site.page()
    except (TransportError, ProtocolError) as error:
        return None, error
    # nginx, Apache and Go say so in words.
    wants_tls = page.status == 400 and page.shows("https") and site.origin.startswith("http:")
    return (None if wants_tls else page), StatusError("the server wants https", status=400)


def _likely(page: Seen) -> list[_Kind]:
    return [kind for kind in _KINDS if kind.shows(page)]


def _of(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    """Return the first of *kind* among an error and what caused it."""
    return next((link for link in causes(error) if isinstance(link, kind)), None)


def _mixed_up(error: C4AIError) -> bool:
    """Tell whether it looks like http where https is spoken, or the reverse."""
    if isinstance(error, (ProtocolError, IncompleteReplyError, StatusError)):
        return True
    return bool(_of(error, ssl.SSLError)) and not _of(error, ssl.SSLCertVerificationError)
