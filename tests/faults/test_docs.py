"""The numbers in docs/reliability.md are those of the table."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from table import cases
from test_fuzz import GENERATED, PROVIDERS
from test_leaks import ABANDONED, NAMES, WAYS

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
HEADINGS = {
    "complete": "Complete, or an error",
    "sent again": "What is sent again",
    "clocks": "The clocks",
    "one error tree": "One error tree",
    "no stream": "A 200 that is no stream",
    "limits": "What has no end",
    "corners": "HTTP's corners",
    "retry-after": "Retry-After",
    "ways": "TLS and proxies",
}


def test_docs__numbers_are_the_tables() -> None:
    """Each promise names as many cases as the table has for it."""
    text = PAGE.read_text(encoding="utf-8")
    counted = Counter(case.promise for case in cases())

    assert set(counted) == set(HEADINGS)
    for promise, heading in HEADINGS.items():
        told = re.search(rf"^## \d+\. {re.escape(heading)} \((\d+) cases\)$", text, re.MULTILINE)
        assert told is not None, heading
        assert counted[promise] == int(told[1]), promise
    assert f"{sum(counted.values()):,} in all" in text


def test_docs__generated_and_abandoned() -> None:
    """As many faults are generated, and streams abandoned, as the page says."""
    text = PAGE.read_text(encoding="utf-8")

    assert f"{GENERATED * len(PROVIDERS):,} generated faults" in text
    assert f"{ABANDONED * len(NAMES) * len(WAYS):,} streams abandoned" in text
