"""The text of a chat's value, and what is new in it, against a writer of Gradio's edits."""

from __future__ import annotations

import copy
import itertools
import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay import recorded

from c4ai_clients.errors import C4AIError, CancelledError
from c4ai_clients.events import Event, File, Reasoning, Text
from c4ai_clients.providers.gradio_chat import Chat
from c4ai_clients.providers.gradio_messages import WHOLE, Telling
from c4ai_clients.providers.gradio_value import Growing, Output, held, read

EDITED = [
    ("4.44.1", "edits", 3),
    ("4.44.1", "shrink", 3),
    ("4.44.1", "edits_messages", 7),
    ("5.50.0", "edits", 3),
    ("5.50.0", "shrink", 3),
    ("5.50.0", "edits_messages", 7),
    ("6.31.0", "edits", 3),
    ("6.31.0", "edits_messages", 7),
]


def gradio_edits(old: Any, new: Any, *, lowers: bool) -> list[list[Any]]:
    """Compare as the server does; *lowers* is its way with deletions since 5.29.1."""

    def compare(one: Any, two: Any, path: list[Any]) -> list[list[Any]]:
        if one == two and type(one) is type(two):
            return []
        if type(one) is not type(two):
            return [["replace", path, two]]
        if isinstance(one, str) and two.startswith(one):
            return [["append", path, two[len(one) :]]]
        edits: list[list[Any]] = []
        if isinstance(one, list):
            common = min(len(one), len(two))
            for i in range(common):
                edits += compare(one[i], two[i], [*path, i])
            edits += [["delete", [*path, i], None] for i in range(common, len(one))]
            edits += [["add", [*path, i], two[i]] for i in range(common, len(two))]
            seen = 0
            for edit in edits if lowers else ():
                if edit[0] == "delete" and isinstance(edit[1][-1], int):
                    edit[1][-1] -= seen
                    seen += 1
            return edits
        if isinstance(one, dict):
            for key in one:
                if key in two:
                    edits += compare(one[key], two[key], [*path, key])
                else:
                    edits.append(["delete", [*path, key], None])
            return edits + [["add", [*path, key], two[key]] for key in two if key not in one]
        return [["replace", path, two]]

    return compare(old, new, [])


def text_of(events: list[Any]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


def value_of(answer: Output) -> Any:
    """Return the whole value, with the pieces that wait to be put in their place."""
    answer._settle()
    return answer._value


LEAF = st.one_of(st.text("abc[]", max_size=4), st.none(), st.booleans(), st.integers(0, 3))
VALUES = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=6), st.booleans())
def test_changes__values_come_out_as_they_went_in(values: list[Any], lowers: bool) -> None:
    """Whatever a value becomes, the server's edits make it so, with both of its bugs."""
    answer = Output()
    answer.becomes(copy.deepcopy(values[0]))
    for old, new in itertools.pairwise(values):
        edits = json.loads(json.dumps(gradio_edits(old, new, lowers=lowers)))
        answer.changes(edits)

        assert not answer.stale
        assert new == value_of(answer)


SAID = st.text("ha[]\n\u2028😀é", max_size=8)
CHATS = st.lists(st.tuples(st.sampled_from(["user", "assistant"]), SAID), max_size=5)


@settings(deadline=None)
@given(st.lists(CHATS, min_size=1, max_size=6), st.booleans(), st.booleans())
def test_changes__pieces_are_a_prefix_of_the_text_or_it_was_rewritten(
    turns: list[list[tuple[str, str]]], lowers: bool, blocks: bool
) -> None:
    """Pieces never say what the answer did not say, and never say it twice."""
    values = [
        [
            {
                "role": role,
                "content": [{"type": "text", "text": text}] if blocks else text,
            }
            for role, text in turn
        ]
        for turn in turns
    ]
    answer, given_so_far = Output(), ""
    given_so_far += text_of(answer.becomes(copy.deepcopy(values[0])))
    for old, new in itertools.pairwise(values):
        given_so_far += text_of(answer.changes(gradio_edits(old, new, lowers=lowers)))
        found = read(new)

        assert found is not None
        if found.text is not None and found.text.startswith(given_so_far):
            assert found.text == given_so_far
    assert values[-1] == value_of(answer)


_odd = st.sampled_from([None, -1, 0, 1, "append", "delete", "replace", "", "x", "é|"])
_places = st.sampled_from([[0, 1], [0, 0], [], [0], [0, 2], [False, 1], None, "01", {"0": 1}])
_ops = st.sampled_from(["append", "append", "replace"])
_edits = st.one_of(
    st.lists(st.tuples(_ops, st.just([0, 1]) | _places, _odd).map(list), max_size=2),
    st.lists(st.lists(_odd | _places, max_size=4) | _odd, max_size=2),
    _odd,
)


@settings(deadline=None, max_examples=300)
@given(st.lists(_edits, max_size=8))
def test_changes__the_short_way_gives_what_the_long_one_gives(batches: list[Any]) -> None:
    """One more piece of the text is the same, whichever way it is read."""

    class Long(Output):
        def appended(self, edits: Any) -> None:
            return None

    short, long = Output(), Long()
    assert short.becomes([["q", "a"]]) == long.becomes([["q", "a"]])
    for edits in batches:
        told = short.changes(copy.deepcopy([["append", [0, 1], "b"]]))
        assert told == long.changes([["append", [0, 1], "b"]])
        assert short.changes(copy.deepcopy(edits)) == long.changes(copy.deepcopy(edits))
        assert short.stale == long.stale
    assert value_of(short) == value_of(long)


_edit = st.just([["append", [0, 1], "c"]]) | _edits
_data = st.one_of(
    _edit.map(lambda edits: [[], edits]), _edit.map(lambda edits: [[], edits, []]), st.lists(_odd)
)
_MESSAGES = st.fixed_dictionaries(
    {
        "msg": st.sampled_from(["process_generating", "process_generating", WHOLE, "log", None]),
        "output": st.one_of(st.fixed_dictionaries({"data": _data}), _odd),
    },
    optional={"whole": st.booleans(), "success": st.booleans(), "log": _odd},
)


@settings(deadline=None, max_examples=300)
@given(st.lists(_MESSAGES, max_size=8))
def test_telling__the_short_way_gives_what_the_long_one_gives(messages: list[Any]) -> None:
    """A message with one more piece of the text is the same, whichever way it is read."""

    class Long(Telling):
        def events(self, messages: Iterable[dict[str, Any]]) -> Iterator[Event]:
            for message in messages:
                yield from self._told(message)

    def generating(data: list[Any]) -> dict[str, Any]:
        return {"msg": "process_generating", "output": {"data": data}}

    def told(kind: type[Telling]) -> list[str]:
        found: list[str] = []
        telling = kind(
            *(chat, []),
            file=lambda file: File("", "", ""),
            keep=lambda value: None,
            look=lambda: None,
        )
        said = [generating(["", [["q", "a"]]])]
        for message in messages:
            said += [generating([[], [["append", [0, 1], "b"]]]), message]
        try:
            found.extend(map(repr, telling.events(copy.deepcopy(said))))
        except C4AIError as error:
            found.append(f"{type(error).__name__}: {error}")
        return found

    chat = Chat(fn_index=0, inputs=(), output=1, outputs=("textbox", "chatbot"), protocol="sse_v3")
    assert told(Long) == told(Telling)


@pytest.mark.parametrize("batches", [1, 3])
def test_changes__question_and_answer_grow_in_turns(batches: int) -> None:
    """What was appended before is not lost where another text grows first."""
    answer = Output()
    given = text_of(answer.becomes([["q", "a"]]))
    for _ in range(batches):
        given += text_of(answer.changes([["append", [0, 1], "b"]]))
        given += text_of(answer.changes([["append", [0, 0], "?"], ["append", [0, 1], "c"]]))
        given += text_of(answer.changes([["append", [0, 1], "d"], ["append", [0, 0], "!"]]))

    assert "a" + "bcd" * batches == given
    assert [["q" + "?!" * batches, given]] == value_of(answer)


@pytest.mark.parametrize(("version", "case", "turns"), EDITED)
def test_changes__recorded_edits_end_at_the_last_value(version: str, case: str, turns: int) -> None:
    """After the recorded edits the value is the one that process_completed tells."""
    checked = 0
    for exchange in recorded(f"gradio/{version}/{case}"):
        if exchange.method != "GET" or "queue/data" not in exchange.path:
            continue
        answer = Output()
        for line in exchange.body.split(b"\n\n"):
            message = json.loads(line[6:]) if line else {}
            if message.get("msg") not in ("process_generating", "process_completed"):
                continue
            value = message["output"]["data"][1]
            if message["msg"] == "process_completed":
                assert not answer.stale
                assert value == value_of(answer)
                checked += 1
            elif answer.begun:
                answer.changes(value)
            else:
                answer.becomes(value)

    assert turns == checked


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("plain", "plain", id="string"),
        pytest.param([["q", "a"]], "a", id="pair"),
        pytest.param([["q", None]], None, id="pair-waiting"),
        pytest.param([["q", ""]], "", id="pair-empty"),
        pytest.param([["q", "a"], [None, "b"]], "b", id="two-bubbles"),
        pytest.param([], None, id="nothing-said"),
        pytest.param(None, None, id="null"),
        pytest.param([[{"text": "q"}, {"text": "a", "files": None}]], "a", id="modelscope"),
        pytest.param([{"role": "assistant", "content": "a"}], "a", id="message"),
        pytest.param(
            [{"role": "assistant", "content": "old"}, {"role": "user", "content": "q"}],
            None,
            id="the-answer-before-is-none",
        ),
        pytest.param(
            [{"role": "assistant", "content": [{"type": "text", "text": "a"}]}], "a", id="block"
        ),
        pytest.param(
            [{"role": "assistant", "content": [{"type": "text", "text": t} for t in "ab"]}],
            "a\nb",
            id="two-blocks",
        ),
        pytest.param({"role": "assistant", "content": "a"}, "a", id="one-message"),
        pytest.param({"__type__": "update", "value": [["q", "a"]]}, "a", id="update"),
        pytest.param({"__type__": "update"}, None, id="update-of-nothing"),
    ],
)
def test_read__finds_the_answer(value: Any, text: str | None) -> None:
    """The text of every shape that a chat has, and None while there is none."""
    found = read(value)

    assert found is not None
    assert text == found.text


def nested(depth: int) -> Any:
    value: Any = "deep"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"content": nested(5000)}, id="deep"),
        5,
        True,
        [1],
        [[1, 2]],
        [["q", 7]],
        [["a", "b", "c"]],
        {"a": 1},
        [{"role": "assistant", "content": 5}],
        [{"role": "assistant"}],
        [{"role": "assistant", "content": {"odd": 1}}],
        [[{}, {}]],
    ],
)
def test_read__no_chat_is_none(value: Any) -> None:
    """What is in no shape of a chat is None: no error, and no wrong text."""
    assert read(value) is None


def test_read__thinking_and_files_stand_apart() -> None:
    """Messages with a title are thoughts, and files are files."""
    found = read(
        [
            {"role": "user", "content": "q"},
            {"role": "assistant", "metadata": {"title": "Thinking"}, "content": "hm"},
            {"role": "assistant", "metadata": {"title": "Again"}, "content": "so"},
            {"role": "assistant", "metadata": None, "content": "yes"},
            {"role": "assistant", "content": {"path": "/tmp/a.png", "orig_name": "a.png"}},
            {"role": "assistant", "content": [{"type": "file", "file": {"path": "/tmp/b"}}]},
        ]
    )

    assert found is not None
    assert ("yes", "hm\nso") == (found.text, found.thought)
    assert ["/tmp/a.png", "/tmp/b"] == [file["path"] for file in found.files]


def test_read__what_was_sent_is_no_answer() -> None:
    """A first value that is still the history has no answer yet."""
    history = [["q", "the answer before"]]

    assert [] == Output(history).becomes([["q", "the answer before"]])
    assert "new" == text_of(Output(history).becomes([*history, ["q2", "new"]]))


def test_held__the_value_of_an_update() -> None:
    """A component's update holds the value that goes back to the server."""
    assert [1] == held({"__type__": "update", "value": [1]})
    assert [1] == held([1])


@pytest.mark.parametrize(
    "edits",
    [
        pytest.param([["append", [5, 1], "x"]], id="no-such-place"),
        pytest.param([["append", [0, 1], 3]], id="not-text"),
        pytest.param([["append", [0], "x"]], id="not-on-text"),
        pytest.param([["explode", [0, 1], "x"]], id="unknown"),
        pytest.param([["delete", [9], None]], id="delete-nothing"),
        pytest.param([["add", [9], "x"]], id="add-beyond"),
        pytest.param([["replace", [0, "x"], "y"]], id="key-of-a-list"),
        pytest.param([["replace", [[]], "y"]], id="list-as-key"),
        pytest.param([["append", [[], 1], "y"]], id="list-in-path"),
        pytest.param([["append", [-1, 1], "y"]], id="negative"),
        pytest.param([["add", [], 1]], id="add-nowhere"),
        pytest.param([["delete"]], id="too-short"),
        pytest.param([[]], id="empty"),
        pytest.param([None], id="null-edit"),
        pytest.param({"op": 1}, id="not-a-list"),
        pytest.param(None, id="null"),
    ],
)
def test_changes__what_does_not_fit_is_stale(edits: Any) -> None:
    """An edit that does not fit ends the pieces; a full value takes them up again."""
    answer = Output()
    assert [Text("one")] == answer.becomes([["q", "one"]])
    assert [] == answer.changes(edits)
    assert answer.stale
    assert [] == answer.changes([["append", [0, 1], " two"]])

    assert [Text(" two three")] == answer.becomes([["q", "one two three"]])


def test_changes__a_thought_grows_as_reasoning() -> None:
    """What is appended to a titled message is Reasoning, and no text."""
    thinking = {"role": "assistant", "metadata": {"title": "Thinking"}, "content": "le"}
    answer = Output()
    news = answer.becomes([{"role": "user", "content": "q"}, thinking])
    news += answer.changes([["append", [1, "content"], "t me"]])
    news += answer.changes([["add", [2], {"role": "assistant", "content": "yes"}]])
    news += answer.changes([["append", [2, "content"], "!"]])

    assert [Reasoning("le"), Reasoning("t me"), Text("yes"), Text("!")] == news


def test_changes__rewritten_text_waits_for_what_was_given() -> None:
    """While the text is another one nothing is given; where it is back it goes on."""
    answer = Output()
    assert "Hello" == text_of(answer.becomes([["q", "Hello"]]))
    assert "" == text_of(answer.changes([["add", [1], [None, "tool: [0, 1]"]]]))
    assert "" == text_of(answer.changes([["append", [1, 1], "!"]]))
    assert "" == text_of(answer.changes([["delete", [1], None]]))
    assert ", you" == text_of(answer.changes([["append", [0, 1], ", you"]]))
    assert "" == text_of(answer.changes([["replace", [0, 1], "Hel"]]))
    assert "" == text_of(answer.changes([["append", [0, 1], "lo"]]))
    assert "!" == text_of(answer.changes([["append", [0, 1], ", you!"]]))
    assert "" == text_of(answer.changes([["replace", [0, 1], "Bye"]]))
    assert "" == text_of(answer.changes([["append", [0, 1], "!"]]))


@settings(deadline=None)
@given(st.text("ab\u2028😀🚀", max_size=12), st.lists(st.integers(0, 24), max_size=6))
def test_growing__pieces_are_the_text(text: str, cuts: list[int]) -> None:
    """Pieces joined are the text, also where a cut goes through a character."""
    units = text.encode("utf-16-le")
    places = sorted({0, len(units), *(min(2 * cut, len(units)) for cut in cuts)})
    growing = Growing()
    pieces = [
        growing.grows(units[start:end].decode("utf-16-le", "surrogatepass"))
        for start, end in itertools.pairwise(places)
    ]

    assert text == "".join(pieces)


@pytest.mark.parametrize(
    ("cursor", "pieces"),
    [
        ("▌", ["He", "llo", ", you", ""]),
        (" █", ["He", "llo", ", you", ""]),
        ("|", ["He", "llo", ", you", ""]),
        ("", ["He", "llo", ", you", ""]),
    ],
)
def test_growing__a_cursor_is_held_back(cursor: str, pieces: list[str]) -> None:
    """A cursor that is replaced with each step delays nothing and is never given."""
    growing = Growing()
    texts = [*(text + cursor for text in ("He", "Hello", "Hello, you")), "Hello, you"]

    assert pieces == [growing.becomes(text) for text in texts]


def test_growing__what_only_looks_like_a_cursor() -> None:
    """A bar or an underscore that stays is given with what follows it."""
    growing = Growing()

    assert ["| a", " |", " | b", "", " |\n"] == [
        growing.becomes("| a |"),
        growing.grows(" |"),
        growing.becomes("| a | | b"),
        growing.grows(" |"),
        growing.grows("\n"),
    ]


@pytest.mark.parametrize(
    ("rule", "given"), [("____", "a"), ("_____", "a_____"), ("█" * 5000, "a" + "█" * 5000)]
)
def test_growing__what_is_too_long_for_a_cursor_is_text(rule: str, given: str) -> None:
    """A line drawn of what may be cursors is given as it comes."""
    assert given == Growing().becomes("a" + rule)


@pytest.mark.parametrize("piece", ["word word word ", "|", " ▌"])
def test_changes__costs_in_proportion(piece: str) -> None:
    """A long reply is not copied for each of its tokens: 50,000 appends in a blink."""
    answer = Output()
    answer.becomes([["q", ""]])
    start = time.process_time()
    for _ in range(50_000):
        answer.changes([["append", [0, 1], piece]])

    assert piece * 50_000 == value_of(answer)[0][1]
    assert time.process_time() - start < 3


@pytest.mark.parametrize("parts", [False, True])
def test_changes__a_long_value_is_not_read_for_each_edit(parts: bool) -> None:
    """Of 10,000 messages or parts, edits cost little each, and the text is told all the same."""
    count, steps = 10_000, 300
    rows = [{"role": "assistant", "content": "x"} for _ in range(count)]
    content: list[Any] = [{"type": "text", "text": ""} for _ in range(count)]
    value = [{"role": "assistant", "content": content}] if parts else rows
    end = [0, "content", count - 1, "text"] if parts else [count - 1, "content"]
    answer = Output()
    given = text_of(answer.becomes(value))
    start = time.process_time()
    for _ in range(steps):
        given += text_of(answer.changes([["append", end, "y"], ["add", [0, "note"], 1]]))
    took = time.process_time() - start

    found = read(value_of(answer))
    assert found is not None
    assert found.text is not None
    assert found.text.endswith("y" * steps)
    assert found.text.startswith(given)
    assert given.endswith("y" * (steps // 2))
    assert given == text_of([Text(given), *answer.becomes([["q", given]])])
    assert took < 1.5


def test_changes__looks_at_the_clocks() -> None:
    """What may cost more than its bytes ends where nobody waits for it; more text does not ask."""

    def look() -> None:
        raise CancelledError("cancelled")

    answer = Output(look=look)
    answer.becomes([["q", "a"]])
    assert "b" == text_of(answer.changes([["append", [0, 1], "b"]]))
    for edit in (["append", [0, 0], "?"], ["replace", [0, 1], "c"]):
        with pytest.raises(CancelledError):
            answer.changes([edit])
