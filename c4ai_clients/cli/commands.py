"""The command line ``c4ai``, over the public names and nothing else.

Rules that this file keeps:

1. Standard output holds what was asked for; all else goes to standard error,
   and words about progress only where that is a terminal.
2. Into a pipe an answer goes as it is, with one newline at its end. In a
   terminal control characters are left out: the words are a stranger's.
3. A flag wins over the conversation's file, that over the environment, which
   is read here only (by click). A key is shown nowhere.
4. Every failure is one sentence and a status: 2 for what cannot be sent as
   asked, 130 for Ctrl-C, 1 for the rest.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from rich.console import Console
from rich.status import Status as Spinner
from rich.text import Text as Words

import c4ai_clients

from .client import ChatClient
from .conversation import Conversation
from .errors import C4AIError, UsageError
from .events import Event, Finish, Queued, Reasoning, Status, Text
from .retrying import RetryPolicy
from .stream import Reply, Stream

__all__ = ["commands", "run"]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and newline
_LOCAL = "the local emulator answers, not a model: it makes its answers up"
_LOCAL_PACE = 0.02
_ERAS = ("A", "A2", "B0", "B", "B2", "D", "C1", "C")
_PORT = "The first protocol's port, the next ones count up; free ones by default."
_Command = TypeVar("_Command", bound=Callable[..., Any])
_logger = logging.getLogger("c4ai_clients")


def _providers() -> dict[str, type[ChatClient]]:
    named = [getattr(c4ai_clients, name) for name in c4ai_clients.__all__]
    kinds = [kind for kind in named if isinstance(kind, type) and issubclass(kind, ChatClient)]
    return {kind.provider: kind for kind in kinds if kind.provider}


_PROVIDERS = _providers()


def run() -> int:
    """Do what the command line says, and return the exit status."""
    _set_streams()
    try:
        return int(commands.main(prog_name="c4ai", standalone_mode=False) or 0)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "c4ai"
        _tell(f"{error.format_message().rstrip('.')}; {path} --help tells more")
        return error.exit_code
    except click.Abort:
        return 130


class _Commands(click.Group):
    """Turns whatever ends a command into one sentence and a status."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except C4AIError as error:
            _tell(str(error))
            ctx.exit(2 if isinstance(error, UsageError) else 1)
        except KeyboardInterrupt as error:
            if not error.args and _is_terminal(sys.stderr):  # which wrote ^C into its line
                print(file=sys.stderr)
            ctx.exit(130)
        except OSError as error:
            # Whoever read our output has gone, or the disk is full. What is
            # still buffered must not fail a second time at exit.
            if not isinstance(error, BrokenPipeError):
                _tell(error.strerror or str(error))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            ctx.exit(1)
        except Exception as error:  # ours or a library's bug: one sentence, the rest with -v
            _logger.exception("unexpected")
            _tell(f"unexpected {type(error).__name__}, a bug (-v shows where): {error}")
            ctx.exit(1)


def _set_streams() -> None:
    """Have no character fail: UTF-8 into pipes, the console's own encoding else."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            if stream is sys.stdin or stream.isatty():
                stream.reconfigure(errors="replace")
            else:
                stream.reconfigure(encoding="utf-8", errors="replace", newline="\n")


def _is_terminal(stream: Any) -> bool:
    return stream is not None and bool(stream.isatty())


def _clean(text: str) -> str:
    return _CONTROL.sub("", text)


def _line(text: str) -> str:
    return _clean(" ".join(text.split()))


def _tell(sentence: str) -> None:
    """Say one line on standard error."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):  # nobody is there to be told
            print(f"c4ai: {_line(sentence)}", file=sys.stderr, flush=True)


class _Lines(logging.Formatter):
    """Writes the log without control characters: what it quotes is a stranger's too."""

    def format(self, record: logging.LogRecord) -> str:
        return _clean(super().format(record))


def _log(verbose: int) -> None:
    if verbose:
        handler = logging.StreamHandler()
        handler.setFormatter(_Lines("%(relativeCreated)6.0f ms  %(message)s"))
        _logger.addHandler(handler)
        _logger.setLevel(logging.INFO if verbose == 1 else logging.DEBUG)


def _option(*names: str, env: str | None = None, **how: Any) -> Callable[[_Command], _Command]:
    """Return an option; what the environment says for it is never shown."""
    return click.option(*names, envvar=env, show_envvar=env is not None, show_default=False, **how)


_PROVIDER = click.Choice(list(_PROVIDERS))
_WHOM = "Whom to ask; c4ai-command, or chat-ui where only a URL is given."
_KEY = "Sent as a bearer token; others can read it here, but not in the environment."
_SERVER_OPTIONS = (
    _option("--provider", type=_PROVIDER, env="C4AI_PROVIDER", help=_WHOM),
    _option("--url", env="C4AI_URL", help="The server; the provider's public one by default."),
    _option("--local", is_flag=True, help="Try it out: start an emulator here, and ask that."),
    _option("--api-key", env="C4AI_API_KEY", help=_KEY),
    _option("--proxy", env="C4AI_PROXY", help="URL of an http, https or socks proxy."),
    _option("--timeout", type=float, help="Seconds for connecting, and for each wait."),
    _option("-v", "--verbose", count=True, help="Show the log; -vv shows all of it."),
)


def _server_options(command: _Command) -> _Command:
    for option in reversed(_SERVER_OPTIONS):
        command = option(command)
    return command


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(c4ai_clients.__version__, message="%(prog)s %(version)s")
@click.pass_context
def commands(ctx: click.Context) -> None:
    """Ask chat servers from the command line.

    \b
    c4ai chat --local "Why is the sky blue?"   try it without any server
    c4ai chat "Why is the sky blue?"           ask the C4AI Command Space
    c4ai chat                                  talk; /quit ends
    """  # noqa: D301  (click keeps the lines after a backspace)
    if ctx.invoked_subcommand is None:
        print(ctx.get_help(), flush=True)


@commands.command()
@click.argument("prompt", nargs=-1)
@_server_options
@_option("--model", env="C4AI_MODEL", help="Which model; c4ai models lists them.")
@_option("--system", help="The system prompt.")
@_option("--conversation", "path", help="A file to keep the conversation in, and to go on from.")
@_option("--file", "files", multiple=True, help="A file to send along; may be repeated.")
@_option("--no-stream", is_flag=True, help="Print the answer when it is complete.")
@_option("--json", "as_json", is_flag=True, help="Print the whole reply as a line of JSON.")
@click.pass_context
def chat(ctx: click.Context, /, prompt: tuple[str, ...], **given: Any) -> None:
    """Ask PROMPT and print the answer as it comes.

    Without PROMPT the question is read from standard input; in a terminal
    you talk: /quit or Ctrl-D ends, Ctrl-C stops an answer.

    \b
    c4ai chat "Why is the sky blue?" --model command-r7b
    c4ai chat --provider chat-ui --url https://chat.example.org
    c4ai chat < question.txt > answer.txt
    c4ai chat --conversation sky.json "And at sunset?"
    """  # noqa: D301
    _log(given["verbose"])
    talks = not prompt and _is_terminal(sys.stdin)
    question = "" if talks else _question(prompt)
    path = given["path"]
    saved = Conversation.load(path) if path and os.path.exists(path) else None
    if path and not os.access(os.path.dirname(path) or ".", os.W_OK):
        raise UsageError(f"cannot write {path}: is its directory there, and yours?")
    screen = _Screen(given["no_stream"], given["as_json"], spins=not given["verbose"])
    with _connected(ctx, saved, screen.words) as client:
        session = _Session(client, screen, path, local=given["local"])
        named = _sources(ctx)[0].get("model")
        session.next = {"model": named, "system": given["system"], "files": given["files"]}
        if saved is not None:
            saved.client = client
            # An emulator knows nothing of an earlier one's conversations.
            session.conversation = saved.fork() if given["local"] else saved
        elif talks or path:
            session.conversation = client.conversation(system=given["system"])
        if talks:
            session.talk()
        else:
            session.ask(question)


@commands.command()
@_server_options
@click.pass_context
def models(ctx: click.Context, /, **given: Any) -> None:
    """List the models that a server offers, one a line."""
    _log(given["verbose"])
    with _connected(ctx) as client:
        if given["local"]:
            _tell(_LOCAL)
        listed = client.models()
    for model in listed:
        words = f"  ({model.label})" if model.label not in ("", model.id) else ""
        print(_line(model.id + (words if _is_terminal(sys.stdout) else "")), flush=True)


@commands.command()
@click.argument("prompts")
@click.argument("output")
@_server_options
@_option("--model", env="C4AI_MODEL", help="Which model, where a prompt names none.")
@_option("--workers", type=click.IntRange(1), default=8, help="How many at once; 8 by default.")
@_option("--retry-failed", is_flag=True, help="Ask again what failed, where that may help.")
@click.pass_context
def batch(ctx: click.Context, /, prompts: str, output: str, **given: Any) -> None:
    """Ask all prompts of a file, and append the answers to OUTPUT.

    PROMPTS holds a string or {"id", "prompt" or "messages", "system", "model",
    "options"} a line, as JSON, or is a table with such columns (.csv). Run it
    again after any end, and it does what is missing.

    \b
    c4ai batch prompts.jsonl answers.jsonl --workers 4
    c4ai batch prompts.csv answers.jsonl --retry-failed
    """  # noqa: D301
    from .batch import run_batch

    _log(given["verbose"])
    with _connected(ctx) as client:
        if given["local"]:
            _tell(_LOCAL)
        try:
            summary = run_batch(
                prompts,
                output,
                client,
                workers=given["workers"],
                retry_failed=given["retry_failed"],
            )
        except KeyboardInterrupt as error:
            if error.args:
                _tell(str(error))
            raise
    print(summary, flush=True)
    if summary.failed:
        ctx.exit(1)


@commands.command()
@_option("--provider", "names", type=_PROVIDER, multiple=True, help="Only this; may be repeated.")
@_option("--port", type=click.IntRange(0, 65532), default=0, help=_PORT)
@_option("--pace", type=click.FloatRange(0, 60), default=_LOCAL_PACE, help="Seconds a token.")
@_option("--era", type=click.Choice(_ERAS), default="B", help="Which chat-ui, from 2023 to 2026.")
@_option("--version", default="5.50.0", help="Which Gradio, such as 4.44.1, 5.50.0 or 6.31.0.")
@_option("--upstream", help="URL of an OpenAI-compatible server that is to answer.")
@_option("--upstream-model", help="The model to ask there.")
@_option("--upstream-key", help="The key for it.")
def serve(names: tuple[str, ...], port: int, **settings: Any) -> None:
    """Run a local server that speaks the providers' protocols.

    Prints each provider's URL and runs until Ctrl-C. Its answers are made up,
    or those of --upstream.
    """
    kinds = {name: _PROVIDERS[name] for name in names} or _PROVIDERS
    protocols = list(dict.fromkeys(_protocol(kind) for kind in kinds.values()))
    ports = {name: port + i for i, name in enumerate(protocols)} if port else {}
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell's & ignores the first
        signal.signal(number, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), _emulator(protocols, ports=ports, **settings) as e:
        width = max(map(len, kinds))
        for name in kinds:
            print(f"{name:<{width}}  {e.url(name)}", flush=True)
        _tell("running; Ctrl-C ends it")
        while True:
            time.sleep(3600)


def _protocol(kind: type[ChatClient]) -> str:
    """Return the name of a client's protocol: a preset stands below its protocol's class."""
    return [
        above.provider for above in kind.__mro__ if issubclass(above, ChatClient) and above.provider
    ][-1]


@contextlib.contextmanager
def _emulator(protocols: list[str], **settings: Any) -> Iterator[Any]:
    from .emulator import Emulator  # not needed to ask a real server

    try:
        emulator = Emulator(protocols, **settings).start()
    except (ValueError, OSError) as error:
        raise UsageError(f"the emulator cannot start: {error}") from error
    try:
        yield emulator
    finally:
        emulator.stop()


def _sources(ctx: click.Context) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the flags say, and what the environment says beside them."""
    flags, usual = {}, {}
    for option in ctx.command.params:
        name = str(option.name)
        if value := option.resolve_envvar_value(ctx):
            usual[name] = value
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            flags[name] = ctx.params[name]
            if flags[name] == "" and name != "system":
                raise UsageError(f"{option.opts[0]} is empty: leave it out, or give a value")
    return flags, usual


@contextlib.contextmanager
def _connected(
    ctx: click.Context,
    saved: Conversation | None = None,
    words: Callable[[str], None] = lambda _: None,
) -> Iterator[ChatClient]:
    """Give the client that is asked for, and the emulator behind it where that is."""
    flags, usual = _sources(ctx)
    name = flags.get("provider") or (saved and saved.provider) or usual.get("provider")
    if usual.get("provider", name) != name:  # its URL, key and model are for another server
        usual = {"proxy": usual.get("proxy")}
    local = bool(flags.get("local"))
    if local:
        if "url" in flags or "proxy" in flags:
            raise UsageError("--local asks its own server: leave --url and --proxy out")
        usual = {"model": usual.get("model")}
    url = None if local else flags.get("url") or (saved and saved.url) or usual.get("url")
    kind = _kind(name or ("chat-ui" if url else "c4ai-command"), saved)
    if not local and not (url or kind.default_url):
        raise UsageError(f"{kind.provider} has no server of its own: say which with --url")
    key = flags.get("api_key") or usual.get("api_key")
    if key and url not in (None, flags.get("url"), usual.get("url"), kind.default_url):
        raise UsageError(f"that conversation is with {url}: say --url {url} to send the key there")
    settings: dict[str, Any] = {
        "model": flags.get("model") or (None if saved else usual.get("model")),
        "api_key": key,
        "proxy": flags.get("proxy") or usual.get("proxy"),
        "timeout": flags.get("timeout"),
        "retry": RetryPolicy(on_wait=lambda s, _: words(f"trying again in {s:.0f} s")),
    }
    with contextlib.ExitStack() as stack:
        if local:
            emulator = stack.enter_context(_emulator([_protocol(kind)], pace=_LOCAL_PACE))
            url = emulator.url(kind.provider)
        yield stack.enter_context(kind(url, trust_env=not local, **settings))


def _kind(name: str, saved: Conversation | None) -> type[ChatClient]:
    kind = _PROVIDERS.get(name)
    theirs = _PROVIDERS.get(saved.provider) if saved is not None else kind
    if kind is None or theirs is None:
        raise UsageError(f"no provider {name!r}; there are: {', '.join(_PROVIDERS)}")
    if _protocol(kind) != _protocol(theirs):
        raise UsageError(
            f"that conversation is with {theirs.provider}: leave --provider out, "
            "or name another file"
        )
    return kind


def _question(prompt: tuple[str, ...]) -> str:
    """Return what is asked: the arguments, or standard input less its last newlines."""
    if prompt:
        text = " ".join(prompt)
    elif sys.stdin is None:
        text = ""
    else:
        try:
            text = sys.stdin.buffer.read().decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UsageError("standard input is not UTF-8 text") from error
    if not text.strip():
        raise UsageError("the prompt is empty: say what you want to ask")
    return text


@dataclass
class _Session:
    """A client, where its answers go, and the conversation, if it is kept.

    Attributes:
        next: What the next question takes beside its text.
    """

    client: ChatClient
    screen: _Screen
    path: str | None
    local: bool
    conversation: Conversation | None = None
    next: Mapping[str, Any] = field(default_factory=dict)

    def ask(self, question: str) -> None:
        """Ask, show the answer, and keep what came of it."""
        stream = self.client.stream(question, conversation=self.conversation, **self.next)
        if self.local:
            _tell(_LOCAL)
        self.local, self.next = False, {}
        try:
            with stream:
                self.screen.show(stream)
        finally:
            if self.conversation is not None:
                self.conversation = stream.conversation
                self._save()

    def _save(self) -> None:
        if self.path and self.conversation is not None and self.conversation.messages:
            try:
                self.conversation.save(self.path)
            except OSError as error:
                raise UsageError(f"cannot write {self.path}: {error.strerror}") from error

    def talk(self) -> None:
        """Ask what is typed until that ends."""
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  (it gives input() line editing and a history)
        self.screen.note(f"{self.client.provider}, {self.client.base_url}; /quit or Ctrl-D ends")
        while (question := self.screen.read("> ")) is not None:
            word = question.strip()
            if word == "/quit":
                return
            if re.fullmatch("/[a-z]+", word):
                _tell(f"no command {word}: there is /quit")
            elif word:
                try:
                    self.ask(question)
                except KeyboardInterrupt:
                    self.screen.note("stopped; what came of the answer is kept")
                except C4AIError as error:
                    _tell(str(error))


class _Screen:
    """Shows answers: their text on standard output, the rest on standard error.

    Args:
        whole: Whether an answer is shown only when it is complete.
        as_json: Whether it is shown as a line of JSON.
        spins: Whether words about progress may be drawn over.
    """

    def __init__(self, whole: bool, as_json: bool, *, spins: bool) -> None:
        self.whole = whole or as_json
        self.as_json = as_json
        self.terminal = _is_terminal(sys.stdout)
        self._console = Console(stderr=True) if _is_terminal(sys.stderr) else None
        self._dim = "" if self._console is None or self._console.no_color else "dim"
        self._spins = spins and self._console is not None and not self._console.is_dumb_terminal
        self._spinner: Spinner | None = None
        self._title: str | None = None
        self._line: Any = None  # the stream that left the terminal's line open
        self._said = False

    def show(self, stream: Stream) -> None:
        """Show one answer as it comes."""
        self._said = False
        self.words("waiting for the answer")
        try:
            for event in stream.events():
                self._event(event)
                if isinstance(event, Finish) and not self.whole:
                    break
            for _ in stream:  # waits less long for a late title than events() does
                pass
            reply = stream.reply()
            if self.whole:
                self._answer(json.dumps(reply.to_dict()) if self.as_json else reply.text)
            self._said = True
        except KeyboardInterrupt:
            # ^C stands in the terminal's line now; a spinner wipes its own away.
            if self._console is not None and self._spinner is None:
                self._line = self._line or sys.stderr
            raise KeyboardInterrupt("on a line of its own") from None
        finally:
            self._settle()
        self._after(reply)

    def words(self, words: str) -> None:
        """Show what is going on, until there is something better to show."""
        if self._console is None or not self._spins or self._said or self._line:
            return
        if self._spinner is None:
            self._spinner = self._console.status(Words(_clean(words), self._dim))
            self._spinner.start()
        self._spinner.update(Words(_clean(words), self._dim))

    def note(self, words: str) -> None:
        """Show a line of words, where there is a terminal for them."""
        if self._console is not None:
            self._console.print(Words(_clean(words), self._dim), soft_wrap=True)

    def read(self, mark: str) -> str | None:
        """Return the line that is typed at *mark*, None at the end of input."""
        try:
            if self.terminal:
                return input(mark)
            print(mark, end="", file=sys.stderr, flush=True)  # the answers go elsewhere
            return sys.stdin.readline() or None
        except EOFError:
            print(file=sys.stderr)
            return None

    def _event(self, event: Event) -> None:
        if isinstance(event, Text):
            if not self.whole:
                self._answer(event.text)
        elif isinstance(event, Reasoning):
            self._thought(event.text)
        elif isinstance(event, Queued):
            size = "" if event.size is None else f" of {event.size}"
            eta = "" if event.eta is None else f", about {event.eta:.0f} s"
            self.words(f"in the queue, place {event.position + 1}{size}{eta}")
        elif isinstance(event, Status) and event.message:
            self.words(event.message)

    def _answer(self, text: str) -> None:
        self._still()
        if self._line is sys.stderr:
            self._end_line()
        text = _clean(text) if self.terminal else text
        if text:
            # Noted first: Ctrl-C may come as soon as it is printed.
            self._said = True
            self._line = sys.stdout if self.terminal and not text.endswith("\n") else None
            print(text, end="", flush=True)

    def _thought(self, text: str) -> None:
        if self._console is None:
            return
        self._still()
        if self._line is sys.stdout:
            self._end_line()
        self._console.print(Words(_clean(text), self._dim), end="", soft_wrap=True)
        self._line = sys.stderr

    def _still(self) -> None:
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None

    def _end_line(self) -> None:
        if self._line is not None:
            print(file=self._line, flush=True)
            self._line = None

    def _settle(self) -> None:
        """End the line, however the answer ended; an answer in a pipe has one newline more."""
        self._still()
        self._end_line()
        if self._said and not self.terminal:
            print(flush=True)

    def _after(self, reply: Reply) -> None:
        if reply.rewritten and not self.whole:
            _tell("the server rewrote its answer at the end; --no-stream prints what it made of it")
        if reply.title and reply.title != self._title:
            self.note(f"title: {reply.title}")
            self._title = reply.title
        if reply.finish_reason in ("length", "interrupted"):
            self.note(f"the answer is cut: {reply.finish_reason}")
