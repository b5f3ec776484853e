"""Where ``c4ai`` and ``python -m c4ai_clients`` begin.

Imports nothing beside the package until it is known that the extra is there.
"""

from __future__ import annotations

import signal
import sys
from importlib.util import find_spec

__all__ = ["main"]

_NEEDED = ("click", "rich", "platformdirs")


def main() -> None:
    """Run the command line, or say how to install what it needs."""
    try:
        if not all(map(find_spec, _NEEDED)):
            sys.stderr.write("pip install 'c4ai-clients[cli]'\n")
            sys.exit(1)
        from .cli import run
    except KeyboardInterrupt:
        sys.exit(130)
    status = run()
    # What is left are goodbyes of two seconds at most; whoever does not wait
    # for them wants no traceback of the interpreter's exit.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(status)


if __name__ == "__main__":
    main()
