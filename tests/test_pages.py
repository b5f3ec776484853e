"""README and the pages of docs/: their examples and commands run, and their tables are true."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import c4ai_clients
from c4ai_clients import ChatClient, Conversation, Timeout
from c4ai_clients.cli import commands
from c4ai_clients.cli.talk import Talk
from c4ai_clients.emulator import Emulator
from c4ai_clients.emulator.faults import KINDS
from c4ai_clients.providers import clients

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = (README, *sorted(DOCS.glob("*.md")))
CLIENTS = list(clients().values())


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def examples(page: Path) -> Iterator[tuple[int, str]]:
    """Yield a page's examples, each with the line that it begins at."""
    text = text_of(page)
    for found in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield text.count("\n", 0, found.start(1)), found[1]


def lines_of_shell(page: Path) -> list[str]:
    """Return the commands that a page shows: indented, or between backticks."""
    found = re.findall(r"^    (?:.*[|&] )?(c4ai .+)$|`(c4ai [^`]+)`", text_of(page), re.MULTILINE)
    return [indented or quoted for indented, quoted in found]


def elsewhere(text: str, emulator: Emulator) -> str:
    """Point an example's servers at the emulator, which may be asked as often as one likes."""
    for url in ("https://chat.example.org", "http://localhost:3000"):
        text = text.replace(url, emulator.url("chat-ui"))
    for url in ("https://any-space.hf.space", "http://localhost:7860", "localhost:7860"):
        text = text.replace(url, emulator.url("gradio"))
    return text.replace("rate=60)", "rate=6000)")


@pytest.fixture(scope="module")
def served() -> Iterator[Emulator]:
    """One emulator for all pages."""
    with Emulator() as running:
        yield running


@pytest.mark.parametrize(
    "page", [page for page in PAGES if list(examples(page))], ids=lambda page: page.stem
)
def test_page__examples_run(
    page: Path,
    served: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A page's examples run from top to bottom, and each that prints says something."""
    for kind in CLIENTS:
        if kind.default_url:
            monkeypatch.setattr(kind, "default_url", served.url(kind.provider))
    monkeypatch.chdir(tmp_path)
    made: dict[str, object] = {"__name__": "example"}
    asked = len(served.requests)
    opened: list[ChatClient] = []
    for line, example in examples(page):
        # So that an error names the page's own line.
        code = compile("\n" * line + elsewhere(example, served), str(page), "exec")
        exec(code, made)
        opened += [value for value in made.values() if isinstance(value, ChatClient)]
        said = capsys.readouterr().out.strip()
        assert said or "print(" not in example or "cancel()" in example or "except" in example
    for client in opened:
        client.close()

    assert len(served.requests) > asked or "Emulator(" in text_of(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page__commands_are_there(page: Path) -> None:
    """Each ``c4ai`` line of a page names a command, and options and arguments that it takes."""
    for line in lines_of_shell(page):
        name, *words = shlex.split(line.partition(" > ")[0].partition(" < ")[0], comments=True)[1:]
        if name.startswith("-"):
            continue
        command = commands.get_command(click.Context(commands), name)
        assert command is not None, line
        if any(word in words for word in ("…", "--help")) or (not words and command.params):
            continue
        with click.Context(commands) as above:
            command.make_context(name, words, parent=above)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page__links_lead_somewhere(page: Path) -> None:
    """Each link to a file leads to one that is there, and each to a heading likewise."""
    for target, heading in re.findall(r"\]\((?!https?:|mailto:)([^)#]*)#?([^)]*)\)", text_of(page)):
        file = page.parent / target if target else page
        assert file.exists(), target
        slugs = (
            [
                re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")
                for title in re.findall(r"^#+ (.*)$", text_of(file), re.MULTILINE)
            ]
            if file.suffix == ".md"
            else []
        )
        assert not heading or heading in slugs, heading


def test_readme__has_examples_for_every_provider() -> None:
    """Each provider has an example of its own."""
    named = "".join(example for _, example in examples(README))

    assert [] == [kind.__name__ for kind in CLIENTS if kind.__name__ not in named]


@pytest.mark.parametrize(
    "command", [line for line in lines_of_shell(README) if line.count(" ") > 1 or "serve" in line]
)
def test_readme__command(command: str, served: Emulator, tmp_path: Path) -> None:
    """A command line of README's is one that c4ai takes."""
    command = command.removeprefix("c4ai ").partition(" < ")[0]  # its standard input is ours
    words = shlex.split(elsewhere(command, served), comments=True)
    providers = {kind.provider for kind in CLIENTS}
    if words[0] == "serve":
        words.append("--help")
    elif words[0] == "compare":
        words = [served.url(word) if word in providers else word for word in words]
    elif words[0] in ("chat", "models", "batch") and not {"--local", "--url"} & set(words):
        provider = words[words.index("--provider") + 1] if "--provider" in words else "c4ai-command"
        words += ["--url", served.url(provider), "--provider", provider]
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "One?"}\n{"prompt": "Two?"}\n')
    done = subprocess.run(
        [sys.executable, "-m", "c4ai_clients", *words],
        input="" if "?" in command else "Some text.",  # what is not asked for is said
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=30,
        check=False,
    )

    assert "" == done.stderr or "--local" in words
    assert 0 == done.returncode
    assert done.stdout.strip()


def table(page: str, heading: str) -> list[list[str]]:
    """Return the rows of the table whose first heading cell is *heading*, without backticks."""
    rows = text_of(DOCS / page).partition(f"\n| {heading} |")[2].partition("\n\n")[0].splitlines()
    assert rows, heading
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def names(rows: list[list[str]]) -> list[str]:
    return [name for row in rows for name in re.findall(r"`(\w+)`", row[0])]


def test_errors__each_has_a_row() -> None:
    """The page tells of each error, and of no other, what happened and what to do."""
    rows = table("errors.md", "error")

    assert sorted(c4ai_clients.errors.__all__) == sorted(
        name for name in names(rows) if name in c4ai_clients.errors.__all__
    )
    assert all(len(row) == 3 and row[1] for row in rows)


def test_errors__each_clock_has_a_row() -> None:
    """The page tells of each clock, in the order in which ``Timeout`` has them."""
    assert list(vars(Timeout())) == names(table("errors.md", "`TimedOutError.kind`"))


def test_conversations__the_format_is_told(tmp_path: Path) -> None:
    """The page tells of each key of a saved conversation, in its order."""
    Conversation(None).save(tmp_path / "saved.json")
    saved = json.loads((tmp_path / "saved.json").read_text())
    rows = table("conversations.md", "key")

    assert list(saved) == names(rows)
    assert f"`{saved['format']}`" == rows[0][1]


def test_getting_started__extras_are_those_that_there_are() -> None:
    """The page has each extra that a user may want, in the brackets that pip takes."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    there = set(setup["options.extras_require"]) - {"all", "browser", "docs", "lint", "test"}
    rows = table("getting-started.md", "extra")

    assert there == {row[0].strip("`[]") for row in rows}


def test_command_line__commands_of_a_talk_are_told() -> None:
    """The page tells of each command of a talk, and of no other."""
    there = {name.removeprefix("do_") for name in vars(Talk) if name.startswith("do_")} | {
        "quit",
        "exit",
    }
    rows = table("command-line.md", "typed")

    assert there == {name for row in rows for name in re.findall(r"`/(\w+)", row[0])}


def test_emulator__each_fault_is_told() -> None:
    """The page tells of each kind of fault."""
    assert sorted(KINDS) == sorted(names(table("emulator.md", "kind")))


def test_reference__each_name_is_there() -> None:
    """The reference has each public name."""
    text = text_of(DOCS / "reference.md")
    told = set(re.findall(r"^\.\. auto\w+:: (?:[\w.]+\.)?(\w+)$", text, re.MULTILINE))

    assert {name for name in c4ai_clients.__all__ if name != "__version__"} <= told


def options(name: str, command: click.Command) -> str:
    """Return a command's options as a table."""
    rows = [f"### c4ai {name}", "", command.get_short_help_str(200), ""]
    rows += ["| option | from the environment | for |", "|---|---|---|"]
    for each in command.params:
        if not isinstance(each, click.Option):
            continue
        kind = each.type
        value = each.metavar or (
            f"[{'|'.join(kind.choices)}]" if isinstance(kind, click.Choice) else kind.name.upper()
        )
        written = ", ".join(each.opts) + ("" if each.is_flag or each.count else f" {value}")
        variable = f"`{each.envvar}`" if each.envvar else ""
        cells = (f"`{written}`", variable, each.help or "")
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def test_command_line__options_are_those_of_the_commands() -> None:
    """The page's tables are made of the commands; ``C4AI_WRITE_DOCS=1`` writes them anew."""
    page = DOCS / "command-line.md"
    before, _, rest = text_of(page).partition("<!-- table -->\n")
    _, _, after = rest.partition("<!-- end -->")
    made = "\n".join(options(name, commands.commands[name]) for name in sorted(commands.commands))
    told = f"{before}<!-- table -->\n{made}<!-- end -->{after}"
    if os.environ.get("C4AI_WRITE_DOCS"):
        page.write_text(told, encoding="utf-8")

    assert told == text_of(page)
