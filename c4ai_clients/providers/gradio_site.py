"""How a Gradio app is told from other servers: by its ``/config``.

Its page names ``gradio_config`` near its beginning (seen: 3.50 to 6.31), also
the page that asks for a login, where ``/config`` answers 401.
"""

from __future__ import annotations

from ..decoding import string
from ..errors import C4AIError
from ..site import Found, Seen, Site
from .gradio_chat import describe
from .gradio_config import CONFIG_LIMIT, find_chat

__all__ = ["base", "found", "shows"]


def shows(page: Seen) -> bool:
    """Tell whether a page is of this kind, at a glance."""
    return page.shows("gradio_config")


def base(site: Site, page: Seen) -> str | None:
    """Return the path that the app is below, as its page tells; it does not tell."""
    return None


def found(site: Site, page: Seen) -> Found | None:
    """Say what the app is, or that it is none of Gradio's."""
    answer = site.ask("/config", limit=CONFIG_LIMIT)
    if answer.status == 401 and shows(page):
        return Found("Gradio", login=True)
    config = answer.json
    if not isinstance(config, dict) or not isinstance(config.get("components"), list):
        return None
    version = string(config.get("version"))
    try:
        chat = find_chat(
            config,
            api_name=site.settings.get("api_name"),
            fn_index=site.settings.get("fn_index"),
        )
    except C4AIError as error:
        return Found("Gradio", version, login=False, problem=error)
    return Found("Gradio", version, login=False, chat=tuple(describe(chat).splitlines()[1:]))
