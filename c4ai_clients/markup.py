"""An answer's Markdown as HTML that cannot do anything.

A server's words are a stranger's. Front ends run the HTML that is inside
Markdown, each by rules of its own, so they are given none: the HTML is made
here.

Rules that this file keeps:

1. Every character from outside is escaped; no tag or attribute comes from there.
2. A link goes to http, https or mailto; nothing else is one.
3. A picture is a link: to show an answer asks no server for anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

__all__ = ["answer", "clean", "escaped", "fold", "html", "link", "plain", "small", "whole"]

_LONGEST = 100_000  # what is read in half a second, or in two where it is made to be slow
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and newline
_LINK = re.compile(r"(?:https?://|mailto:)[^\s]", re.IGNORECASE)
_MATH = re.compile(
    r"\$\$.{1,999}?\$\$|\\\[.{1,999}?\\\]|\\\(.{1,999}?\\\)"
    r"|\$(?![\s$])[^$\n]{0,999}?[^\s$\\]\$(?!\d)",
    re.DOTALL,
)


def html(markdown: str) -> str:
    """Return *markdown* as HTML; as it was written if it is huge, or without markdown-it-py."""
    try:
        reader = _reader()
    except ImportError:
        return plain(markdown)
    return str(reader.render(whole(markdown))) if len(markdown) <= _LONGEST else plain(markdown)


def whole(text: str) -> str:
    """Return *text* with halves of a character made one, or U+FFFD: nothing can hold a half."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def clean(text: str) -> str:
    """Return *text* without what would move a terminal's cursor, or do worse."""
    return _CONTROL.sub("", text)


def escaped(text: str) -> str:
    """Return *text* as it stands in HTML, also inside an attribute's quotes."""
    return escape(whole(text))


def plain(text: str) -> str:
    """Return *text* as HTML that shows it as it is."""
    return f'<div style="white-space: pre-wrap">{escaped(text)}</div>'


def small(text: str) -> str:
    """Return *text* as a line beside the answer."""
    return f'<div style="opacity: 0.7">{escaped(text)}</div>'


def fold(summary: str, text: str) -> str:
    """Return *text* folded away behind *summary*."""
    return f"<details><summary>{escaped(summary)}</summary>{plain(text)}</details>"


def link(url: str, label: str) -> str:
    """Return a link, or its label alone where *url* leads to no other server."""
    if not _is_link(url):
        return escaped(label)
    return f'<a href="{escaped(url)}" rel="noopener noreferrer">{escaped(label)}</a>'


def answer(
    text: str,
    *,
    title: str | None = None,
    reasoning: str = "",
    sources: Iterable[Mapping[str, Any]] = (),
) -> str:
    """Return an answer as HTML: title, what the model thought (folded away), text, sources."""
    parts = [f"<p><b>{escaped(title)}</b></p>"] if title else []
    if reasoning:
        parts.append(fold("Reasoning", reasoning))
    parts.append(html(text))
    links = [
        link(str(page.get("link", "")), str(page.get("title") or page.get("link") or "a page"))
        for page in sources
    ]
    if links:
        parts.append(f"<div>Sources: {', '.join(links)}</div>")
    return "".join(parts)


def _reader() -> MarkdownIt:
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    reader.validateLink = _is_link
    reader.inline.ruler.before("escape", "math", _math)
    reader.core.ruler.push("nowhere", _nowhere)
    reader.add_render_rule("image", _image)
    return reader


def _is_link(url: str) -> bool:
    return _LINK.match(url) is not None


def _math(state: Any, silent: bool) -> bool:
    """Leave a formula as it is written, for the front end to typeset."""
    found = _MATH.match(state.src, state.pos, state.posMax)
    if found is None:
        return False
    if not silent:
        state.push("text", "", 0).content = found[0]
    state.pos = found.end()
    return True


def _nowhere(state: Any) -> None:
    """Leave of a link without a URL, which the reader takes for one, what it is called."""
    for block in state.tokens:
        hidden = False  # no link stands in another
        for token in block.children or ():
            if token.type == "link_open":
                hidden = not _is_link(str(token.attrs["href"]))
            if token.type in ("link_open", "link_close"):
                token.hidden = hidden


def _image(_: Any, tokens: Any, at: int, options: Any, env: Any) -> str:
    token = tokens[at]
    label = token.content or token.attrs["src"]
    return link(str(token.attrs["src"]), label)
