"""What is wrong with a server, by its answers or by why there is none, and what to do.

A remedy is what its reader can do next; where one has to guess, it is a question.
"""

from __future__ import annotations

import re
import ssl
from socket import gaierror
from typing import Any
from urllib.parse import urlsplit

from .errors import (
    AuthError,
    C4AIError,
    IncompleteReplyError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    ServerError,
    StatusError,
    TimedOutError,
    UsageError,
    caused_by,
    quote,
)
from .failures import page_error
from .site import Seen, Site

__all__ = ["Failed", "misplaced", "refused", "strange", "unreached"]


class Failed(Exception):  # noqa: N818 - no caller sees it
    """A check failed, and those behind it cannot be made.

    Attributes:
        name: Which check.
        saw: What was seen.
        remedy: What to do.
        raises: The class of its error.
        fields: The error's fields.
    """

    def __init__(
        self,
        name: str,
        saw: str,
        remedy: str,
        raises: type[C4AIError] = ProtocolError,
        **fields: Any,
    ) -> None:
        super().__init__(f"{saw}: {remedy}")
        self.name = name
        self.saw = saw
        self.remedy = remedy
        self.raises = raises
        self.fields = fields


def unreached(site: Site, error: C4AIError) -> Failed:
    """Return what kept a site's page from coming."""
    host = urlsplit(site.origin).netloc
    words = str(error.args[0]) if error.args else ""
    saw, remedy = f"{site.origin} cannot be reached: {words}", "is the URL right?"
    fields: dict[str, Any] = {}
    if caused_by(error, UsageError):
        saw, remedy = words, "correct that setting"
    elif "proxy" in words:
        saw, remedy = words, "correct the proxy, or leave it out"
    elif untrusted := caused_by(error, ssl.SSLCertVerificationError):
        said = getattr(untrusted, "verify_message", "") or "it cannot be verified"
        saw = f"the certificate of {host} is not trusted ({said})"
        remedy = (
            "if you trust the server, give the file of its CA as verify=PATH, "
            "or in the environment as REQUESTS_CA_BUNDLE"
        )
    elif caused_by(error, ssl.SSLError):
        saw = f"{host} does not speak https as we do: {words}"
        remedy = "correct scheme and port"
    elif caused_by(error, gaierror):
        saw = f"no address is known for the name {urlsplit(site.origin).hostname}"
        remedy = "check its spelling, and that this machine is on the network that knows it"
    elif caused_by(error, ConnectionRefusedError):
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
    return Failed("connection", saw, remedy, type(error), **fields)


def refused(site: Site, page: Seen) -> Failed | None:
    """Return what is wrong where the status alone tells, else None."""
    known: dict[str, Any] = {"status": page.status, "body": quote(page.body)}
    if page.status in (401, 403):
        key = "another api_key" if site.settings.get("api_key") else "api_key (--api-key)"
        return Failed(
            "login",
            f"{site.url} answers {page.status}: it lets in only those whom it knows",
            f"give {key}, or cookies=, that it accepts",
            AuthError,
            **known,
        )
    if page.status == 404 and site.origin.endswith(".hf.space"):
        return Failed(
            "answer",
            f"{site.url} answers 404: there is no such Space, or it is private",
            "check its name, and give your Hugging Face token as api_key (--api-key)",
            NotFoundError,
            **known,
        )
    if page.status == 429:
        return Failed(
            "answer",
            f"{site.url} answers 429: too many requests",
            "wait a minute, and ask again",
            RateLimitError,
            **known,
        )
    if page.status >= 500:
        said = page_error(page.status, page.body)
        words = str(said.args[0]).rpartition("page: ")[2] if said else ""
        return Failed(
            "answer",
            f"{site.url} answers {page.status}" + (f", {words}" if words else ""),
            "look at the server's log" if not words else "then ask again",
            ServerError,
            **known,
        )
    return None


def misplaced(url: str, site: Site, page: Seen, what: str) -> Failed:
    """Return that *url* has another path than the application, which answers at *site*."""
    return Failed(
        "url",
        f"nothing that chats is at {url}",
        f"use {site.url}, where {what} answers",
        NotFoundError,
        status=page.status,
        body=quote(page.body),
    )


def strange(url: str, site: Site, page: Seen) -> Failed:
    """Return what a server is that is nothing of ours."""
    known: dict[str, Any] = {"status": page.status, "body": quote(page.body)}
    listed = site.ask("/v1/models").json
    if isinstance(listed, dict) and isinstance(listed.get("data"), list):
        return Failed(
            "kind",
            f"{url} is an OpenAI-compatible server (it lists models at /v1/models)",
            "ask it with a client for OpenAI's API; this package speaks other protocols",
        )
    if page.shows('type="password"'):
        return Failed(
            "login",
            f"{url} shows a login page",
            "log in with a browser and give that session's cookies=, or give api_key",
            AuthError,
            **known,
        )
    if page.status != 200:
        return Failed(
            "answer",
            f"{url} answers {page.status}, and no chat server was found there",
            "is a path missing, such as /chat, or one too many?",
            NotFoundError if page.status == 404 else StatusError,
            **known,
        )
    asleep = page_error(page.status, page.body) if page.is_page else None
    if isinstance(asleep, ServerError) and page.shows("space"):
        saw, _, remedy = str(asleep.args[0]).rpartition("page: ")[2].partition(": ")
        return Failed("answer", f"{url}: {saw}", remedy or "ask again", ServerError, **known)
    if page.is_page:
        title = re.search(r"<title[^>]*>([^<]*)", page.body.decode("utf-8", "replace"), re.I)
        what = f"a web page{f', {quote(title[1])!r},' if title else ''} of another kind"
    elif not page.body.strip():
        what = "an empty answer"
    else:
        what = f"something else, which begins: {quote(page.body[:60])}"
    return Failed(
        "kind",
        f"{url} gives {what}; it is neither chat-ui nor Gradio",
        "correct the URL: it is that of the chat itself, such as https://owner-name.hf.space",
    )
