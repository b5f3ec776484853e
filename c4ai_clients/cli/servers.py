"""Which server a command asks, and as which provider: flags, a file, the environment."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from ..client import ChatClient, protocol_of, with_model
from ..conversation import Conversation
from ..detect import connect
from ..errors import C4AIError, UsageError
from ..providers import clients
from ..retrying import RetryPolicy

__all__ = [
    "LOCAL",
    "LOCAL_PACE",
    "LOCAL_URL",
    "PROVIDERS",
    "connected",
    "emulator",
    "fault",
    "model_option",
    "option",
    "options_option",
    "own_options",
    "server_options",
    "sources",
    "targets",
]

LOCAL = "the local emulator answers, not a model: it makes its answers up"
LOCAL_PACE = 0.02
# What a file names as the server of a conversation whose emulator is gone with its command.
LOCAL_URL = "c4ai --local"
_Command = TypeVar("_Command", bound=Callable[..., Any])
_Given = TypeVar("_Given")
_Made = TypeVar("_Made")

PROVIDERS = clients()
_FAULT_FIELDS: dict[str, Callable[[str], Any]] = {
    "step": str,
    "at": int,
    "nth": int,
    "times": int,
    "seconds": float,
    "status": int,
    "retry_after": str,
}
_PROTOCOLS = ("chat-ui", "h2o", "autonomous", "gradio")


def option(*names: str, env: str | None = None, **how: Any) -> Callable[[_Command], _Command]:
    """Return an option; what the environment says for it is never shown."""
    return click.option(*names, envvar=env, show_envvar=env is not None, show_default=False, **how)


def _models_of(ctx: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    kind = PROVIDERS.get(ctx.params.get("provider") or "c4ai-command")
    names = (*kind.built_in_models, *kind.model_aliases) if kind is not None else ()
    return [CompletionItem(name) for name in names if name.startswith(begun)]


_WHOM = "Whom to ask; c4ai-command, or what answers at --url where only that is given."
_KEY = "Sent as a bearer token; others can read it here, but not in the environment."
_OWN = "An option of the provider's own, such as temperature=0.2; may be repeated."
_SERVER = (
    option("--provider", type=click.Choice(list(PROVIDERS)), env="C4AI_PROVIDER", help=_WHOM),
    option("--url", env="C4AI_URL", help="The server; the provider's public one by default."),
    option("--local", is_flag=True, help="Try it out: start an emulator here, and ask that."),
    option("--api-key", env="C4AI_API_KEY", help=_KEY),
    option("--proxy", env="C4AI_PROXY", help="URL of an http, https or socks proxy."),
    option("--timeout", type=float, help="Seconds for connecting, and for each wait."),
    option("-v", "--verbose", count=True, help="Show the log; -vv shows all of it."),
)


def server_options(command: _Command) -> _Command:
    """Give a command the options that say whom to ask."""
    for each in reversed(_SERVER):
        command = each(command)
    return command


def model_option(words: str) -> Callable[[_Command], _Command]:
    """Return the option that names a model; the shell completes those built in."""
    return option("--model", env="C4AI_MODEL", shell_complete=_models_of, help=words)


def options_option(command: _Command) -> _Command:
    """Give a command the option that sets options of the provider's own."""
    return option("--option", "options", multiple=True, metavar="NAME=VALUE", help=_OWN)(command)


def own_options(words: Iterable[str]) -> dict[str, Any]:
    """Read options of the provider's own; a value is JSON where it parses, else text."""
    given: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise UsageError(f"--option {word}: write NAME=VALUE, such as temperature=0.2")
        try:
            given[name] = json.loads(value)
        except (ValueError, RecursionError):
            given[name] = value
    return given


@contextlib.contextmanager
def emulator(protocols: Iterable[str], **settings: Any) -> Iterator[Any]:
    """Run an emulator as long as the block takes."""
    from ..emulator import Emulator  # not needed to ask a real server

    try:
        running = Emulator(protocols, **settings).start()
    except (ValueError, OSError) as error:
        raise UsageError(f"the emulator cannot start: {error}") from error
    try:
        yield running
    finally:
        running.stop()


def fault(words: str) -> Any:
    """Read a fault of the emulator's from ``KIND[,FIELD=VALUE…]``."""
    from ..emulator import Fault

    kind, *pairs = words.split(",")
    try:
        given: dict[str, Any] = {}
        for name, _, value in (pair.partition("=") for pair in pairs):
            if name not in _FAULT_FIELDS:
                raise ValueError(f"no field is called {name!r}")
            try:
                given[name] = _FAULT_FIELDS[name](value)
            except ValueError:
                raise ValueError(f"{value!r} is no value of {name}") from None
        if "retry_after" in given:
            given["headers"] = {"Retry-After": given.pop("retry_after")}
        return Fault(kind, **given)
    except ValueError as error:
        raise UsageError(
            f"--fault {words}: {error}; a kind may have the fields {', '.join(_FAULT_FIELDS)}"
        ) from error


def sources(ctx: click.Context) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the flags say, and what the environment says beside them."""
    flags, usual = {}, {}
    for each in ctx.command.params:
        name = str(each.name)
        if value := each.resolve_envvar_value(ctx):
            usual[name] = value
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            flags[name] = ctx.params[name]
            if flags[name] == "" and name != "system":
                raise UsageError(f"{each.opts[0]} is empty: leave it out, or give a value")
    return flags, usual


@contextlib.contextmanager
def connected(
    ctx: click.Context,
    saved: Conversation | None = None,
    words: Callable[[str], None] = lambda _: None,
) -> Iterator[ChatClient]:
    """Give the client that is asked for, and the emulator behind it where that is."""
    flags, usual = sources(ctx)
    name = flags.get("provider") or (saved and saved.provider) or usual.get("provider")
    if usual.get("provider", name) != name:  # its URL, key and model are for another server
        usual = {"proxy": usual.get("proxy")}
    local = bool(flags.get("local"))
    if local:
        if "url" in flags or "proxy" in flags:
            raise UsageError("--local asks its own server: leave --url and --proxy out")
        usual = {"model": usual.get("model")}
    _check_local(local, saved)
    url = None if local else flags.get("url") or (saved and saved.url) or usual.get("url")
    key = flags.get("api_key") or usual.get("api_key")
    model = flags.get("model") or (None if saved else usual.get("model"))
    settings: dict[str, Any] = {
        "api_key": key,
        "proxy": flags.get("proxy") or usual.get("proxy"),
        "timeout": flags.get("timeout"),
        "retry": RetryPolicy(on_wait=lambda s, _: words(f"trying again in {s:.0f} s")),
    }
    with contextlib.ExitStack() as stack:
        if url and not name:
            yield stack.enter_context(connect(url, model=model, **settings))
            return
        kind = _kind(name or "c4ai-command", saved)
        if not local and not (url or kind.default_url):
            raise UsageError(f"{kind.provider} has no server of its own: say which with --url")
        if key and url not in (None, flags.get("url"), usual.get("url"), kind.default_url):
            raise UsageError(
                f"that conversation is with {url}: say --url {url} to send the key there"
            )
        if local:
            running = stack.enter_context(emulator([protocol_of(kind).provider], pace=LOCAL_PACE))
            url = running.url(kind.provider)
        client = stack.enter_context(kind(url, trust_env=not local, **settings))
        yield with_model(client, model)


@contextlib.contextmanager
def targets(
    flags: dict[str, Any], local: bool, proxy: str | None
) -> Iterator[dict[str, ChatClient | C4AIError]]:
    """Give the clients that ``--to`` names, and the emulator behind them where that is.

    In the place of one whose server is not there stands why.
    """
    named: tuple[str, ...] = flags.get("targets", ())
    if local:
        named = named or _PROTOCOLS
    if not named:
        raise UsageError("whom to ask? Name each with --to, or say --local")
    labels = [
        f"{target}, {alike + 1}" if (alike := named[:at].count(target)) else target
        for at, target in enumerate(named)
    ]
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(emulator(_PROTOCOLS, pace=LOCAL_PACE)) if local else None

        def client(at: int) -> ChatClient | C4AIError:
            whom, _, model = named[at].partition("#")
            settings: dict[str, Any] = {
                "proxy": None if local else proxy,
                "timeout": flags.get("timeout"),
                "api_key": flags.get("api_key") if at == 0 else None,
            }
            if local or not re.search("[.:/]", whom):
                kind = _kind(whom, None)
                url = running.url(whom) if running is not None else None
                return with_model(kind(url, trust_env=not local, **settings), model)
            try:
                return connect(whom, model=model or None, **settings)
            except UsageError:
                raise
            except C4AIError as error:
                return error

        found = dict(zip(labels, _at_once(client, range(len(named))), strict=True))
        for each in found.values():
            if isinstance(each, ChatClient):
                stack.enter_context(each)
        yield found


def _at_once(make: Callable[[_Given], _Made], given: Iterable[_Given]) -> list[_Made]:
    """Return what *make* makes of each, with a thread for each; Ctrl-C waits for none."""

    def run(future: Future[_Made], each: _Given) -> None:
        try:
            future.set_result(make(each))
        except BaseException as error:  # noqa: BLE001 - handed to who waits
            future.set_exception(error)

    made: list[Future[_Made]] = []
    for each in given:
        made.append(Future())
        threading.Thread(target=run, args=(made[-1], each), daemon=True).start()
    return [future.result() for future in made]


def _check_local(local: bool, saved: Conversation | None) -> None:
    """Keep what was said to a server and what was said to an emulator in files of their own."""
    if saved is None or local == (saved.url == LOCAL_URL):
        return
    if local:
        raise UsageError(
            "that conversation was not made with --local: leave --local out, or name another file"
        )
    raise UsageError(
        "that conversation was made with --local, and its server is gone: "
        "say --local, or name another file"
    )


def _kind(name: str, saved: Conversation | None) -> type[ChatClient]:
    kind = PROVIDERS.get(name)
    theirs = PROVIDERS.get(saved.provider) if saved is not None else kind
    if kind is None or theirs is None:
        raise UsageError(f"no provider {name!r}; there are: {', '.join(PROVIDERS)}")
    if protocol_of(kind) is not protocol_of(theirs):
        raise UsageError(
            f"that conversation is with {theirs.provider}: leave --provider out, "
            "or name another file"
        )
    return kind
