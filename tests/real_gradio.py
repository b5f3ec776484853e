"""Real Gradio apps, run as a process: ``python tests/real_gradio.py qwen PORT``.

``qwen`` has the Qwen2.5 Space's layout, so its listener is number 3 and its
textbox number 25; ``interface`` is a ``gr.ChatInterface`` that counts turns.
Both answer with the text that stands for the prompt in ``ANSWERS``, a few
characters at a time; other prompts are echoed.
"""

from __future__ import annotations

import inspect
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
SIZES = ["72B", "32B", "14B", "7B", "3B", "1.5B", "0.5B"]
ANSWERS = {
    "repeats": "ha" * 20,
    "brackets": '[x] [[1, 2]] {"a": [0, 1]} ]]',
    "separators": "a\u2028b\u2029c\u0085d",
    "emoji": "👩‍👩‍👧‍👦 é 日本語 😀",
    "code": "List:\n    - one\n        - two\n\n```python\nx = [1]\n```",
    "lines": "# One\n\ntwo\n\n\nthree",
}


def answer(prompt: str) -> str:
    return ANSWERS.get(prompt, f"You said: {prompt}")


def grown(text: str) -> Iterator[str]:
    """Yield the text as it grows, three characters at a time."""
    for end in range(3, len(text) + 3, 3):
        yield text[:end]


def model_chat(
    query: str, history: list[dict[str, Any]], system: str, size: str
) -> Iterator[tuple[str, list[dict[str, Any]], str]]:
    """Answer as the Space does: the textbox emptied, the chatbot, the system prompt."""
    import gradio as gr

    asked = [*(history or []), {"role": "user", "content": query}]
    if query == "fail":
        raise gr.Error("the model is out of order")
    if query == "crash":
        raise RuntimeError("nobody shall see this")
    if query == "settings":
        query = f"{system}|{size}|{len(history or [])}"
    if query == "think":
        thought = {"role": "assistant", "content": "hm, ", "metadata": {"title": "Thinking"}}
        yield "", [*asked, thought], system
        asked.append({**thought, "content": "hm, so"})
    if query == "rewrite":
        yield "", [*asked, {"role": "assistant", "content": "Searching..."}], system
    for said in grown("word " * 1000 if query == "long" else answer(query)):
        yield "", [*asked, {"role": "assistant", "content": said}], system
        if query == "long":
            time.sleep(0.02)


def typed(kind: Any) -> dict[str, str]:
    """The argument that has 4.44 and 5 write messages, as 6 does without being told."""
    return {"type": "messages"} if "type" in inspect.signature(kind).parameters else {}


def qwen() -> Any:
    import gradio as gr

    with gr.Blocks() as demo:
        gr.Markdown("Qwen2.5")
        with gr.Row():
            radios = []
            for label, choices in (
                ("Qwen2.5", SIZES),
                ("Qwen2.5-Math", ["Math-72B", "Math-7B"]),
                ("Qwen2.5-Coder", ["Coder-7B", "Coder-1.5B"]),
            ):
                with gr.Row():
                    first = choices[0] if not radios else None
                    radios.append(gr.Radio(choices, label=label, value=first))
        size = gr.Radio(SIZES, value="72B", visible=False)
        with gr.Row(), gr.Accordion():
            title = gr.Markdown("Qwen2.5-72B-instruct")
            with gr.Row():
                with gr.Column():
                    shown = gr.Textbox(value=SYSTEM, lines=1, label="System")
                with gr.Column():
                    modify = gr.Button("Set system prompt and clear history")
                    kept = gr.Textbox(value=SYSTEM, visible=False)
        chatbot = gr.Chatbot(label="72b", **typed(gr.Chatbot))
        textbox = gr.Textbox(lines=1, label="Input")
        with gr.Row():
            clear = gr.Button("Clear history")
            send = gr.Button("Send")
        for radio in radios:
            radio.change(lambda value: value, radio, size)
        for trigger in (textbox.submit, send.click):
            trigger(model_chat, [textbox, chatbot, kept, size], [textbox, chatbot, shown])
        clear.click(lambda: ("", []), None, [textbox, chatbot])
        modify.click(lambda value: (value, value, []), shown, [kept, shown, chatbot])
        size.change(lambda value: f"Qwen2.5-{value}-instruct", size, title)
    return demo


def interface() -> Any:
    import gradio as gr

    def reply(message: str, history: list[Any]) -> Iterator[str]:
        yield from grown(answer(message) if message in ANSWERS else f"{len(history)}: {message}")

    return gr.ChatInterface(reply, **typed(gr.ChatInterface))


if __name__ == "__main__":
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    demo = {"qwen": qwen, "interface": interface}[sys.argv[1]]()
    demo.queue(default_concurrency_limit=4).launch(
        server_name="127.0.0.1", server_port=int(sys.argv[2]), quiet=True, share=False
    )
