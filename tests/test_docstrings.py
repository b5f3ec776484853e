"""Docstrings of the public names: each has one, which tells of nothing that is not there."""

from __future__ import annotations

import ast
import builtins
import contextlib
import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

import c4ai_clients

MODULES = (
    "c4ai_clients",
    *("c4ai_clients.errors", "c4ai_clients.events", "c4ai_clients.threads", "c4ai_clients.batch"),
    *("c4ai_clients.notebook", "c4ai_clients.detect", "c4ai_clients.emulator"),
    "c4ai_clients.recording",
)
PROTOCOLS = ("autonomous", "chatui", "gradio", "h2o")


class Named(NamedTuple):
    """A public name, and what it is."""

    name: str
    thing: Any

    @property
    def doc(self) -> str:
        return inspect.cleandoc(getattr(self.thing, "__doc__", None) or "")


def public() -> Iterator[Named]:
    """Yield all that the public modules offer, with the public members of its classes."""
    seen: set[int] = set()
    for module in map(importlib.import_module, MODULES):
        yield Named(module.__name__, module)
        for name in module.__all__:
            thing = getattr(module, name)
            if not (inspect.isclass(thing) or inspect.isroutine(thing)) or id(thing) in seen:
                continue
            seen.add(id(thing))
            yield Named(f"{module.__name__}.{name}", thing)
            if inspect.isclass(thing):
                yield from members(f"{module.__name__}.{name}", thing)


def members(name: str, kind: type) -> Iterator[Named]:
    """Yield the methods and properties that a class of ours defines itself."""
    for member, found in vars(kind).items():
        thing = found.__func__ if isinstance(found, (classmethod, staticmethod)) else found
        if not member.startswith("_") and (inspect.isroutine(thing) or isinstance(thing, property)):
            yield Named(f"{name}.{member}", thing)


def section(doc: str, title: str) -> dict[str, str]:
    """Return the entries of a Google-style section, and what is said of each."""
    found = re.search(rf"^{title}:\n((?:    .*\n|\n)*)", doc + "\n", re.MULTILINE)
    if found is None:
        return {}
    entries = re.split(r"^    (?=\S)", found[1], flags=re.MULTILINE)[1:]
    return {entry.partition(":")[0].strip("* "): entry.partition(":")[2] for entry in entries}


def parameters(thing: Any) -> list[str]:
    """Return the names of what a callable takes; a class takes what its constructor does."""
    return [name for name in inspect.signature(thing).parameters if name not in ("self", "cls")]


PUBLIC = list(public())
TAKING = [named for named in PUBLIC if section(named.doc, "Args")]
RAISING = [named for named in PUBLIC if section(named.doc, "Raises")]
HOLDING = [named for named in PUBLIC if section(named.doc, "Attributes")]


@pytest.mark.parametrize("named", PUBLIC, ids=lambda named: named.name)
def test_docstring__begins_with_a_sentence(named: Named) -> None:
    """The first paragraph is one line that begins with a capital and ends in a full stop."""
    first, _, rest = named.doc.partition("\n")

    assert re.match(r"[A-Z`]", first), first
    assert first.rstrip()[-1:] in ".:", first
    assert not rest or rest.startswith("\n"), first


@pytest.mark.parametrize("named", TAKING, ids=lambda named: named.name)
def test_docstring__args_are_the_parameters(named: Named) -> None:
    """Where arguments are told, each is one that is taken, and none is left out."""
    assert parameters(named.thing) == list(section(named.doc, "Args"))


@pytest.mark.parametrize("named", HOLDING, ids=lambda named: named.name)
def test_docstring__attributes_are_there(named: Named) -> None:
    """An attribute that is told of is a field, a property, or set by the constructor."""
    kind = named.thing
    there = {name for each in kind.__mro__ for name in vars(each)}
    for each in kind.__mro__[:-1]:
        there |= set(getattr(each, "__annotations__", {}))
        made = vars(each).get("__init__")
        if made is not None and not dataclasses.is_dataclass(each):
            with contextlib.suppress(OSError, TypeError):
                tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(made)))
                there |= {
                    node.attr
                    for node in ast.walk(tree)
                    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
                }

    assert set(section(named.doc, "Attributes")) <= there


@pytest.mark.parametrize("named", RAISING, ids=lambda named: named.name)
def test_docstring__raises_what_there_is(named: Named) -> None:
    """What it says to raise is an error of ours, of Python's, or of its own file."""
    module = inspect.getmodule(named.thing)
    there = {*c4ai_clients.errors.__all__, *vars(builtins), *vars(module)}

    assert set(section(named.doc, "Raises")) <= there


@pytest.mark.parametrize("name", PROTOCOLS)
def test_docstring__says_where_a_protocol_was_seen(name: str) -> None:
    """A provider's file, and each client in it, says what it was seen on, or that it never was."""
    module = importlib.import_module(f"c4ai_clients.providers.{name}")
    clients = [thing for each, thing in vars(module).items() if each in module.__all__]

    for thing in (module, *filter(inspect.isclass, clients)):
        assert re.search(r"\b[Ss]een\b|\brecorded\b", thing.__doc__ or ""), thing
