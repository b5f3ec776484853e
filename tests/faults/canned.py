"""Servers without a socket: an adapter that answers each step with given bytes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import requests
import urllib3
from replay import recorded
from requests.adapters import BaseAdapter

from c4ai_clients import H2O, AutonomousAI, C4AICommand, ChatClient, Qwen

Body = tuple[str, bytes]  # content type and bytes


def recorded_steps(case: str, *wanted: tuple[str, str]) -> dict[str, Body]:
    """Return the first recorded answer of each method and part of a path."""
    found: dict[str, Body] = {}
    for method, part in wanted:
        exchange = next(
            exchange
            for exchange in recorded(case)
            if (exchange.method == method and part in exchange.path and exchange.status == 200)
        )
        headers = {name.lower(): value for name, value in exchange.headers}
        found[f"{method} {part}"] = (headers.get("content-type", ""), exchange.body)
    return found


def _chat_ui() -> dict[str, Body]:
    steps = recorded_steps(
        "chatui/B/first_and_second_turn", ("POST", "/conversation/"), ("GET", "/api/conversation/")
    )
    return {
        "POST /conversation/": steps["POST /conversation/"],
        "GET /api/conversation/": steps["GET /api/conversation/"],
        "POST /conversation": (
            "application/json",
            b'{"conversationId":"6b00d46b418437b5b9beb6bf"}',
        ),
    }


def _h2o() -> dict[str, Body]:
    steps = recorded_steps(
        "chatui/A/first_and_second_turn", ("POST", "/settings"), ("POST", "/conversation/")
    )
    return {
        **steps,
        "POST /conversation": (
            "application/json",
            b'{"conversationId":"6b00d46b418437b5b9beb6bf"}',
        ),
        "DELETE /conversation": ("text/plain", b""),
    }


def _autonomous() -> dict[str, Body]:
    chunks = [
        {"id": "1", "choices": [{"index": 0, "delta": {"role": "assistant"}}]},
        *({"choices": [{"index": 0, "delta": {"content": c}}]} for c in ["Hi", " thère", " 😀"]),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}},
    ]
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return {"POST /api": ("text/event-stream", "".join([*lines, "data: [DONE]\n\n"]).encode())}


def _gradio() -> dict[str, Body]:
    return recorded_steps("gradio/5.50.0/config", ("GET", "/config")) | recorded_steps(
        "gradio/5.50.0/first_turn", ("POST", "/queue/join"), ("GET", "/queue/data")
    )


PROVIDERS: dict[str, tuple[type[ChatClient], Callable[[], dict[str, Body]]]] = {
    "c4ai-command": (C4AICommand, _chat_ui),
    "h2o": (H2O, _h2o),
    "autonomous": (AutonomousAI, _autonomous),
    "qwen": (Qwen, _gradio),
}


class Canned(BaseAdapter):
    """Answers the request of a step with its bytes, given out in pieces.

    Attributes:
        steps: Content type and body by ``"METHOD part-of-the-path"``, longest part first.
        size: How many bytes a read gives at the most.
        cut: The step whose answer breaks off behind its bytes.
    """

    def __init__(self, steps: dict[str, Body], size: int, cut: str = "") -> None:
        super().__init__()
        self.steps = steps
        self.size = size
        self.cut = cut

    def send(self, request, **kwargs):  # type: ignore[no-untyped-def]
        """Answer."""
        line = f"{request.method} {request.path_url}"
        fitting = [
            step
            for step in sorted(self.steps, key=len)
            if step.split(" ")[0] == request.method and step.split(" ")[1] in line
        ]
        kind, body = self.steps[fitting[-1]] if fitting else ("text/plain", b"nothing here")
        response = requests.Response()
        response.status_code = 200 if fitting else 404
        response.headers["Content-Type"] = kind
        headers = {"content-type": kind}
        if fitting and self.cut == fitting[-1]:
            headers["content-length"] = str(len(body) + 1)
        response.raw = urllib3.HTTPResponse(
            body=_Pieces(body, self.size), headers=headers, preload_content=False
        )
        response.url = request.url
        response.request = request
        return response

    def close(self) -> None:
        """Nothing is open."""


class _Pieces(io.BytesIO):
    def __init__(self, body: bytes, size: int) -> None:
        super().__init__(body)
        self._size = size

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read1(self._size)

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._size)
