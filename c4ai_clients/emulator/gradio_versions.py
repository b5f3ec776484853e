"""How Gradio's queue changed from 4.2 to 6.31: one row of switches a version.

Also what all of them share: how two values are compared, and how a chatbot
holds a conversation in each of its formats.
"""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass, replace
from typing import Any

from c4ai_clients.emulator.wire import compact, join_halves

__all__ = ["VERSIONS", "Version", "differences"]

_NO_METADATA: dict[str, None] = {"title": None}


@dataclass(frozen=True)
class Version:
    """One version of Gradio, as far as a client can tell it from others.

    Args:
        name: The version itself.
        protocol: What ``/config`` calls the queue's protocol.
        prefix: In front of every path but a few.
        diffs: Whether later values are sent as edits of the one before.
        deletes_shift: Whether a list's deletions count with those before them.
        close_stream: Whether ``close_stream`` ends the stream.
        compact: Whether events are compact raw UTF-8 and heartbeats name an
            event; otherwise they are ASCII with spaces.
        done_generating: What ``is_generating`` is in the last value.
        ids: Whether a dependency has an ``id``.
        call: Whether there is ``/call/{name}``.
        cancel: Whether there is ``/cancel``.
        reset: What ``/reset`` does to the stream: "nothing", "silence", or an
            "end" without a last value.
        chatbot: The chatbot's format, if the app does not say: "tuples",
            "messages" or "blocks".
        cleans: The formats whose text is cleaned before it is sent.
        checks_radio: Whether a radio's value must be one of its choices.
        quotes_errors: Whether the text of a gr.Error is in quotation marks.
        titles: Whether ends and errors have a title, and values a time limit.
        cached: Whether values say if they came from a cache.
        unknown_session: What a stream of no session says.
        flags_session: Whether it says so in a field as well.
        auth_object: Whether "not authenticated" is an object.
        function_names: Whether a ChatInterface's name is its function's.
    """

    name: str
    protocol: str = "sse_v3"
    prefix: str = ""
    diffs: bool = True
    deletes_shift: bool = False
    close_stream: bool = True
    compact: bool = True
    done_generating: bool = False
    ids: bool = True
    call: bool = True
    cancel: bool = True
    reset: str = "nothing"
    chatbot: str = "tuples"
    cleans: tuple[str, ...] = ("tuples", "messages")
    checks_radio: bool = False
    quotes_errors: bool = True
    titles: bool = False
    cached: bool = False
    unknown_session: str = "404: Session not found."
    flags_session: bool = False
    auth_object: bool = False
    function_names: bool = False

    def event(self, **fields: Any) -> bytes:
        """Write one event of the queue."""
        if self.compact:
            return b"data: " + compact(fields) + b"\n\n"
        return f"data: {json.dumps(fields)}\n\n".encode()

    def heartbeat(self) -> bytes:
        """Write a heartbeat."""
        named = {"event_id": None} if self.compact else {}
        return self.event(msg="heartbeat", **named)

    def message(self, form: str, role: str, text: str, title: str = "") -> Any:
        """Put a text in the chatbot's form, cleaned as this version does."""
        shown = join_halves(text)
        if form in self.cleans:
            shown = inspect.cleandoc(shown)
        metadata = {"title": title} if title else None
        if form == "blocks":
            content: Any = [{"text": shown, "type": "text"}]
        else:
            content = shown
        if self.titles:
            said = {"role": role, "metadata": metadata, "content": content}
            return {**said, "options": None}
        return {"role": role, "metadata": metadata or _NO_METADATA, "content": content}

    def exchange(self, form: str, prompt: str, thought: str, text: str | None) -> list[Any]:
        """Give what one turn adds to the chatbot's value; None is no answer yet."""
        if form == "tuples":
            shown = join_halves(text or "")
            if form in self.cleans:
                shown = inspect.cleandoc(shown)
            return [[prompt, shown]]
        said = [self.message(form, "user", prompt)]
        if thought:
            said.append(self.message(form, "assistant", thought, "Thinking"))
        return said if text is None else [*said, self.message(form, "assistant", text)]


def differences(old: Any, new: Any, *, shift: bool) -> list[list[Any]]:
    """Give the edits that turn one value into another, as Gradio's server does.

    Args:
        old: What was sent before.
        new: What is to be sent.
        shift: Count a list's deletions with those before them; versions that
            do not, send edits which cannot be applied in order.
    """
    edits: list[list[Any]] = []

    def compare(one: Any, two: Any, path: list[Any]) -> None:
        if one == two and type(one) is type(two):
            return
        if isinstance(one, str) and isinstance(two, str) and two.startswith(one):
            edits.append(["append", path, two[len(one) :]])
        elif isinstance(one, list) and isinstance(two, list):
            common = min(len(one), len(two))
            for index in range(common):
                compare(one[index], two[index], [*path, index])
            edits.extend(
                ["delete", [*path, common if shift else index], None]
                for index in range(common, len(one))
            )
            edits.extend(["add", [*path, index], two[index]] for index in range(common, len(two)))
        elif isinstance(one, dict) and isinstance(two, dict):
            for key in one:
                if key in two:
                    compare(one[key], two[key], [*path, key])
                else:
                    edits.append(["delete", [*path, key], None])
            edits.extend(["add", [*path, key], two[key]] for key in two if key not in one)
        else:
            edits.append(["replace", path, two])

    compare(old, new, [])
    return edits


_V444 = Version("4.44.1")
_V416 = replace(
    _V444,
    name="4.16.0",
    protocol="sse_v1",
    diffs=False,
    close_stream=False,
    compact=False,
    done_generating=True,
    ids=False,
    call=False,
    cancel=False,
    reset="silence",
    cleans=("tuples",),
)
_V550 = Version(
    "5.50.0",
    prefix="/gradio_api",
    deletes_shift=True,
    cleans=("messages",),
    checks_radio=True,
    quotes_errors=False,
    titles=True,
    unknown_session="404: Not Found",
    flags_session=True,
    auth_object=True,
)

VERSIONS = {
    version.name: version
    for version in (
        replace(_V416, name="4.2.0", protocol="sse", reset="end"),
        _V416,
        replace(_V416, name="4.19.2", protocol="sse_v2", diffs=True),
        replace(_V416, name="4.21.0", protocol="sse_v2.1", diffs=True, call=True),
        _V444,
        _V550,
        replace(
            _V550,
            name="6.31.0",
            chatbot="blocks",
            cleans=("messages", "blocks"),
            cached=True,
            function_names=True,
        ),
    )
}
