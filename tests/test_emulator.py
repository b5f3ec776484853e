"""The emulator against recordings of real servers, and its faults on the wire.

Nothing of the client is used here: requests are written by http.client and by
plain sockets, so what is seen is what the emulator sends.
"""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import re
import socket
import ssl
import subprocess
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import wait_until

from c4ai_clients.emulator import Answer, Emulator, Fault, Request

CAPTURES = Path(__file__).parent / "captures"
TOKENS = [
    "Hello",
    " wor",
    "ld",
    "!",
    " ",
    "😀",
    " caf",
    "é",
    "\n",
    "ha",
    "ha",
    "ha",
    " 日本",
    "語",
] + ["\n\n", '- "quoted" \\back', "\n- last", " <b>tag</b>", "."]
MODELS = ("test/model-1", "test/reason-1", "test/vision-1", "test/tools-1")
MODELS += ("test/summarize-1", "test/tgi-1")
JSON = {"Content-Type": "application/json"}
H2O_MODEL = "h2oai/h2ogpt-gm-oasst1-en-2048-falcon-7b-v3"


class Reply(NamedTuple):
    """One HTTP answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    complete: bool

    def header(self, name: str) -> str:
        return next((v for k, v in self.headers if k.lower() == name), "")

    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    url: str,
    method: str,
    path: str,
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    tls: ssl.SSLContext | None = None,
) -> Reply:
    """Send one request on a connection of its own, and read the answer."""
    host = url.split("//")[1]
    connection = (
        http.client.HTTPSConnection(host, timeout=10, context=tls)
        if tls
        else http.client.HTTPConnection(host, timeout=10)
    )
    try:
        return ask_on(connection, method, path, body, headers)
    finally:
        connection.close()


def ask_on(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send one request on a given connection, and read the answer."""
    connection.request(method, path, body, dict(headers or {}))
    response = connection.getresponse()
    try:
        data, complete = response.read(), True
    except http.client.IncompleteRead as broken:
        data, complete = broken.partial, False
    finally:
        response.close()
    return Reply(response.status, response.getheaders(), data, complete)


def post_json(url: str, path: str, value: object, **headers: str) -> Reply:
    return ask(url, "POST", path, json.dumps(value), {**JSON, **headers})


class Turn(NamedTuple):
    """A chat-ui conversation, ready for its next message."""

    url: str
    thread: str
    cookie: str
    parent: str

    def messages(self) -> list[dict[str, Any]]:
        path = f"/api/conversation/{self.thread}"
        found = ask(self.url, "GET", path, headers={"Cookie": self.cookie})
        messages: list[dict[str, Any]] = found.json()["messages"]
        return messages

    def request(self, inputs: str = "Hi", **more: object) -> tuple[str, bytes, dict[str, str]]:
        data = json.dumps({"inputs": inputs, "id": self.parent, **more})
        part = f'Content-Disposition: form-data; name="data"\r\n\r\n{data}'
        headers = {
            "Cookie": self.cookie,
            "Origin": self.url,
            "Content-Type": "multipart/form-data; boundary=XX",
        }
        return f"/conversation/{self.thread}", f"--XX\r\n{part}\r\n--XX--\r\n".encode(), headers

    def ask(self, inputs: str = "Hi", **more: object) -> Reply:
        path, body, headers = self.request(inputs, **more)
        return ask(self.url, "POST", path, body, headers)

    def raw(self, inputs: str = "Hi", **more: object) -> bytes:
        path, body, headers = self.request(inputs, **more)
        lines = [f"POST {path} HTTP/1.1", f"Host: {self.url.split('//')[1]}"]
        lines += [f"{k}: {v}" for k, v in headers.items()]
        lines += [f"Content-Length: {len(body)}", "", ""]
        return "\r\n".join(lines).encode() + body


def conversation(emulator: Emulator) -> Turn:
    """Make a chat-ui conversation."""
    url = emulator.url("chat-ui")
    made = post_json(url, "/conversation", {"model": "command-a-03-2025"})
    cookie = made.header("set-cookie").partition(";")[0]
    turn = Turn(url, made.json()["conversationId"], cookie, "")
    return turn._replace(parent=turn.messages()[-1]["id"])


def lines_of(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.split(b"\n") if line.strip()]


def connected(url: str) -> socket.socket:
    host, port = url.split("//")[1].split(":")
    return socket.create_connection((host, int(port)), timeout=5)


def read_all(sock: socket.socket) -> bytes:
    """Read to the end; a reset shows as the exception that it is."""
    received = b""
    while piece := sock.recv(65536):
        received += piece
    return received


def read_until(sock: socket.socket, mark: bytes) -> bytes:
    received = b""
    while mark not in received:
        piece = sock.recv(65536)
        assert piece, received
        received += piece
    return received


# The recordings, request by request.


def recorded(protocol: str, era: str, case: str) -> list[dict[str, Any]]:
    text = (CAPTURES / protocol / era / f"{case}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def pieces_of(record: dict[str, Any]) -> bytes:
    given = record.get("chunks") or record.get("body") or []
    return b"".join(base64.b64decode(piece) for _, piece in given)


def as_pairs(headers: Any) -> list[tuple[str, str]]:
    given = headers.items() if isinstance(headers, dict) else headers
    return [(str(name), str(value)) for name, value in given]


def recorded_reply(record: dict[str, Any]) -> Reply:
    end = record.get("end") or record.get("ended")
    complete = end in ("last-chunk", "content-length", "complete")
    headers = as_pairs(record["response_headers"])
    return Reply(record["status"], headers, pieces_of(record), complete)


NAME = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{24}\b|\b[0-9a-f]{32}\b")
DATE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
HOST = re.compile(r"(https?://)?127\.0\.0\.1:\d+")


class Replay:
    """Asks the emulator what was asked of a real server, with ids translated."""

    def __init__(self, url: str, *, swap_schemes: bool = False) -> None:
        self._url = url
        self._swap = swap_schemes
        self._names: dict[str, str] = {}

    def answer(self, record: dict[str, Any]) -> Reply:
        body = base64.b64decode(record.get("request_body") or "").decode("latin-1")
        host = dict(as_pairs(record["request_headers"])).get("Host", "")
        self._names.setdefault(host or "no host", self._url.split("//")[1])
        sent = {
            name: self._translated(value)
            for name, value in as_pairs(record["request_headers"])
            if name.lower() in ("accept", "content-type", "cookie", "origin", "referer")
        }
        method, path = record["method"], self._translated(record["path"])
        data = self._translated(body).encode("latin-1") or None
        given = ask(self._url, method, path, data, sent)
        self._learn(recorded_reply(record), given)
        return given

    def _translated(self, text: str) -> str:
        if self._swap:
            # The recorded server took itself for https; the emulator is http.
            text = re.sub(r"https?(?=://127)", lambda m: {"http": "https"}.get(m[0], "http"), text)
        for old, new in self._names.items():
            text = text.replace(old, new)
        return text

    def _learn(self, was: Reply, now: Reply) -> None:
        cookies = [reply.header("set-cookie").partition(";")[0] for reply in (was, now)]
        if all(cookies):
            self._names[cookies[0]] = cookies[1]
        old, new = (
            NAME.findall(json.dumps(content(reply), sort_keys=True)) for reply in (was, now)
        )
        self._names.update(zip(old, new, strict=False))


def content(reply: Reply) -> Any:
    """What an answer says, without what differs between any two servers."""
    kind = reply.header("content-type").partition(";")[0]
    text = reply.body.decode("utf-8", "replace")
    if kind == "text/html":
        return "a page"
    if text.startswith('{"type":"data","nodes":'):
        return page_node(json.loads(text.split("\n")[0]))
    if kind == "application/json":
        return without_timing(json.loads(text)) if text else None
    if kind == "application/jsonl":
        return told_by_lines(text)
    if kind == "text/event-stream":
        return told_by_events(text)
    return "a traceback or less" if reply.status == 500 else text


def without_timing(value: Any) -> Any:
    """Drop from JSON what depends on the moment: when a title came, counters."""
    if isinstance(value, list):
        return [
            without_timing(each)
            for each in value
            if not (isinstance(each, dict) and each.get("type") in ("title", "routerMetadata"))
        ]
    if isinstance(value, dict):
        dropped = ("materializedSeq", "routerMetadata", "url", "shareId", "errorId", "args")
        if "hasInferenceAPI" in value:
            dropped += ("description", "displayName", "tools", "preprompt")
            dropped += ("supportsTools", "supportsReasoning", "supportsArtifacts")
        kept = {k: without_timing(v) for k, v in value.items() if k not in dropped}
        if isinstance(kept.get("conversation"), str):
            kept["conversation"] = without_timing(json.loads(kept["conversation"]))
        return kept
    return value


def told_by_lines(text: str) -> list[Any]:
    """The lines of an answer in order, keys included, without keep-alives."""
    told = []
    titles = [0, 0]
    for line in text.split("\n"):
        if not line.strip():
            continue
        event = json.loads(line)
        if event.get("status") == "keepAlive":
            continue
        if event["type"] == "routerMetadata":
            continue
        if event["type"] == "title":
            titles[any(each[0][1] == "finalAnswer" for each in told)] += 1
            continue
        told.append([[*event.items()][0], list(event), without_timing(event)])
    return [told, titles, text.count(" " * 4096)]


def told_by_events(text: str) -> list[Any]:
    """Server-sent events in order, without the numbers of a clock."""
    told = []
    for event in text.split("\n\n"):
        data = event.removeprefix("data:")
        if not event.startswith("data:"):
            continue
        value = json.loads(data)
        told.append([data.startswith(" "), list(value), clockless(value)])
    return told


def clockless(value: Any) -> Any:
    if isinstance(value, list):
        return [clockless(each) for each in value]
    if isinstance(value, dict):
        timed = ("duration", "average_duration", "rank_eta", "eta", "cache_duration", "avg_time")
        kept = {k: "a time" if k in timed else clockless(v) for k, v in value.items()}
        kept.pop("logprob", None)
        kept.pop("id", None)
        return kept
    return value


def page_node(value: dict[str, Any]) -> Any:
    """Read the page's half of SvelteKit's __data.json back into JSON."""
    nodes = value["nodes"]
    node = nodes[1] if len(nodes) > 1 else None
    if not isinstance(node, dict) or "data" not in node:
        return without_timing(node)
    flat = node["data"]

    def read(index: int) -> Any:
        item = flat[index] if index >= 0 else None
        if isinstance(item, dict):
            return {key: read(each) for key, each in item.items()}
        if isinstance(item, list):
            return item[1] if item[:1] == ["Date"] else [read(each) for each in item]
        return item

    return without_timing(read(0))


def plain(value: Any) -> Any:
    """Replace ids, dates and hosts by placeholders."""
    text = json.dumps(value, sort_keys=True)
    return json.loads(HOST.sub("HOST", DATE.sub("DATE", NAME.sub("ID", text))))


def compared(was: Reply, now: Reply) -> tuple[Any, Any]:
    """Give what must be equal in both."""
    told = []
    for reply in (was, now):
        kind = reply.header("content-type")
        head = [reply.status, kind.replace(" ", "").lower(), reply.complete]
        chunked = reply.header("transfer-encoding") == "chunked"
        cookie = re.sub(
            "(token)?-[^;=-]*=[^;]*;|=[^;]*;|Expires=[^;]*", "", reply.header("set-cookie")
        )
        told.append([*head, chunked or kind == "text/html", cookie, plain(content(reply))])
    return told[0], told[1]


def stand_in(prompt: str, era: str = "B") -> Answer:
    """The deterministic model that was behind the recorded chat-ui servers."""
    title = "🌍 Test title"
    if "FAIL429" in prompt:
        return Answer(error="429 Rate limit reached upstream", error_after=0, title=title)
    if "FAIL500" in prompt:
        return Answer(error="500 upstream exploded", error_after=0, title=title)
    if "MIDERR" in prompt:
        said = "mid-stream upstream error"
        return Answer(TOKENS, error=said, error_after=3, title=title)
    if "MIDFAIL" in prompt:
        # Read between two tokens, so the older server had given out only two.
        count, said = (2, "Premature close") if era == "B" else (3, "terminated")
        return Answer(TOKENS, error=said, error_after=count, title=title)
    if "EMPTY" in prompt:
        return Answer((), title=title)
    if "NULS" in prompt:
        long = "a-token-longer-than-sixteen-characters"
        return Answer(["a\0b", "sixteen-chars-ab", long, "\0", " end"], title=title)
    if "FOURBYTE" in prompt:
        return Answer(["\ud83d", "\ude00", "ok"], title=title)
    if "LINESEP" in prompt:
        return Answer(LINE_SEPARATORS, title=title)
    if "REASON" in prompt:
        thought = ["Let", " me", " think", " 🤔", " ha", " ha", "\n", "done"]
        tokens = ["\n\n", *TOKENS] if prompt.startswith("REASON ") else TOKENS
        return Answer(tokens, reasoning=thought, title=title)
    if "NOTITLE" in prompt:
        return Answer(TOKENS, title="")
    return Answer(TOKENS, title=title, late_title="LATETITLE" in prompt)


LINE_SEPARATORS = ["a\u2028b", "c\u0085d", "e\r\nf", "g\vh", "\u2029", " \u00a0"]
LINE_SEPARATORS += ["\ufeff", " end \n", "\n  "]

CASES = {
    "B": "first_and_second_turn bad_message_id bad_payload continue retry csrf cookies "
    "delete_and_list disclaimer_required files late_title limits line_separators "
    "login_required odd_tokens other_session preprompt reasoning_tokens settings "
    "title_failure unknown_model upstream_fail429 upstream_miderr upstream_midfail "
    "upstream_empty websearch_error wrong_conversation",
    "C": "first_and_second_turn bad_message_id bad_payload continue retry csrf "
    "delete_and_list late_title limits line_separators login_required odd_tokens "
    "other_session preprompt reasoning_content_delta settings title_failure unknown_model "
    "upstream_fail429 upstream_miderr upstream_midfail upstream_empty wrong_conversation",
}
# What is left out, by the number of the request; and why.
LEFT_OUT: dict[tuple[str, str], dict[int, str]] = {
    ("B", "first_and_second_turn"): {11: "no prompt preview", 12: "no delete of a message"},
    ("C", "first_and_second_turn"): {11: "no prompt preview", 12: "no delete of a message"},
    ("B", "delete_and_list"): {18: "no shared pages"},
    ("C", "delete_and_list"): dict.fromkeys((17, 18, 19), "no shared pages"),
    ("B", "files"): {12: "the recorded body is trimmed"},
    ("C", "limits"): dict.fromkeys((13, 14, 15), "recorded after a minute's wait"),
    ("B", "limits"): dict.fromkeys((9, 14, 15, 16), "a page, and after a minute's wait"),
    ("B", "login_required"): {7: "no identity provider"},
    ("C", "unknown_model"): {3: "that server had no unlisted model"},
    ("C", "login_required"): dict.fromkeys((3, 4, 7, 8, 9, 10, 13), "no identity provider"),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "disclaimer_required": {"disclaimer": True},
    "login_required": {"login_required": True},
    "limits": {"messages_per_minute": 3, "max_message_length": 100, "max_conversations": 3},
}


def chatui_cases() -> Iterator[Any]:
    for era, names in CASES.items():
        for name in names.split():
            yield pytest.param(era, name, id=f"{era}-{name}")


@pytest.mark.parametrize(("era", "case"), list(chatui_cases()))
def test_chatui_answers_as_recorded(era: str, case: str) -> None:
    """Every recorded request is answered as the real server answered it."""
    settings = SETTINGS.get(case, {})
    with Emulator(
        ("chat-ui",),
        era=era,
        replies=lambda prompt: stand_in(prompt, era),
        models=MODELS,
        multimodal=("test/vision-1",),
        unlisted=("test/task",),
        **settings,
    ) as emulator:
        replay = Replay(emulator.url("chat-ui"))
        for number, record in enumerate(recorded("chatui", era, case), 1):
            if number in LEFT_OUT.get((era, case), {}):
                continue
            given = replay.answer(record)
            was, now = compared(recorded_reply(record), given)
            assert now == was, (record["method"], record["path"])


def h2o_model(prompt: str) -> Answer:
    """The stand-in behind the recorded servers of 2023."""
    failed = "Request failed during generation"
    if "FAIL429" in prompt:
        return Answer(error="429 Model is overloaded", error_after=0)
    if "FAIL500" in prompt:
        return Answer(error=f"500 {failed}: upstream exploded", error_after=0)
    if "MIDERR" in prompt:
        said = f"{failed}: Server error: transport error"
        return Answer(TOKENS, error=said, error_after=3)
    if "EMPTY" in prompt:
        return Answer(())
    if "LENGTH" in prompt:
        return Answer([*TOKENS, " cut"], finish="length")
    if "LINESEP" in prompt:
        return Answer(["a\u2028b", "c\u0085d", "e\r\nf", "g\vh", "\u2029", " end"])
    return Answer(TOKENS, title=" Test title.")


@pytest.mark.parametrize(
    ("era", "case"),
    [
        *(
            pytest.param("A", case, id=f"A-{case}")
            for case in "first_and_second_turn csrf_settings ethics_modal delete_and_list "
            "bad_payload unknown_model wrong_conversation other_session upstream_miderr "
            "upstream_fail429 upstream_fail500 upstream_empty upstream_length "
            "line_separators".split()
        ),
        pytest.param("A2", "rate_limit", id="A2-rate_limit"),
    ],
)
def test_h2o_answers_as_recorded(era: str, case: str) -> None:
    """Every recorded request of 2023 is answered as the real server answered it."""
    with Emulator(
        ("h2o",),
        replies=h2o_model,
        h2o_models=(H2O_MODEL,),
        disclaimer=True,
        messages_per_minute=3 if era == "A2" else None,
    ) as emulator:
        replay = Replay(emulator.url("h2o"), swap_schemes=True)
        for record in recorded("chatui", era, case):
            if re.search("/message/|/share|/r/|conversations[?]|fromShare", str(record)):
                continue
            was, now = compared(recorded_reply(record), replay.answer(record))
            assert now == was, (record["method"], record["path"])


HI = (
    ["Hello", ", ", "wörld", "! ", "你好", "，世界", " ", "😀", "👩\u200d👩\u200d👧", " e\u0301"]
    + ["\n", "\n", "ha", "ha", "ha", " ", "[x]", " and ", "[0, 1]", "\n", "[link](http://a.b/)"]
    + ["\n", "```python\n", 'print("hi\\n")\n', "x = [1, 2]\n", "```", "\n", "\n"]
    + ["the", " the", " the", " end", ".", ".", "."]
)
QUOTA = "You have exceeded your GPU quota (60s requested vs. 0s left). Try again in 0:10:00"
GRADIO: dict[str, Answer] = {
    "boom first": Answer(error="lab: boom before first yield", error_after=0),
    "gr first": Answer(error="gr.Error: lab: gr.Error before first yield", error_after=0),
    "boom mid": Answer(HI, error="lab: boom mid stream", error_after=4),
    "gr mid": Answer(HI, error="gr.Error: lab: gr.Error mid stream", error_after=4),
    "quota": Answer(HI, error=f"gr.Error: {QUOTA}", error_after=4),
    "empty gen": Answer(()),
    "empty": Answer(["", "", "a", ""]),
    "indent": Answer(
        ["\n\nList:\n", "    - one\n", "\t- two\n", "    - three", "\n", "done", "\n\n"]
    ),
    "edit": Answer(
        (),
        rewrites=["Think", "Thinking", "Thinking...", "Answer", "Answer: 4"] + ["Answer: 42"] * 2,
    ),
}


def gradio_app(prompt: str) -> Answer:
    """The app behind the recorded Gradio servers."""
    if prompt == "edit":
        # The last of the rewrites is shorter than what it replaces.
        edit = GRADIO["edit"]
        return Answer(["Ans"], rewrites=edit.rewrites)
    if not prompt.startswith("echo"):
        return GRADIO.get(prompt, Answer(HI))
    turn = 2 if prompt in ("echo two", "echo three") else 1
    said = f"turn {turn} you said: {prompt}"
    ends = [0, *range(1, len(said) + 5, 4)]
    return Answer([said[i:j] for i, j in itertools.pairwise(ends)])


def gradio_cases() -> Iterator[Any]:
    cases = "first_turn first_turn_messages second_turn session_unknown errors_show_error_off "
    cases += "bad_payload auth edits"
    for version in ("4.16.0", "4.44.1", "5.50.0", "6.31.0"):
        for case in cases.split():
            if (CAPTURES / "gradio" / version / f"{case}.jsonl").exists():
                yield pytest.param(version, case, id=f"{version}-{case}")


def asked_with(record: dict[str, Any]) -> str:
    body = base64.b64decode(record["request_body"] or "").decode("latin-1")
    return f"{record['path']} {body}"


def left_out_of_gradio(version: str, record: dict[str, Any]) -> bool:
    """Say whether a request concerns what the emulator does not have."""
    note = str(record.get("note"))
    if version == "4.16.0" and note.endswith("session_hash"):
        return True
    pages = ("/user", "/config", "/info")
    return record["path"].endswith(pages) or note.startswith("fn of another event")


@pytest.mark.parametrize(("version", "case"), list(gradio_cases()))
def test_gradio_answers_as_recorded(version: str, case: str) -> None:
    """Every recorded request is answered as that version of Gradio answered it."""
    messages = case.endswith("_messages") and version != "6.31.0"
    with Emulator(
        ("gradio",),
        version=version,
        replies=gradio_app,
        chatbot="messages" if messages else None,
        auth=("user", "pass") if case == "auth" else None,
    ) as emulator:
        replay = Replay(emulator.url("gradio"))
        unjoined: set[str] = set()
        records = recorded("gradio", version, case)
        for record in sorted(records, key=lambda each: float(each["at_ms"])):
            session = re.search('session_hash["=: ]+([a-z0-9]+)', asked_with(record))
            if left_out_of_gradio(version, record) or (session and session[1] in unjoined):
                unjoined.update([session[1]] if session else [])
                continue
            was, now = compared(recorded_reply(record), replay.answer(record))
            assert now == was, (record["method"], record["path"], record.get("note"))
