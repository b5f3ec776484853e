"""How chat-ui changed from late 2024 to 2026: one row of switches a version.

A behaviour that came or went is a switch here and nothing else anywhere; a
version between two rows is `dataclasses.replace` of its neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["ERAS", "Era"]


@dataclass(frozen=True)
class Era:
    """One version of chat-ui, as far as a client can tell it from others.

    Args:
        name: The recordings' name of it.
        date: When that version was current.
        content_type: Of the streamed answer; the lines are the same.
        think: Where reasoning goes: "events", or "inline" as ``<think>``.
        turn_options: Whether ``tools``, ``web_search``, ``is_continue`` and
            null for them are read at all.
        stop: What stop-generating does: "nothing", "silence" (the stream just
            ends) or "answer" (a finalAnswer marked as interrupted).
        survives: Whether generation goes on when the client has gone.
        finished: Whether ``status: finished`` is the last line.
        status_code: Whether an error says the model's HTTP status.
        asks_twice: Whether a model that fails midway is asked once more.
        data_json: Whether ``__data.json`` holds data.
        delete_all: Whether ``DELETE /api/conversations`` exists.
        api_v2: Whether there is an ``/api/v2``.
        v2_plain_errors: Whether its errors are 500 with a plain text.
        full_create: Whether creating answers with the whole conversation.
        resume: Whether a stream can be taken up again.
        login_redirect: Whether creating without a login is a redirect.
        unknown_path: The status of a path that does not exist.
        share_key: Under which key sharing answers.
        json_body: Whether a message is posted as JSON, not as a form.
        cors: Whether pages of any origin may read what ``/api`` answers.
    """

    name: str
    date: str
    content_type: str = "application/jsonl"
    think: str = "events"
    turn_options: bool = True
    stop: str = "nothing"
    survives: bool = False
    finished: bool = False
    status_code: bool = False
    asks_twice: bool = False
    data_json: bool = True
    delete_all: bool = True
    api_v2: bool = False
    v2_plain_errors: bool = False
    full_create: bool = False
    resume: bool = False
    login_redirect: bool = False
    unknown_path: int = 200
    share_key: str = "url"
    json_body: bool = False
    cors: bool = False


_B = Era("B", "2025-03-14")
_D = Era(
    "D",
    "2026-01-19",
    think="inline",
    turn_options=False,
    stop="answer",
    survives=True,
    status_code=True,
    asks_twice=True,
    data_json=False,
    api_v2=True,
    v2_plain_errors=True,
    unknown_path=404,
    share_key="shareId",
)
_C1 = replace(_D, name="C1", date="2026-05-11", v2_plain_errors=False, finished=True)

ERAS = {
    era.name: era
    for era in (
        # No version that was run: what the dates of the changes say of spring 2024.
        replace(
            _B,
            name="B00",
            date="2024-05-01",
            content_type="text/event-stream",
            think="inline",
            delete_all=False,
            json_body=True,
        ),
        replace(
            _B,
            name="B0",
            date="2024-11-07",
            content_type="text/event-stream",
            think="inline",
            delete_all=False,
        ),
        _B,
        replace(_B, name="B2", date="2025-06-05", stop="silence"),
        _D,
        _C1,
        replace(
            _C1,
            name="C",
            date="2026-08-21",
            full_create=True,
            resume=True,
            login_redirect=True,
            cors=True,
        ),
    )
}
