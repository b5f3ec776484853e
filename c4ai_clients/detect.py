"""``connect(url)``: which client fits a server, found out with four small requests at most."""

from __future__ import annotations

import inspect
from typing import Any
from urllib.parse import urlsplit

from .client import ChatClient, with_model
from .errors import UsageError
from .examination import Check, Examination, Finding

__all__ = ["Check", "Finding", "connect", "examine"]


def connect(url: str, **settings: Any) -> ChatClient:
    """Return the client that fits a server, ready to ask.

    At most four small requests find out what the server is. AutonomousAI tells
    nothing of itself: it is known by its host, or guessed by its path.

    Args:
        url: The server, or a page of it, as it is copied from a browser; also
            without a scheme, and a Space's page at huggingface.co.
        **settings: The settings of the client that fits, such as ``api_key``.
            A ``timeout`` holds for these requests too; without one they have
            ten seconds each.

    Raises:
        UsageError: It is no URL; the server has no chat, or several; or the
            client that fits does not take a setting.
        C4AIError: Nothing fits; says what was seen, what to do, and what was
            tried. Its class is that of what went wrong, such as
            :class:`~c4ai_clients.ConnectError`.
    """
    finding = examine(url, **settings)
    if finding.client is None or finding.error is not None:
        raise finding.error or UsageError("nothing fits")
    kind = finding.client
    made_by = [vars(each)["__init__"] for each in kind.__mro__ if "__init__" in vars(each)]
    known = {name for made in made_by[:-1] for name in inspect.signature(made).parameters}
    if wrong := sorted(set(settings) - known):
        raise UsageError(f"{finding.url} is for {kind.__name__}, which takes no {', '.join(wrong)}")
    login = urlsplit(url if "://" in url else f"//{url}").netloc.rpartition("@")[0]
    scheme, _, rest = finding.url.partition("://")
    model = settings.pop("model", None)
    client = kind(f"{scheme}://{login}@{rest}" if login else finding.url, **settings)
    return with_model(client, model)


def examine(url: str, **settings: Any) -> Finding:
    """Say what stands at a URL, or which check failed and what to do.

    Takes what :func:`~c4ai_clients.connect` takes, and raises nothing but ``UsageError`` for
    a setting that cannot be used.
    """
    return Examination(settings).of(url)
