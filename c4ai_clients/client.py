"""What every client can do.

A provider is a subclass with seven class attributes, the names of its options
in its own ``stream``, and one generator, ``_events``, that tells its protocol.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from . import markup
from .address import addresses
from .clocks import Call, Timeout, TimeoutLike
from .conversation import Conversation, Revision
from .errors import C4AIError, ModelNotFoundError, UsageError
from .events import Event
from .messages import FileLike, Messages, parse, split_system, text_of, uploads
from .retrying import RetryLike, RetryPolicy
from .secret import Secret, hidden, is_plain
from .stream import Reply, Stream, Turn
from .transport import Settings, Transport, header_value, proxy_url

__all__ = ["ChatClient", "Model", "Models"]

_LEFT = 'style="text-align: left"'
_DOWNLOAD_LIMIT = 1 << 30
_CONNECT = "connect() takes it as it is"
_Self = TypeVar("_Self", bound="ChatClient")


@dataclass(frozen=True)
class Model:
    """A model that a server offers.

    Attributes:
        id: The name to ask for it by.
        label: The name to show.
        description: The server's words about it.
        multimodal: Whether it takes images; None where the server does not say.
        tools: Whether it uses tools; None likewise.
        reasoning: Whether it shows its reasoning; None likewise.
        unlisted: Whether the server hides it, and refuses new conversations.
        raw: All that the server said.
    """

    id: str
    label: str = ""
    description: str = ""
    multimodal: bool | None = None
    tools: bool | None = None
    reasoning: bool | None = None
    unlisted: bool = False
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


class Models(list[Model]):
    """Models that a server offers; a notebook shows them as a table."""

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr>{''.join(f'<td {_LEFT}>{markup.escaped(word)}</td>' for word in words)}</tr>"
            for words in ((each.id, each.label, each.description) for each in self)
        )
        heads = "".join(f"<th {_LEFT}>{word}</th>" for word in ("id", "label", "description"))
        return f"<table><tr>{heads}</tr>{rows}</table>"


class _GetModel:
    """``get_model``: on a class over what is built in, on an instance over what it knows too."""

    def __get__(self, client: ChatClient | None, owner: type[ChatClient]) -> Callable[[str], str]:
        def get_model(name: str) -> str:
            """Return the server's own name for a model: an alias is translated.

            Raises:
                ModelNotFoundError: No such model; names those that there are.
            """
            return _model(owner, client._listed if client is not None else (), name)

        return get_model


class ChatClient:
    """A blocking client of one chat server; threads may share it.

    Nothing is sent by the constructor.

    Args:
        base_url: The server; the provider's public one by default.
        model: The model to ask when none is named.
        api_key: Sent as a bearer token; or a callable that gives it.
        proxy: URL of an http, https or socks proxy for all requests.
        timeout: A ``Timeout``, or seconds for connect, first and idle.
        retry: A ``RetryPolicy`` or a ``tenacity.Retrying``.
        headers: Sent with every request, over our own.
        cookies: Sent with every request, to this server only.
        verify: False, or the path of the CA to trust.
        cert: Path of a client certificate, or (certificate, key).
        trust_env: Whether proxies and CAs of the environment are used.
        session: A ``requests.Session`` that lends its adapters, proxies,
            verify, cert and auth; not its cookies. It is not closed by us.
        strict: Whether lines of an answer that make no sense are an error
            where the service's own clients pass over them.

    Attributes:
        provider: The name in errors, records and saved conversations.
        label: The name to show.
        default_url: The provider's public server, or None.
        default_model: The model that is asked where none is named; ``""`` is
            the server's own choice.
        model_aliases: Short names of models, and the server's own.
        built_in_models: The models that are known without asking.
        acts: How a question may be asked: ``ask``, ``regenerate``, ``edit``,
            and ``continue`` where an answer can go on.
        model: The server's own name of the model to ask.
        timeout: The :class:`~c4ai_clients.Timeout` of turns that have none.
        strict: As it was given.

    Raises:
        UsageError: A setting cannot be used.
    """

    provider: ClassVar[str] = ""
    label: ClassVar[str] = ""
    default_url: ClassVar[str | None] = None
    default_model: ClassVar[str | None] = None
    model_aliases: ClassVar[Mapping[str, str]] = {}
    built_in_models: ClassVar[tuple[str, ...]] = ()
    acts: ClassVar[frozenset[str]] = frozenset({"ask", "regenerate", "edit"})
    get_model: ClassVar[_GetModel] = _GetModel()
    _model_hint: ClassVar[str] = ""  # what else the refusal of a model should say

    def __init__(
        self,
        base_url: str | None = None,
        *,
        model: str | None = None,
        api_key: str | Callable[[], str] | None = None,
        proxy: str | None = None,
        timeout: TimeoutLike = None,
        retry: RetryLike = None,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
        verify: bool | str = True,
        cert: str | tuple[str, str] | None = None,
        trust_env: bool = True,
        session: Any = None,
        strict: bool = False,
    ) -> None:
        for kind, given in (("header", headers or {}), ("cookie", cookies or {})):
            if not isinstance(given, Mapping):
                raise UsageError(f"{kind}s is a dict, not {type(given).__name__}")
            for name, value in given.items():
                header_value(f"{kind} {name!r}", name)
                header_value(f"{kind} {name!r}", value)
        if api_key is not None and not callable(api_key):
            header_value("api_key", api_key)
        # A tenacity.Retrying is known by its verb: tenacity is not imported before it is needed.
        if retry is not None and not isinstance(retry, RetryPolicy) and not hasattr(retry, "iter"):
            raise UsageError(f"retry is a RetryPolicy, not {retry!r}: RetryPolicy(attempts=…)")
        self._settings = Settings(
            base_url=Secret(_url(base_url or self.default_url, type(self).__name__)),
            provider=self.provider,
            api_key=hidden(api_key),
            proxy=proxy_url(proxy) if proxy else None,
            headers={n: v if is_plain(n) else Secret(v) for n, v in (headers or {}).items()},
            cookies=hidden(dict(cookies or {})),
            verify=verify,
            cert=cert,
            trust_env=trust_env,
            session=session,
            retry=retry,
        )
        self.timeout = Timeout.of(timeout)
        self.strict = strict
        self._listed: tuple[str, ...] = ()
        self._missing: tuple[str, ...] = ()
        self._transport = Transport(self._settings)
        self.model = self.get_model(model) if model else self.default_model

    @property
    def base_url(self) -> str:
        """The server's URL, without a trailing slash and without credentials."""
        return self._transport.base_url

    def stream(
        self,
        messages: Messages,
        *,
        model: str | None = None,
        system: str | None = None,
        conversation: Conversation | None = None,
        files: Iterable[FileLike] = (),
        timeout: TimeoutLike = None,
    ) -> Stream:
        """Ask, and give the reply as it comes.

        Nothing is sent until the first piece is asked for. ``cancel()`` from
        any thread hangs up, and so does leaving a loop over a stream that has
        no name; one that has stays open, until it is cancelled or dropped.

        Args:
            messages: A prompt, or a list of ``{"role", "content"}``. With a
                *conversation* that has begun, only the last one is new.
            model: Which model; the client's or the conversation's by default.
            system: The system prompt, before any system messages.
            conversation: What to go on with. Where model or system prompt
                differ from it, a new one is made, ``stream.conversation``.
            files: Paths, bytes, or files open in binary mode, to send along.
            timeout: For this turn; a ``Timeout`` or seconds.

        Raises:
            UsageError: At the call; it cannot be sent as asked.
            C4AIError: At the first ``next``, everything else.
        """
        return self._stream(
            messages,
            model=model,
            system=system,
            conversation=conversation,
            files=files,
            timeout=timeout,
        )

    def chat(
        self,
        messages: Messages,
        *,
        model: str | None = None,
        system: str | None = None,
        conversation: Conversation | None = None,
        files: Iterable[FileLike] = (),
        timeout: TimeoutLike = None,
        **options: Any,
    ) -> Reply:
        """Ask, and return the whole reply; takes what :meth:`stream` takes.

        Args:
            messages: What to ask.
            model: Which model.
            system: The system prompt.
            conversation: What to go on with.
            files: What to send along.
            timeout: For this turn.
            **options: The provider's own, which its ``stream`` names.

        Raises:
            C4AIError: It cannot be sent as asked, or the reply did not become
                complete; ``partial`` holds what came.
        """
        return self.stream(
            messages,
            model=model,
            system=system,
            conversation=conversation,
            files=files,
            timeout=timeout,
            **options,
        ).reply()

    def conversation(self, *, system: str | None = None, model: str | None = None) -> Conversation:
        """Begin a conversation; nothing is sent before its first question.

        Raises:
            ModelNotFoundError: No such model is known.
        """
        begun = Conversation(
            self, system=system, model=(self.get_model(model) if model else self.model) or ""
        )
        begun.keep = True
        return begun

    def models(self) -> list[Model]:
        """Return the models that the server offers; the built-in list where it cannot say.

        Raises:
            C4AIError: The server cannot be asked.
        """
        return Models(Model(id=name) for name in self.built_in_models)

    def close(self) -> None:
        """Close all connections, after the goodbyes under way."""
        self._transport.close()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r}, model={self.model!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is secret, and sockets; a key that is a callable stays."""
        settings = self._settings
        missing = list(self._missing)
        kept = vars(settings) | {"base_url": self.base_url, "session": None, "cookies": {}}
        if isinstance(settings.api_key, str):
            kept["api_key"] = None
            missing.append("api_key")
        if settings.proxy and "@" in settings.proxy:
            kept["proxy"] = None
            missing.append("proxy")
        kept["headers"] = {n: v for n, v in settings.headers.items() if is_plain(n)}
        lost = [f"header {name}" for name in settings.headers if not is_plain(name)]
        missing += [*lost, *(["cookies"] if settings.cookies else [])]
        missing += [] if settings.session is None else ["session"]
        missing += [] if settings.base_url == self.base_url else ["the login in base_url"]
        return {
            "settings": kept,
            "missing": tuple(missing),
            "rest": {
                name: value
                for name, value in vars(self).items()
                if name not in ("_settings", "_transport", "_missing")
            },
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state["rest"])
        self._missing = state["missing"]
        self._settings = Settings(**state["settings"])
        self._transport = Transport(self._settings)

    @classmethod
    def _speakers(cls) -> set[str]:
        """Return the providers that speak this one's protocol."""
        return _named(protocol_of(cls))

    def _stream(
        self,
        messages: Messages,
        *,
        model: str | None,
        system: str | None,
        conversation: Conversation | None,
        files: Iterable[FileLike],
        timeout: TimeoutLike,
        options: Mapping[str, Any] | None = None,
    ) -> Stream:
        """Check what is asked and make its turn; a provider's ``stream`` ends here."""
        if self._missing:
            raise UsageError(
                f"this client was pickled without {', '.join(self._missing)}: make a new one"
            )
        revision = conversation if isinstance(conversation, Revision) else None
        if revision is not None:
            conversation = revision.conversation
        said, others = split_system(parse(messages), system)
        turn = Turn(
            call=Call(Timeout.of(timeout, self.timeout)),
            conversation=self._conversation(conversation, model, said),
            message=others[-1],
            history=others[:-1],
            system=said,
            model="",
            uploads=uploads(files),
            options=dict(options or {}),
        )
        begun = turn.conversation
        turn.model, turn.system = begun.model, begun.system
        if conversation is not None and conversation.messages:
            turn.history = list(conversation._said())
        if revision is not None:
            self._revise(turn, revision)
        self._check(turn)
        return Stream(turn, self._events)

    def _revise(self, turn: Turn, revision: Revision) -> None:
        """Make *turn* ask an earlier question again."""
        conversation, act, at = revision
        if act == "continue" and (
            "continue" not in self.acts or turn.conversation is not conversation
        ):
            raise UsageError(
                f"{self.provider} cannot have an answer go on; ask for the rest in words"
            )
        turn.history = list(conversation.messages[:at])
        if turn.conversation is conversation:
            turn.act = act
        if act == "continue":
            turn.begun = text_of(conversation.messages[-1])

    def _conversation(
        self, given: Conversation | None, model: str | None, system: str | None
    ) -> Conversation:
        """Return the conversation that a turn belongs to: *given*, where it fits."""
        if given is None:
            name = self.get_model(model) if model else self.model
            return Conversation(self, system=system, model=name or "")
        if not isinstance(given, Conversation):
            raise UsageError(f"conversation is a Conversation, not {type(given).__name__}")
        given.check(self)
        given._check_free()
        if given.client is None:
            given.client = self
            given.provider, given.url = given.provider or self.provider, self.base_url
        name = self.get_model(model) if model else given.model
        if name == given.model and system in (None, given.system):
            return given
        begun = Conversation(self, system=given.system if system is None else system, model=name)
        begun.keep = given.keep
        return begun

    def _check(self, turn: Turn) -> None:
        """Raise UsageError for what this provider cannot send."""

    def _events(self, turn: Turn) -> Iterator[Event]:
        """Tell the protocol of one turn, top to bottom."""
        raise NotImplementedError  # each provider has its own
        yield

    def _fetch(self, method: str, path: str, *, phase: str, **how: Any) -> Any:
        """Send a request that belongs to no turn, under the client's own timeout."""
        return self._transport.fetch(Call(self.timeout), method, path, phase=phase, **how)

    def _download(self, path: str, *, phase: str, **how: Any) -> bytes:
        """Return a file of the server's."""
        with self._transport.open(Call(self.timeout), "GET", path, phase=phase, **how) as answer:
            return answer.read(_DOWNLOAD_LIMIT, content=True)

    def _delete(self, conversation: Conversation) -> None:
        raise UsageError(f"{self.provider} keeps no conversations: there is nothing to delete")


def protocol_of(kind: type[ChatClient]) -> type[ChatClient]:
    """Return the class of a client's protocol; a preset, such as ``Qwen``, stands below it."""
    named = [each for each in kind.__mro__ if issubclass(each, ChatClient) and each.provider]
    return named[-1] if named else kind


def with_model(client: _Self, name: str | None) -> _Self:
    """Return *client*, which asks that model from now on, where one is named.

    One that is not known is looked for in the server's list.

    Raises:
        ModelNotFoundError: The server does not list it either.
    """
    if not name:
        return client
    try:
        client.model = client.get_model(name)
    except ModelNotFoundError:
        with contextlib.suppress(C4AIError):  # what cannot be asked knows no better
            client.models()
        client.model = client.get_model(name)
    return client


def _named(kind: type[ChatClient]) -> set[str]:
    """Return the providers of a class and of those below it."""
    return {kind.provider}.union(*map(_named, kind.__subclasses__()))


def _url(url: str | None, name: str) -> str:
    """Return *url* checked and without a trailing slash."""
    if not url:
        raise UsageError(f'{name} has no server of its own: give base_url, {name}("https://…")')
    meant = _meant(url)
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except (ValueError, AttributeError, TypeError):
        known = False
    if not known or not url.isprintable() or " " in url:
        way = f"{meant}; {_CONNECT}" if meant else "it as https://host or http://host:port"
        raise UsageError(f"base_url {_shown(url)} is no URL: write {way}")
    if meant and urlsplit(meant).hostname != parts.hostname:
        raise UsageError(
            f"base_url {_shown(url)} is a page about the server: write {meant}; {_CONNECT}"
        )
    if parts.query or parts.fragment:
        raise UsageError(f"base_url {_shown(url)} must end before any ? or #")
    return url.rstrip("/")


def _meant(url: object) -> str:
    """Return the URL that may be meant by *url*, ``""`` where there is none or it holds a login."""
    try:
        origin, base = addresses(url)[0]  # type: ignore[arg-type]
    except (UsageError, ValueError):
        return ""
    return "" if "@" in origin else origin + base


def _shown(url: object) -> str:
    """Return *url* without the credentials that it may hold."""
    text = str(url)
    return repr(text.rpartition("@")[2])


def _model(owner: type[ChatClient], listed: tuple[str, ...], name: object) -> str:
    """Return the server's own name of a model, which is built in or *listed*."""
    known = (*owner.built_in_models, *listed)
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise ModelNotFoundError(f"a model is named by a string, not {name!r}")
    if name in known:
        return name
    if name in owner.model_aliases:
        return owner.model_aliases[name]
    if not known:
        return name
    offered = [*dict.fromkeys(known), *owner.model_aliases]
    near = difflib.get_close_matches(name, offered, n=1)
    guess = f"; did you mean {near[0]!r}? There" if near else "; there"
    hint = "" if listed else owner._model_hint
    raise ModelNotFoundError(f"no model {name!r}{guess} are: {', '.join(offered)}{hint}")
