"""What a batch asks: prompts from any iterable or file, each under an id of its own.

Nothing is kept of a prompt but 40 bytes or so of its id, so that there may be
any number of them. What cannot be asked is no reason to stop: it comes out with
its error.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from typing import Any, Union

from .errors import UsageError, quote

__all__ = ["Asked", "Prompts", "count", "read"]

Prompts = Union[str, "os.PathLike[str]", Iterable[Union[str, Mapping[str, Any]]]]

_PIPED = "-"
_FIELDS = ("id", "prompt", "messages", "system", "model", "options")
_FORMS = 'write each prompt as a line "…" or {"prompt": "…"}, or make the file a table, .csv'
_LONGEST_CELL = 1 << 26


@dataclass(frozen=True)
class Asked:
    """One prompt of a batch.

    Attributes:
        id: What its record is found by.
        index: Its place among the prompts, from 0.
        messages: What is asked, as a client's ``stream`` takes it.
        options: What else that is given.
        error: Why it cannot be asked, or None.
    """

    id: str
    index: int
    messages: Any = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    error: UsageError | None = None


def read(prompts: Prompts) -> Iterator[Asked]:
    """Yield each of *prompts*.

    An id that is not given is made of content, options, and how many equal
    prompts came before, so the same prompts have the same ids in every run.

    Raises:
        UsageError: A file cannot be read, or two prompts have one id.
    """
    given = _rows(os.fspath(prompts)) if isinstance(prompts, (str, os.PathLike)) else prompts
    equal: Counter[bytes] = Counter()
    taken: set[bytes] = set()
    for index, row in enumerate(given):
        asked = _asked(row, index)
        if not asked.id:
            made = _digest(row if asked.error else [asked.messages, dict(asked.options)])
            again = equal[made]
            equal[made] += 1
            name = f"{made.hex()}-{again}" if again else made.hex()
        else:
            name = asked.id
            key = _digest(name)
            if key in taken:
                raise UsageError(f"two prompts have the id {name!r}: give each its own, or none")
            taken.add(key)
        yield Asked(name, index, asked.messages, asked.options, asked.error)


def count(prompts: Prompts) -> int | None:
    """Return how many prompts there are, where that can be told without taking them."""
    if isinstance(prompts, (str, os.PathLike)):
        path = os.fspath(prompts)
        return sum(1 for _ in _rows(path)) if os.path.isfile(path) else None
    return len(prompts) if isinstance(prompts, Sized) else None


def _digest(value: Any) -> bytes:
    written = json.dumps(value, sort_keys=True, default=repr)
    return hashlib.sha256(written.encode("ascii")).digest()[:12]


def _rows(path: str) -> Iterator[Any]:
    """Yield a file's prompts: rows of a CSV file with a header, else lines of JSON."""
    piped = path == _PIPED
    name = "standard input" if piped else path
    table = path.endswith(".csv")
    try:
        with open(
            0 if piped else path,
            encoding="utf-8-sig",
            newline="" if table else "\n",
            closefd=not piped,
        ) as file:
            yield from _cells(name, file) if table else _lines(name, file)
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8 text") from error


def _lines(path: str, file: Iterable[str]) -> Iterator[Any]:
    """Yield what the lines hold; where the first is not JSON, the file is of another kind."""
    written = ((number, line) for number, line in enumerate(file, 1) if line.strip())
    for place, (number, line) in enumerate(written):
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            wrong = f"line {number} of {path} is not JSON: {quote(line)}"
            if place == 0:
                raise UsageError(f"{wrong}; {_FORMS}") from None
            yield UsageError(wrong)


def _cells(path: str, file: Iterable[str]) -> Iterator[Any]:
    csv.field_size_limit(max(_LONGEST_CELL, csv.field_size_limit()))  # 131,072 is no long prompt
    rows = csv.DictReader(file)
    try:
        if "prompt" not in (rows.fieldnames or ()):
            raise UsageError(f"{path} has no column prompt: its first line names the columns")
        for row in rows:
            cells = {str(name): cell for name, cell in row.items() if cell not in (None, "")}
            if "options" in cells:
                try:
                    cells["options"] = json.loads(cells["options"])
                except (ValueError, RecursionError):
                    yield UsageError(f"line {rows.line_num} of {path}: options is not JSON")
                    continue
            yield cells
    except csv.Error as error:
        raise UsageError(f"{path} is no CSV file: {error}") from error


def _asked(row: Any, index: int) -> Asked:
    """Return a row as it is to be asked; without an id where none is given."""
    if isinstance(row, str):
        return Asked("", index, row)
    if isinstance(row, UsageError):
        return Asked("", index, error=row)
    if not isinstance(row, Mapping):
        return Asked(
            "", index, error=UsageError(f"a prompt is a string or a dict, not {row!r:.80}")
        )
    name, options = row.get("id", ""), row.get("options", {})
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    wrong = [str(key) for key in row if key not in _FIELDS]
    error = None
    if wrong:
        error = f"a prompt has no field {', '.join(wrong)}; there are {', '.join(_FIELDS)}"
    elif not isinstance(name, str):
        error = f"an id is a string, not {name!r:.80}"
    elif ("prompt" in row) == ("messages" in row):
        error = "a prompt is in one of the fields prompt and messages"
    elif not isinstance(options, Mapping):
        error = f"options is a dict, not {options!r:.80}"
    if error:
        return Asked(name if isinstance(name, str) else "", index, error=UsageError(error))
    named = {key: row[key] for key in ("system", "model") if row.get(key) is not None}
    said = row["prompt"] if "prompt" in row else row["messages"]
    return Asked(name, index, said, {**options, **named})
