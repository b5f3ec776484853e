"""Several answers side by side, as they come."""

from __future__ import annotations

import json
import sys

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text as Words

from ..answers import Answer, Answers
from ..markup import clean
from .terminal import is_terminal, one_line

__all__ = ["side_by_side"]

_NARROWEST = 28


def side_by_side(answers: Answers, *, as_json: bool) -> list[Answer]:
    """Show *answers* as they come, print them at the end, and return them."""
    try:
        if is_terminal(sys.stdout) and not as_json:
            console = Console()
            with Live(console=console, auto_refresh=False, transient=True) as live:
                for now in answers.frames():
                    live.update(_columns(now, console, console.height - 1), refresh=True)
        else:
            for _ in answers.frames():
                pass
    finally:  # also where Ctrl-C ends it: what came is shown
        answers.close()
        _print(answers.now(), as_json)
    return answers.now()


def _print(now: list[Answer], as_json: bool) -> None:
    if as_json:
        for answer in now:
            print(json.dumps(_record(answer)), flush=True)
    elif is_terminal(sys.stdout):
        console = Console()
        console.print(_columns(now, console, None))
    else:
        print(
            "\n".join(f"== {one_line(a.label)}: {_state(a)}\n\n{_text(a)}\n" for a in now),
            flush=True,
        )


def _record(answer: Answer) -> dict[str, object]:
    return {
        "label": answer.label,
        "first_token": answer.first_token,
        "total": answer.total,
        "reply": None if answer.reply is None else answer.reply.to_dict(),
        "partial": answer.text if answer.reply is None else None,
        "error": None if answer.error is None else str(answer.error),
    }


def _columns(now: list[Answer], console: Console, height: int | None) -> RenderableType:
    """Return the answers side by side, as many as there is width for, the rest below.

    Args:
        now: The answers.
        console: Where they go.
        height: How many lines there are; of longer answers the end is shown.
    """
    abreast = max(1, min(len(now), console.width // _NARROWEST))
    abreast = -(-len(now) // -(-len(now) // abreast))  # rows of one length, as near as can be
    rows = [now[at : at + abreast] for at in range(0, len(now), abreast)]
    lines = None if height is None else max(1, height // len(rows) - 6)
    return Group(*(_row(row, abreast, console, lines) for row in rows))


def _row(row: list[Answer], abreast: int, console: Console, lines: int | None) -> Table:
    table = Table(width=console.width // abreast * len(row), show_footer=True)
    for answer in row:
        table.add_column(
            Words(one_line(answer.label), "bold"),
            Words(one_line(_state(answer)), "red" if answer.error is not None else "dim"),
            ratio=1,
        )
    width = console.width // abreast - 4
    texts = [Words(clean(_text(answer))).wrap(console, width) for answer in row]
    table.add_row(*(Words("\n").join(text if lines is None else text[-lines:]) for text in texts))
    return table


def _text(answer: Answer) -> str:
    return answer.text if answer.text or answer.error is None else f"({answer.error})"


def _state(answer: Answer) -> str:
    """Return how far it is: its place in the queue, its times, or what ended it."""
    if answer.error is not None and answer.text:
        return f"ended after {answer.total:.1f} s: {answer.error}"
    if answer.error is not None:
        return f"failed after {answer.total:.1f} s"
    if answer.queued is not None:
        return f"in the queue, place {answer.queued.position + 1}"
    if answer.first_token is None:
        return f"waiting, {answer.total:.1f} s"
    return f"first {answer.first_token:.2f} s, all {answer.total:.2f} s"
