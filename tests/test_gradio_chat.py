"""Which listener of an app chats, and what goes into it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from replay import recorded

from c4ai_clients import ProtocolError, UsageError
from c4ai_clients.providers.gradio_chat import Chat, describe, written
from c4ai_clients.providers.gradio_config import find_chat

VERSIONS = ["4.2.0", "4.16.0", "4.44.1", "5.50.0", "6.31.0"]
QWEN_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."


def config_of(case: str) -> Any:
    return json.loads(next(row for row in recorded(case) if row.path == "/config").body)


def app(
    components: dict[int, tuple[str, dict[str, Any]]], *listeners: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """A config of *components*, by id, and *listeners*."""
    return {
        "version": "5.50.0",
        "protocol": "sse_v3",
        "api_prefix": "/gradio_api",
        "components": [
            {"id": number, "type": kind, "props": props}
            for number, (kind, props) in components.items()
        ],
        "dependencies": list(listeners),
        **more,
    }


def listener(
    inputs: list[int],
    outputs: list[int],
    target: tuple[int | None, str] = (1, "submit"),
    *,
    generator: bool = True,
    **more: Any,
) -> dict[str, Any]:
    return {
        "targets": [list(target)],
        "inputs": inputs,
        "outputs": outputs,
        "types": {"generator": generator},
        **more,
    }


BOX = ("textbox", {"label": "Message"})
BOT = ("chatbot", {"label": "Chat", "type": "messages"})
STATE = ("state", {})


@pytest.mark.parametrize("version", VERSIONS)
def test_find_chat__the_space_of_qwen(version: str) -> None:
    """In each version the Space's own numbers are found, and what its inputs are for."""
    chat = find_chat(config_of(f"gradio/{version}/config"))

    assert (3, 25, 1) == (chat.fn_index, chat.trigger_id, chat.output)
    assert ["prompt", "history", "system", "setting"] == [entry.use for entry in chat.inputs]
    assert QWEN_SYSTEM == chat.inputs[2].default
    assert "72B" == chat.inputs[3].default
    assert ["Hi", [], "Be brief.", "7B"] == chat.data("Hi", [], "Be brief.", {3: "7B"})


@pytest.mark.parametrize(
    ("version", "number"),
    [("4.2.0", 18), ("4.16.0", 18), ("4.44.1", 18), ("5.50.0", 6), ("6.31.0", 6)],
)
def test_find_chat__the_listener_that_an_interface_hides(version: str, number: int) -> None:
    """A ChatInterface is asked by its hidden listener, which gives a plain text."""
    chat = find_chat(config_of(f"gradio/{version}/chatinterface"))

    assert (number, 0, "text") == (chat.fn_index, chat.output, chat.shape)
    assert ["prompt", "state"] == [entry.use for entry in chat.inputs]
    assert ["Hi", None] == chat.data("Hi", [], None, {})


@pytest.mark.parametrize(
    ("version", "shape"),
    [("4.2.0", "tuples"), ("4.44.1", "tuples"), ("5.50.0", "tuples"), ("6.31.0", "blocks")],
)
def test_find_chat__the_shape_of_its_chatbot(version: str, shape: str) -> None:
    """The chatbot's type, or the version, tells how it writes a conversation."""
    assert shape == find_chat(config_of(f"gradio/{version}/config")).shape


def test_find_chat__modelscope() -> None:
    """ModelScope's own chatbot is a chatbot."""
    chat = find_chat(config_of("gradio/4.44.1/ms_modelscope_chatbot"))

    assert (3, "modelscope") == (chat.fn_index, chat.shape)


def test_find_chat__settings_and_system_by_their_words() -> None:
    """Sliders, radios and boxes keep their defaults; a label that says so is the system prompt."""
    components = {
        1: BOX,
        2: BOT,
        3: ("textbox", {"label": "System message", "value": "Be kind."}),
        4: ("slider", {"label": "Max new tokens", "minimum": 1, "value": 512}),
        5: ("slider", {"label": "Temperature", "minimum": 0.1}),
        6: ("dropdown", {"label": "Model", "value": "a", "choices": [["A", "a"], ["B", "b"]]}),
        7: ("checkbox", {"label": "Search"}),
        8: STATE,
        9: ("number", {"label": "Seed"}),
        10: ("dropdown", {"label": "Tags", "choices": ["x"], "multiselect": True, "value": ["x"]}),
    }
    chat = find_chat(app(components, listener([3, 1, 2, 4, 5, 6, 7, 8, 9, 10], [1, 2])))

    assert [
        *("system", "prompt", "history", "setting", "setting"),
        *("setting", "setting", "state", "setting", "setting"),
    ] == [entry.use for entry in chat.inputs]
    values = chat.data("Hi", [], None, {chat.setting("model"): "B", chat.setting("temp"): 0.7})
    assert ["Be kind.", "Hi", [], 512, 0.7, "b", False, None, None, ["x"]] == values
    with pytest.raises(UsageError, match=r"no choice 'z'\. There are: a, b"):
        chat.data("Hi", [], None, {chat.setting("Model"): "z"})
    with pytest.raises(UsageError, match="no input 'top_p'"):
        chat.setting("top_p")
    with pytest.raises(UsageError, match="more than one input 'e'"):
        chat.setting("e")


def test_find_chat__a_multimodal_box_takes_text_and_files() -> None:
    """A multimodal textbox is given its text beside its files."""
    chat = find_chat(app({1: ("multimodaltextbox", {}), 2: BOT}, listener([1, 2], [1, 2])))

    assert [{"text": "Hi", "files": []}, []] == chat.data("Hi", [], None, {})


def test_find_chat__prefers_submit_to_click() -> None:
    """The same chat behind a box and a button is one chat; the box's listener is asked."""
    components = {1: BOX, 2: BOT, 3: ("button", {"value": "Send"})}
    click = listener([1, 2], [1, 2], (3, "click"))
    chat = find_chat(app(components, click, listener([1, 2], [1, 2], (1, "submit"))))

    assert (1, 1) == (chat.fn_index, chat.trigger_id)


def test_find_chat__an_answer_to_what_the_chatbot_ends_with() -> None:
    """Where a first step puts the question into the chatbot, the second one answers it."""
    first = listener([1, 2], [1, 2], generator=False, api_name="user")
    second = listener([2], [2], (None, "then"), api_name="bot")
    chat = find_chat(app({1: BOX, 2: BOT}, first, second))

    assert (1, "bot", None) == (chat.fn_index, chat.name, chat.trigger_id)
    assert ["history"] == [entry.use for entry in chat.inputs]


def test_find_chat__a_text_for_a_text() -> None:
    """Without any chatbot, what takes a text and streams one is the chat."""
    chat = find_chat(app({1: BOX, 2: ("markdown", {}), 3: STATE}, listener([1, 3], [3, 2])))

    assert (1, "text") == (chat.output, chat.shape)


def test_find_chat__several_are_listed() -> None:
    """Two different chats are the caller's choice, by name or number."""
    components = {1: BOX, 2: BOT, 3: BOX, 4: BOT}
    config = app(
        components,
        listener([1, 2], [2], api_name="left"),
        listener([3, 4], [4], (3, "submit"), api_name="right", id=7),
    )
    with pytest.raises(UsageError, match="fn_index=0 api_name='left', fn_index=7 api_name='right'"):
        find_chat(config)

    assert 7 == find_chat(config, api_name="/right").fn_index
    assert 0 == find_chat(config, fn_index=0).fn_index
    with pytest.raises(UsageError, match="no listener api_name='up'"):
        find_chat(config, api_name="up")
    with pytest.raises(UsageError, match="no listener fn_index=5"):
        find_chat(config, fn_index=5)


def test_find_chat__no_chat_at_all() -> None:
    """An app without a chat, and a listener without a text, are refused in words."""
    config = app({1: ("button", {}), 2: ("image", {})}, listener([1], [2], api_name="draw"))
    with pytest.raises(UsageError, match=r"no chat found .* api_name='draw'"):
        find_chat(config)
    with pytest.raises(UsageError, match="takes no text"):
        find_chat(config, fn_index=0)


@pytest.mark.parametrize("config", [None, [], "x", 5, {}, {"detail": "no"}, {"components": {}}])
def test_find_chat__no_config(config: Any) -> None:
    """What is no config of Gradio's is an error of the server's, not of the caller's."""
    with pytest.raises(ProtocolError, match="no Gradio app"):
        find_chat(config)


@pytest.mark.parametrize(
    "odd", [None, 5, "x", [], [None], {}, True, [[1]], {"id": None}, [{"id": []}], 1.5]
)
@pytest.mark.parametrize(
    "field",
    [
        *("version", "protocol", "api_prefix", "mode", "components", "dependencies", "id"),
        *("props", "targets", "inputs", "outputs", "types", "api_name", "label", "choices"),
        *("value", "type"),
    ],
)
def test_find_chat__odd_types_never_surprise(field: str, odd: Any) -> None:
    """A field of a wrong type gives a chat or an error of ours, and no other."""
    config = config_of("gradio/5.50.0/config")
    holders = [
        config,
        *config["components"],
        *(component["props"] for component in config["components"]),
        *config["dependencies"],
    ]
    for holder in holders:
        if field in holder:
            holder[field] = odd
    try:
        chat = find_chat(config)
    except (UsageError, ProtocolError):
        return

    assert json.dumps(chat.data("Hi", [], "s", {}))


def test_describe__in_words() -> None:
    """What was found is said, a line each."""
    said = describe(find_chat(config_of("gradio/6.31.0/config"))).splitlines()

    assert [
        "Gradio 6.31, protocol sse_v3, paths below /gradio_api",
        "chat: fn_index 3 (model_chat_msgs)",
        "answer: output 2, written as blocks",
        "input 1: prompt, textbox 'Input'",
        "input 2: history, chatbot '72b'",
        f"input 3: system, textbox, by default {QWEN_SYSTEM!r}",
        "input 4: setting, radio, by default '72B', one of 72B, 32B, 14B, 7B, 3B, 1.5B, 0.5B",
    ] == said
    assert describe(Chat(3, (), 0)).startswith("Gradio of unknown version")


SAID = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "1"},
    {"role": "user", "content": "two"},
    {"role": "user", "content": [{"type": "text", "text": "three"}]},
    {"role": "assistant", "content": "3", "interrupted": True},
    {"role": "assistant", "content": "!"},
]


def test_written__in_every_shape() -> None:
    """A conversation is written as the app's chatbot writes it."""
    assert [["one", "1"], ["two", None], ["three", "3"], [None, "!"]] == written("tuples", SAID)
    assert {"role": "user", "content": "three"} == written("messages", SAID)[3]
    assert {
        "role": "assistant",
        "metadata": None,
        "content": [{"type": "text", "text": "3"}],
        "options": None,
    } == written("blocks", SAID)[4]
    assert [{"text": "one", "files": []}, {"text": "1", "files": []}] == written(
        "modelscope", SAID
    )[0]
