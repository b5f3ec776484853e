"""A Gradio chat app: what goes into its listener, and how its chatbot writes.

Pure: no I/O. :mod:`gradio_config` finds it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..decoding import parsed
from ..errors import UsageError
from ..messages import Message, text_of

__all__ = ["FILE_INPUTS", "Chat", "Input", "describe", "sendable", "written"]

FILE_INPUTS = ("image", "file", "audio", "video", "uploadbutton")


@dataclass(frozen=True)
class Input:
    """One input of the listener.

    Attributes:
        use: ``prompt``, ``history``, ``system``, ``state`` or ``setting``.
        kind: The component's type.
        label: Its label, or ``""``.
        default: What is sent where nobody says otherwise.
        choices: The values it may have; empty where it takes any.
        names: What the choices are called, in the same order.
        many: Whether it takes a list of files.
    """

    use: str
    kind: str = "textbox"
    label: str = ""
    default: Any = None
    choices: tuple[Any, ...] = ()
    names: tuple[str, ...] = ()
    many: bool = False

    def chosen(self, value: Any) -> Any:
        """Return *value* as it is sent; a choice may be called by its name.

        Raises:
            UsageError: It is not among the choices.
        """
        if not self.choices or value in self.choices:
            return value
        if value in self.names:
            return self.choices[self.names.index(value)]
        offered = ", ".join(str(choice) for choice in self.choices)
        raise UsageError(f"{self.label or self.kind} has no choice {value!r}. There are: {offered}")


@dataclass(frozen=True)
class Chat:
    """The listener that chats, and how to speak to it.

    Attributes:
        fn_index: Its number.
        inputs: What goes into it, in order.
        output: Which of its outputs holds the answer.
        protocol: How its queue speaks, such as ``sse_v3``.
        trigger_id: The component that it listens to, or None.
        prefix: What stands before each path.
        version: Gradio's version, as far as it is known.
        shape: How its chatbot writes a conversation: ``tuples``, ``messages``,
            ``blocks``, ``modelscope``, or ``text`` where it has no chatbot.
        name: Its API name, or ``""``.
        outputs: The kinds of its outputs.
    """

    fn_index: int
    inputs: tuple[Input, ...]
    output: int
    protocol: str = "sse_v3"
    trigger_id: int | None = None
    prefix: str = ""
    version: tuple[int, ...] = ()
    shape: str = "tuples"
    name: str = ""
    outputs: tuple[str, ...] = ()

    @property
    def keeps_session_in_calls(self) -> bool:
        """Whether ``/call`` can go on in a session: since 6, and where there are states."""
        return self.version >= (6,) and self.has("state")

    def has(self, use: str) -> bool:
        """Tell whether one of the inputs is for *use*."""
        return any(entry.use == use for entry in self.inputs)

    def setting(self, name: str) -> int:
        """Return the position of the setting that is labelled *name*, or has that number.

        The number is the one that :func:`describe` tells, from 1.

        Raises:
            UsageError: There is none, or more than one.
        """
        wanted = name.strip().lower()
        labels = {
            i: entry.label.lower() for i, entry in enumerate(self.inputs) if entry.use == "setting"
        }
        found = [i for i, label in labels.items() if label == wanted]
        found = found or [i for i in labels if str(i + 1) == wanted]
        found = found or [i for i, label in labels.items() if wanted and wanted in label]
        if len(found) == 1:
            return found[0]
        offered = "; ".join(_told(i, self.inputs[i]) for i in labels)
        raise UsageError(
            f"the app has {'no' if not found else 'more than one'} input {name!r}: "
            f"name one by its label or number. There are: {offered or 'none'}"
        )

    def places(self, count: int) -> list[int]:
        """Return the positions of the inputs that *count* files go into.

        Raises:
            UsageError: The app takes no files, or fewer.
        """
        for i, entry in enumerate(self.inputs):
            if entry.use == "prompt" and entry.kind == "multimodaltextbox":
                return [i] * count
        free = [i for i, entry in enumerate(self.inputs) if entry.kind in FILE_INPUTS]
        if free and self.inputs[free[0]].many:
            return free[:1] * count
        if count > len(free):
            takes = f"{len(free)} file{'s' * (len(free) != 1)}" if free else "no files"
            raise UsageError(f"this app takes {takes}, not {count}")
        return free[:count]

    def data(
        self,
        prompt: str,
        history: list[Any],
        system: str | None,
        settings: Mapping[int, Any],
        files: Sequence[tuple[int, Any]] = (),
    ) -> list[Any]:
        """Return what is sent, one value an input; the server holds states itself."""
        values: list[Any] = []
        for i, entry in enumerate(self.inputs):
            own = [file for at, file in files if at == i]
            if entry.use == "prompt":
                multimodal = entry.kind == "multimodaltextbox"
                values.append({"text": prompt, "files": own} if multimodal else prompt)
            elif own:
                values.append(own if entry.many else own[0])
            elif entry.use == "history":
                values.append(history)
            elif entry.use == "state":
                values.append(None)
            elif entry.use == "system" and system is not None:
                values.append(system)
            else:
                values.append(entry.chosen(settings[i]) if i in settings else entry.default)
        return values


def describe(chat: Chat) -> str:
    """Say in words what was found, a line each for listener, answer and inputs."""
    version = ".".join(map(str, chat.version)) or "of unknown version"
    name = f" ({chat.name})" if chat.name else ""
    rows = [
        f"Gradio {version}, protocol {chat.protocol}"
        + (f", paths below {chat.prefix}" if chat.prefix else ""),
        f"chat: fn_index {chat.fn_index}{name}",
        f"answer: output {chat.output + 1}, written as {chat.shape}",
    ]
    for i, entry in enumerate(chat.inputs):
        row = _told(i, entry)
        if entry.use in ("system", "setting"):
            row += f", by default {entry.default!r}"
        if entry.choices:
            row += f", one of {', '.join(map(str, entry.choices))}"
        rows.append(row)
    return "\n".join(rows)


def _told(at: int, entry: Input) -> str:
    label = f" {entry.label!r}" if entry.label else ""
    return f"input {at + 1}: {entry.use}, {entry.kind}{label}"


def sendable(value: Any) -> Any:
    """Return a server's value as JSON holds it.

    A server may say 1e999, which is read as infinity; JSON has none, so it is null.
    """
    return parsed(json.dumps(value))


def written(shape: str, messages: Sequence[Message]) -> list[Any]:
    """Write what has been said in the shape of an app's chatbot."""
    if shape == "blocks":
        return [
            {
                "role": message["role"],
                "metadata": None,
                "content": [{"type": "text", "text": text_of(message)}],
                "options": None,
            }
            for message in messages
        ]
    if shape == "messages":
        return [{"role": message["role"], "content": text_of(message)} for message in messages]
    pairs: list[list[Any]] = []
    for message in messages:
        text = text_of(message)
        said: Any = {"text": text, "files": []} if shape == "modelscope" else text
        if message["role"] == "user":
            pairs.append([said, None])
        elif pairs and pairs[-1][1] is None:
            pairs[-1][1] = said
        else:
            pairs.append([None, said])
    return pairs
