"""A batch's output on disk: one line of JSON for each prompt, by one run at a time.

Rules that this file keeps, so that a run may die at any byte:

1. Lines are only ever appended, whole, and are on the disk before their
   prompts count as done.
2. What is not a finished line, at the end or in a hole that a crash left, is
   no record, and its prompt is asked again. No finished line is changed.
3. A later line with the same id wins.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .errors import C4AIError, UsageError
from .prompts import Asked
from .stream import Reply

__all__ = ["Ledger", "Record", "of_error", "of_reply", "opened", "read_batch"]

Record = dict[str, Any]

_BEGINNING = b'{"id": "'


def of_reply(asked: Asked, reply: Reply) -> Record:
    """Return the record of a reply."""
    return {"id": asked.id, "index": asked.index, **reply.to_dict()}


def of_error(asked: Asked, error: C4AIError) -> Record:
    """Return the record of a prompt that failed.

    ``retry`` says whether a later run may fare better: not with what cannot be
    sent as asked, and not where the server's refusal lasts.
    """
    return {
        "id": asked.id,
        "index": asked.index,
        "error": {
            "class": type(error).__name__,
            "text": str(error),
            "partial": error.partial,
            "phase": error.phase,
            "attempts": error.attempts,
            "retry": not isinstance(error, UsageError) and not error.lasting,
        },
    }


def read_batch(path: str | os.PathLike[str]) -> list[Record]:
    """Return a batch's records, one for each id, in the order of the prompts.

    A record is a reply as :meth:`~c4ai_clients.Reply.to_dict` gives it, or has ``error``, a
    dict with ``class``, ``text``, ``partial``, ``phase``, ``attempts`` and
    ``retry``; both have ``id``, and ``index``, the prompt's place.

    Raises:
        UsageError: The file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            found = {record["id"]: record for record in map(_record, file) if record is not None}
    except OSError as error:
        raise UsageError(f"cannot read {os.fspath(path)}: {error.strerror}") from error
    return sorted(found.values(), key=lambda record: record["index"])


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Ledger]:
    """Give a batch's output, new or as an earlier run left it, to this run alone.

    Raises:
        UsageError: Another run writes it, it cannot be written, or it holds
            something else.
    """
    try:
        import filelock
    except ModuleNotFoundError as error:
        raise UsageError("a batch needs more: pip install 'c4ai-clients[batch]'") from error
    name, shown = os.path.realpath(path), os.fspath(path)
    if os.path.exists(path) and not os.path.isfile(path):
        raise UsageError(f"{shown} is no file: a batch goes on from what it has written")
    if not os.access(os.path.dirname(name), os.W_OK):  # where the lock lies, too
        raise UsageError(f"cannot write {shown}: is its directory there, and yours?")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(filelock.FileLock(name + ".lock", timeout=0))
            handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except filelock.Timeout as error:
            raise UsageError(f"another run writes {shown}: wait for its end") from error
        except OSError as error:
            raise UsageError(f"cannot write {shown}: {error.strerror}") from error
        stack.callback(os.close, handle)
        yield Ledger(handle, shown)


class Ledger:
    """The output of a batch, while a run holds it.

    Args:
        handle: The file, open for reading and for appending.
        path: Its name, for errors.
    """

    def __init__(self, handle: int, path: str) -> None:
        self.path = path
        self._handle = handle
        # None for a reply, else whether it may help to ask again.
        self._ids: dict[str, bool | None] = {}
        self._size = self._read()

    def __len__(self) -> int:
        return len(self._ids)

    def lacks(self, name: str, *, retry_failed: bool) -> bool:
        """Tell whether the prompt with this id is still to be asked."""
        return name not in self._ids or (retry_failed and self._ids[name] is True)

    def failed(self, name: str) -> bool:
        """Tell whether the record of the prompt with this id is an error."""
        return self._ids.get(name) is not None

    def append(self, records: Iterable[Record]) -> None:
        """Write *records*, and return when they are on the disk.

        Where that fails, also by Ctrl-C, none of them is there.
        """
        records = list(records)
        data = memoryview(
            b"".join(json.dumps(record).encode("ascii") + b"\n" for record in records)
        )
        size = self._size + len(data)
        try:
            while data:
                data = data[os.write(self._handle, data) :]
            os.fsync(self._handle)
        except BaseException:
            with contextlib.suppress(OSError):  # what is left of a line is no record
                os.ftruncate(self._handle, self._size)
            raise
        self._size = size
        for record in records:
            self._note(record)

    def _note(self, record: Mapping[str, Any]) -> None:
        error = record.get("error")
        self._ids[record["id"]] = bool(error.get("retry")) if isinstance(error, dict) else None

    def _read(self) -> int:
        """Take in what is there, mend its end, and return its size."""
        size = 0
        with open(self._handle, "rb", closefd=False) as file:
            for line in file:
                record = _record(line)
                if record is None and size == 0 and not _cut(line):
                    raise UsageError(f"{self.path} holds something else: name another file")
                if record is not None:
                    self._note(record)
                if line.endswith(b"\n"):
                    size += len(line)
                elif record is not None:
                    os.write(self._handle, b"\n")  # only this was missing
                    size += len(line) + 1
        os.ftruncate(self._handle, size)
        os.fsync(self._handle)
        directory = os.open(os.path.dirname(os.path.realpath(self.path)), os.O_RDONLY)
        try:
            os.fsync(directory)  # else a crash may take a new file's name with it
        finally:
            os.close(directory)
        return size


def _cut(line: bytes) -> bool:
    """Tell whether a line that is no record may be what a crash left of one."""
    begun = line.startswith(_BEGINNING) or _BEGINNING.startswith(line)
    return begun or b"\0" in line or not line.strip()


def _record(line: bytes) -> Record | None:
    """Return the record that a line is, or None."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    known = (
        isinstance(record, dict)
        and isinstance(record.get("id"), str)
        and isinstance(record.get("index"), int)
        and (isinstance(record.get("text"), str) or isinstance(record.get("error"), dict))
    )
    return record if known else None
