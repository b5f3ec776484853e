"""What people paste for a server's URL: a page of it, a host, a Space's page."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from .errors import UsageError

__all__ = ["addresses", "base_of", "swapped"]

_LOCAL = re.compile(r"localhost|127\.|\[|[\d.]+$|[^.]+$|.*\.(local|lan|internal)$")
_PAGE = re.compile(
    r"/(conversation|r)/.*|/(settings|login|gradio_api)(/.*)?$|/(config|__data\.json|index\.html)$"
)
_SPACE = re.compile(r"/spaces/([^/]+)/([^/]+)")


def addresses(url: str) -> list[tuple[str, str]]:
    """Return origin and base of what was pasted; two where it names no scheme, likely first.

    Raises:
        UsageError: It is no URL.
        ValueError: Likewise.
    """
    if not isinstance(url, str) or not url.strip().isprintable() or re.search(r"\s", url.strip()):
        raise UsageError("no URL")
    text = url.strip()
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    parts = urlsplit(text if scheme else f"//{text}")
    host = parts.hostname or ""
    if scheme not in ("", "http", "https") or not re.fullmatch(r"[\w.:%-]+", host):
        raise UsageError("no URL")
    has_port = parts.port is not None
    if not scheme and not has_port and not ("." in host or host == "localhost"):
        raise UsageError("no URL")
    space = _SPACE.match(parts.path)
    if host in ("huggingface.co", "hf.co", "www.huggingface.co") and space:
        name = re.sub("[^a-z0-9]", "-", f"{space[1]}-{space[2]}".lower())
        return [(f"https://{name}.hf.space", "")]
    base = base_of(parts.path)
    if scheme:
        return [(f"{scheme}://{parts.netloc}", base)]
    plain = _LOCAL.match(host) or (has_port and parts.port != 443)
    schemes = ("http", "https") if plain else ("https", "http")
    return [(f"{each}://{parts.netloc}", base) for each in schemes]


def swapped(origin: str) -> str:
    """Return https for http, and the reverse."""
    scheme, _, rest = origin.partition("://")
    return f"{'https' if scheme == 'http' else 'http'}://{rest}"


def base_of(path: str) -> str:
    """Return the path of an application, given that of one of its pages."""
    return _PAGE.sub("", path).rstrip("/")
