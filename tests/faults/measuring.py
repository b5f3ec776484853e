"""Plays cases in a process of its own, and tells by how much it grew in each.

Case ids come in, one a line; for each a line of JSON goes out: the bytes that
the process grew by at the most while the case was played, and what failed.
"""

from __future__ import annotations

import gc
import json
import re
import sys
import traceback
from pathlib import Path

from playing import play
from table import cases

SELF = Path("/proc/self")


def _memory(field: str) -> int:
    found = re.search(rf"{field}:\s*(\d+) kB", (SELF / "status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def main() -> None:
    """Play what is asked for."""
    known = {case.id: case for case in cases()}
    for case in known.values():
        if case.label == "chunked-whole":
            play(case)  # what is loaded once is no growth
    for line in sys.stdin:
        gc.collect()
        (SELF / "clear_refs").write_text("5")  # forgets the peak so far
        before = _memory("VmRSS")
        failed = ""
        try:
            play(known[line.strip()])
        except BaseException:  # noqa: BLE001 - told to whoever asked
            failed = traceback.format_exc()
        sys.stdout.write(json.dumps([_memory("VmHWM") - before, failed]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
