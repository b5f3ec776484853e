"""Writes the table of the emulator against real servers into docs/testing.md.

Run ``python tests/emulator_table.py`` after a change of a recording or an
explanation. That what it counts is so is tested in test_emulator_recordings.py,
case by case.
"""

from __future__ import annotations

from pathlib import Path

from recorded_servers import EXPLAINED, server_of
from side_by_side import recorded, recordings

__all__ = ["PAGE", "section", "written"]

PAGE = Path(__file__).parent.parent / "docs" / "testing.md"
_BEGIN = "<!-- written by tests/emulator_table.py: begin -->\n"
_END = "<!-- end -->\n"


def section() -> str:
    """Give the table, and below it the differences with their reasons."""
    cases = recordings()
    lines = ["| server | recordings | requests | equal | explained |", "|---|--:|--:|--:|--:|"]
    totals = [0, 0, 0, 0]
    for server in dict.fromkeys(map(server_of, sorted(cases, key=_age))):
        own = [case for case in cases if server_of(case) == server]
        requests = sum(len(recorded(case)) for case in own)
        explained = sum(len(_explained(case)) for case in own)
        counts = [len(own), requests, requests - explained, explained]
        totals = [sum(pair) for pair in zip(totals, counts, strict=True)]
        lines.append(_row(server, counts))
    lines += [
        _row("all", totals),
        "",
        "What is explained, each with the recordings in `tests/captures` and the requests in them:",
        "",
    ]
    lines += [
        f"- {known.reason[0].upper()}{known.reason[1:]}: {_where(known.where)}."
        for known in EXPLAINED
    ]
    return "\n".join(lines) + "\n"


def _age(case: str) -> tuple[bool, list[int], str]:
    """Sort chat-ui's versions by their letters, Gradio's by their numbers."""
    _, version, _ = case.split("/")
    numbers = [int(each) for each in version.split(".")] if "." in version else []
    return bool(numbers), numbers, version


def _explained(case: str) -> set[int]:
    return {number for known in EXPLAINED for number in known.requests(case)}


def _row(server: str, counts: list[int]) -> str:
    return f"| {server} | {' | '.join(map(str, counts))} |"


def _where(where: str) -> str:
    """Name the recordings, and of each the requests."""
    told = []
    for each in where.split():
        case, *numbers = each.split("#")
        told.append(f"`{case}`" + (f" {', '.join(numbers)}" if numbers else ""))
    return "; ".join(told)


def written(page: str) -> str:
    """Give a page with the table between its marks."""
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{section()}\n{_END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
