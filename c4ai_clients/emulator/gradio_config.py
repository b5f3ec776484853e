"""What ``/config`` says, trimmed to what a client reads of it.

Two apps: the layout of the Qwen2.5 Space, whose numbers are those of the real
one (listener 3, textbox 25), and a `gr.ChatInterface`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from c4ai_clients.emulator.gradio_versions import Version
from c4ai_clients.emulator.settings import Settings

__all__ = ["DEFAULT_SYSTEM", "chat_functions", "config", "outputs"]

DEFAULT_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."

_LABELS = {
    "Qwen2.5-Math": ("Math-72B", "Math-7B", "Math-1.5B"),
    "Qwen2.5-Coder": ("Coder-7B", "Coder-1.5B"),
}
_PLAIN = {
    1: "markdown",
    2: "row",
    3: "row",
    5: "form",
    6: "row",
    8: "form",
    9: "row",
    11: "form",
    13: "row",
    14: "accordion",
    15: "markdown",
    16: "row",
    17: "column",
    19: "form",
    20: "column",
    23: "form",
    26: "row",
    29: "form",
    30: "form",
}
# target, event, name, inputs, outputs
_QWEN = (
    (4, "change", "update_other_radios", (4, 7, 10), (12, 7, 10)),
    (7, "change", "update_other_radios_1", (7, 4, 10), (12, 4, 10)),
    (10, "change", "update_other_radios_2", (10, 4, 7), (12, 4, 7)),
    (25, "submit", "model_chat", (25, 24, 22, 12), (25, 24, 18)),
    (28, "click", "model_chat_1", (25, 24, 22, 12), (25, 24, 18)),
    (27, "click", "clear_session", (), (25, 24)),
    (21, "click", "modify_system_session", (18,), (22, 18, 24)),
    (12, "change", "chiose_radio", (12, 18), (15, 24, 22, 18, 25)),
)


def chat_functions(version: Version, settings: Settings) -> dict[int, str]:
    """Give the listeners that chat, and their names under ``/call``."""
    if settings.layout == "qwen":
        name = _qwen_name(version, settings)
        return {3: name, 4: f"{name}_1"}
    number = 6 if version.titles else 18
    return {number: "reply" if version.function_names else "chat"}


def _qwen_name(version: Version, settings: Settings) -> str:
    form = settings.chatbot or version.chatbot
    return "model_chat" if form == "tuples" else "model_chat_msgs"


def outputs(version: Version, settings: Settings, number: int) -> int | None:
    """Say how many outputs a listener has; None if there is no such listener."""
    found = _dependencies(version, settings)
    return len(found[number]["outputs"]) if 0 <= number < len(found) else None


def config(version: Version, settings: Settings, root: str) -> dict[str, Any]:
    """Give the whole answer."""
    qwen = settings.layout == "qwen"
    said: dict[str, Any] = {"version": version.name}
    if version.prefix:
        said["api_prefix"] = version.prefix
    return {
        **said,
        "mode": "blocks" if qwen else "chat_interface",
        "components": _qwen(version, settings) if qwen else _interface(version, settings),
        "connect_heartbeat": False,
        "title": "Qwen2.5" if qwen else "Gradio",
        "space_id": None,
        "enable_queue": True,
        "show_error": settings.show_error,
        "protocol": version.protocol,
        "dependencies": _dependencies(version, settings),
        "root": root if version.close_stream else "",
        "username": settings.auth[0] if settings.auth else None,
    }


def _component(number: int, kind: str, **props: Any) -> dict[str, Any]:
    return {"id": number, "type": kind, "props": {**props, "name": kind}}


def _radio(number: int, choices: Sequence[str], **props: Any) -> dict[str, Any]:
    pairs = [[each, each] for each in choices]
    return _component(number, "radio", choices=pairs, type="value", **props)


def _chatbot(number: int, version: Version, settings: Settings) -> dict[str, Any]:
    form = settings.chatbot or version.chatbot
    typed = {} if form == "blocks" or not version.ids else {"type": form}
    return _component(number, "chatbot", label="Chatbot", value=[], visible=True, **typed)


def _qwen(version: Version, settings: Settings) -> list[dict[str, Any]]:
    sizes = settings.sizes
    hidden = sizes if version.checks_radio else ()
    system = {"value": DEFAULT_SYSTEM, "type": "text"}
    parts = [_component(number, kind) for number, kind in _PLAIN.items()]
    math, coder = _LABELS.items()
    parts += [
        _radio(4, sizes, label="Qwen2.5", value=sizes[0], visible=True),
        _radio(7, math[1], label=math[0], visible=True),
        _radio(10, coder[1], label=coder[0], visible=True),
        _radio(12, hidden, value=sizes[0], visible=False),
        _component(18, "textbox", label="System", visible=True, **system),
        _component(21, "button", value="Set system prompt and clear history"),
        _component(22, "textbox", visible=False, **system),
        _chatbot(24, version, settings),
        _component(25, "textbox", label="Input", type="text", visible=True),
        _component(27, "button", value="Clear history"),
        _component(28, "button", value="Send"),
    ]
    return sorted(parts, key=lambda part: int(part["id"]))


def _interface(version: Version, settings: Settings) -> list[dict[str, Any]]:
    if version.titles:
        return [
            *(_component(number, "state") for number in (2, 3, 4)),
            _chatbot(6, version, settings),
            _component(9, "textbox", label="", type="text", visible=True),
            _component(11, "button", visible=False),
            _component(12, "json", label="Response", visible=False),
            *(_component(number, "state") for number in (13, 14)),
        ]
    return [
        _chatbot(1, version, settings),
        _component(8, "textbox", label="Message", type="text", visible=True),
        *(_component(number, "button") for number in (9, 10, 11)),
        _component(12, "textbox", label="Response", type="text", visible=False),
        *(_component(number, "state") for number in (14, 15)),
    ]


def _dependencies(version: Version, settings: Settings) -> list[dict[str, Any]]:
    rows = _qwen_rows(version, settings) if settings.layout == "qwen" else None
    rows = rows or _interface_rows(version)
    found = []
    for number, (target, event, name, inputs, shown, generator, public) in enumerate(rows):
        row: dict[str, Any] = {"id": number} if version.ids else {}
        row.update(targets=[[target, event]], inputs=list(inputs), outputs=list(shown))
        row.update(backend_fn=True, queue=True, api_name=name, cancels=[], batch=False)
        other = {"cancel": False} if version.ids else {"continuous": False}
        row["types"] = {"generator": generator, **other}
        if version.function_names:
            row["api_visibility"] = "public" if public else "undocumented"
        else:
            row["show_api"] = public
        found.append(row)
    return found


_Row = tuple[int | None, str, str, tuple[int, ...], tuple[int, ...], bool, bool]


def _qwen_rows(version: Version, settings: Settings) -> list[_Row]:
    name = _qwen_name(version, settings)
    return [
        (
            target,
            event,
            api.replace("model_chat", name),
            inputs,
            shown,
            api.startswith("model_chat"),
            True,
        )
        for target, event, api, inputs, shown in _QWEN
    ]


def _interface_rows(version: Version) -> list[_Row]:
    if version.titles:
        name = "reply" if version.function_names else "chat"
        return [
            (9, "submit", "_clear_and_save_textbox", (9,), (9, 3), False, False),
            (None, "then", "_append_message_to_history", (3, 6), (6,), False, False),
            (None, "then", "_submit_fn", (3, 13), (4, 6), True, False),
            (None, "then", "lambda", (6,), (13, 14), False, False),
            (None, "then", "lambda_1", (), (9,), False, False),
            (None, "then", "_save_conversation", (2, 13), (2,), False, False),
            (11, "click", name, (9, 13), (12, 13), True, True),
        ]
    hidden: list[_Row] = [
        (8, "submit", "_clear_and_save_textbox", (8,), (8, 14), False, False),
        (None, "then", "_display_input", (14, 1), (1,), False, False),
        (None, "then", "_stream_fn", (14, 1), (1,), True, False),
    ]
    hidden += [
        (None, "then", f"lambda_{number}", (), (9, 10), False, False) for number in range(15)
    ]
    return [*hidden, (11, "click", "chat", (8, 15), (12, 15), True, True)]
