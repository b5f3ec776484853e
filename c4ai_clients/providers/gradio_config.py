"""Which of a Gradio app's listeners chats, and what goes into it, from its ``/config``.

Pure: no I/O. What a ``/config`` says may be of any type, so everything in it is
looked at before it is used; where no chat is found, or several are, the error
lists what there is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from ..decoding import string
from ..errors import ProtocolError, UsageError, quote
from .gradio_chat import FILE_INPUTS, Chat, Input, sendable

__all__ = ["CONFIG_LIMIT", "find_chat"]

# Bytes. Components may hold their values: galleries, examples, whole tables.
CONFIG_LIMIT = 8 << 20

_PROTOCOLS = ("ws", "sse", "sse_v1", "sse_v2", "sse_v2.1", "sse_v3")
_TEXT_INPUTS = ("textbox", "multimodaltextbox")
_TEXT_OUTPUTS = ("textbox", "json", "markdown", "html", "code")
_MANY = ("multiple", "directory")
_NUMBER = re.compile(r"\d{1,6}")
# Plain names, none of which begins with a dot: "/..", however it is written, leads elsewhere.
_PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
_EMPTY = {"checkbox": False, "checkboxgroup": [], "textbox": ""}


def find_chat(config: Any, *, api_name: str | None = None, fn_index: int | None = None) -> Chat:
    """Return the chat of an app's ``/config``.

    Args:
        config: What the server answered.
        api_name: Which listener, by its API name; found by itself otherwise.
        fn_index: Which listener, by its number.

    Raises:
        UsageError: There is none, or several; names those that there are. Or
            the app's queue speaks what is not spoken here.
        ProtocolError: It is no config of Gradio's, or has the app's paths lead
            elsewhere.
    """
    app = _App(config)
    if fn_index is not None or api_name is not None:
        wanted = api_name.lstrip("/") if api_name is not None else None
        chosen = [
            listener
            for listener in app.listeners
            if (fn_index is None or listener.fn_index == fn_index)
            and (wanted is None or listener.name == wanted)
        ]
        if not chosen:
            named = f"api_name={api_name!r}" if fn_index is None else f"fn_index={fn_index}"
            raise UsageError(f"the app has no listener {named}. {_offered(app.listeners)}")
        return app.chat(chosen[0])
    for candidates in app.candidates():
        different = {(listener.inputs, listener.outputs) for listener in candidates}
        if len(different) == 1:
            return app.chat(candidates[0])
        if candidates:
            raise UsageError(
                "the app has more than one chat: choose by api_name= or fn_index=. "
                f"{_offered(candidates)}"
            )
    raise UsageError(
        f"no chat found in this app: choose by api_name= or fn_index=. {_offered(app.listeners)}"
    )


@dataclass(frozen=True)
class _Listener:
    fn_index: int
    name: str
    event: str
    target: int | None
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    generator: bool


class _App:
    """A config, read once: its components by id, and its listeners."""

    def __init__(self, config: Any) -> None:
        if not isinstance(config, dict) or not isinstance(config.get("components"), list):
            raise ProtocolError("no Gradio app answers there: its /config names no components")
        self._config = config
        self._components: dict[int, tuple[str, dict[str, Any]]] = {}
        for component in config["components"]:
            if isinstance(component, dict) and _number(component.get("id")):
                props = component.get("props")
                self._components[component["id"]] = (
                    string(component.get("type")),
                    props if isinstance(props, dict) else {},
                )
        rows = config.get("dependencies")
        self.listeners = [
            listener
            for i, row in enumerate(rows if isinstance(rows, list) else [])
            if isinstance(row, dict) and (listener := _listener(i, row)) is not None
        ]

    def candidates(self) -> list[list[_Listener]]:
        """Return the listeners that may be the chat, the surest kind first.

        A ChatInterface comes first, by the listener that it hides: those that
        one sees are chained over states. Then what takes a text and fills a
        chatbot; then what answers the question that the chatbot's value ends
        with; last what takes a text and gives one.
        """
        hidden = [at for at in self.listeners if self._is_interface(at)]
        asking = [at for at in self.listeners if self._first(at.inputs, *_TEXT_INPUTS) is not None]
        chats = [at for at in asking if self._first(at.outputs, "chatbot") is not None]
        answering = [
            at
            for at in self.listeners
            if self._first(at.inputs, "chatbot") is not None
            and self._first(at.outputs, "chatbot") is not None
            and at not in asking
        ]
        plain = [at for at in asking if self._text_output(at) is not None]
        return [
            hidden[:1],
            _preferred([at for at in chats if at.generator]),
            _preferred([at for at in answering if at.generator]),
            _preferred(chats),
            _preferred([at for at in plain if at.generator]),
            _preferred(plain) if self._config.get("mode") == "interface" else [],
        ]

    def chat(self, at: _Listener) -> Chat:
        """Return how to speak to a listener."""
        config = self._config
        protocol = quote(config.get("protocol") or "ws")
        if protocol not in _PROTOCOLS:
            raise UsageError(
                f"this app's queue speaks {protocol}, which is not spoken here yet; "
                f"spoken are {', '.join(_PROTOCOLS)} (Gradio 3.50 to 6)"
            )
        version = tuple(map(int, _NUMBER.findall(string(config.get("version")))[:2]))
        output = self._first(at.outputs, "chatbot")
        if output is None:
            output = self._text_output(at)
        shape = "text"
        for component in (*at.outputs, *at.inputs):
            if "chatbot" in self._kind(component):
                shape = self._shape(component, version)
                break
        inputs = self._inputs(at)
        if not any(entry.use in ("prompt", "history") for entry in inputs):
            raise UsageError(f"fn_index={at.fn_index} takes no text: choose another listener")
        return Chat(
            fn_index=at.fn_index,
            inputs=inputs,
            output=output or 0,
            protocol=protocol,
            trigger_id=at.target,
            prefix=_prefix(config),
            version=version,
            shape=shape,
            name=at.name,
            outputs=tuple(map(self._kind, at.outputs)),
        )

    def _is_interface(self, at: _Listener) -> bool:
        """Tell whether a listener is a ChatInterface's own for clients (3.50 to 6.31)."""
        if self._props(at.target).get("value") == "Fake API":
            return True
        inputs, outputs = [[self._kind(each) for each in ids] for ids in (at.inputs, at.outputs)]
        return (
            self._config.get("mode") == "chat_interface"
            and len(inputs) > 1
            and inputs[0] in _TEXT_INPUTS
            and inputs[1] == "state"
            and len(outputs) > 1
            and outputs[0] in _TEXT_OUTPUTS
            and outputs[1] == "state"
        )

    def _inputs(self, at: _Listener) -> tuple[Input, ...]:
        """Say what each input is for."""
        texts = [i for i, each in enumerate(at.inputs) if self._kind(each) in _TEXT_INPUTS]
        systems = [i for i in texts if self._is_system(at.inputs[i]) and at.inputs[i] != at.target]
        prompts = [i for i in texts if at.inputs[i] == at.target]
        prompts += [i for i in texts if i not in systems]
        history = self._first(at.inputs, "chatbot")
        inputs = []
        for i, each in enumerate(at.inputs):
            kind, props = self._kind(each), self._props(each)
            if prompts and i == prompts[0]:
                use = "prompt"
            elif i == history:
                use = "history"
            elif systems and i == systems[0]:
                use = "system"
            else:
                use = "state" if kind == "state" else "setting"
            names, choices = _choices(kind, props)
            inputs.append(
                Input(
                    use=use,
                    kind=kind,
                    label=string(props.get("label")),
                    default=_default(kind, props),
                    choices=choices,
                    names=names,
                    many=kind in FILE_INPUTS and props.get("file_count") in _MANY,
                )
            )
        return tuple(inputs)

    def _is_system(self, component: int) -> bool:
        """Tell whether a textbox is for the system prompt.

        Its own words say so, or it is a hidden copy of one whose words do (the
        Qwen2.5 Space keeps what is set in a textbox without a label).
        """
        props = self._props(component)
        if _speaks_of_system(props):
            return True
        value = props.get("value")
        return (
            not props.get("label")
            and isinstance(value, str)
            and value != ""
            and any(
                other.get("value") == value and _speaks_of_system(other)
                for kind, other in self._components.values()
                if kind in _TEXT_INPUTS
            )
        )

    def _shape(self, chatbot: int, version: tuple[int, ...]) -> str:
        kind, said = self._kind(chatbot), self._props(chatbot).get("type")
        if kind != "chatbot":
            return "modelscope"
        if version >= (6,):
            return "blocks"
        return "messages" if said == "messages" else "tuples"

    def _kind(self, component: int | None) -> str:
        return self._components[component][0] if component in self._components else ""

    def _props(self, component: int | None) -> dict[str, Any]:
        return self._components[component][1] if component in self._components else {}

    def _text_output(self, at: _Listener) -> int | None:
        """Return which output is a text that answers; one that is asked with is only emptied."""
        for i, each in enumerate(at.outputs):
            kind = self._kind(each)
            if kind != "state" and not (kind in _TEXT_INPUTS and each in at.inputs):
                return i if kind in _TEXT_OUTPUTS else None
        return None

    def _first(self, components: Sequence[int], *kinds: str) -> int | None:
        """Return the position of the first component of one of *kinds*."""
        for i, component in enumerate(components):
            kind = self._kind(component)
            if kind in kinds or ("chatbot" in kinds and "chatbot" in kind):
                return i
        return None


def _listener(index: int, row: dict[str, Any]) -> _Listener | None:
    inputs, outputs = row.get("inputs"), row.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        return None
    if not all(map(_number, inputs)) or not all(map(_number, outputs)):
        return None
    targets, types = row.get("targets"), row.get("types")
    first = targets[0] if isinstance(targets, list) and targets else None
    target, event = first if isinstance(first, list) and len(first) == 2 else (None, "")
    name, number = row.get("api_name"), row.get("id")
    return _Listener(
        fn_index=number if _number(number) else index,
        name=string(name),
        event=string(event),
        target=target if _number(target) else None,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        generator=isinstance(types, dict) and types.get("generator") is True,
    )


def _preferred(candidates: list[_Listener]) -> list[_Listener]:
    """Return those that listen to the textbox, or to a button, or else all."""
    for event in ("submit", "click"):
        if some := [listener for listener in candidates if listener.event == event]:
            return some
    return candidates


def _prefix(config: dict[str, Any]) -> str:
    """Return what the app's paths begin with, its config's excepted."""
    prefix = string(config.get("api_prefix"))
    if not _PREFIX.fullmatch(prefix):
        raise ProtocolError(f"the app's config names a path that leads elsewhere: {quote(prefix)}")
    return prefix


def _number(value: Any) -> TypeGuard[int]:
    return type(value) is int


def _speaks_of_system(props: dict[str, Any]) -> bool:
    names = ("label", "placeholder", "info", "elem_id")
    return any("system" in string(props.get(name)).lower() for name in names)


def _choices(kind: str, props: dict[str, Any]) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Return names and values of what one may be chosen of; pairs, or values alone."""
    rows = props.get("choices")
    free = props.get("allow_custom_value") or props.get("multiselect")
    if kind not in ("radio", "dropdown") or not isinstance(rows, list) or free:
        return (), ()
    pairs = [row if isinstance(row, list) and len(row) == 2 else [row, row] for row in rows]
    return tuple(name if isinstance(name, str) else quote(name) for name, _ in pairs), tuple(
        sendable(value) for _, value in pairs
    )


def _default(kind: str, props: dict[str, Any]) -> Any:
    if props.get("value") is not None:
        return sendable(props["value"])
    return sendable(props.get("minimum")) if kind == "slider" else _EMPTY.get(kind)


def _offered(listeners: Sequence[_Listener]) -> str:
    rows = [
        f"fn_index={listener.fn_index}" + (f" api_name={listener.name!r}" if listener.name else "")
        for listener in listeners
    ]
    return f"There are: {', '.join(rows) or 'none'}"
