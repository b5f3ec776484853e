"""Real Gradio of eight versions: a virtual environment for each, made once.

They lie below ``$XDG_CACHE_HOME/c4ai-clients/gradio`` (``~/.cache`` where that is
not set) and are made again when what goes into them changes. Releases of 3.x
and 4.x do not bound what they stand on, so that is pinned to what was current
then; a Python that they still run on is looked for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["LATEST", "VERSIONS", "environment"]

LATEST = "latest"
_OLD_STACK = (
    "fastapi==0.112.4",
    "starlette==0.38.6",
    "pydantic==2.10.6",
    "huggingface-hub<0.26",
    "numpy<2",
    "pandas<3",
)
#: What goes into each environment beside Gradio itself.
VERSIONS: dict[str, tuple[str, ...]] = {
    "3.50.2": (*_OLD_STACK, "httpx<0.28", "websockets<12"),
    "4.2.0": (*_OLD_STACK, "httpx<0.28", "websockets<12"),
    "4.16.0": (*_OLD_STACK, "httpx<0.28", "websockets<12"),
    "4.19.2": (*_OLD_STACK, "httpx<0.28", "websockets<12"),
    "4.21.0": (*_OLD_STACK, "httpx<0.28", "websockets<12"),
    "4.44.1": _OLD_STACK,
    "5.50.0": (),
    LATEST: (),
}


def environment(version: str) -> Path:
    """Return the Python of *version*'s environment; made where it is not there yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = cache / "c4ai-clients" / "gradio" / version
    python, made = home / "bin" / "python", home / "made-of"
    wanted = ["gradio" if version == LATEST else f"gradio=={version}", *VERSIONS[version]]
    if made.is_file() and made.read_text() == "\n".join(wanted) and python.exists():
        return python
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([_python(), "-m", "venv", str(home)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*install, *wanted], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"cannot install {' '.join(wanted)}: {done.stderr[-2000:]}")
    made.write_text("\n".join(wanted))
    return python


def _python() -> str:
    """Return a Python 3.10 or 3.11, which all eight versions run on."""
    if sys.version_info[:2] in ((3, 10), (3, 11)):
        return sys.executable
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for minor in ("3.11", "3.10"):
        found = sorted((root / "versions").glob(f"{minor}.*/bin/python"))
        if found:
            return str(found[-1])
        if there := shutil.which(f"python{minor}"):
            return there
    raise RuntimeError("Gradio 3 and 4 need a Python 3.10 or 3.11, and there is none here")


if __name__ == "__main__":
    for each in sys.argv[1:] or VERSIONS:
        print(each, environment(each))  # noqa: T201
