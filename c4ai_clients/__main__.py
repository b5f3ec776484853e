"""Where ``c4ai`` and ``python -m c4ai_clients`` begin.

Imports nothing beside the package until it is known that the extra is there.
"""

from __future__ import annotations

import signal
import sys

__all__ = ["main"]

_NEEDED = ("click", "rich")


def main() -> None:
    """Run the command line, or say how to install what it needs."""
    try:
        from .cli import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        sys.stderr.write("pip install 'c4ai-clients[cli]'\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    status = run()
    # What is left are goodbyes of two seconds at most; whoever does not wait
    # for them wants no traceback of the interpreter's exit.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(status)


if __name__ == "__main__":
    main()
