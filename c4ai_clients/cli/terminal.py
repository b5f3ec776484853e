"""Standard input, output and error: what may be written there, and how."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import sys
from array import array
from typing import Any

from ..markup import clean

__all__ = ["has_input", "is_terminal", "one_line", "set_streams", "show_log", "tell"]

_logger = logging.getLogger("c4ai_clients")


def set_streams() -> None:
    """Have no character fail: UTF-8 into pipes, the console's own encoding else.

    A standard output that is closed fails like a full disk, where something is written.
    """
    sys.stdout = sys.stdout or _Closed()
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            if stream is sys.stdin or stream.isatty():
                stream.reconfigure(errors="replace")
            else:
                stream.reconfigure(encoding="utf-8", errors="replace", newline="\n")


class _Closed(io.TextIOBase):
    """A standard output that is not there."""

    def write(self, _: str, /) -> int:
        raise OSError(errno.EBADF, "standard output is closed")


def is_terminal(stream: Any) -> bool:
    """Tell whether somebody looks at *stream*; without one it is None."""
    return stream is not None and bool(stream.isatty())


def has_input() -> bool:
    """Tell whether a pipe or a file holds something for us, without waiting for it."""
    ready = array("i", [0])
    # Windows cannot tell, nor can what holds no bytes, such as /dev/null.
    with contextlib.suppress(ImportError, OSError):
        import fcntl
        import termios

        fcntl.ioctl(0, termios.FIONREAD, ready)
    return ready[0] > 0 and not is_terminal(sys.stdin)


def one_line(text: str) -> str:
    """Return *text* cleaned and on one line."""
    return clean(" ".join(text.split()))


def tell(sentence: str) -> None:
    """Say one line on standard error."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):  # nobody is there to be told
            print(f"c4ai: {one_line(sentence)}", file=sys.stderr, flush=True)


class _Lines(logging.Formatter):
    """Writes the log without control characters: what it quotes is a stranger's too."""

    def format(self, record: logging.LogRecord) -> str:
        return clean(super().format(record))


def show_log(verbose: int) -> None:
    """Show the log on standard error: waits and retries, or all of it."""
    if verbose:
        handler = logging.StreamHandler()
        handler.setFormatter(_Lines("%(relativeCreated)6.0f ms  %(message)s"))
        _logger.addHandler(handler)
        _logger.setLevel(logging.INFO if verbose == 1 else logging.DEBUG)
