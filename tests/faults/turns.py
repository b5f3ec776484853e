"""What goes wrong at each step of a turn: preparing it, the message, and the reply."""

from __future__ import annotations

from collections.abc import Iterator

from cases import FRAMINGS, Case, Provider

from c4ai_clients import (
    AuthError,
    C4AIError,
    IncompleteReplyError,
    ModelError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    ServerError,
    StatusError,
    TimedOutError,
)

# Words that say that waiting helps; a Gradio queue can also say that it does not.
FULL = {"body": b'{"detail":"Queue is full. Max size is 2 and size is 2."}'}

PASSING = {  # a preparing step that ends like this is asked for again
    "cut": {"kind": "cut"},
    "cut-in-body": {"kind": "cut", "at": 3},
    "reset": {"kind": "reset"},
    "reset-after-headers": {"kind": "reset", "at": 0},
    "too-short": {"kind": "length"},
    "deaf": {"kind": "deaf"},
    "408": {"kind": "status", "status": 408},
    "425": {"kind": "status", "status": 425},
    "429": {"kind": "status", "status": 429},
    "429-retry-after": {"kind": "status", "status": 429, "headers": {"Retry-After": "0"}},
    "500": {"kind": "status", "status": 500},
    "502": {"kind": "status", "status": 502},
    "503": {"kind": "status", "status": 503, **FULL},
    "504": {"kind": "status", "status": 504},
}
HARMLESS = {
    "103": {"kind": "informational", "status": 103},
    "100-three-times": {"kind": "informational", "status": 100, "at": 3},
    "closed-afterwards": {"kind": "close"},
}
REFUSED: dict[int, type[C4AIError]] = {
    400: StatusError,
    401: AuthError,
    403: AuthError,
    404: NotFoundError,
    405: StatusError,
    410: NotFoundError,
    413: StatusError,
    418: StatusError,
}


# Without its /config a Gradio server is taken for one of the Space's own version.
UNPREFIXED = {"version": "4.44.1"}


def preparing(provider: Provider, step: str) -> Iterator[Case]:
    for label, fault in PASSING.items():
        yield Case(provider, label, {"step": step, **fault}, processed=(1,), tries=2)
    for label, fault in HARMLESS.items():
        closed = label == "closed-afterwards"
        yield Case(
            provider,
            label,
            {"step": step, **fault},
            processed=(0, 1),
            # chat-ui reads its ids again where the message may have been lost like that.
            tries=None if closed else 1,
            or_unheard=closed and step in ("config", "create"),
        )
    once = {"step": step, "times": 9}
    yield Case(
        provider,
        "cut-always",
        {**once, "kind": "cut"},
        IncompleteReplyError,
        processed=(0,),
        tries=3,
    )
    yield Case(
        provider,
        "503-always",
        {**once, "kind": "status", "status": 503, **FULL},
        ServerError,
        processed=(0,),
        tries=3,
    )
    for label, fault in {
        "stall": {"kind": "stall"},
        "stall-in-body": {"kind": "stall", "at": 2},
        "drip": {"kind": "drip", "seconds": 0.2},
        "drip-in-body": {"kind": "drip", "at": 0, "seconds": 0.2},
    }.items():
        fault = {"seconds": 5, **fault, **once}
        yield Case(provider, label, fault, TimedOutError, kind="first", processed=(0,), tries=1)
    if step in provider.falls_back:
        for status in REFUSED:
            if status not in (401, 403):
                fault = {**once, "kind": "status", "status": status}
                yield Case(provider, str(status), fault, processed=(1,), emulator=UNPREFIXED)
        return
    for status, error in REFUSED.items():
        fault = {**once, "kind": "status", "status": status}
        # A chat-ui that does not know one way to its ids is asked another way.
        ways = 2 if (step, status) == ("conversation", 410) else 1
        yield Case(provider, str(status), fault, error, processed=(0,), tries=ways)


def message(provider: Provider) -> Iterator[Case]:
    """What happens to the message: it is never processed twice."""
    step = provider.message
    for status in (429, 503):
        fault = {"step": step, "kind": "status", "status": status, **FULL}
        yield Case(provider, f"{status}", fault, processed=(1,), tries=2)
    busy = {"step": step, "kind": "status", "status": 503, **FULL}
    fault = {**busy, "headers": {"Retry-After": "0.05"}}
    yield Case(provider, "503-retry-after", fault, processed=(1,), tries=2)
    fault = {**busy, "headers": {"Retry-After": "600"}}
    yield Case(provider, "503-retry-much-later", fault, ServerError, processed=(0,), tries=1)
    for status, error in ((429, RateLimitError), (503, ServerError)):
        fault = {"step": step, "kind": "status", "status": status, "times": 9, **FULL}
        yield Case(provider, f"{status}-always", fault, error, processed=(0,), tries=3)
    lasting = {**REFUSED, 408: StatusError, 425: StatusError, 500: ServerError, 502: ServerError}
    for status, error in {**lasting, 504: ServerError, 507: ServerError}.items():
        fault = {"step": step, "kind": "status", "status": status, "times": 9}
        if (provider.name, step) == ("qwen", "join") and status in (403, 404, 405):
            yield Case(provider, str(status), fault, processed=(1,))  # by /call
            continue
        yield Case(provider, str(status), fault, error, processed=(0,), tries=1, partial=False)
    for label, fault in HARMLESS.items():
        unheard = (step, label) == ("join", "closed-afterwards")
        fault = {"step": step, **fault}
        yield Case(provider, label, fault, processed=(1,), tries=1, or_unheard=unheard)
    for label, fault in {
        "html": {"kind": "html"},
        "garbage": {"kind": "garbage"},
    }.items():
        fault = {"step": step, "times": 9, **fault}
        yield Case(provider, label, fault, ProtocolError, processed=(0,), tries=1, partial=False)
    for label, fault in {
        "cut": {"kind": "cut"},
        "reset": {"kind": "reset"},
        "deaf-and-processed": {"kind": "deaf", "body": b"processed"},
    }.items():
        fault = {"step": step, "times": 9, **fault}
        yield Case(
            provider, label, fault, IncompleteReplyError, processed=(0, 1), tries=1, partial=False
        )
    for label, fault in {
        "stall": {"kind": "stall"},
        "stall-after-headers": {"kind": "stall", "at": 0},
        "drip": {"kind": "drip", "seconds": 0.2},
    }.items():
        fault = {"seconds": 5, **fault, "step": step, "times": 9}
        yield Case(provider, label, fault, TimedOutError, kind="first", tries=1, partial=False)


def reply(provider: Provider) -> Iterator[Case]:
    """What happens to the reply: complete, or an error with exactly what came."""
    step = provider.stream
    for framing in FRAMINGS:
        more = {"emulator": {"framing": framing}, "processed": (1,), "tries": 1}
        yield Case(provider, f"{framing}-whole", {"step": "none", "kind": "cut"}, **more)
        for kind in ("cut", "reset"):
            for at in (0, 1, 40, 150):
                yield Case(
                    provider,
                    f"{framing}-{kind}-at-{at}",
                    {"step": step, "kind": kind, "at": at},
                    IncompleteReplyError,
                    **more,
                )
        if framing != "length":  # whose end is known without waiting for it
            yield Case(
                provider,
                f"{framing}-tail-kept-open",
                {"step": step, "kind": "tail", "seconds": 5},
                **more,
            )
        middle = {
            "step": step,
            "at": GZIP_MIDDLE[provider.name] if framing == "gzip" else MIDDLE[provider.name],
        }
        for kind in ("stall", "keepalives") if framing in ("chunked", "close") else ("stall",):
            fault = {**middle, "kind": kind, "seconds": 5}
            yield Case(
                provider,
                f"{framing}-{kind}-in-the-middle",
                fault,
                TimedOutError,
                "idle",
                True,
                **more,
            )
    for at, kind, partial in ((0, "first", False), (MIDDLE[provider.name], "idle", True)):
        fault = {"step": step, "kind": "keepalives", "at": at, "seconds": 5}
        yield Case(provider, f"keepalives-at-{at}", fault, TimedOutError, kind, partial)
        fault = {"step": step, "kind": "stall", "at": at, "seconds": 5}
        yield Case(provider, f"stall-at-{at}", fault, TimedOutError, kind, partial)
        fault = {"step": step, "kind": "drip", "at": at, "seconds": 0.3}
        yield Case(provider, f"drip-at-{at}", fault, TimedOutError, kind, partial)
    yield Case(
        provider, "empty", {"step": step, "kind": "empty"}, IncompleteReplyError, partial=False
    )
    for label, fault in {"html": {"kind": "html"}, "garbage": {"kind": "garbage"}}.items():
        error = ProtocolError
        yield Case(provider, f"reply-{label}", {"step": step, **fault}, error, partial=False)
    yield Case(
        provider,
        "json-error",
        {"step": step, "kind": "json", "body": b'{"error": "out of luck"}'},
        ModelError if provider.name == "autonomous" else ProtocolError,
        partial=False,
    )
    for at in (0, 3):
        yield Case(
            provider,
            f"model-fails-at-token-{at}",
            {"step": step if provider.name != "qwen" else "stream", "kind": "upstream", "at": at},
            ModelError,
            partial=at > 0,
            processed=(1,),
        )


# A place in the reply's body behind the first token and before the last.
GZIP_MIDDLE = {"c4ai-command": 170, "h2o": 170, "autonomous": 170, "qwen": 500}
MIDDLE = {"c4ai-command": 300, "h2o": 250, "autonomous": 400, "qwen": 1500}


def turns(provider: Provider) -> Iterator[Case]:
    """Yield each fault of a provider's turn."""
    for step in provider.preparing:
        yield from preparing(provider, step)
    yield from message(provider)
    yield from reply(provider)
