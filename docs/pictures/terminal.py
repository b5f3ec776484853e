"""Draws docs/pictures/terminal.svg: the command line, as a terminal shows it.

Run it as ``python docs/pictures/terminal.py``; it asks emulators on this machine.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

from c4ai_clients.emulator import Emulator

COLUMNS = 92
PICTURE = Path(__file__).with_suffix(".svg")
ANSWERS = {
    "chat-ui": "Sunlight holds all colours. The air scatters the blue ones most, so from "
    "everywhere in the sky some blue comes to your eyes.",
    "gradio": "Because of Rayleigh scattering: molecules of air send short waves aside far more "
    "than long ones, about as the fourth power of the frequency.",
}
PORTS = {"chat-ui": 3000, "gradio": 7860}


def shown(*args: str) -> str:
    """Run a command in a terminal of its own, and return what is left on its screen."""
    screen, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    command = [sys.executable, "-m", "c4ai_clients", *args]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    with subprocess.Popen(command, stdin=end, stdout=end, stderr=end, env=environment):
        os.close(end)
        output = b""
        try:
            while chunk := os.read(screen, 65536):
                output += chunk
        except OSError:  # how Linux says that the command has ended
            pass
    os.close(screen)
    # What was drawn over while the answers came ends with erasing it.
    return output.decode().rpartition("\x1b[2K")[2].replace("\r\n", "\n").strip("\n")


def main() -> None:
    """Ask two emulators, and draw what the terminal shows."""
    running = [
        Emulator((name,), replies=answer, ports={name: PORTS[name]}, pace=0.02).start()
        for name, answer in ANSWERS.items()
    ]
    console = Console(
        record=True,
        width=COLUMNS,
        file=io.StringIO(),
        color_system="truecolor",
        force_terminal=True,
    )
    try:
        for args in (
            ["doctor", "localhost:3000"],
            [
                *("compare", "--to", "http://localhost:3000", "--to", "http://localhost:7860"),
                "Why is the sky blue?",
            ],
        ):
            words = " ".join(f'"{arg}"' if " " in arg else arg for arg in args)
            console.print(Text(f"$ c4ai {words}", "bold"))
            console.print(Text.from_ansi(shown(*args)))
            console.print()
    finally:
        for emulator in running:
            emulator.stop()
    # Without the fonts that it would fetch from elsewhere: the reader's own will do.
    picture = re.sub(
        r"@font-face \{.*?\}\s*", "", console.export_svg(title="c4ai"), flags=re.DOTALL
    )
    PICTURE.write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
