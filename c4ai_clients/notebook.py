"""Answers in a notebook: one that is shown as it comes, and several side by side.

Needs no widgets: an output that is updated in place works in JupyterLab, the
classic notebook, VS Code and Colab, and is saved with the notebook.

Rules that this file keeps:

1. Only the thread that calls touches the display.
2. However it ends, what is left on display is what came, and says so where
   that is not the whole answer.
3. What a server says is shown as text and Markdown; nothing of it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from . import markup
from .answers import Answer, Answers
from .errors import CancelledError, UsageError
from .stream import Reply, Stream

if TYPE_CHECKING:
    from .client import ChatClient
    from .messages import Messages

__all__ = ["Comparison", "compare", "show"]

_BYTES_A_SECOND = 250_000  # a notebook server drops what comes at more than a million


class Comparison(dict[str, Answer]):
    """What several clients answered, by label, each an :class:`~c4ai_clients.answers.Answer`.

    ``.reply`` is the reply, or None where ``.error`` says why there is none;
    ``.first_token`` and ``.total`` are seconds.
    """

    def __str__(self) -> str:
        return "\n\n".join(
            "\n".join(filter(None, [f"{label} ({_times(each)})", each.text, _state(each)]))
            for label, each in self.items()
        )

    def _repr_html_(self) -> str:
        return _columns(list(self.values()), over=True)


def show(stream: Stream) -> Reply:
    """Show an answer as it comes, and return the reply.

    In a notebook it is one output, updated at most fifteen times a second:
    Markdown, the title, the place in the queue, and what the model thought
    folded away. What remains is the answer; as a cell's last expression it is
    not shown again. Elsewhere the text is written to standard output.

    Args:
        stream: What to show; read it nowhere else.

    Raises:
        UsageError: It is no stream.
        C4AIError: The reply did not become complete. What came stays on
            display, and in the conversation; so it does after an interrupt.
    """
    if not isinstance(stream, Stream):
        raise UsageError("show() takes a stream: show(client.stream(…))")
    if _shell() is None:
        return _written(stream)
    area = _Area()
    answers = Answers({"": stream})
    try:
        with answers:
            for (answer,) in answers.frames():
                area.draw(_card(answer), answer.text)
    finally:
        (answer,) = answers.now()
        area.draw(_card(answer, over=True), answer.text, last=True)
    if answer.reply is None:
        raise answer.error or CancelledError("cancelled", partial=answer.text)
    _do_not_repeat(answer.reply)
    return answer.reply


def compare(
    messages: Messages,
    clients: Iterable[ChatClient] | Mapping[str, ChatClient],
    **options: Any,
) -> Comparison:
    """Ask several clients the same, and show the answers side by side as they come.

    Each has the seconds to its first token and in all. One that fails shows
    its error and leaves the others alone. Outside a notebook the answers are
    written to standard output when all have ended.

    Args:
        messages: What every client's ``stream`` takes.
        clients: Whom to ask; a mapping gives them labels.
        **options: For all of them, what their ``stream`` takes.

    Raises:
        UsageError: There is nobody to ask, or one of them cannot be asked so;
            nothing was sent.
    """
    area = _Area() if _shell() is not None else None
    answers = Answers.ask(messages, clients, **options)
    try:
        with answers:
            for now in answers.frames():
                if area is not None:
                    area.draw(_columns(now))
    finally:
        compared = Comparison((each.label, each) for each in answers.now())
        if area is not None:
            area.draw(_columns(list(compared.values()), over=True), str(compared), last=True)
        else:
            _write(f"{compared}\n")
    if area is not None:
        _do_not_repeat(compared)
    return compared


class _Area:
    """One output of the cell, drawn anew in place."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._drawn: dict[str, str] = {}
        self._next = 0.0

    def draw(self, html: str, text: str = "", *, last: bool = False) -> None:
        """Show it, unless it is there already, or too much for so short a time."""
        from IPython.display import display

        data = {"text/html": html, "text/plain": markup.whole(text)}
        if data == self._drawn or (monotonic() < self._next and not last):
            return
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)
        self._drawn = data
        self._next = monotonic() + (len(html) + len(text)) / _BYTES_A_SECOND


def _shell() -> Any:
    """Return the shell of a front end that can show HTML, or None elsewhere."""
    if "IPython" not in sys.modules:
        return None
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    publisher = getattr(shell, "display_pub", None)
    return shell if publisher is not None and type(publisher) is not DisplayPublisher else None


def _do_not_repeat(result: Any) -> None:
    """Keep *result*, which is on display, from being displayed again by the same cell."""
    shell = _shell()
    cell = shell.execution_count

    def display(value: Any) -> None:
        if value is not result or shell.execution_count != cell:
            raise NotImplementedError  # IPython then displays it in the other ways

    shell.display_formatter.ipython_display_formatter.for_type(type(result), display)


def _card(answer: Answer, *, over: bool = False) -> str:
    """Return one answer as HTML: what came of it, and how it is going."""
    sources = answer.reply.sources if answer.reply is not None else []
    body = markup.answer(
        answer.text, title=answer.title, reasoning=answer.reasoning, sources=sources
    )
    state = _state(answer, over=over)
    return body + (markup.small(state) if state else "")


def _columns(answers: list[Answer], *, over: bool = False) -> str:
    """Return answers as HTML, side by side: a table, which survives where styles do not."""
    heads = "".join(
        f'<th style="text-align: left">{markup.escaped(each.label)}'
        f"{markup.small(_times(each))}</th>"
        for each in answers
    )
    bodies = "".join(
        '<td style="text-align: left; vertical-align: top; overflow-wrap: anywhere">'
        f"{_card(each, over=over)}</td>"
        for each in answers
    )
    return (
        f'<table style="width: 100%; table-layout: fixed"><tr>{heads}</tr><tr>{bodies}</tr></table>'
    )


def _state(answer: Answer, *, over: bool = True) -> str:
    """Return how an answer that is not complete is going; an empty text for a complete one."""
    if answer.reply is not None:
        return ""
    if isinstance(answer.error, CancelledError) or (over and answer.error is None):
        return "Interrupted."
    if answer.error is not None:
        return f"Not complete: {type(answer.error).__name__}: {answer.error}"
    if answer.queued is not None:
        size = f" of {answer.queued.size}" if answer.queued.size is not None else ""
        eta = f", about {answer.queued.eta:.0f} s" if answer.queued.eta is not None else ""
        return f"{answer.queued.position} ahead in the queue{size}{eta}"
    return "…" if answer.text else "Thinking…" if answer.reasoning else "Asking…"


def _times(answer: Answer) -> str:
    first = "–" if answer.first_token is None else f"{answer.first_token:.2f} s"
    return f"first token {first}, total {answer.total:.2f} s"


def _written(stream: Stream) -> Reply:
    """Write an answer to standard output as it comes."""
    try:
        for piece in stream:
            _write(piece)
    finally:
        _write("\n")
    return stream.reply()


def _write(text: str) -> None:
    sys.stdout.write(markup.clean(markup.whole(text)))
    sys.stdout.flush()
