"""What a type checker must know of the public verbs: mypy --strict reads it, nobody runs it."""

# ruff: noqa: T201

from __future__ import annotations

from pathlib import Path

from c4ai_clients import C4AICommand, C4AIError, ChatUI, Conversation, Gradio, Reply, connect
from c4ai_clients.answers import Answers
from c4ai_clients.batch import BatchSummary, read_batch, run_batch
from c4ai_clients.events import Event, Title
from c4ai_clients.notebook import compare
from c4ai_clients.recording import record, replay
from c4ai_clients.threads import Pool, background


def clients() -> None:
    with ChatUI("https://chat.test") as client, Gradio("https://gradio.test") as app:
        listed: list[Conversation] = client.conversations()  # stays a ChatUI
        words: str = app.describe()
        name: str = client.get_model(C4AICommand.get_model("command-r"))
        print(listed, words, name)
    with connect("https://chat.test", api_key="key") as found:
        print(found.models()[0].id)


def streams(client: ChatUI) -> None:
    asked = [{"role": "user", "content": "Hi"}]
    stream = client.stream(asked, system="Be brief.", files=[Path("a.txt")], web_search=True)
    pieces: list[str] = list(stream)
    for event in background(stream).events():
        if isinstance(event, Title):
            print(event.title.upper(), pieces)
    reply: Reply = client.chat("Hi", system="Be brief.", split_thinking=True)
    client.chat("Hi", system=1)  # type: ignore[arg-type]  # a mistake is seen, as in stream()
    first: float | None = reply.timing.first_token
    print(first)


def conversations(client: ChatUI) -> None:
    talk = client.conversation(system="Be brief.")
    text: str = talk.regenerate().reply().text + talk.edit("Hi", at=0).text
    roles: list[str] = [said["role"] for said in talk.fork().messages]
    print(text, roles, Conversation.load("talk.json", client).export())


def many(client: ChatUI) -> None:
    with Pool(client) as pool:
        replies: list[str] = [reply.text for reply in pool.map(["Hi"])]
        outcomes: list[Reply | C4AIError] = list(pool.map(["Hi"], on_error="return"))
        for key, event in pool.merge({"a": client.stream("Hi")}):
            known: Event = event
            print(key.upper(), known, replies, outcomes)
    summary: BatchSummary = run_batch(["Hi"], "answers.jsonl", client)
    print(summary, [record["id"] for record in read_batch("answers.jsonl")])
    print(compare("Hi", {"a": client})["a"].total)
    with Answers.ask("Hi", [client]) as answers:
        for now in answers.frames():
            print(now[0].text)


def recordings(client: ChatUI) -> None:
    with record(client, "sky.jsonl"):
        client.chat("Hi")
    with replay("sky.jsonl") as server:
        print(server.url.upper(), server.differing)
