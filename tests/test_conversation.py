"""Conversation: what has been said, kept in memory and in files."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from c4ai_clients import (
    H2O,
    AutonomousAI,
    C4AICommand,
    ChatClient,
    ChatUI,
    Conversation,
    Gradio,
    Qwen,
    UsageError,
)
from c4ai_clients.emulator import Emulator


def test_save__survives_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save that fails leaves the file that was there, and nothing beside it."""
    path = tmp_path / "talk.json"
    talk = Conversation(None)
    talk.save(path)
    before = path.read_bytes()
    talk.state["unsaveable"] = object()
    with pytest.raises(TypeError):
        talk.save(path)

    assert before == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


def test_load__everything_that_was_saved(tmp_path: Path) -> None:
    """What is saved comes back, lone surrogates included."""
    talk = Conversation(None, system="s", model="m")
    talk.id, talk.url, talk.provider = "abc", "https://chat.test", "chat-ui"
    talk.title = "Sky"
    talk.messages = [{"role": "user", "content": "a\ud83d\u2028"}]
    talk.state, talk.cookies, talk.keep = {"k": [1]}, {"hf-chat": "x"}, True
    talk.save(tmp_path / "talk.json")
    loaded = Conversation.load(tmp_path / "talk.json")

    for name in (
        "id",
        "title",
        "url",
        "provider",
        "system",
        "model",
        "messages",
        "state",
        "cookies",
        "keep",
    ):
        assert getattr(talk, name) == getattr(loaded, name)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"format": 2}', '{"format": 1, "messages": {}}', "\xff", '{"a":' * 10**5],
)
def test_load__what_is_no_conversation(tmp_path: Path, content: str) -> None:
    """A file that holds something else is refused by name."""
    path = tmp_path / "talk.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(UsageError, match=r"talk\.json"):
        Conversation.load(path)
    with pytest.raises(UsageError, match="cannot read"):
        Conversation.load(tmp_path / "missing")


@pytest.mark.parametrize(("depth", "fits"), [(150, True), (250, False), (980, False)])
def test_load__no_deeper_than_an_answer(tmp_path: Path, depth: int, fits: bool) -> None:
    """What is nested too deep to be sent or copied is refused by saying so."""
    path = tmp_path / "talk.json"
    Conversation(None).save(path)
    text = path.read_text()
    path.write_text(text.replace('"state": {}', f'"state": {{"a": {"[" * depth + "]" * depth}}}'))
    if fits:
        assert "a" in Conversation.load(path).state
    else:
        with pytest.raises(UsageError, match=r"talk\.json holds no .*nested too deep"):
            Conversation.load(path)


def test_load__of_before_there_were_titles(tmp_path: Path) -> None:
    """A file without a title is a conversation without one."""
    path = tmp_path / "talk.json"
    Conversation(None).save(path)
    record = json.loads(path.read_text())
    del record["title"]
    path.write_text(json.dumps(record))

    assert None is Conversation.load(path).title
    path.write_text(json.dumps({**record, "title": 7}))
    with pytest.raises(UsageError, match="title is wrong"):
        Conversation.load(path)


def test_load__of_a_newer_version(tmp_path: Path) -> None:
    """A file that a newer version wrote is refused by saying so."""
    (tmp_path / "talk.json").write_text('{"format": 2, "messages": []}')
    with pytest.raises(UsageError, match=r"saved by a newer c4ai_clients .*upgrade"):
        Conversation.load(tmp_path / "talk.json")


def test_export__who_said_what() -> None:
    """The Markdown holds every word in order, and says what was interrupted."""
    talk = Conversation(None, system="Be brief.\nBe kind.", model="m")
    talk.provider = "h2o"
    talk.messages = [
        {"role": "user", "content": [{"type": "text", "text": "Why?"}]},
        {"role": "assistant", "content": "# Because\n\nof Ray", "interrupted": True},
    ]

    assert (
        "_h2o, m_\n\n> Be brief.\n> Be kind.\n\n**User**\n\nWhy?\n\n"
        "**Assistant (interrupted)**\n\n# Because\n\nof Ray\n"
    ) == talk.export()


def test_repr__before_a_model_is_known() -> None:
    """A conversation without a model says nothing of one."""
    assert "<Conversation new: 0 messages>" == repr(Conversation(None))
    assert "<Conversation new with m: 0 messages>" == repr(Conversation(None, model="m"))


def test_messages__that_somebody_appended_wrongly(emulator: Emulator) -> None:
    """A message without role or content is named, and nothing is sent."""
    with AutonomousAI(emulator.url("autonomous")) as client:
        talk = client.conversation()
        talk.messages.append({"role": "user"})
        for act in (lambda: talk.chat("Hi"), talk.regenerate, talk.export):
            with pytest.raises(UsageError, match="conversation, message 0 has content of type"):
                act()
        talk.messages = [{}]
        with pytest.raises(UsageError, match="in the conversation, message 0 has role None"):
            talk.chat("Hi")
    assert [] == emulator.requests


def test_export__can_be_written() -> None:
    """Half a character, which a server may send, becomes U+FFFD: no file could hold it."""
    talk = Conversation(None)
    talk.messages = [{"role": "assistant", "content": "half \ud83d"}]

    assert "half \ufffd\n" in talk.export().encode().decode()


def test_load__not_with_another_server(tmp_path: Path, emulator: Emulator) -> None:
    """Ids and cookies of one server are no other's business."""
    with C4AICommand(emulator.url("chat-ui")) as client:
        talk = client.conversation()
        talk.chat("one")
        talk.save(tmp_path / "talk.json")
        with pytest.raises(UsageError, match=r"https://chat\.test"):
            Conversation.load(tmp_path / "talk.json", ChatUI("https://chat.test"))
        with pytest.raises(UsageError, match="use a client"):
            ChatUI("https://chat.test").stream("two", conversation=talk)


@pytest.mark.parametrize(
    ("kind", "others", "strangers"),
    [
        (ChatUI, [C4AICommand], [H2O, Qwen, AutonomousAI]),
        (C4AICommand, [ChatUI], [H2O]),
        (Gradio, [Qwen], [ChatUI]),
        (Qwen, [Gradio], [AutonomousAI]),
        (H2O, [H2O], [ChatUI, C4AICommand]),
        (AutonomousAI, [AutonomousAI], [Gradio]),
    ],
)
def test_load__not_with_another_protocol(
    kind: type[ChatClient],
    others: list[type[ChatClient]],
    strangers: list[type[ChatClient]],
    tmp_path: Path,
) -> None:
    """At one URL a protocol's class and its presets go on with each other's conversations alone."""
    path = tmp_path / "talk.json"
    kind("https://chat.test").conversation().save(path)
    for other in others:
        loaded = Conversation.load(path, other("https://chat.test"))
        assert kind.provider == loaded.provider
    for stranger in strangers:
        with pytest.raises(UsageError, match=f"of the provider {kind.provider}, the client of"):
            Conversation.load(path, stranger("https://chat.test"))
        with pytest.raises(UsageError, match="another protocol"):
            stranger("https://chat.test").stream("Hi", conversation=loaded)


@pytest.mark.parametrize(
    ("given", "kind"), [("http://u:pw@chat.test", "str"), (ChatUI, "the class ChatUI")]
)
def test_load__with_what_is_no_client(tmp_path: Path, given: Any, kind: str) -> None:
    """What stands where a client belongs is told by its kind, and not shown."""
    path = tmp_path / "talk.json"
    Conversation(None).save(path)
    with pytest.raises(UsageError, match=f"not {kind}$"):
        Conversation.load(path, given)


def test_load__without_a_client(tmp_path: Path, emulator: Emulator) -> None:
    """A conversation loaded alone says that it needs a client; giving it to one is enough."""
    with C4AICommand(emulator.url("chat-ui")) as client:
        talk = client.conversation()
        talk.chat("one")
        talk.save(tmp_path / "talk.json")
        loaded = Conversation.load(tmp_path / "talk.json")
        with pytest.raises(UsageError, match="give the client"):
            loaded.chat("two")
        client.chat("two", conversation=loaded)

        assert 4 == len(loaded.messages)


def test_fork__goes_on_from_a_copy(emulator: Emulator) -> None:
    """A fork knows what was said and changes nothing in the original."""
    with C4AICommand(emulator.url("chat-ui")) as client:
        talk = client.conversation(system="s")
        talk.chat("one")
        talk.chat("two")
        fork = talk.fork(at=2)
        fork.chat("other")

    assert ["one", "two"] == [m["content"] for m in talk.messages[::2]]
    assert ["one", "other"] == [m["content"] for m in fork.messages[::2]]
    assert ("s", talk.model) == (fork.system, fork.model)
    prompt = json.loads(emulator.requests[-1].form().fields["data"])["inputs"]
    assert prompt.startswith("User: one\nAssistant: ")


@pytest.mark.parametrize("at", [-1, 3, "1", 1.0, True])
def test_fork__only_where_there_is_a_message(at: Any) -> None:
    """What is no count of messages that there are is refused, and they are counted."""
    talk = Conversation(None)
    talk.messages = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "1"},
    ]

    assert [0, 1, 2, 2] == [len(talk.fork(each).messages) for each in (0, 1, 2, None)]
    with pytest.raises(UsageError, match=f"there are 2 messages: fork at 0 to 2, not {at!r}"):
        talk.fork(at)


def test_pickle__without_cookies(emulator: Emulator) -> None:
    """Cookies are no part of a pickle."""
    with C4AICommand(emulator.url("chat-ui")) as client:
        talk = client.conversation()
        talk.chat("one")
        raw = pickle.dumps(talk)

    assert talk.cookies["hf-chat"].encode() not in raw
    assert talk.messages == pickle.loads(raw).messages


@pytest.mark.parametrize("kind", [AutonomousAI, Qwen])
def test_again__by_history_where_the_server_keeps_none(
    kind: type[ChatClient], emulator: Emulator
) -> None:
    """A question is asked again with what was said before it, and nothing of what came after."""
    with kind(emulator.url(kind.provider)) as client:
        talk = client.conversation()
        talk.chat("one")
        talk.chat("two")
        before = talk.messages[:2]
        talk.regenerate().reply()
        assert ["one", "two"] == [message["content"] for message in talk.messages[::2]]
        talk.edit("zwei").reply()
        assert before == talk.messages[:2]
        talk.edit("eins", at=0).reply()

        assert ["eins"] == [message["content"] for message in talk.messages[::2]]
        with pytest.raises(UsageError, match="cannot have an answer go on"):
            talk.continue_()


def test_again__what_cannot_be(emulator: Emulator) -> None:
    """There must be a question, and at an index that is one."""
    with C4AICommand(emulator.url("chat-ui")) as client:
        talk = client.conversation()
        with pytest.raises(UsageError, match="nothing has been asked"):
            talk.regenerate()
        talk.chat("one")
        with pytest.raises(UsageError, match=r"no question; those are \[0\]"):
            talk.edit("x", at=1)
