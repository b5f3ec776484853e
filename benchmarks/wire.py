"""Replies as their servers write them: what is measured, byte by byte.

The forms are those of the recordings in ``tests/captures``; AutonomousAI's, of
which there are none, is OpenAI's.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any

TEXTS = ("chat-ui", "autonomous", "h2o", "gradio-full", "gradio-4", "gradio-5", "gradio-6")
FRAMINGS = ("chunked", "length", "close", "gzip")

CONVERSATION = "0123456789abcdef01234567"
EVENT = "0123456789abcdef0123456789abcdef"
PROMPT = "Why is the sky blue?"

_TEXT = (
    "The sky looks blue because molecules of air scatter short waves of light far more than long "
    "ones , and what reaches the eye from every side is that scattered light . At sunset it has "
    "come a longer way , so blue is gone — and red is left . Voilà !"
)
_WORDS = _TEXT.split()
_VERSIONS = {
    "gradio-full": ("4.16.0", "sse_v1", ""),
    "gradio-4": ("4.44.1", "sse_v3", ""),
    "gradio-5": ("5.50.0", "sse_v3", "/gradio_api"),
    "gradio-6": ("6.31.0", "sse_v3", "/gradio_api"),
}


def tokens(count: int) -> list[str]:
    """Return so many tokens of a text."""
    return [_WORDS[i % len(_WORDS)] + " " for i in range(count - 1)] + ["end"] * (count > 0)


def text(count: int) -> str:
    """Return the text that so many tokens make."""
    return "".join(tokens(count))


def prefix(protocol: str) -> str:
    """Return what stands before Gradio's paths."""
    return _VERSIONS[protocol][2]


def records(protocol: str, said: list[str]) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """Return what comes before the tokens, one record a token, and what follows them."""
    name = "gradio" if protocol.startswith("gradio") else protocol.replace("-", "_")
    return _WRITERS[name](protocol, said)


def _chat_ui(protocol: str, said: list[str]) -> tuple[list[bytes], list[bytes], list[bytes]]:
    begun = _line({"type": "status", "status": "started"})
    # Padded to 16 UTF-16 units; the zeros are escaped on the wire.
    each = [_line({"type": "stream", "token": token.ljust(16, "\0")}) for token in said]
    end = [
        _line({"type": "finalAnswer", "text": "".join(said), "interrupted": False}),
        _line({"type": "status", "status": "finished"}),
    ]
    return [begun], each, end


def _autonomous(protocol: str, said: list[str]) -> tuple[list[bytes], list[bytes], list[bytes]]:
    def chunk(delta: dict[str, str], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        shown = {
            "id": "chatcmpl-0123456789abcdef",
            "object": "chat.completion.chunk",
            "created": 1740000000,
            "model": "llama",
            "choices": [choice],
        }
        return _event(shown)

    each = [chunk({"content": token}) for token in said]
    begun = chunk({"role": "assistant", "content": ""})
    return [begun], each, [chunk({}, "stop"), b"data: [DONE]\n\n"]


def _h2o(protocol: str, said: list[str]) -> tuple[list[bytes], list[bytes], list[bytes]]:
    def token(number: int, written: str, final: str | None = None) -> bytes:
        shown = {"id": number, "text": written, "logprob": -0.0625, "special": final is not None}
        update = {"token": shown, "generated_text": final, "details": None}
        return b"data:" + _compact(update) + b"\n\n"

    each = [token(1000 + i % 1000, written) for i, written in enumerate(said)]
    return [], each, [token(11, "<|endoftext|>", "".join(said))]


def _gradio(protocol: str, said: list[str]) -> tuple[list[bytes], list[bytes], list[bytes]]:
    version = _VERSIONS[protocol][0]
    of_event: dict[str, Any] = {"event_id": EVENT}
    begun = [
        {"msg": "estimation", **of_event, "rank": 0, "queue_size": 1, "rank_eta": None},
        {"msg": "process_starts", **of_event, "eta": None},
    ]

    def written(message: dict[str, Any]) -> bytes:
        if protocol == "gradio-full":  # ASCII with spaces, until 4.21
            return b"data: " + json.dumps(message).encode() + b"\n\n"
        return _event(message)

    def generating(data: list[Any], msg: str = "process_generating") -> bytes:
        output: dict[str, Any] = {
            "data": data,
            "is_generating": msg == "process_generating",
            "duration": 0.02263808250427246,
            "average_duration": 0.02198469638824463,
        }
        if version > "4.4":
            output.update(render_config=None, changed_state_ids=[])
        if version > "6":
            output["used_cache"] = None
        message = {"msg": msg, **of_event, "output": output, "success": True}
        if version > "5":
            message["time_limit"] = None
        return written(message)

    def whole(answer: str) -> list[Any]:
        if protocol != "gradio-6":
            return ["", [[PROMPT, answer]]]
        pair = (("user", PROMPT), ("assistant", answer))
        return [
            "",
            [
                {
                    "role": role,
                    "metadata": None,
                    "content": [{"text": content, "type": "text"}],
                    "options": None,
                }
                for role, content in pair
            ],
        ]

    place = [1, "content", 0, "text"] if protocol == "gradio-6" else [0, 1]
    each, before = [], ""
    for i, token in enumerate(said):
        if protocol == "gradio-full" or i == 0:
            before += token
            each.append(generating(whole(before)))
        else:
            each.append(generating([[], [["append", place, token]]]))
    end = [generating(whole("".join(said)), "process_completed")]
    if version > "4.4":
        end.append(written({"msg": "close_stream", "event_id": None}))
    return [written(message) for message in begun], each, end


def config(protocol: str) -> dict[str, Any]:
    """Return what a Gradio app with one chat says of itself."""
    version, queue, before = _VERSIONS[protocol]
    kind = {"type": "messages" if version > "6" else "tuples"}
    return {
        "version": version,
        "mode": "blocks",
        "protocol": queue,
        "api_prefix": before,
        "components": [
            {"id": 1, "type": "textbox", "props": {"label": "Input", "name": "textbox"}},
            {"id": 2, "type": "chatbot", "props": {"label": "Chatbot", "value": [], **kind}},
        ],
        "dependencies": [
            {
                "id": 0,
                "targets": [[1, "submit"]],
                "inputs": [1, 2],
                "outputs": [1, 2],
                "backend_fn": True,
                "queue": True,
                "api_name": "chat",
                "types": {"generator": True, "cancel": False},
                "show_api": True,
                "api_visibility": "public",
            }
        ],
    }


def info() -> dict[str, Any]:
    """Return what a Gradio app says of its parameters; ``gradio_client`` asks."""

    def of(name: str, label: str) -> dict[str, Any]:
        anything = {"type": {}, "python_type": {"type": "Any", "description": ""}}
        return {
            "label": label,
            "parameter_name": name,
            "parameter_has_default": False,
            "parameter_default": None,
            "component": "Textbox",
            **anything,
        }

    chat = {"parameters": [of("a", "Input"), of("b", "Chatbot")], "returns": [of("c", "d")] * 2}
    return {"named_endpoints": {"/chat": chat}, "unnamed_endpoints": {}}


def framed(pieces: list[bytes], framing: str) -> Iterator[bytes]:
    """Yield what goes over the wire for each piece of a body; what ends it is the last."""
    packer = zlib.compressobj(wbits=31) if framing == "gzip" else None
    for piece in pieces:
        if packer is not None:
            piece = packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH)
        yield _chunk(piece) if framing in ("chunked", "gzip") else piece
    if packer is not None:
        yield _chunk(packer.flush()) + b"0\r\n\r\n"
    elif framing == "chunked":
        yield b"0\r\n\r\n"


def head(protocol: str, framing: str, length: int = 0) -> bytes:
    """Return status line and headers of a reply."""
    kind = "application/jsonl" if protocol == "chat-ui" else "text/event-stream; charset=utf-8"
    lines = ["HTTP/1.1 200 OK", f"content-type: {kind}"]
    if framing in ("chunked", "gzip"):
        lines.append("transfer-encoding: chunked")
    lines += {
        "gzip": ["content-encoding: gzip"],
        "length": [f"content-length: {length}"],
        "close": ["connection: close"],
    }.get(framing, [])
    return "\r\n".join([*lines, "", ""]).encode()


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def _line(update: dict[str, Any]) -> bytes:
    return _compact(update) + b"\n"


def _event(message: dict[str, Any]) -> bytes:
    return b"data: " + _compact(message) + b"\n\n"


def _compact(value: dict[str, Any]) -> bytes:
    # U+0000 is escaped by JSON itself; other letters are sent as they are.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


_WRITERS = {"chat_ui": _chat_ui, "autonomous": _autonomous, "h2o": _h2o, "gradio": _gradio}
