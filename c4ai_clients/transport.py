"""One requests session: how each request is made, sent and answered.

Everything that a provider sends passes through :class:`Transport`, so headers,
cookies, redirects and what is sent again are each decided in one place. Only
this file, ``http_answer``, ``http1``, ``connections`` and ``failures`` import
requests or urllib3.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, TypeVar, Union
from urllib.parse import unquote, urlencode, urljoin, urlsplit, urlunsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict

from . import retrying
from ._version import __version__
from .clocks import Call, Clocked, Timeout
from .connections import TimedAdapter
from .errors import C4AIError, ProtocolError, UsageError, quote
from .failures import (
    WHICH_SERVER,
    page_error,
    seconds_until,
    status_error,
    translated,
    wants_login,
)
from .http_answer import JSON_LIMIT, Answer
from .secret import Secret, hidden, is_plain, withhold

__all__ = ["Settings", "Transport"]

_PLAIN = re.compile(r"[A-Za-z0-9/_.~-]+(\?[A-Za-z0-9_.~=&-]*)?")
_ALWAYS = {
    "User-Agent": f"c4ai-clients/{__version__}",
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate",
    "Connection": "keep-alive",
}
_REDIRECTS = 5
_GOODBYE = Timeout(total=2)
_SOCKS = ("socks", "socks4", "socks4a", "socks5", "socks5h")

_logger = logging.getLogger("c4ai_clients")
_Result = TypeVar("_Result")


@dataclass
class Settings:
    """How to reach a server: what every client takes as keyword arguments."""

    base_url: str = field(repr=False)
    provider: str = ""
    api_key: str | Callable[[], str] | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    cookies: Mapping[str, str] = field(default_factory=dict, repr=False)
    verify: bool | str = True
    cert: str | tuple[str, str] | None = None
    trust_env: bool = True
    session: requests.Session | None = field(default=None, repr=False)
    retry: retrying.RetryLike = None


Refusal = Callable[[Answer, str], Union[C4AIError, None]]
# Given each request, its answer, and what of the request is secret.
Tap = Callable[[requests.PreparedRequest, requests.Response, Iterable[str]], None]


class Transport:
    """Sends a client's requests; shared by its threads."""

    def __init__(self, settings: Settings) -> None:
        parts = urlsplit(settings.base_url)
        host = parts.netloc.rpartition("@")[2]
        self.settings = settings
        self.origin = f"{parts.scheme}://{host}"
        self.base_url = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        self._login = None
        if parts.username:
            self._login = hidden((unquote(parts.username), unquote(parts.password or "")))
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        # Reentrant: a stream's finalizer may say goodbye while this thread holds it.
        self._lock = threading.RLock()
        self._session: requests.Session | None = None
        self._way: dict[str, Any] = {}  # proxies, verify and cert, as an adapter takes them
        self._root = ""  # the base URL as it is sent
        self._withheld: list[str] = []
        self._current = threading.local()
        self._hold_until = 0.0
        self.tap: Tap | None = None
        self._goodbyes: set[threading.Thread] = set()

    def _begin_if_forked(self) -> None:
        """In a child process begin anew: sockets are the parent's, and locks may be held."""
        if self._pid != os.getpid():
            self._begin()

    @contextlib.contextmanager
    def open(
        self,
        call: Call,
        method: str,
        path: str,
        *,
        phase: str,
        preparing: bool = False,
        **how: Any,
    ) -> Iterator[Answer]:
        """Send a request, again where that is safe, and give its answer.

        Args:
            call: The turn that it belongs to.
            method: The HTTP method.
            path: Below the base URL, beginning with a slash.
            phase: The step's name, for errors.
            preparing: Whether the request only prepares the message, and may
                be repeated. The message itself, or what only one reader may
                ask for, is repeated only where the server cannot have taken it.
            **how: See :meth:`_headers` and :meth:`_prepared`, and *refusal*,
                which makes the error of an answer that refuses where the
                provider knows more than its status says. With *as_it_is* a
                refusal, a web page and a redirect are answers as any other,
                and not followed.
        """
        answer = self._run(call, phase, preparing, lambda: self._attempt(call, method, path, **how))
        try:
            with self.described(call, phase):
                yield answer
        finally:
            answer.close()

    def fetch(
        self,
        call: Call,
        method: str,
        path: str,
        *,
        phase: str,
        preparing: bool = True,
        first_line: bool = False,
        limit: int = JSON_LIMIT,
        **how: Any,
    ) -> Any:
        """Return the JSON that a request is answered with, None where it is empty.

        Takes what :meth:`open` takes. Of a page's data, which is JSON lines,
        the *first_line* is the page itself. The answer to a preparing step that
        breaks off is asked for again, as after a refused connection. It may
        have *limit* bytes.
        """

        def attempt() -> Any:
            answer = self._attempt(call, method, path, **how)
            try:
                return answer.json(first_line=first_line, limit=limit)
            finally:
                answer.close()

        return self._run(call, phase, preparing, attempt)

    def goodbye(
        self,
        method: str,
        path: str,
        *,
        phase: str,
        turn: Call | None = None,
        wanted: Callable[[Call], bool] | None = None,
        **how: Any,
    ) -> None:
        """Send a request that nobody waits for, in a daemon thread.

        Two seconds in all, never sent again; a failure is logged and changes
        nothing. :meth:`close` and the interpreter's exit wait for it.

        Args:
            method: The HTTP method.
            path: Below the base URL.
            phase: The step's name.
            turn: Whose it is: the process that reads it says goodbye, not a
                child which drops its copy.
            wanted: Asked in that thread whether to send it at all.
            **how: What :meth:`open` takes.
        """
        if turn is not None and turn.elsewhere:
            return
        self._begin_if_forked()

        def say() -> None:
            call = Call(_GOODBYE)
            try:
                with self.described(call, phase):
                    if wanted is not None and not wanted(call):
                        return
                    answer = self._attempt(call, method, path, **how)
                    try:
                        answer.beginning()  # read to its end, its connection is kept
                    finally:
                        answer.close()
            except Exception as error:  # noqa: BLE001 - also a caller's function's; nobody waits
                _logger.info("goodbye failed: %s: %s", type(error).__name__, error)
            finally:
                with self._lock:
                    self._goodbyes.discard(thread)
                atexit.unregister(thread.join)

        thread = threading.Thread(target=say, name=f"c4ai-goodbye-{phase}", daemon=True)
        with self._lock:
            self._goodbyes.add(thread)
        atexit.register(thread.join)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is ending and starts no more threads
            atexit.unregister(thread.join)
            self._goodbyes.discard(thread)

    def close(self) -> None:
        """Wait for the goodbyes under way, then close all connections."""
        self._begin_if_forked()
        with self._lock:
            goodbyes = list(self._goodbyes)
        for thread in goodbyes:
            thread.join(_GOODBYE.total)
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def _run(
        self, call: Call, phase: str, preparing: bool, attempt: Callable[[], _Result]
    ) -> _Result:
        """Make attempts as the retry policy allows; errors know who and where."""

        def counted() -> _Result:
            with self._lock:
                hold = self._hold_until - monotonic()
            if hold > 0:
                call.sleep(hold)
            call.attempts += 1
            with self.described(call, phase):
                return attempt()

        self._begin_if_forked()
        call.attempts = 0
        with self.described(call, phase):
            return retrying.run(
                counted, self.settings.retry, call, preparing=preparing, hold=self._hold
            )

    def _hold(self, seconds: float) -> None:
        """Have all of the client's requests wait: the server told one of them to."""
        with self._lock:
            self._hold_until = max(self._hold_until, monotonic() + seconds)

    def _attempt(
        self,
        call: Call,
        method: str,
        path: str,
        *,
        cookies: dict[str, str] | None = None,
        refusal: Refusal | None = None,
        as_it_is: bool = False,
        headers: Mapping[str, str] | None = None,
        authorize: bool = True,
        **how: Any,
    ) -> Answer:
        # A caller's functions give key and login, and fail in their own words.
        written = self._headers(headers or {}, cookies or {}, authorize)
        with translated():
            session = self._open_session()
            prepared = self._prepared(method, path, written, **how)
        set_by_answers: list[str] = []
        call.withheld = lambda: [
            *_secrets(prepared, how.get("data")),
            *set_by_answers,
            *self._withheld,
        ]
        if "Authorization" not in written:
            self._log_in(prepared)
        with translated():
            for _ in range(1 + _REDIRECTS):
                answer = self._send(call, session, prepared, set_by_answers)
                if cookies is not None:
                    _keep_cookies(answer, cookies)
                onward = None if as_it_is else self._onward(prepared, answer)
                if onward is None:
                    break
                answer.beginning()  # so that the connection is kept
                answer.close()
                prepared.url = onward
        return answer if as_it_is else self._judged(answer, refusal)

    def _judged(self, answer: Answer, refusal: Refusal | None) -> Answer:
        """Return an answer that is one, or close it and raise the error that it is.

        A web page is none, but for an empty one, which is an empty answer.
        """
        page = answer.content_type == "text/html"
        if answer.status < 300 and not page:
            return answer
        try:
            body = answer.beginning()
            said = quote(body)
            if answer.status < 300 and not said:
                return answer
            if page and (asleep := page_error(answer.status, body)):
                raise asleep
            if answer.status < 300:
                raise ProtocolError(
                    f"the server answered with a web page, not with data; {WHICH_SERVER}. "
                    f"It begins: {said}"
                )
            raise (refusal and refusal(answer, said)) or status_error(
                answer.status, said, answer.header("location"), answer.header("retry-after")
            )
        finally:
            answer.close()

    def _send(
        self,
        call: Call,
        session: requests.Session,
        prepared: requests.PreparedRequest,
        set_by_answers: list[str],
    ) -> Answer:
        call.sent()
        self._current.call = call
        self._current.socket = None
        # Not Session.send, which keeps cookies and looks at the environment each time.
        adapter = session.get_adapter(str(prepared.url))
        response = adapter.send(prepared, stream=True, **self._way)
        set_by_answers += [value for _, value, _ in _set_cookies(response)]
        tap = self.tap  # once: a recording may end in another thread
        if tap is not None:
            tap(prepared, response, call.withheld())
        clocked: Clocked | None = self._current.socket
        if clocked is not None:
            return Answer(call, response, lambda: clocked.release(call), clocked)
        # Under a foreign adapter no socket is ours: cancel can only close.
        call.on_cancel(response.close)
        return Answer(call, response, lambda: call.forget(response.close))

    def _onward(self, prepared: requests.PreparedRequest, answer: Answer) -> str | None:
        """Return where to follow a redirect to: only a GET's, on the same server."""
        if prepared.method != "GET" or answer.status not in (301, 302, 303, 307, 308):
            return None
        try:
            target = urljoin(str(prepared.url), answer.header("location"))
        except ValueError:  # no URL
            return None
        same = target.startswith(self.origin + "/") and target != prepared.url
        return target if same and not wants_login(target) else None

    def _prepared(
        self,
        method: str,
        path: str,
        headers: CaseInsensitiveDict[str],
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        data: Any = None,
        files: Any = None,
    ) -> requests.PreparedRequest:
        """Make a request.

        Prepared without the session, which would ask netrc and the environment
        anew each time (measured: 1.0 ms of 1.5), and only what a request has:
        looking at what is plain already cost as much as sending it.

        Raises:
            ProtocolError: The path, of which servers name parts, leads out of
                the base URL: behind ``https://host`` an ``@`` is another host.
        """
        if not path.startswith("/") or not {".", ".."}.isdisjoint(path.split("/")):
            raise ProtocolError(f"the server names a path that leads elsewhere: {quote(path)}")
        prepared = requests.PreparedRequest()
        prepared.method = method
        prepared.url = self._url(path, params)
        prepared.headers = headers
        prepared.prepare_body(data, files, json)
        return prepared

    def _log_in(self, prepared: requests.PreparedRequest) -> None:
        """Put the URL's login into a request, or that of the caller's session."""
        lent = self.settings.session
        auth: Any = self._login or (lent.auth if lent is not None else None)
        if isinstance(auth, tuple):  # requests would write Latin-1, and fail at other letters
            auth = tuple(part.encode() if isinstance(part, str) else part for part in auth)
        if auth:
            prepared.prepare_auth(auth)

    def _url(self, path: str, params: Mapping[str, str] | None) -> str:
        """Return a request's URL, which requests would take apart and put together again."""
        target = f"{path}?{urlencode(params)}" if params else path
        if _PLAIN.fullmatch(target):
            return self._root + target
        return _normal(self.base_url + path, params)

    def _headers(
        self, headers: Mapping[str, str], cookies: Mapping[str, str], authorize: bool
    ) -> CaseInsensitiveDict[str]:
        """Write all headers of a request: ours, the step's, the caller's; later ones win."""
        written: CaseInsensitiveDict[str] = CaseInsensitiveDict(
            {**_ALWAYS, "Origin": self.origin, "Referer": self.base_url + "/"}
        )
        key = self.settings.api_key
        if key is not None and authorize:
            key = hidden(key() if callable(key) else key)
            written["Authorization"] = Secret(f"Bearer {header_value('api_key', key)}")
        written.update(headers)
        written.update(self.settings.headers)
        jar = {**self.settings.cookies, **cookies}
        if jar:
            own = [written["Cookie"]] if "Cookie" in written else []
            pairs = [f"{name}={value}" for name, value in jar.items()]
            written["Cookie"] = _cookie_value(Secret("; ".join([*own, *pairs])))
        return written

    def _open_session(self) -> requests.Session:
        with self._lock:
            if self._session is None:
                self._session = self._new_session()
            return self._session

    def _new_session(self) -> requests.Session:
        """Make the session, and ask the environment for proxies and CAs once."""
        settings, lent = self.settings, self.settings.session
        session = requests.Session()
        session.trust_env = settings.trust_env
        session.headers.clear()
        self._root = _normal(self.base_url).rstrip("/")
        adapter = TimedAdapter(self._current, self._root)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        verify, cert = settings.verify, settings.cert
        if lent is not None:
            for prefix, own in lent.adapters.items():
                if type(own) is not HTTPAdapter:
                    session.mount(prefix, own)
            session.proxies.update(lent.proxies)
            verify = lent.verify if verify is True and lent.verify is not None else verify
            cert = cert or lent.cert
        proxies = dict.fromkeys(("http", "https"), settings.proxy) if settings.proxy else {}
        self._way = dict(
            session.merge_environment_settings(self.base_url, proxies, None, verify, cert)
        )
        self._way.pop("stream")
        trusted = self._way["verify"]
        secure = self.origin.startswith("https:")
        if secure and isinstance(trusted, str) and not os.path.exists(trusted):
            raise UsageError(
                f"no CA certificates at {trusted!r}, which verify= or an environment "
                "variable names (REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE)"
            )
        used = hidden(
            {
                # Desktops write socks://, and leave the name to the proxy.
                prefix: re.sub("^socks://", "socks5h://", proxy, flags=re.IGNORECASE)
                for prefix, proxy in self._way["proxies"].items()
            }
        )
        self._way["proxies"] = used
        self._withheld = [*(self._login or ())]
        if proxy := requests.utils.select_proxy(self.base_url, used):
            login = requests.utils.get_auth_from_url(proxy_url(proxy))
            basic = base64.b64encode(":".join(login).encode()).decode()
            self._withheld += hidden((login[1], basic))
        return session

    @contextlib.contextmanager
    def described(self, call: Call, phase: str) -> Iterator[None]:
        """Fill in what an error that passes does not know yet; take out what is secret.

        Whoever judges an answer after it was fetched does it within this, too.
        """
        try:
            yield
        except BaseException as error:
            withhold(error, call.withheld())
            if isinstance(error, C4AIError):
                error.provider = error.provider or self.settings.provider
                error.phase = error.phase or phase
                error.attempts = error.attempts or call.attempts
            raise


def _normal(url: str, params: Mapping[str, str] | None = None) -> str:
    """Return a URL as requests sends it: quoted, its host in ASCII."""
    prepared = requests.PreparedRequest()
    prepared.prepare_url(url, params)
    return str(prepared.url)


def header_value(name: str, value: object) -> str:
    """Return a header's value, or refuse it without showing it: it may be a secret."""
    if not isinstance(value, str):
        raise UsageError(f"{name} is a string, not {type(value).__name__}")
    if value != value.strip() or not value.isprintable() or not value.isascii():
        raise UsageError(
            f"{name} holds a line break or another character that no header may hold: "
            "was it read from a file with its newline?"
        )
    return value


def proxy_url(url: object) -> Secret:
    """Return a proxy's URL, or refuse it without its user and password.

    The libraries quote a URL that they cannot read, password and all.
    """
    text = hidden(url)
    if isinstance(text, Secret) and text.isprintable() and " " not in text:
        try:
            parts = urllib3.util.parse_url(text)
        except urllib3.exceptions.LocationParseError as error:
            withhold(error, ())
        else:
            kind = parts.scheme or "http"
            known = not kind.startswith("socks") or kind in _SOCKS
            if known and parts.host and parts.path in (None, "/") and not parts.query:
                return text
    raise UsageError(
        f"the proxy {quote(str(url).rpartition('@')[2])!r} is no URL: write it as "
        "http://host:port or socks5h://host:port, a password percent-encoded"
    ) from None


def _cookie_value(value: Secret) -> Secret:
    """Return the cookies as a header's value; a server's may hold any letter of Latin-1."""
    if not value.isprintable() or any(letter > "\xff" for letter in value):
        raise UsageError("a cookie holds a line break or a character that no header may hold")
    return value


def _secrets(prepared: requests.PreparedRequest, form: Any) -> Iterator[str]:
    """Yield what in a request's headers and form no error may quote back."""
    if isinstance(form, dict):
        yield from (value for value in form.values() if isinstance(value, Secret))
    for name, value in prepared.headers.items():
        text = value if isinstance(value, str) else value.decode("latin-1")
        if name.lower() == "cookie":
            yield from (Secret(pair.partition("=")[2] or pair) for pair in text.split("; "))
        elif not is_plain(name):
            yield Secret(text.rpartition(" ")[2])  # behind "Bearer" or "Basic"


def _keep_cookies(answer: Answer, cookies: dict[str, str]) -> None:
    """Bring *cookies* up to date with what *answer* sets.

    By hand, because http.cookiejar never sends a Secure cookie back over plain
    http, where a loopback server then loses the conversation at its second turn.
    They only ever go back to the server that they came from.
    """
    for name, value, attributes in _set_cookies(answer._response):
        if _is_over(attributes):
            cookies.pop(name, None)
        else:
            cookies[name] = value


def _set_cookies(response: requests.Response) -> Iterator[tuple[str, Secret, list[str]]]:
    """Yield name, value and attributes of each cookie that an answer sets."""
    headers = getattr(response.raw, "headers", None)
    if not isinstance(headers, urllib3.HTTPHeaderDict):
        return
    for line in headers.getlist("set-cookie"):
        pair, *attributes = line.split(";")
        name, equals, value = (part.strip() for part in pair.partition("="))
        if equals and name and (name + value).isprintable():
            yield name, Secret(value), attributes


def _is_over(attributes: list[str]) -> bool:
    """Tell whether a cookie's attributes take it back; of the two that may, Max-Age holds."""
    pairs = (word.partition("=") for word in attributes)
    said = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if re.fullmatch("-?[0-9]+", age := said.get("max-age", "")):
        return age.startswith("-") or not age.strip("0")
    left = seconds_until(said.get("expires", ""))
    return left is not None and left <= 0
