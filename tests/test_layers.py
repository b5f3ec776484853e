"""The table of who may import whom, and the house rules that can be read off the source."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import c4ai_clients

PACKAGE = Path(c4ai_clients.__file__).parent

# The file on the left may import, of ours, the files on the right.
MAY_IMPORT = {
    "_version": "",
    "errors": "markup",
    "secret": "errors",
    "events": "",
    "pieces": "",
    "messages": "errors",
    "decoding": "errors",
    "clocks": "errors",
    "failures": "errors",
    "http1": "errors",
    "connections": "clocks errors failures http1",
    "retrying": "clocks errors",
    "http_answer": "clocks connections decoding errors failures",
    "transport": "_version clocks connections errors failures http_answer retrying secret",
    "markup": "",
    "stream": "clocks conversation errors events markup messages pieces secret",
    "conversation": "client decoding errors events markup messages secret stream",
    "client": "address clocks conversation errors events markup messages retrying secret stream "
    "transport",
    "providers/*": "client clocks conversation decoding errors events messages pieces secret site "
    "stream",
    "site": "client clocks decoding errors retrying secret",
    "address": "errors",
    "examination": "*",
    "remedies": "errors failures site",
    "detect": "client errors examination",
    "ahead": "errors events pieces stream",
    "threads": "ahead errors events stream",
    "answers": "errors events threads",
    "options": "client errors",
    "prompts": "errors",
    "records": "errors prompts stream",
    "batch": "*",
    "pytest_plugin": "client emulator providers retrying",
    "recording": "client emulator/replay errors secret",
    "notebook": "*",
    "cli/*": "*",
    "__main__": "*",
    "__init__": "*",
}
# What only these files may import.
ONLY = {
    "requests": {"transport", "http_answer", "connections", "failures"},
    "urllib3": {"transport", "http_answer", "http1", "connections", "failures"},
    "tenacity": {"retrying"},
    "sseclient": {"decoding"},
    "websocket": {"providers/gradio_websocket"},
    "tqdm": {"batch"},
    "filelock": {"records"},
    "distributed": set(),
    "IPython": {"notebook"},
    "markdown_it": {"markup"},
    "click": {"cli/commands", "cli/servers"},
    "rich": {"cli/columns", "cli/commands", "cli/screen"},
    "platformdirs": {"cli/talk"},
}
# An import for typing alone does not count: it is gone when the program runs.
SIBLINGS = {
    "providers/gradio": {
        *("providers/gradio_chat", "providers/gradio_config", "providers/gradio_messages"),
        *("providers/gradio_files", "providers/gradio_queue", "providers/gradio_websocket"),
    },
    "providers/gradio_files": {"providers/gradio_chat", "providers/gradio_messages"},
    "providers/gradio_config": {"providers/gradio_chat"},
    "providers/gradio_messages": {"providers/gradio_chat", "providers/gradio_value"},
    "providers/gradio_queue": {"providers/gradio_chat", "providers/gradio_messages"},
    "providers/gradio_websocket": {"providers/gradio_messages", "providers/gradio_queue"},
    "providers/chatui": {
        *("providers/chatui_conversation", "providers/chatui_server", "providers/chatui_tree"),
        "providers/chatui_turn",
    },
    "providers/chatui_server": {
        *("providers/chatui_conversation", "providers/chatui_tree", "providers/sveltekit"),
    },
    "providers/chatui_site": {"providers/sveltekit"},
    "providers/chatui_tree": {"providers/sveltekit"},
    "providers/chatui_turn": {
        *("providers/chatui_conversation", "providers/chatui_server", "providers/chatui_tree"),
        "providers/chatui_updates",
    },
    "providers/h2o": {"providers/chatui_conversation", "providers/sveltekit"},
    "providers/gradio_site": {"providers/gradio_chat", "providers/gradio_config"},
    "providers/h2o_site": {"providers/sveltekit"},
}


@functools.cache
def modules() -> list[tuple[str, ast.Module]]:
    return [
        (path.relative_to(PACKAGE).with_suffix("").as_posix(), ast.parse(path.read_text("utf-8")))
        for path in sorted(PACKAGE.rglob("*.py"))
    ]


def imports(name: str, tree: ast.Module) -> Iterator[str]:
    """Yield what a module imports when it runs: ours by path, others by package."""
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for inner in block.body
        for node in ast.walk(inner)
    }
    here = ["c4ai_clients", *name.split("/")[:-1]]
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) + 1 - node.level] if node.level else []
            target = [*base, *(node.module.split(".") if node.module else [])]
            if target[0] != "c4ai_clients":
                yield target[0]
            elif len(target) > 1:
                yield "ours:" + "/".join(target[1:])
            else:
                for alias in node.names:
                    yield "ours:" + alias.name


def allowed(name: str) -> set[str]:
    rule = MAY_IMPORT.get(name) or MAY_IMPORT.get(f"{name.partition('/')[0]}/*", "")
    return set(rule.split())


def test_layers__imports_point_one_way() -> None:
    """Every import of ours stands in the table."""
    wrong = []
    for name, tree in modules():
        for target in imports(name, tree):
            ours = target.removeprefix("ours:")
            if ours == target or "*" in allowed(name) or ours in allowed(name):
                continue
            if name.startswith("emulator/") and ours.startswith("emulator"):
                continue
            if name.startswith("providers/") and ours in SIBLINGS.get(name, ()):
                continue
            wrong.append(f"{name} imports {ours}")

    assert wrong == []


def test_layers__every_file_has_a_row() -> None:
    """A new file at the top needs a row in the table."""
    top = {name for name, _ in modules() if "/" not in name}

    assert top <= set(MAY_IMPORT)


def test_layers__libraries_stay_where_they_are() -> None:
    """Each library is imported by the files that the design names, and by no other."""
    wrong = [
        f"{name} imports {target}"
        for name, tree in modules()
        for target in imports(name, tree)
        if target in ONLY and name not in ONLY[target]
    ]

    assert wrong == []


def test_layers__the_emulator_stands_alone() -> None:
    """The emulator uses the standard library only, so it shares no mistake with the client."""
    others = {
        target
        for name, tree in modules()
        if name.startswith("emulator/")
        for target in imports(name, tree)
        if not target.startswith("ours:")
    }

    assert others <= set(sys.stdlib_module_names)


def test_layers__print_and_environment_only_on_the_command_line() -> None:
    """A library neither prints nor reads the environment, and has no global."""
    wrong = []
    for name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Global):
                wrong.append(f"{name}: global")
            if name.startswith("cli/") or name == "__main__":
                continue
            if isinstance(node, ast.Name) and node.id == "print":
                wrong.append(f"{name}: print")
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
                wrong.append(f"{name}: environment")

    assert wrong == []


def test_layers__broad_excepts_hand_errors_on() -> None:
    """A broad except stands only where a thread hands an error on, or has nobody to hand it to."""
    broad = {
        name
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (
            node.type is None
            or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException"))
        )
        and not any(isinstance(inner, ast.Raise) and inner.exc is None for inner in node.body)
        and not name.startswith("emulator/")
    }

    threaded = {"ahead", "batch", "clocks", "stream", "threads", "transport"}
    assert broad <= threaded | {"cli/commands", "cli/servers"}


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """What is loaded when all names of the package have been imported."""
    code = "from c4ai_clients import *; import sys; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


@pytest.mark.parametrize(
    "heavy",
    [
        *("asyncio", "click", "filelock", "rich", "tenacity", "tqdm", "websocket"),
        *("IPython", "markdown_it"),
        "c4ai_clients.emulator",
    ],
)
def test_import__loads_nothing_heavy(heavy: str, loaded: set[str]) -> None:
    """Importing all names of the package loads neither asyncio nor what only some need."""
    assert "c4ai_clients.client" in loaded
    assert heavy not in loaded


def test_import__dir_is_what_is_public() -> None:
    """Tab shows the public names and modules alone, and each of them is there."""
    code = (
        "import c4ai_clients as c; names = dir(c); print(*names);"
        "from c4ai_clients import *; assert all(hasattr(c, name) for name in names);"
        "assert names == dir(c)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = set(ran.stdout.split())

    assert {*c4ai_clients.__all__, "batch", "emulator", "notebook", "threads"} <= names
    assert not {"Any", "TYPE_CHECKING", "import_module", "client", "logging"} & names


@pytest.mark.parametrize("later", ["requests", "urllib3", "c4ai_clients.client"])
def test_import__loads_a_client_when_it_is_asked_for(later: str) -> None:
    """Importing the package loads no HTTP; naming a client does, and no other client."""
    code = (
        f"import sys, c4ai_clients; before = {later!r} in sys.modules; c4ai_clients.H2O;"
        f"after = {later!r} in sys.modules; other = 'c4ai_clients.providers.gradio' in sys.modules;"
        "sys.exit(before or not after or other)"
    )

    assert 0 == subprocess.run([sys.executable, "-c", code], check=False).returncode
