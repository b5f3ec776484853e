"""Sixty texts that a decoder of edits may get wrong, each as the steps in which it grows.

A step is the text so far and how many other messages stand before it; where
that number falls, a chatbot's list loses several items at once.
"""

from __future__ import annotations

import random

__all__ = ["HOSTILE", "Steps"]

Steps = list[tuple[str, int]]

_WHOLE = [
    "ha" * 20,
    '[x] [[1, 2]] {"a": [0, 1]} ]]',
    '["append", [1, "content"], "x"]',
    "a\u2028b\u2029c\u0085d",
    "👩‍👩‍👧‍👦 é 日本語 😀",
    "🇩🇪🇫🇷👍🏽" * 3,
    "e\u0301\u0302\u0303 Z\u0351\u036b\u0343",
    "مرحبا שלום \u202eabc\u202c",
    "List:\n    - one\n        - two\n\n```python\nx = [1]\n```",
    "# One\n\ntwo\n\n\nthree",
    "\tone\n\t\ttwo\n\tthree",
    "    four\n    spaces\n    each",
    "  two\n      six\n    four",
    "x\n\n\n\n\ny",
    "data: {}\n\nevent: end\n\nx",
    "None",
    "null",
    "''",
    "0",
    "\\n \\u2028 \\\\ \\",
    "\"quoted\" 'and' `more`",
    "<b>bold</b> &amp; <script>1</script>",
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "$x^2$ \\(y\\) \\[z\\]",
    "snake_case_ and __dunder__",
    "a" * 5000,
    "\u0000\u0001\u001f\u007f",
    "\ufeffmark",
    "\U0010ffff\ue000",
    "tail  ",
]


def _grown(text: str, size: int) -> Steps:
    return [(text[:end], 0) for end in range(size, len(text) + size, size)]


def _mixed(seed: int) -> Steps:
    """Grow, shrink, rewrite, and have other messages come and go."""
    dice = random.Random(seed)
    letters = "ab [],{}\"'\\\n\t😀é\u2028"
    text, steps = "", []
    for _ in range(dice.randrange(4, 12)):
        act = dice.randrange(5)
        if act < 3:
            text += "".join(dice.choice(letters) for _ in range(dice.randrange(1, 9)))
        elif act == 3:
            text = text[: dice.randrange(len(text) + 1)]
        else:
            text = "".join(dice.choice(letters) for _ in range(dice.randrange(1, 9)))
        steps.append((text, dice.choice((0, 0, 1, 2, 3))))
    last = "x" + text.strip() + "."
    return [*steps, (last, 3), (last, 0)]


HOSTILE: list[Steps] = [
    *(_grown(text, max(1, len(text) // 9)) for text in _WHOLE),
    *(_mixed(seed) for seed in range(30)),
]
