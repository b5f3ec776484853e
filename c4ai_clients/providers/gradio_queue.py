"""The ways to ask a Gradio app over HTTP; each yields the queue's own messages.

``joined`` since 4.9, ``old_joined`` in 4.0 to 4.8, ``called`` where the queue's
own endpoint is closed (from 4.20). An empty one before the others says that the
message has been sent. Whoever leaves before the end says goodbye as the
version wants it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote as percent

from ..conversation import is_id
from ..decoding import loads, parsed, sse, sse_objects, string
from ..errors import ProtocolError, quote
from ..stream import Turn
from .gradio_chat import Chat
from .gradio_messages import UNREAD, WHOLE, refusal

if TYPE_CHECKING:
    from ..transport import Transport

__all__ = ["CALL_SINCE", "EVENT_LIMIT", "Question", "called", "joined", "old_joined", "sent"]

Said = Iterator["dict[str, Any]"]

CALL_SINCE = (4, 20)
# process_completed holds the whole conversation, not the new reply alone.
EVENT_LIMIT = 8 << 20
_CANCEL_SINCE = (4, 31)
_RESET_SINCE = (4, 17)
_EVENTS = {"Accept": "text/event-stream"}
_ENDS = ("process_completed", "unexpected_error")

_logger = logging.getLogger("c4ai_clients")


@dataclass
class Question:
    """What is asked, and of whom.

    Attributes:
        turn: The turn that it belongs to.
        chat: The app's chat.
        data: The inputs' values.
        session: The session hash.
        transport: What sends.
        strict: Whether what makes no sense is an error.
        in_session: Whether the server knows it under its session hash.
        over: Whether the app has said all of it.
    """

    turn: Turn
    chat: Chat
    data: list[Any]
    session: str
    transport: Transport
    strict: bool = False
    in_session: bool = True
    over: bool = False

    @property
    def body(self) -> dict[str, Any]:
        """The message as the queue takes it."""
        return {
            "data": self.data,
            "event_data": None,
            "fn_index": self.chat.fn_index,
            "session_hash": self.session,
        }

    def post(self, path: str, phase: str, body: dict[str, Any]) -> Any:
        """Send the message, which is sent again only where it cannot have arrived."""
        return self.transport.fetch(
            self.turn.call,
            "POST",
            self.chat.prefix + path,
            phase=phase,
            preparing=False,
            json=body,
            cookies=self.turn.conversation.cookies,
            refusal=refusal,
        )

    def event(self, path: str, body: dict[str, Any]) -> str:
        """Send the message and return the id of the event that it became."""
        return _event_in(self.post(path, "message", body))

    def stream(self, path: str, params: dict[str, str] | None = None) -> Any:
        """Open a stream of events."""
        return self.transport.open(
            self.turn.call,
            "GET",
            self.chat.prefix + path,
            phase="stream",
            params=params,
            headers=_EVENTS,
            cookies=self.turn.conversation.cookies,
            refusal=refusal,
        )

    def messages(
        self,
        told: Iterable[Any],
        read: Callable[[Any], dict[str, Any]] = lambda event: loads(event[0]),
        event: str = "",
    ) -> Iterator[dict[str, Any]]:
        """Yield the messages in what is *told*, up to the one that ends the event.

        What is no message is counted, and given as unread. What follows the end
        is let pass: read to its end, the connection is kept.

        Args:
            told: What the app says, as it comes.
            read: Makes a message of what is none yet.
            event: The event that is ours, where the session may have others.
        """
        for message in told:
            if type(message) is not dict:
                message = self._message(message, read)
            if event and (name := message.get("event_id")) != event and string(name):
                continue
            if message.get("msg") in _ENDS:
                self.over = True
                yield message
                break
            yield message
        for _ in told:
            pass

    def _message(self, told: Any, read: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        try:
            return read(told)
        except ProtocolError as error:
            if self.strict:
                raise
            self.turn.skipped += 1
            _logger.warning("passed over: %s", error)
            return {"msg": UNREAD}

    def leave(self, event: str, session: str) -> None:
        """Have the app stop an event that nobody waits for any more.

        Hanging up is enough on most versions. From 4.31 on /cancel is quicker;
        4.21 needs /reset, or works on to the end (both measured).
        """
        path, body = "", {"event_id": event}
        if self.chat.version >= _CANCEL_SINCE:
            path = "/cancel"
            body |= {"session_hash": session, "fn_index": self.chat.fn_index}  # type: ignore[dict-item]
        elif self.chat.version >= _RESET_SINCE:
            path = "/reset"
        if path:
            self.transport.goodbye(
                "POST",
                self.chat.prefix + path,
                phase=path[1:],
                turn=self.turn.call,
                json=body,
                cookies=dict(self.turn.conversation.cookies),
            )


def _event_in(said: Any) -> str:
    """Return the id of an event, which becomes part of a path."""
    event = said.get("event_id") if isinstance(said, dict) else None
    if not is_id(event):
        raise ProtocolError(f"the queue gave no event id: {quote(said)}", phase="message")
    return event


def sent(said: Said) -> Said:
    """Run one of the ways below until the message has been sent."""
    next(said)
    return said


def joined(question: Question) -> Said:
    """Ask as since 4.9: join the queue, then read the session's stream."""
    event = question.event("/queue/join", {**question.body, "trigger_id": question.chat.trigger_id})
    try:
        yield {}
        with question.stream("/queue/data", {"session_hash": question.session}) as reply:
            yield from question.messages(sse_objects(reply.chunks(), EVENT_LIMIT), event=event)
    finally:
        if not question.over:
            question.leave(event, question.session)


def old_joined(question: Question) -> Said:
    """Ask as in 4.0 to 4.8: the stream comes first, and asks for the message."""
    params = {"fn_index": str(question.chat.fn_index), "session_hash": question.session}
    with question.stream("/queue/join", params) as reply:
        yield {}
        for message in question.messages(sse_objects(reply.chunks(), EVENT_LIMIT)):
            if message.get("msg") == "send_data":
                body = {**question.body, "event_id": _event_in(message)}
                question.post("/queue/data", "message", body)
            else:
                yield message


def called(question: Question) -> Said:
    """Ask by REST: every value is whole, and nothing is heard of the queue.

    A session is known there from 6 on; before, naming one breaks the call.
    """
    chat = question.chat
    body: dict[str, Any] = {"data": question.data}
    question.in_session = chat.keeps_session_in_calls
    if question.in_session:
        body["session_hash"] = question.session
    path = f"/call/{percent(chat.name)}"
    event = question.event(path, body)
    try:
        yield {}
        with question.stream(f"{path}/{percent(event)}") as reply:
            told = (each for each in sse(reply.chunks(), EVENT_LIMIT) if each[1] != "heartbeat")
            yield from question.messages(told, _as_queued)
    finally:
        if not question.over:
            question.leave(event, body.get("session_hash", event))


def _as_queued(event: tuple[str, str]) -> dict[str, Any]:
    """Return what /call says as the queue would have said it."""
    data, kind = event
    said = parsed(data)
    if kind == "generating":
        return {"msg": WHOLE, "output": {"data": said}}
    if kind == "complete":
        return {"msg": "process_completed", "success": True, "output": {"data": said}}
    if kind == "error" and isinstance(said, str):
        return {"msg": "unexpected_error", "message": said}
    if kind == "error":
        # Until 5 it is null even for a gr.Error.
        output = said if isinstance(said, dict) else {"error": None}
        return {"msg": "process_completed", "success": False, "output": output}
    return {"msg": kind, "said": said}
