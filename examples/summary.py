"""Prints a line about each text file that is named."""

import sys
from pathlib import Path

from c4ai_clients import C4AICommand, C4AIError


def summary(client, text):
    try:
        return client.chat(f"Summarise in one line: {text}").text
    except C4AIError as error:
        return f"no summary: {error}"


if __name__ == "__main__":
    with C4AICommand() as client:
        for name in sys.argv[1:]:
            print(f"{name}: {summary(client, Path(name).read_text())}")
