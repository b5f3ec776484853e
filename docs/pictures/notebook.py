"""Make notebook.png: a short notebook, run in JupyterLab, as Chromium shows it.

pip install -e ".[browser]"    # and chromium with its chromedriver
python docs/pictures/notebook.py
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import nbformat
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from c4ai_clients.emulator import Answer, Emulator

PICTURE = Path(__file__).with_suffix(".png")
SKY = Answer(
    """Sunlight is scattered by air, *blue light most of all*: with the wavelength $\\lambda$
it goes as $1/\\lambda^4$.

| colour | wavelength | scattered |
|---|---|---|
| blue | 450 nm | **4.4 times** as much |
| red | 650 nm | once |
""",
    reasoning="Rayleigh scattering, so the fourth power.",
    title="Why the sky is blue",
)
FLASH = Answer(
    "Yes: **for a second or two**, at the upper rim of the setting sun.", title="Green flash"
)
CELLS = (
    """\
from c4ai_clients import AutonomousAI, ChatUI
from c4ai_clients.notebook import compare, show

client = ChatUI("{chat_ui}")
show(client.stream("Why is the sky blue?"))""",
    """\
compare("Is there a green flash?", [client, AutonomousAI("{autonomous}")])""",
)


class Lab:
    """A JupyterLab on a folder, and a Chromium that looks at it; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]

    def __enter__(self) -> Lab:
        home = self._folder / ".home"
        settings = home / "settings" / "@jupyterlab"
        for name, values in {
            "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
            "notebook-extension/tracker": {"windowingMode": "none"},
        }.items():
            path = settings / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps(values), encoding="utf-8")
        own = {
            "HOME": str(home),
            "JUPYTER_CONFIG_DIR": str(home / "config"),
            "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        }
        self._log = (home / "log").open("wb")
        self._server = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
                *("--ip=127.0.0.1", f"--port={self._port}", "--expose-app-in-browser"),
                *("--IdentityProvider.token=", f"--ServerApp.root_dir={self._folder}"),
            ],
            env=os.environ | own,
            stdout=self._log,
            stderr=self._log,
        )
        options = webdriver.ChromeOptions()
        for option in ("--headless=new", "--no-sandbox", "--window-size=920,720"):
            options.add_argument(option)
        options.add_argument(f"--user-data-dir={home / 'chromium'}")
        options.binary_location = _found("chromium", "google-chrome")
        self.browser = webdriver.Chrome(options, Service(_found("chromedriver")))
        self.browser.set_script_timeout(120)
        return self

    def __exit__(self, *_: object) -> None:
        self.browser.quit()
        self._server.terminate()
        self._server.wait(30)
        self._log.close()

    def run(self, notebook: str) -> list[dict[str, Any]]:
        """Open a notebook of the folder, run all of it, and return its cells."""
        address = f"http://127.0.0.1:{self._port}"
        _wait(lambda: urllib.request.urlopen(f"{address}/api").read())
        self.browser.get(f"{address}/doc/tree/{notebook}")
        ready = "const p = window.jupyterapp?.shell.currentWidget; return !!p?.content?.widgets"
        _wait(lambda: self.browser.execute_script(ready) or _not_yet())
        self.browser.execute_async_script(
            "const done = arguments[0], panel = window.jupyterapp.shell.currentWidget;"
            "panel.context.ready.then(() => panel.sessionContext.ready)"
            ".then(() => window.jupyterapp.commands.execute('notebook:run-all-cells'))"
            ".then(() => panel.context.save()).then(() => done())"
        )
        saved = nbformat.read(self._folder / notebook, as_version=4)
        return list(saved.cells)

    def photograph(self, path: Path, height: int) -> None:
        """Take a picture of the notebook from its top."""
        self.browser.set_window_size(920, height)
        self.browser.execute_script(
            "const outer = document.querySelector('.jp-WindowedPanel-outer');"
            "outer.scrollTop = 0; outer.style.overflow = 'hidden';"
            "document.querySelectorAll('.jp-Cell.jp-mod-selected')"
            ".forEach(cell => cell.classList.remove('jp-mod-selected', 'jp-mod-active'))"
        )
        time.sleep(1)  # for the formulas to be set
        self.browser.find_element("css selector", ".jp-Notebook").screenshot(str(path))


def _found(*names: str) -> str:
    for name in names:
        if path := shutil.which(name):
            return path
    raise SystemExit(f"{names[0]} is not installed")


def _not_yet() -> None:
    raise OSError("not yet")


def _wait(action: Any, seconds: float = 60) -> None:
    """Do *action* until it raises no OSError."""
    end = time.monotonic() + seconds
    while True:
        try:
            action()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


def write(path: Path, *cells: str) -> None:
    """Write a notebook of these cells."""
    made = [nbformat.v4.new_code_cell(cell) for cell in cells]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": kernel}), path)


def main() -> None:
    """Run the notebook and take its picture."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Emulator(replies=lambda prompt: SKY if "sky" in prompt else FLASH) as server,
    ):
        urls = {"chat_ui": server.url("chat-ui"), "autonomous": server.url("autonomous")}
        write(Path(folder) / "sky.ipynb", *(cell.format(**urls) for cell in CELLS))
        with Lab(Path(folder)) as lab:
            lab.run("sky.ipynb")
            lab.photograph(PICTURE, 720)


if __name__ == "__main__":
    main()
