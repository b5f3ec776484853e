"""The answer in an output's value: its text, and what is new in it each time.

Pure: no I/O. Rules that this file keeps:

1. What a server says may be of any type. A value in no shape of a chat is None,
   and an edit that does not fit makes the value stale; neither is an error
   here, and neither ever gives a wrong text.
2. An answer is what stands after the last question. Messages with a title
   (``metadata.title``) are thinking; the last of the others is the text.
3. A reply costs in proportion to the bytes received: text that is appended is
   kept in pieces until something else asks for the whole, and a value of very
   many messages is not read anew for each small edit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..decoding import paired
from ..events import Event, Reasoning, Text
from ..pieces import Pieces

__all__ = ["Output", "Value", "files_in", "held", "read"]

Path = tuple[Any, ...]

_LAST = -1
# What apps put behind a text while it grows, and take away with the next piece.
_CURSORS = "▌▐▍▎▏▋▊▉█▮●⬤■|_"
_LONGEST_CURSOR = 4
# For each edit so many messages and parts may be read: a value of more is read less often.
_AN_EDIT = 1000


@dataclass
class Value:
    """What a value says.

    Attributes:
        text: The answer, or None where there is none yet.
        path: Where its end lies in the value, or None.
        thought: What was thought before it.
        thought_path: Where that ends.
        shown: What the answer shows beside its text: files, and what may hold files.
        size: How many messages and parts there were to look at, less those that
            edits have paid for since.
    """

    text: str | None = None
    path: Path | None = None
    thought: str = ""
    thought_path: Path | None = None
    shown: list[Any] = field(default_factory=list)
    size: int = 0

    @property
    def files(self) -> list[dict[str, Any]]:
        """The files that the answer brings, as the server has them."""
        return files_in(self.shown)


class _OddError(ValueError):
    """A value is in none of the shapes that a chat has."""


def read(value: Any, sent: Any = None) -> Value | None:
    """Return what an output's value says; None where it is in no shape of a chat.

    Args:
        value: The output's value, or an update of the component that holds it.
        sent: The history that was sent; a value that is still the same has no
            answer yet.
    """
    found = Value()
    return found if _read(value, sent, found) else None


def _read(value: Any, sent: Any, found: Value) -> bool:
    """Note in *found* what a value says; tell whether it is in a shape of a chat."""
    at: Path = ()
    if _is_update(value):
        value, at = value.get("value"), ("value",)
    try:
        if isinstance(value, list):
            found.size = len(value)
            if value and value != sent:
                _read_list(value, at, found)
        elif value is not None:
            found.text, found.path = _content(value, at, found)
    except (_OddError, RecursionError):
        return False
    return True


def held(value: Any) -> Any:
    """Return the value without the update that it may come in."""
    return value.get("value") if _is_update(value) else value


def files_in(value: Any) -> list[dict[str, Any]]:
    """Return the files that a value holds, each with its ``path``, or ``data`` (Gradio 3)."""
    files: list[dict[str, Any]] = []
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if (file := _file(value)) is not None:
            files.append(file)
        elif isinstance(value, (list, dict)):
            waiting += reversed(value if isinstance(value, list) else list(value.values()))
    return files


def _file(value: Any) -> dict[str, Any] | None:
    """Return a file as Gradio since 4 writes it, whoever wrote it; None where it is none."""
    if isinstance(value, str) and value.startswith("data:"):
        return {"data": value}
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("path"), str):
        return value
    if value.get("is_file") is True and isinstance(value.get("name"), str):
        return {**value, "path": value["name"]}
    return None


def _is_update(value: Any) -> bool:
    return isinstance(value, dict) and value.get("__type__") == "update"


def _read_list(value: list[Any], at: Path, found: Value) -> None:
    last = len(value) - 1
    if isinstance(value[last], list):
        first = last
        while first and _is_pair(value[first]) and value[first][0] is None:
            first -= 1
        for i in range(first, last + 1):
            if not _is_pair(value[i]):
                raise _OddError
            if value[i][1] is not None:
                text, path = _content(value[i][1], (*at, i, 1), found)
                if text is not None:
                    found.text, found.path = text, path
        return
    if not _is_message(value[last]):
        # Parts of one content, none of which is a question of the user's.
        if any(_is_pair(each) or _is_message(each) for each in value):
            raise _OddError
        found.text, found.path = _content(value, at, found)
        return
    first = last + 1
    while first and isinstance(value[first - 1], dict) and value[first - 1].get("role") != "user":
        first -= 1
    thoughts = []
    for i in range(first, last + 1):
        message = value[i]
        if message.get("role") != "assistant":
            continue
        text, path = _content(message.get("content"), (*at, i, "content"), found)
        metadata = message.get("metadata")
        if isinstance(metadata, dict) and metadata.get("title"):
            if text is not None:
                thoughts.append(text)
                found.thought_path = path
        elif text is not None:
            found.text, found.path = text, path
    found.thought = "\n".join(thoughts)


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and "role" in value


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


def _content(value: Any, at: Path, found: Value) -> tuple[str | None, Path | None]:
    """Return a content's text and where that ends; note what it shows, and how many parts."""
    if isinstance(value, str):
        return value, at
    if isinstance(value, dict):
        if _file(value) is not None:
            found.shown.append(value)
            return None, None
        if "component" in value:
            found.shown.append(value.get("value"))
            return None, None
        for key in ("text", "content"):
            if value.get(key) is not None:
                return _content(value[key], (*at, key), found)
        if isinstance(value.get("file"), dict):
            return _content(value["file"], at, found)
        if any(key in value for key in ("text", "content", "file")):
            return None, None
    if not isinstance(value, list):
        raise _OddError
    found.size += len(value)
    texts, path = [], None
    for i, part in enumerate(value):
        text, end = _content(part, (*at, i), found)
        if text is not None:
            texts.append(text)
            path = end
    return ("\n".join(texts) if texts else None), path


class Growing:
    """What was given of a text that grows, and that may be rewritten.

    Only what continues the text given so far can be given; while the text is
    another one, nothing is. What may be a cursor at its end is held back: the
    next step replaces it, or shows that it was none.
    """

    def __init__(self) -> None:
        self.in_step = True
        self._given = Pieces()
        self._agreed: int | None = 0  # how much of what was given holds, where that is known
        self._back = ""  # what was held back: a cursor, or half a character

    def text(self) -> str:
        """Return the whole text as it is now; only where it is in step."""
        return self._given.text() + self._back

    def becomes(self, text: str) -> str:
        """Return what is new where the whole is *text* now."""
        text, half = _whole(text)
        given = self._given.text()
        self.in_step = text.startswith(given)
        if not self.in_step:
            self._given = Pieces(given)  # joined once, however often a whole text comes
            self._agreed = len(text) if given.startswith(text) else None
            self._back = half
            return ""
        bare = _bare(text[len(given) :])
        kept = len(given) + len(bare)
        self._given = Pieces(text[:kept])
        self._back = text[kept:] + half
        return bare

    def grows(self, piece: str) -> str:
        """Return what is new where *piece* was appended."""
        if not self.in_step:
            if self._agreed is None:
                return ""
            return self.becomes(self._given.text()[: self._agreed] + self._back + piece)
        if self._back or not piece or piece[-1] in _CURSORS or piece[-1] >= "\ud800":
            whole, half = _whole(paired(self._back + piece))
            piece = _bare(whole)
            self._back = whole[len(piece) :] + half
        given = self._given
        given.append(piece)
        if len(given) > given.most:
            given.pack()
        return piece


def _bare(text: str) -> str:
    """Return *text* without a cursor at its end, and the space before that."""
    bare = text.rstrip(_CURSORS)
    return bare.rstrip() if 0 < len(text) - len(bare) <= _LONGEST_CURSOR else text


def _whole(text: str) -> tuple[str, str]:
    """Return *text* up to a surrogate whose other half is still to come, and that."""
    if "\ud800" <= text[:1] <= "\udbff":
        text = paired(text[:2]) + text[2:]
    if "\ud800" <= text[-1:] <= "\udbff":
        return text[:-1], text[-1]
    return text, ""


class Output:
    """An output's value while it comes, and what is new in it each time.

    Attributes:
        sent: The history that was sent, which is no answer.
        begun: Whether a value has come, so that edits may follow.
        stale: Whether an edit did not fit, so that only a full value can help.
    """

    def __init__(self, sent: Any = None, look: Callable[[], object] = lambda: None) -> None:
        """Begin.

        Args:
            sent: The history that was sent.
            look: Called before each edit that may cost more than its bytes; it
                raises where nobody waits for the reply any more.
        """
        self.sent = sent
        self._look = look
        self.begun = False
        self.stale = False
        self._value: Any = None
        self._found = Value()
        self._text, self._thought = Growing(), Growing()
        # Text that was appended and is not in the value yet, by its place.
        self._loose: dict[Path, Pieces] = {}
        # The place, as edits write it, where the answer's text grows. What was appended there
        # is in _text alone, behind so many characters that stand elsewhere.
        self._growing: list[Any] | None = None
        self._before = 0

    def becomes(self, value: Any) -> list[Event]:
        """Return what is new in a full value."""
        self._loose.clear()
        self._growing = None
        self._value = value
        self.begun = True
        self.stale = False
        return self._news()

    def changes(self, edits: Any) -> list[Event]:
        """Return what is new after the server's edits, ``[op, path, value]`` each.

        An edit that does not fit makes the value stale: what was given stays,
        and nothing is added until a full value comes.
        """
        if self.stale:
            return []
        if (piece := self.appended(edits)) is not None:
            return _news(Text, piece)
        news: list[Event] = []
        moved = False
        try:
            for op, where, value in _in_order(edits):
                if op == "append":
                    if not moved and where == self._found.path:
                        news += _news(Text, self._grows(where, value))
                        continue
                    self._look()
                    self._append(where, value)
                    if not moved and where == self._found.thought_path:
                        news += _news(Reasoning, self._thought.grows(value))
                        continue
                else:
                    self._look()
                    self._settle()
                    self._value = _edited(self._value, op, where, value)
                moved = True
                self._found.size -= _AN_EDIT
        except (LookupError, TypeError, ValueError, RecursionError):
            self.lose()
            return news
        if not moved:
            return news
        if self._found.size > 0:
            self._settle()
            # Where the answer ends is not known until it is read again.
            self._found = Value(size=self._found.size)
            return news
        return news + self._news()

    def appended(self, edits: Any) -> str | None:
        """Return what edits give that only append to the answer's text once more.

        Nearly all do nothing else, so they take this short way; None of any other.
        """
        try:
            ((op, where, piece),) = edits
        except (TypeError, ValueError):
            return None
        if type(where) is not list or where != self._growing:
            return None
        return self._text.grows(piece) if op == "append" and type(piece) is str else None

    def lose(self) -> None:
        """Give the value up: what it is now is not known."""
        self._settle()
        self.stale = True

    def _grows(self, path: Path, piece: Any) -> str:
        """Append to the answer's text at *path*, where it ends; return what is new."""
        if self._growing is None:
            self._append(path, "")
            text, last = self._text.text(), self._loose[path].text()
            if self._text.in_step and text.endswith(last):
                del self._loose[path]
                self._growing, self._before = list(path), len(text) - len(last)
        if self._growing is None:
            self._append(path, piece)
        elif not isinstance(piece, str):
            raise TypeError("only text can be appended")
        return self._text.grows(piece)

    def _append(self, path: Path, piece: Any) -> None:
        if not isinstance(piece, str):
            raise TypeError("only text can be appended")
        if self._growing == list(path):
            self._settle()
        if path not in self._loose:
            value = self._value
            for step in path:
                value = _child(value, step)
            if not isinstance(value, str):
                raise TypeError("only text can be appended to")
            self._loose[path] = Pieces(value)
        self._loose[path].add(piece)

    def _settle(self) -> None:
        """Put the appended pieces where they belong."""
        for path, pieces in self._loose.items():
            self._value = _edited(self._value, "replace", path, pieces.text())
        if self._growing is not None:
            grown = self._text.text()[self._before :]
            self._value = _edited(self._value, "replace", tuple(self._growing), grown)
        self._loose.clear()
        self._growing = None

    def _news(self) -> list[Event]:
        self._settle()
        found = self._found = Value()
        if not _read(self._value, self.sent, found):
            self._found = Value(size=found.size)
        news: list[Event] = []
        if self._found.thought:
            news += _news(Reasoning, self._thought.becomes(self._found.thought))
        if self._found.text is not None:
            news += _news(Text, self._text.becomes(self._found.text))
        return news


def _news(kind: type[Text] | type[Reasoning], piece: str) -> list[Event]:
    return [kind(piece)] if piece else []


def _in_order(edits: Any) -> list[tuple[Any, Path, Any]]:
    """Return edits so that each fits the value as the ones before leave it.

    Gradio compares lists from their beginning, so it only ever deletes at
    their ends; but where it tells of several deletions their places are wrong.
    Until 5.29.0 it gives the old ones, rising; since then it lowers each by the
    deletions before it, those in other lists too (checked with its own code).
    """
    ordered: list[tuple[Any, Path, Any]] = []
    deletions: list[int] = []
    for edit in _listed(edits):
        op, where, *value = _listed(edit)
        path = tuple(_listed(where))
        if op == "delete" and path and _number(path[-1]):
            deletions.append(len(ordered))
        ordered.append((op, path, value[0] if value else None))
    if len(deletions) < 2:
        return ordered
    lists = {ordered[i][1][:-1] for i in deletions}
    places = [ordered[i][1][-1] for i in deletions]
    if len(lists) == 1 and len(set(places)) == 1:
        return ordered
    rising = len(lists) == 1 and places == sorted(set(places))
    for i, place in zip(deletions, reversed(places), strict=True):
        op, path, nothing = ordered[i]
        ordered[i] = (op, (*path[:-1], place if rising else _LAST), nothing)
    return ordered


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("an edit is a list")
    return value


def _edited(value: Any, op: Any, path: Path, new: Any) -> Any:
    """Return *value* after one edit; it is changed in place."""
    if not path:
        if op != "replace":
            raise ValueError(op)
        return new
    parent = value
    for step in path[:-1]:
        parent = _child(parent, step)
    step = path[-1]
    if op == "add" and isinstance(parent, list):
        if not _number(step) or not 0 <= step <= len(parent):
            raise IndexError(step)
        parent.insert(step, new)
    elif op == "add" and isinstance(parent, dict):
        parent[str(step)] = new
    elif op == "replace":
        _child(parent, step)
        parent[step] = new
    elif op == "delete":
        if step == _LAST and isinstance(parent, list):
            parent.pop()
        else:
            _child(parent, step)
            del parent[step]
    else:
        raise ValueError(op)
    return value


def _number(value: Any) -> bool:
    return type(value) is int


def _child(value: Any, step: Any) -> Any:
    """Return what lies at *step* of a list or dict."""
    if isinstance(value, list) and (not _number(step) or step < 0):
        raise IndexError(step)
    if not isinstance(value, (list, dict)):
        raise TypeError(step)
    return value[step]
