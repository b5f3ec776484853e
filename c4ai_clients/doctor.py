"""What ``c4ai doctor`` says: an examination in lines, and as JSON. Nothing is sent here."""

from __future__ import annotations

from typing import Any, NamedTuple

from .detect import Finding

__all__ = ["Line", "as_dict", "doctor_lines"]

_MARKS = {True: "ok", None: "note", False: "wrong"}


class Line(NamedTuple):
    """One line.

    Attributes:
        mark: ``"ok"``, ``"note"`` or ``"wrong"``.
        text: What was seen.
        remedy: What to do; ``""`` where there is nothing.
    """

    mark: str
    text: str
    remedy: str


def doctor_lines(finding: Finding) -> list[Line]:
    """Return what was found, a line each check, the failed one last."""
    return [
        Line(_MARKS[check.ok], f"{check.name}: {check.saw}", check.remedy)
        for check in finding.checks
    ]


def as_dict(finding: Finding) -> dict[str, Any]:
    """Return what was found as JSON can hold it."""
    found = finding.found
    return {
        "url": finding.url,
        "fits": finding.client is not None,
        "client": None if finding.client is None else finding.client.__name__,
        "provider": None if finding.client is None else finding.client.provider,
        "what": None if found is None else found.what,
        "version": None if found is None else found.version,
        "login": None if found is None else found.login,
        "terms": None if found is None else found.terms,
        "models": [] if found is None else list(found.models),
        "checks": [
            {"name": check.name, "ok": check.ok, "saw": check.saw, "remedy": check.remedy}
            for check in finding.checks
        ],
        "requests": list(finding.tried),
    }
