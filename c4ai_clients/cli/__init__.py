"""The command line ``c4ai``, over the public names and nothing else.

Rules that it keeps:

1. Standard output holds what was asked for; all else goes to standard error,
   and words about progress only where that is a terminal.
2. Into a pipe an answer goes as it is, with one newline at its end. In a
   terminal control characters are left out: the words are a stranger's.
3. A flag wins over the conversation's file, that over the environment, which
   is read here only (by click). A key is shown nowhere.
4. Every failure is one sentence and a status: 2 for what cannot be sent as
   asked, 130 for Ctrl-C, 1 for the rest.
"""

from .commands import commands, run

__all__ = ["commands", "run"]
