"""The notebook in JupyterLab in a real Chromium: what a person sees, and what does not run.

Needs the extra ``[browser]``, chromium and chromedriver: ``pytest -m browser``.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_notebook import EXAMPLES, NASTY, harm

from c4ai_clients.emulator import Emulator
from c4ai_clients.emulator.replies import Answer

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("default")]
SCRIPT = Path(__file__).parent.parent / "docs" / "pictures" / "notebook.py"
ELEMENTS = (
    "return [...document.querySelectorAll('.jp-OutputArea-output')]"
    ".map(area => [area.innerText, area.innerHTML])"
)


@pytest.fixture(scope="module")
def pictures() -> Any:
    """The script that makes the picture, as a module."""
    spec = importlib.util.spec_from_file_location("notebook_picture", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def lab(pictures: Any, tmp_path: Path) -> Iterator[Any]:
    with pictures.Lab(tmp_path) as running:
        yield running


def shown(lab: Any) -> list[tuple[str, str]]:
    return [(text, html) for text, html in lab.browser.execute_script(ELEMENTS)]


def live(html: str) -> list[tuple[str, str, str]]:
    """Return what could do anything; not what MathJax makes of a formula."""
    return [
        (tag, name, value)
        for tag, name, value in harm(html)
        if not tag.startswith(("mjx-", "m")) or name.startswith(("on", "href"))
        if (tag, name) not in (("a", "target"), ("div", "data-mime-type"))
    ]


def test_tour__runs_in_a_browser(lab: Any, tmp_path: Path) -> None:
    """Every cell runs; tables, folded reasoning and columns are there as elements."""
    shutil.copy(EXAMPLES / "tour.ipynb", tmp_path)
    cells = [cell for cell in lab.run("tour.ipynb") if cell.cell_type == "code"]
    areas = shown(lab)
    lab.photograph(tmp_path / "tour.png", 6000)

    assert all(cell.execution_count for cell in cells)
    assert [] == [o for cell in cells for o in cell.outputs if o.output_type == "error"]
    sky = [html for _, html in areas if "4.4 times</strong>" in html]
    assert len(sky) >= 4
    assert all("<table>" in html and "<details>" in html for html in sky[:1])
    (side_by_side,) = [text for text, _ in areas if text.count("first token 0.") == 3]
    assert "Gradio" in side_by_side


def test_show__runs_nothing_of_a_servers_in_a_browser(
    lab: Any, pictures: Any, tmp_path: Path
) -> None:
    """Nasty answers, titles, labels and errors make no element that could do anything."""
    nasty = [words.replace("alert(1)", "document.pwned=1") for words in NASTY]

    def say(prompt: str) -> Answer:
        words = nasty[int(prompt)]
        return Answer([words], reasoning=[words], title=words, sources=["javascript:alert(1)"])

    with Emulator("chat-ui", replies=say) as server:
        pictures.write(
            tmp_path / "nasty.ipynb",
            "from c4ai_clients import *\n"
            "from c4ai_clients.client import Model, Models\n"
            "from c4ai_clients.notebook import compare, show\n"
            f"nasty = {json.dumps(nasty)}\n"
            f"client = ChatUI({server.url('chat-ui')!r})",
            f"for n in range({len(nasty)}): show(client.stream(str(n)))",
            f"for n in range({len(nasty)}): compare(str(n), {{nasty[n]: client}})",
            f"talk = client.conversation()\nfor n in range({len(nasty)}): talk.chat(str(n))\ntalk",
            "display(*[ModelError(w, partial=w) for w in nasty])\n"
            "display(*[Models([Model(w, label=w, description=w)]) for w in nasty])",
        )
        cells = lab.run("nasty.ipynb")
    areas = shown(lab)

    assert [] == [o for cell in cells for o in cell.outputs if o.output_type == "error"]
    assert len(areas) > 4 * len(nasty)
    assert "<script>document.pwned=1</script>" in areas[0][0]
    assert not lab.browser.execute_script("return document.pwned")
    assert [] == [each for _, html in areas for each in live(html)]


def test_display__of_plain_markdown_would_have_run(lab: Any, tmp_path: Path, pictures: Any) -> None:
    """The check above can fail: what IPython's own Markdown shows of a fresh cell does run."""
    pictures.write(
        tmp_path / "plain.ipynb",
        "from IPython.display import Markdown\n"
        "Markdown('<img src=x onerror=\"document.pwned=1\"> [x](javascript:alert(1))')",
    )
    lab.run("plain.ipynb")

    assert lab.browser.execute_script("return document.pwned")
    assert {"img", "a"} <= {tag for _, html in shown(lab) for tag, _, _ in live(html)}
