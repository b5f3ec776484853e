"""Real Gradio apps, run as a process: ``python tests/real_gradio.py qwen PORT [APP PORT…]``.

``qwen`` has the Qwen2.5 Space's layout, so its listener is number 3 and its
textbox number 25; ``interface`` is a ``gr.ChatInterface`` that counts turns,
``mounted`` the same below ``/sub`` of another app, whose queue is closed to
whoever sends ``X-Closed``; ``locked`` wants a login and takes files. All run on
Gradio 3.50 to 6. They answer with the text that stands for the prompt in
``ANSWERS``, a few characters at a time; other prompts are echoed.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

from hostile import HOSTILE

LOGIN = ("me", "secret")
SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
SIZES = ["72B", "32B", "14B", "7B", "3B", "1.5B", "0.5B"]
QUOTA = "You have exceeded your GPU quota (60s requested vs. 0s left). Try again in 0:10:00"
LONG = "".join(f"t{i} " for i in range(5000))
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


def steps(prompt: str) -> Iterator[tuple[str, int]]:
    """Yield what is answered, and how many other messages stand before it."""
    if prompt.startswith("hostile "):
        yield from HOSTILE[int(prompt.split()[1])]
    elif prompt == "5000":
        text = ""
        for token in LONG.split(" ")[:-1]:
            text += token + " "
            yield text, 0
    elif prompt == "long":
        for said in grown("word " * 1000):
            yield said, 0
            time.sleep(0.02)
    elif prompt == "cursor":
        for said in grown("Hello, you"):
            yield said + "▌", 0
        yield "Hello, you", 0
    else:
        for said in grown(answer(prompt)):
            yield said, 0


def messages() -> bool:
    """Whether chatbots of this version write messages, as 6 does without being told."""
    import gradio as gr

    return gr.__version__ >= "6" or "type" in inspect.signature(gr.ChatInterface).parameters


def typed(kind: Any) -> dict[str, str]:
    """The argument that has 4.44 and 5 write messages."""
    return {"type": "messages"} if "type" in inspect.signature(kind).parameters else {}


def said(prompt: str | None, content: Any, title: str = "") -> list[Any]:
    """What a question and its answer add to the chatbot's value."""
    if not messages():
        return [[prompt, content]]
    if isinstance(content, tuple):
        content = {"path": content[0]}
    told: list[Any] = [] if prompt is None else [{"role": "user", "content": prompt}]
    if content is not None:
        more = {"metadata": {"title": title}} if title else {}
        told.append({"role": "assistant", "content": content, **more})
    return told


def picture() -> str:
    """Write a small image where Gradio may read it."""
    from PIL import Image

    path = os.path.join(tempfile.mkdtemp(), "blue.png")
    Image.new("RGB", (2, 2), "blue").save(path)
    return path


def model_chat(query: Any, history: Any, system: Any, size: Any) -> Iterator[Any]:
    """Answer as the Space does: the textbox emptied, the chatbot, the system prompt."""
    import gradio as gr

    before = list(history or [])
    if query == "fail":
        raise gr.Error("the model is out of order")
    if query == "crash":
        raise RuntimeError("nobody shall see this")
    if query == "quota":
        yield "", [*before, *said(query, "He")], system
        raise gr.Error(QUOTA)
    prompt = f"{system}|{size}|{len(before)}" if query == "settings" else query
    if query == "think":
        for thought in ("hm, ", "hm, so"):
            before = [*(history or []), *said(query, None), *said(None, thought, "Thinking")]
            yield "", before, system
        for text in grown(answer(query)):
            yield "", [*before, *said(None, text)], system
        return
    if query == "picture":
        yield "", [*before, *said(query, (picture(),)), *said(None, "Blue.")], system
        return
    if query == "rewrite":
        yield "", [*before, *said(query, "Searching...")], system
    for text, others in steps(prompt):
        if not others:
            yield "", [*before, *said(query, text)], system
            continue
        shown = said(query, "tool 0")
        for i in range(1, others):
            shown += said(None, f"tool {i}")
        yield "", [*before, *shown, *said(None, text)], system


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
        with gr.Row(), gr.Accordion("Settings"):
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
        if message in ANSWERS or message == "5000" or message.startswith("hostile "):
            for text, _ in steps(message):
                yield text
        else:
            yield from grown(f"{len(history)}: {message}")

    return gr.ChatInterface(reply, **typed(gr.ChatInterface))


def locked() -> Any:
    import gradio as gr

    def read(message: Any, files: Any, history: Any) -> Iterator[Any]:
        told = []
        for file in files or []:
            with open(getattr(file, "name", file), "rb") as opened:
                told.append(opened.read().decode())
        yield [*(history or []), *said(message, f"{message}: {' + '.join(told)}")]

    with gr.Blocks() as demo:
        chatbot = gr.Chatbot(**typed(gr.Chatbot))
        textbox = gr.Textbox(label="Input")
        files = gr.File(file_count="multiple")
        textbox.submit(read, [textbox, files, chatbot], [chatbot])
    return demo


def multimodal() -> Any:
    import gradio as gr

    def reply(message: Any, history: list[Any]) -> Iterator[str]:
        told = []
        for file in message["files"]:
            path = file if isinstance(file, str) else getattr(file, "path", None) or file["path"]
            with open(path, "rb") as opened:
                told.append(opened.read().decode())
        yield from grown(f"{message['text']}: {' + '.join(told)}")

    return gr.ChatInterface(reply, multimodal=True, **typed(gr.ChatInterface))


def mounted(port: int) -> None:
    import gradio as gr
    import uvicorn
    from fastapi import FastAPI

    demo = interface()
    queued(demo)
    app = gr.mount_gradio_app(FastAPI(), demo, path="/sub")

    async def closed(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", []))
        if b"x-closed" not in headers or "/queue/" not in scope["path"]:
            await app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b"closed"})

    uvicorn.run(closed, host="127.0.0.1", port=port, log_level="error")


def queued(demo: Any) -> Any:
    """Allow four at a time; 4.2 has no setting for it."""
    for name in ("default_concurrency_limit", "concurrency_count"):
        if name in inspect.signature(demo.queue).parameters:
            with contextlib.suppress(DeprecationWarning):
                return demo.queue(**{name: 4})
    return demo.queue()


if __name__ == "__main__":
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    named = dict(zip(sys.argv[1::2], map(int, sys.argv[2::2]), strict=True))
    apps = {"qwen": qwen, "interface": interface, "locked": locked, "multimodal": multimodal}
    for app, port in named.items():
        if app == "mounted":
            mounted(port)
            continue
        queued(apps[app]()).launch(
            server_name="127.0.0.1",
            server_port=port,
            quiet=True,
            share=False,
            auth=LOGIN if app == "locked" else None,
            prevent_thread_lock=True,
        )
    threading.Event().wait()
