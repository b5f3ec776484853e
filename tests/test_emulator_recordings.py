"""The emulator against the recordings of real servers, request by request.

Nothing of the client is used: what was asked of the real server is written by
http.client and sent to the emulator, and the two answers are laid side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from emulator_table import PAGE, written
from recorded_servers import EXPLAINED, wrong
from side_by_side import recordings

TOGETHER = 8  # they mostly wait for the moments at which requests were sent


@pytest.fixture(scope="module")
def played(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[list[str]]]]:
    """What is wrong with each recording that is asked for, some played at once to save time."""
    tests = [item for item in request.session.items if item.parent is request.node]
    cases = [item.callspec.params["case"] for item in tests if hasattr(item, "callspec")]
    with ThreadPoolExecutor(TOGETHER) as threads:
        yield {case: threads.submit(wrong, case) for case in cases}
        threads.shutdown(cancel_futures=True)


@pytest.mark.parametrize("case", recordings())
def test_emulator__answers_as_recorded(case: str, played: dict[str, Future[list[str]]]) -> None:
    """Status, headers, events, their keys and order are the real server's, or explained."""
    found = played[case].result()
    assert not found, "\n" + "\n".join(found)


def test_explanations__are_all_of_something_recorded() -> None:
    """No explanation names a recording that does not exist."""
    cases = recordings()
    assert [] == [each.reason for each in EXPLAINED if not any(map(each.requests, cases))]


def test_table__is_what_the_recordings_and_explanations_give() -> None:
    """The page holds the table that is generated, and the explanations."""
    page = PAGE.read_text("utf-8")
    assert written(page) == page
