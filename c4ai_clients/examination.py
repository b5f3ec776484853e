"""What stands at a URL: check by check, and what to do about the first that fails.

The page at the URL comes first: what it shows says who is asked next. Each
provider recognises its own servers, in ``providers/NAME_site.py``; here stand
their order, and in ``remedies.py`` what to do where nothing fits. No message is
sent and no conversation begun.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from socket import gaierror
from typing import Any
from urllib.parse import urlsplit

from .address import addresses, base_of, swapped
from .client import ChatClient
from .errors import (
    AuthError,
    C4AIError,
    ConnectError,
    IncompleteReplyError,
    ProtocolError,
    StatusError,
    TransportError,
    UsageError,
    caused_by,
    quote,
)
from .failures import wants_login
from .providers import autonomous_site, chatui_site, gradio_site, h2o_site
from .providers.autonomous import AutonomousAI
from .providers.chatui import C4AICommand, ChatUI
from .providers.gradio import Gradio, Qwen
from .providers.h2o import H2O
from .remedies import Failed, misplaced, refused, strange, unreached
from .site import Found, Seen, Site

__all__ = ["Check", "Examination", "Finding"]


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
        client, found, error = None, None, None
        try:
            client, found = self._found(url)
        except Failed as failed:
            self._note(failed.name, False, failed.saw, failed.remedy)
            tried = f". Tried: {', '.join(self.tried)}" if self.tried else ""
            error = failed.raises(f"{failed}{tried}", phase="connect", **failed.fields)
            error.__cause__ = failed.__cause__
        finally:
            for site in self.sites:
                site.close()
        return Finding(self.url, client, found, tuple(self.checks), tuple(self.tried), error)

    def _found(self, url: str) -> tuple[type[ChatClient], Found]:
        """Return what stands at *url*, and its client."""
        try:
            pasted = addresses(url)
        except (UsageError, ValueError) as error:
            shown = quote(url).rpartition("@")[2] if isinstance(url, str) else quote(url)
            self.url = shown
            raise Failed(
                "url",
                f"{shown!r} is no URL of a server",
                "write it as https://host, http://host:port or host",
                UsageError,
            ) from error
        site, page = self._reached(pasted)
        site, page = self._followed(site, page)
        self.url = site.url
        if (failed := refused(site, page)) is not None:
            raise failed
        client, found = self._recognised(site, page)
        self.url = site.url
        self._describe(client, found)
        return client, found

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
        if _mixed_up(trouble) or not (certain or caused_by(trouble, gaierror)):
            origin = pasted[-1][0] if not certain else swapped(pasted[0][0])
            other = self._site(origin, pasted[0][1])
            said = certain and isinstance(trouble, StatusError)
            page, worse = (None, trouble) if said else _page(other)
            untrusted = caused_by(worse, ssl.SSLCertVerificationError) is not None
            if certain and (said or page is not None or untrusted):
                scheme = urlsplit(origin).scheme
                raise Failed(
                    "connection",
                    f"{site.origin} does not speak {urlsplit(site.origin).scheme}",
                    f"it speaks {scheme}: use {other.url}",
                    ConnectError,
                    lasting=True,
                ) from trouble
            if page is not None:
                return other, page
            if untrusted:
                raise unreached(other, worse) from worse
        raise unreached(site, trouble) from trouble

    def _followed(self, site: Site, page: Seen) -> tuple[Site, Seen]:
        """Follow a redirect to another path of the same server, once."""
        for last in (False, True):
            if not (300 <= page.status < 400 and page.location):
                break
            path = site.path_of(page.location)
            shown = quote(page.location.partition("?")[0])
            if wants_login(page.location):
                raise Failed(
                    "login",
                    f"{site.url} sends us on to a login, {shown}",
                    "log in with a browser and give that session's cookies=, or give api_key",
                    AuthError,
                    status=page.status,
                )
            onward = None if path is None else base_of(path)
            if last or onward is None or onward == site.base:
                remedy = "give that server as the URL" if onward is None else "correct the server"
                raise Failed(
                    "answer",
                    f"{site.url} sends us on to {shown}",
                    remedy,
                    StatusError,
                    status=page.status,
                )
            site.base = onward
            page = site.page()
        return site, page

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
                    raise unreached(site, error) from error
                if found is None:
                    continue
                if not right and self.url != site.url:
                    raise misplaced(self.url, site, given, found.what)
                wanted = preset is not None and issubclass(preset, kind.client)
                return preset if preset is not None and wanted else kind.client, found
        raise strange(self.url, site, given)

    def _describe(self, client: type[ChatClient], found: Found) -> None:
        """Say what was found, check by check."""
        self._note("connection", True, f"{self.url} answers")
        what = f"{found.what} ({quote(found.version)})" if found.version else found.what
        if found.certain:
            self._note("kind", True, f"{what}; its client is {client.__name__}")
        else:
            self._note(
                "kind",
                None,
                f"{what}, by its path; its client is {client.__name__}",
                "a guess: it tells nothing of itself. A question will show",
            )
        if found.problem is not None:
            saw, _, remedy = quote(str(found.problem.args[0])).partition(": ")
            raise Failed("chat", saw, remedy, type(found.problem)) from found.problem
        for line in found.chat:
            self._note("chat", True, quote(line))
        if found.login is not None:
            self._note_login(client, found.login)
        if found.terms:
            remedy = f"read them at {self.url}: the client accepts them with the first question"
            self._note("terms", None, "wants its terms accepted", remedy)
        elif found.terms is False:
            self._note("terms", True, "wants no terms accepted")
        if found.models:
            some = ", ".join(map(quote, found.models[:_SHOWN]))
            more = f" and {len(found.models) - _SHOWN} more" if found.models[_SHOWN:] else ""
            self._note("models", True, f"{some}{more}")

    def _note_login(self, client: type[ChatClient], wanted: bool) -> None:
        """Say whether a login is wanted, and how to give one where none is given."""
        given = [name for name in ("auth", "cookies", "api_key") if self.settings.get(name)]
        if not wanted:
            self._note("login", True, "wants no login")
        elif given:
            self._note("login", None, f"wants a login; {given[0]} is given, and was not tried")
        elif issubclass(client, Gradio):
            self._note("login", None, "wants a login", 'give auth=("user", "password")')
        else:
            remedy = "give cookies=, that of a session in a browser"
            self._note("login", None, "wants a login", remedy)

    def _note(self, name: str, ok: bool | None, saw: str, remedy: str = "") -> None:
        self.checks.append(Check(name, ok, saw, remedy))


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


def _mixed_up(error: C4AIError) -> bool:
    """Tell whether it looks like http where https is spoken, or the reverse."""
    if isinstance(error, (ProtocolError, IncompleteReplyError, StatusError)):
        return True
    return bool(caused_by(error, ssl.SSLError)) and not caused_by(
        error, ssl.SSLCertVerificationError
    )
