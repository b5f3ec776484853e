"""The table of docs/gradio.md."""

from __future__ import annotations

from pathlib import Path

from gradio_versions import VERSIONS

DOCS = Path(__file__).parents[1] / "docs" / "gradio.md"


def test_docs__no_cell_is_blank() -> None:
    """Eight rows of eight versions, each filled in by a test that ran."""
    text = DOCS.read_text(encoding="utf-8")
    table = text.partition("<!-- table -->\n")[2].partition("<!-- end -->")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]

    assert ["", *VERSIONS] == rows[0]
    assert 10 == len(rows)
    assert all(len(row) == 9 and all(row) for row in rows[2:])
