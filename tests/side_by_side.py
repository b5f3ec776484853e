"""Recorded requests, asked again of the emulator, and where its answers differ.

What was asked of a real server is sent once more over real sockets, with the
ids, cookies and hosts of that server replaced by those that the emulator gave
out. Requests that overlapped do so again: one is sent when the streams before
it have come as far as they had. Nothing of the client is used here.
"""

from __future__ import annotations

import base64
import difflib
import http.client
import itertools
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Difference", "Record", "differences", "not_asked", "recorded", "recordings"]

CAPTURES = Path(__file__).parent / "captures"
_SENT = ("accept", "content-type", "cookie", "origin", "referer", "last-event-id")
_COMPARED = (
    *("access-control-allow-origin", "allow", "cache-control", "content-type", "location"),
    *("retry-after", "vary", "www-authenticate", "x-accel-buffering"),
)
_COMPLETE = ("last-chunk", "content-length", "complete", "close 1000")
_LEFT = ("client-closed", "closed_by_client", "client_timeout", "TimeoutError")
_NAME = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{24}\b|\b[0-9a-f]{32}\b")
_DATE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
_HOST = re.compile(r"(https?://)?127\.0\.0\.1:\d+")
_TIMED = ("duration", "average_duration", "rank_eta", "eta", "cache_duration", "avg_time")
_TIMED += ("materializedSeq",)
_TIMED += ("avg_event_process_time", "avg_event_concurrent_process_time", "queue_eta")
_KINDS = ("msg", "type", "subtype", "status", "from", "role", "success", "interrupted")
_BEATS = (b"keepAlive", b'"heartbeat"', b'"estimation"')
_PATIENCE = 5.0
_SILENCE = 0.2
_WAIT = 0.6
_ROUNDING = 2.0  # ms
_STREAMED = re.compile(r"body(\.events)?\[\d+\](\.data|$)")


@dataclass(frozen=True)
class Record:
    """One recorded request, and what a real server answered."""

    number: int
    method: str
    path: str
    sent: dict[str, str]
    body: bytes = field(repr=False)
    began: float
    ended: float
    note: str
    trimmed: bool
    chunks: list[tuple[float, bytes]] = field(repr=False)
    frames: list[tuple[str, int, bytes]] | None = field(repr=False)
    reply: Reply

    @property
    def left(self) -> bool:
        """Whether the client went away before the end."""
        return self.reply.end == "left"

    def before(self, later: Record) -> bytes:
        """Give what had come when another request was sent, or what that one needs."""
        come = b"".join(c for at, c in self.chunks if self.began + at <= later.began)
        for name in _NAME.findall(later.path + later.body.decode("latin-1")):
            at = self.reply.body.find(name.encode())
            if at >= 0:
                end = self.reply.body.find(b"\n", at) + 1 or len(self.reply.body)
                come = max(come, self.reply.body[:end], key=len)
        return come


class Reply(NamedTuple):
    """One answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    end: str

    def header(self, name: str) -> str:
        return ", ".join(value for key, value in self.headers if key.lower() == name)


class Difference(NamedTuple):
    """One place where an answer is another than the recorded one."""

    number: int
    request: str
    place: str
    recorded: str
    emulated: str

    def __str__(self) -> str:
        told = f"#{self.number} {self.request}\n    at {self.place}\n"
        return f"{told}      recorded  {self.recorded}\n      emulated  {self.emulated}"


def recordings() -> list[str]:
    """List the recorded cases, such as ``"chatui/B/files"``."""
    paths = sorted(CAPTURES.glob("*/*/*.jsonl"))
    return [str(path.relative_to(CAPTURES).with_suffix("")) for path in paths]


def recorded(case: str) -> list[Record]:
    """Read a recording, in the order in which the requests were sent."""
    text = (CAPTURES / f"{case}.jsonl").read_text("utf-8")
    rows = [json.loads(line) for line in text.split("\n") if line]
    rows.sort(key=_began)
    return [_record(number, row) for number, row in enumerate(rows, 1)]


def _began(row: dict[str, Any]) -> float:
    """Say when a request was sent, in ms; chat-ui's recordings note when it was over."""
    if "at_ms" in row:
        return float(row["at_ms"])
    return float(row["started"]) * 1000 - float(row["total_ms"])


def _record(number: int, row: dict[str, Any]) -> Record:
    headers = _pairs(row["request_headers"] or {})
    given = row.get("chunks", row.get("body")) or []
    chunks = [(float(ms), base64.b64decode(piece)) for ms, piece in given]
    said = str(row.get("end") or row.get("ended"))
    end = "left" if said in _LEFT else "complete" if said in _COMPLETE else "cut"
    frames = [(side, op, base64.b64decode(data)) for _, side, op, data in row.get("frames") or ()]
    body = base64.b64decode(row.get("request_body") or "")
    sent = {name.lower(): value for name, value in headers}
    if not sent and body:
        # Of some recordings the headers of requests were left out.
        sent["content-type"] = "application/json"
    return Record(
        number=number,
        method=row["method"],
        path=row["path"],
        sent=sent,
        body=body,
        began=_began(row),
        ended=_began(row) + float(row["total_ms"] or 0),
        note=str(row.get("note") or ""),
        trimmed="response_body_trimmed_from" in row,
        chunks=chunks,
        frames=frames if row.get("websocket") else None,
        reply=Reply(
            row["status"], _pairs(row["response_headers"]), b"".join(b for _, b in chunks), end
        ),
    )


def _pairs(headers: Any) -> list[tuple[str, str]]:
    given = headers.items() if isinstance(headers, dict) else headers or ()
    return [(str(name), str(value)) for name, value in given]


class _Asking(threading.Thread):
    """One request on its way, on a connection of its own."""

    def __init__(
        self,
        host: str,
        method: str,
        path: str,
        body: bytes,
        headers: dict[str, str],
        enough: int | None,
    ) -> None:
        super().__init__(daemon=True)
        self._connection = http.client.HTTPConnection(host, timeout=_PATIENCE)
        self._request = (method, path, body or None, headers)
        self._enough = enough
        self.body = b""
        self.over = False
        self.reply: Reply | None = None
        self.failure = "silence"
        self.leave = threading.Event()
        self.start()

    def run(self) -> None:
        try:
            self._connection.request(*self._request)
            response = self._connection.getresponse()
            end = self._read(response)
            if end == "left":
                self.leave.wait(_PATIENCE)
            self.reply = Reply(response.status, response.getheaders(), self.body, end)
            response.close()
        except (http.client.HTTPException, OSError) as error:
            self.failure = repr(error)
        finally:
            self._connection.close()
            self.over = True

    def _read(self, response: http.client.HTTPResponse) -> str:
        try:
            while self._enough is None or events(self.body) < max(self._enough, 1):
                if self._enough == 0 and self._connection.sock:
                    self._connection.sock.settimeout(_SILENCE)
                piece = response.read1(65536)
                if not piece:
                    return "cut" if response.length else "complete"
                self.body += piece
        except (http.client.IncompleteRead, ConnectionError):
            return "cut"
        except TimeoutError:
            return "left" if self._enough == 0 else "silent"
        return "left"


def events(body: bytes) -> int:
    """Count the lines of a body that say something new."""
    lines = body.split(b"\n")[:-1]
    return sum(1 for each in lines if each.strip() and not any(b in each for b in _BEATS))


class _Translator:
    """The names that one server gave out, and what the other called the same things."""

    def __init__(self, host: str, *, swap_schemes: bool) -> None:
        self._host = host
        self._swap = swap_schemes
        self._names: dict[str, str] = {}

    def host(self, recorded: str) -> None:
        self._names.setdefault(recorded or "no host", self._host)

    def __call__(self, text: str) -> str:
        if self._swap:
            # The recorded server took itself for https; the emulator is http.
            text = re.sub(r"https?(?=://127)", lambda m: {"http": "https"}.get(m[0], "http"), text)
        for old, new in self._names.items():
            text = text.replace(old, new)
        return text

    def learn(self, was: Any, now: Any) -> None:
        """Note what stands in the same places."""
        if isinstance(was, dict) and isinstance(now, dict):
            for name in was:
                self.learn(was[name], now.get(name))
        elif isinstance(was, list) and isinstance(now, list):
            for one, other in zip(was, now, strict=False):
                self.learn(one, other)
        elif isinstance(was, str) and isinstance(now, str):
            for old, new in zip(_NAME.findall(was), _NAME.findall(now), strict=False):
                self._names.setdefault(old, new)

    def learn_cookie(self, was: Reply, now: Reply) -> None:
        cookies = [_cookies(reply, ";") for reply in (was, now)]
        for old, new in zip(*cookies, strict=False):
            self._names[old] = new


def _cookies(reply: Reply, until: str) -> list[str]:
    given = [value for name, value in reply.headers if name.lower() == "set-cookie"]
    return [value.partition(until)[0] for value in given]


def differences(
    url: str, case: str, *, loose: bool = False, swap_schemes: bool = False
) -> list[Difference]:
    """Ask what was asked, and compare what is answered.

    Args:
        url: The emulator's.
        case: The recording.
        loose: Compare the kinds of events and their keys alone, where what is
            said depends on the moment.
        swap_schemes: The recorded server took itself for https.
    """
    translate = _Translator(url.partition("//")[2], swap_schemes=swap_schemes)
    found: list[Difference] = []
    running: list[tuple[Record, _Asking]] = []

    def compare(record: Record, asking: _Asking) -> None:
        asking.leave.set()
        asking.join(2 * _PATIENCE)
        if asking.reply is None:
            found.append(_difference(record, "all", "an answer", asking.failure))
            return
        views = [_view(reply, record) for reply in (record.reply, asking.reply)]
        translate.learn_cookie(record.reply, asking.reply)
        translate.learn(views[0]["body"], views[1]["body"])
        kinds = [reply.header("content-type") for reply in (record.reply, asking.reply)]
        if loose and all(kind.startswith("text/event-stream") for kind in kinds):
            # Two calls under one session are told in turn, but not in which.
            views = [{**view, "body": _by_call(view["body"])} for view in views]
        if loose:
            views = [{**view, "body": _shape(view["body"])} for view in views]
        for place, was, now in _compared(_plain(views[0]), _plain(views[1])):
            found.append(_difference(record, place, was, now))

    last = 0.0
    for record in recorded(case):
        for item in sorted(running, key=_end):
            before, asking = item
            if before.ended <= record.began + _ROUNDING:
                running.remove(item)
                compare(before, asking)
                continue
            # It was still being answered: wait until it has come as far.
            seen = before.before(record)
            end = time.monotonic() + _PATIENCE
            while events(asking.body) < events(seen) and not asking.over:
                if time.monotonic() > end:
                    break
                time.sleep(0.002)
            translate.learn(seen.decode("latin-1"), asking.body.decode("latin-1"))
        if loose and not running and record.began - last > 250:
            # What went on in the real server then, goes on here in less time.
            time.sleep(min(_WAIT, (record.began - last) / 20_000))
        last = record.ended
        translate.host(record.sent.get("host", ""))
        asking = _Asking(
            url.partition("//")[2],
            record.method,
            translate(record.path),
            translate(record.body.decode("latin-1")).encode("latin-1"),
            {name: translate(value) for name, value in record.sent.items() if name in _SENT},
            enough=events(record.reply.body) if record.left else None,
        )
        running.append((record, asking))
    for record, asking in sorted(running, key=_end):
        compare(record, asking)
    return found


def _end(running: tuple[Record, _Asking]) -> float:
    return running[0].ended


def not_asked(record: Record) -> Difference:
    """Give the difference to a server that does not exist."""
    return _difference(record, "all", "an answer", "not emulated")


def _difference(record: Record, place: str, was: Any, now: Any) -> Difference:
    request = _NAME.sub("ID", f"{record.method} {record.path}")
    told = [each if isinstance(each, str) else json.dumps(each) for each in (was, now)]
    return Difference(record.number, f"{request} {record.note}".strip(), place, *told)


def _view(reply: Reply, record: Record) -> dict[str, Any]:
    """Give what must be equal in both answers."""
    headers = {name: _squeezed(reply.header(name)) for name in _COMPARED if reply.header(name)}
    page = headers.get("content-type", "").startswith("text/html")
    chunked = reply.header("transfer-encoding") == "chunked"
    return {
        "status": reply.status,
        "headers": headers,
        "cookies": [_cookie(each) for each in _cookies(reply, "\n")],
        # Pages are long in a real server, and come in several pieces.
        "framing": "any" if page else "chunked" if chunked else "length",
        "end": reply.end,
        "body": "trimmed" if record.trimmed and not page else _unconfigured(_content(reply)),
    }


def _cookie(value: str) -> list[str]:
    """Give a cookie's name and attributes, without what is made up anew each time."""
    first, *attributes = value.split(";")
    name = re.sub("(?<=access-token)(-unsecure)?-.*", r"\1-ID", first.partition("=")[0])
    return [
        name,
        *sorted(re.sub("(?i)(expires=).*", r"\1DATE", each).strip() for each in attributes),
    ]


def _squeezed(value: str) -> str:
    return value.replace(" ", "").lower()


def _content(reply: Reply) -> Any:
    """Say what an answer holds, in the form of JSON."""
    kind = reply.header("content-type").partition(";")[0]
    text = reply.body.decode("utf-8", "replace")
    if kind == "text/html":
        return "a page"
    if text.startswith('{"type":"data","nodes":'):
        lines = text.split("\n")
        return [_nodes(json.loads(lines[0])), [json.loads(line) for line in lines[1:] if line]]
    if kind == "application/json":
        try:
            return _clockless(_unpacked(json.loads(text))) if text else None
        except ValueError:
            return text
    if kind == "application/jsonl":
        return _told_by_lines(text)
    if kind == "text/event-stream":
        return _told_by_events(text)
    return "a traceback or less" if reply.status == 500 else text


def _unpacked(value: Any) -> Any:
    """Read the JSON inside a string of JSON as well."""
    if isinstance(value, dict) and isinstance(value.get("conversation"), str):
        return {**value, "conversation": json.loads(value["conversation"])}
    return value


def _unconfigured(value: Any) -> Any:
    """Leave out what an operator configures, such as what models are like."""
    if isinstance(value, list):
        return [_unconfigured(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "components" in value:
        return {**value, "components": "as configured", "dependencies": "as configured"}
    if "displayName" in value:
        return {k: v if k in ("id", "name") else "as configured" for k, v in value.items()}
    kept = {name: _unconfigured(each) for name, each in value.items()}
    if isinstance(kept.get("updates"), list):
        # A title is stored when it comes, which is any time.
        kept["updates"].sort(key=lambda each: each.get("type") == "title")
    listed = kept.get("json")
    if isinstance(listed, list) and any("displayName" in each for each in listed):
        kept["meta"] = "as configured"
    for name in ("oldModels", "tools"):
        if "models" in kept and name in kept:
            kept[name] = "as configured"
    return kept


def _told_by_lines(text: str) -> dict[str, Any]:
    """Give the lines of an answer in order, without keep-alives.

    Titles come when they are made; before or after the final answer is what counts.
    """
    told: list[Any] = []
    titles = {"before": 0, "after": 0}
    for line in text.split("\n"):
        event = json.loads(line) if line.strip() else {"status": "keepAlive"}
        if event.get("status") == "keepAlive":
            continue
        if event["type"] == "title":
            titles["after" if any(e["type"] == "finalAnswer" for e in told) else "before"] += 1
            continue
        told.append(event)
    return {"events": told, "titles": titles, "padding": text.count(" " * 4096)}


def _told_by_events(text: str) -> list[Any]:
    """Give server-sent events in order, without heartbeats and the numbers of a clock."""
    told = []
    for event in text.split("\n\n"):
        lines = [line for line in event.split("\n") if line and not line.startswith(":")]
        fields: dict[str, Any] = {}
        for line in lines:
            name, _, value = line.partition(":")
            fields[name] = value
        data = fields.get("data", "")
        if not fields or '"heartbeat"' in event or "event: heartbeat" in event:
            continue
        if "data" in fields:
            fields["space"] = data.startswith(" ")
            fields["data"] = _clockless(json.loads(data)) if data.strip()[:1] in '{["n' else data
        told.append(fields)
    return told


def _clockless(value: Any) -> Any:
    if isinstance(value, list):
        return [_clockless(each) for each in value]
    if isinstance(value, dict):
        kept = {k: "a time" if k in _TIMED else _clockless(v) for k, v in value.items()}
        if "logprob" in kept:
            kept.update(logprob="a number", id="a number")
        return kept
    return value


def _nodes(value: dict[str, Any]) -> Any:
    """Read the nodes of SvelteKit's __data.json back into JSON."""
    return {**value, "nodes": [_node(node) for node in value["nodes"]]}


def _node(node: Any) -> Any:
    if not isinstance(node, dict) or "data" not in node:
        return node
    flat = node["data"]

    def read(index: int) -> Any:
        item = flat[index] if index >= 0 else "undefined"
        if isinstance(item, dict):
            return {key: read(each) for key, each in item.items()}
        if isinstance(item, list):
            named = item[:1] and isinstance(item[0], str)
            if named:
                return [item[0], read(item[1]) if item[0] == "Promise" else item[1]]
            return [read(each) for each in item]
        return item

    return {**node, "data": read(0)}


def _plain(value: Any) -> Any:
    """Replace ids, dates and hosts by placeholders."""
    text = json.dumps(value)
    text = re.sub(r"/r/\w{7}\b", "/r/ID", text)
    return json.loads(_HOST.sub("HOST", _DATE.sub("DATE", _NAME.sub("ID", text))))


def _by_call(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put the events of one call together, in the order in which calls began."""
    names = [(each.get("data") or {}).get("event_id") for each in told]
    return [
        each for _, each in sorted(zip(names, told, strict=True), key=lambda x: names.index(x[0]))
    ]


def _shape(value: Any, key: str = "") -> Any:
    """Give the kinds and keys of what was said, runs of the same one once."""
    if isinstance(value, list):
        shapes = [_shape(each) for each in value]
        return [shape for shape, _ in itertools.groupby(shapes)]
    if isinstance(value, dict):
        return {name: _shape(each, name) for name, each in value.items()}
    if key in _KINDS or value is None or isinstance(value, bool):
        return value
    return "a number" if isinstance(value, int | float) else "a text"


def _compared(was: Any, now: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Give the places where two values differ; in streamed events keys have an order."""
    if isinstance(was, dict) and isinstance(now, dict):
        for name in [*was, *(name for name in now if name not in was)]:
            at = f"{place}.{name}".lstrip(".")
            yield from _compared(was.get(name, "missing"), now.get(name, "missing"), at)
        if list(was) != list(now) and set(was) == set(now) and _STREAMED.match(place):
            yield f"{place}, order of keys", list(was), list(now)
    elif isinstance(was, list) and isinstance(now, list):
        yield from _compared_lists(was, now, place)
    elif was != now or type(was) is not type(now):
        yield place, was, now


def _compared_lists(was: list[Any], now: list[Any], place: str) -> Iterator[tuple[str, Any, Any]]:
    if len(was) == len(now):
        for index, (one, other) in enumerate(zip(was, now, strict=True)):
            yield from _compared(one, other, f"{place}[{index}]")
        return
    texts = [[json.dumps(each, sort_keys=True) for each in side] for side in (was, now)]
    matcher = difflib.SequenceMatcher(None, *texts, autojunk=False)
    for kind, i, j, k, m in matcher.get_opcodes():
        if kind == "replace" and j - i == m - k:
            for index in range(j - i):
                at = f"{place}[{i + index}]"
                yield from _compared(was[i + index], now[k + index], at)
        elif kind != "equal":
            yield f"{place}[{i}:{j}]", was[i:j] or "missing", now[k:m] or "missing"
