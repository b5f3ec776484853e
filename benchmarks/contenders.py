"""One reply read by one contender, in a process of its own.

    python benchmarks/contenders.py CORE NAME SERVER REPLY keep|drop

Whatever Python runs this needs only what the contender imports, so a peer runs
in its own virtual environment. A contender reads a small reply to be warm, then
the reply that counts. It calls ``begin`` once the answer has begun, and
``take`` with each piece of its text.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

Begin = Callable[[], None]
Take = Callable[[str], Any]
Run = Callable[[str, str, Begin, Take], None]

CONVERSATION = "0123456789abcdef01234567"
PROMPT = "Why is the sky blue?"
_clients: dict[str, Any] = {}  # warm, by the server's address


def _warm(url: str, make: Callable[[], Any]) -> Any:
    """Return the client of a server: connections are kept, whatever reply is asked for."""
    server = url.rsplit("/", 1)[0]
    if server not in _clients:
        _clients[server] = make()
    return _clients[server]


def asked(session: Any, url: str, protocol: str) -> Any:
    """Send what the protocol wants to be sent, and return the answer to be read."""
    if protocol == "chat-ui":
        made = session.post(url + "/conversation", json={"model": "command-a-03-2025"}).json()
        path = f"/conversation/{made['conversationId']}"
        session.get(url + "/api" + path).json()
        data = json.dumps({"inputs": PROMPT, "id": "00000000-root", "is_retry": False})
        parts = [("data", (None, data, "application/json"))]
        return session.post(url + path, files=parts, stream=True)
    if protocol == "autonomous":
        body = {"messages": "W10=", "threadId": "llama", "stream": True, "aiAgent": "llama"}
        return session.post(url + "/api/v1/ai/chat", json=body, stream=True)
    if protocol == "h2o":
        session.post(url + "/settings", data={"ethicsModalAccepted": "true"}).json()
        session.post(url + "/conversation", json={"model": "h2o"}).json()
        body = {"inputs": PROMPT, "stream": True, "options": {"id": CONVERSATION}}
        return session.post(url + f"/conversation/{CONVERSATION}", json=body, stream=True)
    before = "/gradio_api" if protocol in ("gradio-5", "gradio-6") else ""
    body = {"data": [PROMPT, []], "fn_index": 0, "session_hash": "abcdefghij", "trigger_id": 1}
    session.post(url + before + "/queue/join", json=body).json()
    return session.get(
        url + before + "/queue/data", params={"session_hash": "abcdefghij"}, stream=True
    )


def floor(url: str, protocol: str, begin: Begin, take: Take) -> None:
    """Do what a person would write by hand."""
    import requests

    session = _warm(url, requests.Session)
    response = asked(session, url, protocol)
    begin()
    _LOOPS[protocol](response.raw.stream(65536, decode_content=True), take)


def _chat_ui(chunks: Iterator[bytes], take: Take) -> None:
    buffer = b""
    for chunk in chunks:
        buffer += chunk
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            update = json.loads(line)
            if update["type"] == "stream":
                take(update["token"].rstrip("\0"))


def _autonomous(chunks: Iterator[bytes], take: Take) -> None:
    buffer = b""
    for chunk in chunks:
        buffer += chunk
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                content = json.loads(line[6:])["choices"][0]["delta"].get("content")
                if content:
                    take(content)


def _h2o(chunks: Iterator[bytes], take: Take) -> None:
    buffer = b""
    for chunk in chunks:
        buffer += chunk
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                token = json.loads(line[5:])["token"]
                if not token["special"]:
                    take(token["text"])


def _gradio_full(chunks: Iterator[bytes], take: Take) -> None:
    buffer, given = b"", 0
    for chunk in chunks:
        buffer += chunk
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            if line.startswith(b"data: "):
                message = json.loads(line[6:])
                if message["msg"] == "process_generating":
                    answer = message["output"]["data"][1][-1][1]
                    take(answer[given:])
                    given = len(answer)


def _gradio_edits(chunks: Iterator[bytes], take: Take) -> None:
    buffer, first = b"", True
    for chunk in chunks:
        buffer += chunk
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            if line.startswith(b"data: "):
                message = json.loads(line[6:])
                if message["msg"] == "process_generating":
                    value = message["output"]["data"][1]
                    if first:
                        last = value[-1]
                        take(last[1] if isinstance(last, list) else last["content"][0]["text"])
                        first = False
                    else:
                        take(value[0][2])


_LOOPS: dict[str, Callable[[Iterator[bytes], Take], None]] = {
    "chat-ui": _chat_ui,
    "autonomous": _autonomous,
    "h2o": _h2o,
    "gradio-full": _gradio_full,
    "gradio-4": _gradio_edits,
    "gradio-5": _gradio_edits,
    "gradio-6": _gradio_edits,
}


def client_of(protocol: str) -> Any:
    """Return our client class for a protocol."""
    import c4ai_clients

    names = {"chat-ui": "C4AICommand", "autonomous": "AutonomousAI", "h2o": "H2O"}
    return getattr(c4ai_clients, names.get(protocol, "Gradio"))


def _ours(url: str, protocol: str) -> Any:
    """Return our stream; a client is made anew for each URL and keeps its connections."""
    key = url + " client"
    if key not in _clients:
        _clients[key] = client_of(protocol)(url)
    options = {"keep": True} if protocol == "h2o" else {}
    return _clients[key].stream(PROMPT, **options)


def stream(url: str, protocol: str, begin: Begin, take: Take) -> None:
    """Read ``for piece in client.stream(…)``."""
    pieces = _ours(url, protocol)
    take(next(pieces))
    begin()
    for piece in pieces:
        take(piece)


def events(url: str, protocol: str, begin: Begin, take: Take) -> None:
    """Read ``stream.events()`` and take the texts."""
    from c4ai_clients.events import Text

    told = _ours(url, protocol).events()
    for event in told:
        if isinstance(event, Text):
            take(event.text)
            break
    begin()
    for event in told:
        if isinstance(event, Text):
            take(event.text)


def sseclient(url: str, protocol: str, begin: Begin, take: Take) -> None:
    """Hand the answer to sseclient-py, as its README has it."""
    import requests
    import sseclient as package

    session = _warm(url, requests.Session)
    response = asked(session, url, protocol)
    begin()
    for event in package.SSEClient(response).events():
        if event.data == "[DONE]":
            break
        update = json.loads(event.data)
        if protocol == "h2o":
            if not update["token"]["special"]:
                take(update["token"]["text"])
        elif content := update["choices"][0]["delta"].get("content"):
            take(content)


def hugchat(url: str, protocol: str, begin: Begin, take: Take) -> None:
    """Read the peer's stream of a chat-ui; its constructor knows one server only."""
    import requests
    from hugchat import hugchat as package
    from hugchat.types.message import Conversation, MessageNode

    bot = object.__new__(package.ChatBot)
    bot.hf_base_url, bot.cookies = url, {}
    bot.session = _warm(url, requests.Session)
    root = MessageNode("00000000-root", "system", "", [], [], 0.0, 0.0)
    answer = bot.chat(PROMPT, conversation=Conversation(CONVERSATION, history=[root]))
    piece = next(answer)
    begin()
    while piece is not None:  # how its stream says that it is over
        take(piece["token"])
        piece = next(answer, None)


def gradio_client(url: str, protocol: str, begin: Begin, take: Take) -> None:
    """Read the peer's job; each of its values is the whole answer."""
    import gradio_client as package

    key = url + " client"
    if key not in _clients:
        _clients[key] = package.Client(url, verbose=False)
    job = _clients[key].submit(PROMPT, [], api_name="/chat")
    begin()
    given = 0
    for value in job:
        last = value[1][-1]
        answer = last[1] if isinstance(last, (list, tuple)) else last["content"][0]["text"]
        take(answer[given:])
        given = len(answer)


def openai(url: str, protocol: str, begin: Begin, take: Take) -> None:
    """Read the peer's stream of OpenAI's own protocol, which AutonomousAI's answers are."""
    import openai as package

    key = url + " client"
    if key not in _clients:
        _clients[key] = package.OpenAI(base_url=url + "/api/v1/ai", api_key="none")
    told = _clients[key].chat.completions.create(
        model="llama", messages=[{"role": "user", "content": PROMPT}], stream=True
    )
    begin()
    for chunk in told:
        if content := chunk.choices[0].delta.content:
            take(content)


CONTENDERS: dict[str, Run] = {
    run.__name__: run for run in (floor, stream, events, sseclient, hugchat, gradio_client, openai)
}


class Memory:
    """This process's memory, in bytes, as Linux counts it."""

    def __init__(self) -> None:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the peak begins anew
        self._start = self._now("VmRSS")

    def grown(self) -> int:
        """Return how far the peak lies above the start."""
        return self._now("VmHWM") - self._start

    @staticmethod
    def _now(name: str) -> int:
        with open("/proc/self/status") as file:
            (line,) = (line for line in file if line.startswith(name + ":"))
        return int(line.split()[1]) * 1024


def measured(run: Run, server: str, asked: str, *, keep: bool) -> dict[str, Any]:
    """Return CPU and wall seconds, the memory grown, and the text's digest.

    Args:
        run: The contender.
        server: The server's address.
        asked: What it is to answer, as the server's paths say it.
        keep: Whether the pieces are kept, as in most loops, or hashed and dropped.
    """
    protocol = asked.partition(",")[0]
    began = [0.0, 0.0]

    def begin() -> None:
        began[:] = time.process_time(), time.perf_counter()

    digest = hashlib.sha256()
    pieces: list[str] = []
    take: Take = pieces.append if keep else lambda piece: digest.update(piece.encode())
    run(f"{server}/{protocol},50,1,chunked,0", protocol, begin, lambda piece: None)
    memory = Memory()
    run(f"{server}/{asked}", protocol, begin, take)
    cpu, wall = time.process_time() - began[0], time.perf_counter() - began[1]
    grown = memory.grown()
    digest.update("".join(pieces).encode())
    return {"cpu": cpu, "wall": wall, "grown": grown, "digest": digest.hexdigest()}


def main() -> None:
    """Measure what the arguments say, and print it as JSON."""
    core, name, server, wanted, keep = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    print(json.dumps(measured(CONTENDERS[name], server, wanted, keep=keep == "keep")))


if __name__ == "__main__":
    main()
