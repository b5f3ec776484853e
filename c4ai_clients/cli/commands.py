"""The commands, and how each of them ends."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import time
from dataclasses import fields
from typing import Any

import click
from click.shell_completion import get_completion_class

import c4ai_clients

from ..client import ChatClient, protocol_of
from ..conversation import Conversation
from ..errors import C4AIError, UsageError
from ..options import check_options
from ..stream import Stream
from .screen import Screen
from .servers import (
    LOCAL,
    LOCAL_PACE,
    PROVIDERS,
    connected,
    emulator,
    fault,
    model_option,
    option,
    options_option,
    own_options,
    server_options,
    sources,
    targets,
)
from .talk import Session, Talk, state_of
from .terminal import has_input, is_terminal, one_line, set_streams, show_log, tell

__all__ = ["commands", "run"]

_ERAS = ("A", "A2", "B0", "B", "B2", "D", "C1", "C")
_PORT = "The first protocol's port, the next ones count up; free ones by default."
_INPUT = "-"
_MARKS = {True: ("ok", "green"), None: ("note", "yellow"), False: ("wrong", "red")}
_KEPT = "A file to keep the conversation in, and to go on from."
_SENT = "A file to send along; may be repeated."
_FAULTS = "What goes wrong, such as stall,at=100,seconds=5; repeat it for more."
_TARGETS = "A provider or a server's URL; repeat it for each."
_logger = logging.getLogger("c4ai_clients")


def run() -> int:
    """Do what the command line says, and return the exit status."""
    set_streams()
    try:
        return int(commands.main(prog_name="c4ai", standalone_mode=False) or 0)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "c4ai"
        tell(f"{error.format_message().rstrip('.')}; {path} --help tells more")
        return error.exit_code
    except click.Abort:
        return 130
    except OSError as error:  # help or version, which click prints by itself
        return _unwritten(error)


def _unwritten(error: OSError) -> int:
    """Say that output cannot be written, and return the status."""
    # Whoever read our output has gone, or the disk is full. What is still
    # buffered must not fail a second time at exit.
    if not isinstance(error, BrokenPipeError):
        tell(error.strerror or str(error))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 1


class _Commands(click.Group):
    """Turns whatever ends a command into one sentence and a status."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except C4AIError as error:
            tell(str(error))
            ctx.exit(2 if isinstance(error, UsageError) else 1)
        except KeyboardInterrupt as error:
            if not error.args and is_terminal(sys.stderr):  # which wrote ^C into its line
                print(file=sys.stderr)
            ctx.exit(130)
        except OSError as error:
            ctx.exit(_unwritten(error))
        except Exception as error:  # ours or a library's bug: one sentence, the rest with -v
            _logger.exception("unexpected")
            tell(f"unexpected {type(error).__name__}, a bug (-v shows where): {error}")
            ctx.exit(1)


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
    c4ai chat                                  talk; /help tells what else can be typed
    c4ai doctor localhost:7860                 what answers there, and how to use it
    eval "$(c4ai completion bash)"             have Tab complete; also zsh, fish
    """  # noqa: D301  (click keeps the lines after a backspace)
    if ctx.invoked_subcommand is None:
        print(ctx.get_help(), flush=True)


@commands.command()
@click.argument("prompt", nargs=-1)
@server_options
@model_option("Which model; c4ai models lists them.")
@option("--system", help="The system prompt.")
@option("--conversation", "path", type=click.Path(), help=_KEPT)
@option("--file", "files", multiple=True, type=click.Path(), help=_SENT)
@options_option
@option("--no-stream", is_flag=True, help="Print the answer when it is complete.")
@option("--json", "as_json", is_flag=True, help="Print the whole reply as a line of JSON.")
@click.pass_context
def chat(ctx: click.Context, /, prompt: tuple[str, ...], **given: Any) -> None:
    """Ask PROMPT and print the answer as it comes.

    Among the words of PROMPT - is what stands in standard input, blank lines
    around it. Without PROMPT that is the question; in a terminal you talk:
    Ctrl-C stops an answer, /regenerate, /edit, /model, /save and others do what
    /help says, /exit or Ctrl-D ends.

    \b
    c4ai chat "Why is the sky blue?" --model command-r7b
    c4ai chat --provider chat-ui --url https://chat.example.org
    c4ai chat "Summarise this:" - < article.txt > summary.txt
    c4ai chat --provider qwen --option size=7B "Why is the sky blue?"
    c4ai chat --conversation sky.json "And at sunset?"
    """  # noqa: D301
    show_log(given["verbose"])
    talks = not prompt and is_terminal(sys.stdin)
    question = "" if talks else _question(prompt)
    options = own_options(given["options"])
    path = given["path"]
    seen = state_of(path)
    saved = Conversation.load(path) if seen is not None else None
    if path and not os.access(os.path.dirname(path) or ".", os.W_OK):
        raise UsageError(f"cannot write {path}: is its directory there, and yours?")
    screen = Screen(given["no_stream"], given["as_json"], spins=not given["verbose"])
    with connected(ctx, saved, screen.words) as client:
        check_options(client, options, own=True)
        session = Session(client, screen, path, seen, local=given["local"], options=options)
        named = sources(ctx)[0].get("model")
        session.next = {"model": named, "system": given["system"], "files": given["files"]}
        if saved is not None:
            saved.client = client
            # An emulator knows nothing of an earlier one's conversations.
            session.conversation = saved.fork() if given["local"] else saved
        elif talks or path:
            session.conversation = client.conversation(system=given["system"])
        if talks:
            Talk(session).run()
        else:
            session.ask(question)


@commands.command()
@server_options
@option("--json", "as_json", is_flag=True, help="Print each model as a line of JSON.")
@click.pass_context
def models(ctx: click.Context, /, **given: Any) -> None:
    """List the models that a server offers, one a line."""
    show_log(given["verbose"])
    with connected(ctx) as client:
        if given["local"]:
            tell(LOCAL)
        listed = client.models()
    if not listed:
        tell(f"{client.provider} lists no models: its server has one, or does not say")
    for model in listed:
        if given["as_json"]:
            told = {each.name: getattr(model, each.name) for each in fields(model)}
            print(json.dumps({name: told[name] for name in told if name != "raw"}), flush=True)
            continue
        words = f"  ({model.label})" if model.label not in ("", model.id) else ""
        print(one_line(model.id + (words if is_terminal(sys.stdout) else "")), flush=True)


@commands.command()
@click.argument("prompts", type=click.Path())
@click.argument("output", type=click.Path())
@server_options
@model_option("Which model, where a prompt names none.")
@options_option
@option("--workers", type=click.IntRange(1), default=8, help="How many at once; 8 by default.")
@option("--retry-failed", is_flag=True, help="Ask again what failed, where that may help.")
@click.pass_context
def batch(ctx: click.Context, /, prompts: str, output: str, **given: Any) -> None:
    """Ask all prompts of a file, and append the answers to OUTPUT.

    PROMPTS holds a string or {"id", "prompt" or "messages", "system", "model",
    "options"} a line, as JSON, or is a table with such columns (.csv); - is
    standard input. Run it again after any end, and it does what is missing.

    \b
    c4ai batch prompts.jsonl answers.jsonl --workers 4
    c4ai batch prompts.csv answers.jsonl --retry-failed
    """  # noqa: D301
    from ..batch import run_batch

    show_log(given["verbose"])
    if output == "-":
        raise UsageError("answers go into a file, which the next run goes on from: name one")
    options = own_options(given["options"])
    with connected(ctx) as client:
        check_options(client, options, own=True)
        if given["local"]:
            tell(LOCAL)
        try:
            summary = run_batch(
                prompts,
                output,
                client,
                workers=given["workers"],
                retry_failed=given["retry_failed"],
                options=options,
            )
        except KeyboardInterrupt as error:
            if error.args:
                tell(str(error))
            raise
    print(summary, flush=True)
    if summary.failed or summary.failed_before:
        ctx.exit(1)


@commands.command()
@click.argument("prompt", nargs=-1)
@option("--to", "targets", multiple=True, metavar="WHOM[#MODEL]", help=_TARGETS)
@option("--local", is_flag=True, help="Try it out: ask an emulator of each provider.")
@option("--system", help="The system prompt.")
@options_option
@option("--api-key", help="Sent as a bearer token, to the first --to alone.")
@option("--proxy", env="C4AI_PROXY", help="URL of an http, https or socks proxy.")
@option("--timeout", type=float, help="Seconds for connecting, and for each wait.")
@option("--json", "as_json", is_flag=True, help="Print each outcome as a line of JSON.")
@option("-v", "--verbose", count=True, help="Show the log; -vv shows all of it.")
@click.pass_context
def compare(ctx: click.Context, /, prompt: tuple[str, ...], **given: Any) -> None:
    """Ask several servers PROMPT at once, and show the answers side by side.

    PROMPT is what it is for c4ai chat. An --option is for all of them.

    \b
    c4ai compare --local "Why is the sky blue?"
    c4ai compare --to c4ai-command#command-r7b --to qwen "Why is the sky blue?"
    c4ai compare --to http://localhost:3000 --to http://localhost:7860 "Hello!"
    """  # noqa: D301
    from ..answers import Answers
    from .columns import side_by_side

    show_log(given["verbose"])
    question, options = _question(prompt), own_options(given["options"])
    with targets(sources(ctx)[0], given["local"], given["proxy"]) as found:
        if given["local"]:
            tell(LOCAL)
        asked: dict[str, Stream | C4AIError] = {}
        for label, each in found.items():
            if isinstance(each, ChatClient):
                check_options(each, options, own=True)
                asked[label] = each.stream(question, system=given["system"], **options)
            else:
                asked[label] = each
        with Answers(asked) as answers:
            outcomes = side_by_side(answers, as_json=given["as_json"])
    if any(outcome.error is not None for outcome in outcomes):
        ctx.exit(1)


@commands.command()
@click.argument("url")
@option("--api-key", help="Sent as a bearer token.")
@option("--proxy", env="C4AI_PROXY", help="URL of an http, https or socks proxy.")
@option("--timeout", type=float, help="Seconds for connecting, and for each wait; 10 by default.")
@option("--json", "as_json", is_flag=True, help="Print what was found as a line of JSON.")
@option("-v", "--verbose", count=True, help="Show the log; -vv shows all of it.")
@click.pass_context
def doctor(ctx: click.Context, /, url: str, **given: Any) -> None:
    """Say what stands at URL, or what is wrong with it and what to do.

    Nothing is asked of a model, and no conversation begun: four small requests
    at most tell which client fits, the server's version, whether it wants a
    login or its terms accepted, and its models.

    \b
    c4ai doctor https://chat.example.org
    c4ai doctor localhost:7860
    """  # noqa: D301
    from rich.console import Console
    from rich.text import Text as Words

    from ..detect import examine

    show_log(given["verbose"])
    flags, usual = sources(ctx)
    said = usual | flags
    finding = examine(url, **{n: said[n] for n in ("api_key", "proxy", "timeout") if n in said})
    if given["as_json"]:
        print(json.dumps(finding.to_dict()), flush=True)
    else:
        console = Console(soft_wrap=True, highlight=False)
        for check in finding.checks:
            mark, colour = _MARKS[check.ok]
            words = Words(one_line(f"{check.name}: {check.saw}"))
            console.print(Words(f"{mark:<6}", colour), words, sep="")
            if check.remedy:
                console.print(Words(f"{'':<6}{one_line(check.remedy)}"))
    if finding.client is None:  # of what is no URL nothing is asked
        ctx.exit(1 if finding.tried or not isinstance(finding.error, UsageError) else 2)


@commands.command()
@option(
    "--provider",
    "names",
    type=click.Choice(list(PROVIDERS)),
    multiple=True,
    help="Only this; may be repeated.",
)
@option("--port", type=click.IntRange(0, 65532), default=0, help=_PORT)
@option("--pace", type=click.FloatRange(0, 60), default=LOCAL_PACE, help="Seconds a token.")
@option("--era", type=click.Choice(_ERAS), default="B", help="Which chat-ui, from 2023 to 2026.")
@option("--version", default="5.50.0", help="Which Gradio, such as 4.44.1, 5.50.0 or 6.31.0.")
@option("--fault", "faults", multiple=True, metavar="KIND[,FIELD=VALUE…]", help=_FAULTS)
@option("--upstream", help="URL of an OpenAI-compatible server that is to answer.")
@option("--upstream-model", help="The model to ask there.")
@option("--upstream-key", help="The key for it.")
def serve(names: tuple[str, ...], port: int, faults: tuple[str, ...], **settings: Any) -> None:
    """Run a local server that speaks the providers' protocols.

    Prints each provider's URL and runs until Ctrl-C. Its answers are made up,
    or those of --upstream.

    \b
    c4ai serve --provider gradio --version 4.44.1 --pace 0.1
    c4ai serve --fault status,status=503,step=create,times=2 --fault cut,at=900,nth=3
    """  # noqa: D301
    kinds = {name: PROVIDERS[name] for name in names} or PROVIDERS
    protocols = list(dict.fromkeys(protocol_of(kind).provider for kind in kinds.values()))
    ports = {name: port + i for i, name in enumerate(protocols)} if port else {}
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell's & ignores the first
        signal.signal(number, signal.default_int_handler)
    given = {"ports": ports, "faults": [fault(words) for words in faults], **settings}
    with contextlib.suppress(KeyboardInterrupt), emulator(protocols, **given) as e:
        width = max(map(len, kinds))
        for name in kinds:
            print(f"{name:<{width}}  {e.url(name)}", flush=True)
        tell("running; Ctrl-C ends it")
        while True:
            time.sleep(3600)


@commands.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what has Tab complete commands, providers and models in SHELL.

    \b
    eval "$(c4ai completion bash)"
    c4ai completion fish | source
    """  # noqa: D301
    made = get_completion_class(shell)
    assert made is not None
    print(made(commands, {}, "c4ai", "_C4AI_COMPLETE").source(), flush=True)


def _question(prompt: tuple[str, ...]) -> str:
    """Return what is asked: the arguments, and standard input where it is asked for."""
    prompt = prompt or (_INPUT,)
    if any("\udc80" <= character <= "\udcff" for text in prompt for character in text):
        raise UsageError("the prompt is not text in this terminal's encoding")
    if prompt.count(_INPUT) > 1:
        raise UsageError("standard input can be read once: say - once")
    if _INPUT not in prompt and has_input():
        tell("standard input was not read: - among the prompts stands for it")
    if _INPUT not in prompt:
        text = " ".join(prompt)
    else:
        at = prompt.index(_INPUT)
        parts = (" ".join(prompt[:at]), _input(), " ".join(prompt[at + 1 :]))
        text = "\n\n".join(part for part in parts if part)
    if not text.strip():
        raise UsageError("the prompt is empty: say what you want to ask")
    return text


def _input() -> str:
    """Return what stands in standard input, less its last newlines."""
    try:
        # Windows writes a mark before the text, which is no part of it.
        data = b"" if sys.stdin is None else sys.stdin.buffer.read()
        text = data.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise UsageError("standard input is not UTF-8 text") from error
    if not text.strip():
        raise UsageError("standard input is empty: it is to hold what you want to ask")
    return text
