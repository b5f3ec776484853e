"""What it costs to have the package: to import it, and to install it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from .measuring import Bench, over, spread, table

_ROOT = Path(__file__).parents[1]
_IMPORTED = "from time import process_time as now; t = now(); {}; print(now() - t)"
_SIZES = """
import importlib.metadata, json, pathlib
sizes = {}
for each in importlib.metadata.distributions():
    if each.metadata["Name"] not in ("pip", "setuptools", "wheel"):
        sizes[each.metadata["Name"]] = size = [0, 0]
        for file in each.files or ():
            place = pathlib.Path(file.locate())
            if place.exists():
                size[place.suffix == ".pyc"] += place.stat().st_size
print(json.dumps(sizes))
"""


def imported(bench: Bench) -> None:
    """CPU of an import in a fresh process, as a ratio to `import requests`."""
    used: dict[str, list[float]] = {
        "import requests": [],
        "import c4ai_clients": [],
        "from c4ai_clients import C4AICommand": [],
        "from c4ai_clients import *": [],
    }
    for _ in range(3 * bench.rounds):
        for code, seconds in used.items():
            seconds.append(float(_python(sys.executable, _IMPORTED.format(code))))
    floor = used["import requests"]
    table(
        ["import", "least", "ratio"],
        *(
            [f"`{code}`", f"{1000 * min(each):.0f} ms", spread(over(each, floor))]
            for code, each in used.items()
        ),
    )


def installed(bench: Bench) -> None:
    """What `pip install` of a checkout brings into a fresh environment, without pip itself."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "checkout"  # pip builds in the tree that it is given
        copy.mkdir()
        for name in ("setup.cfg", "setup.py", "README.md", "LICENSE"):
            shutil.copy(_ROOT / name, copy)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(_ROOT / "c4ai_clients", copy / "c4ai_clients", ignore=ignored)
        venv.create(Path(directory) / "venv", with_pip=True)
        python = Path(directory) / "venv" / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", copy], check=True)
        sizes = json.loads(_python(str(python), _SIZES))
    sums = [sum(size[i] for size in sizes.values()) for i in (0, 1)]
    rows = [[name, *_mega(size)] for name, size in sorted(sizes.items())]
    table(
        ["distribution", "MB", "and its byte code"], *rows, [f"{len(sizes)} in all", *_mega(sums)]
    )


def _mega(sizes: list[int]) -> list[str]:
    return [f"{size / 1e6:.2f}" for size in sizes]


def _python(python: str, code: str) -> str:
    done = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, check=True, text=True)
    return done.stdout
