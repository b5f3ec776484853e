"""All cases of the table."""

from __future__ import annotations

from cases import PROVIDERS, Case
from corners import corners
from limits import limits
from turns import turns
from ways import ways


def cases() -> list[Case]:
    """Return all cases."""
    return [
        case
        for provider in PROVIDERS
        for kind in (turns, corners, ways, limits)
        for case in kind(provider)
    ]
