"""Answers in a notebook, in a real kernel: what is put on display, when, and what is left of it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import nbclient
import nbformat
import pytest
from conftest import wait_until
from kernels import Kernel, Message

from c4ai_clients import (
    H2O,
    ChatUI,
    Conversation,
    Gradio,
    ModelError,
    Reply,
    RetryPolicy,
    UsageError,
    markup,
)
from c4ai_clients.client import Model, Models
from c4ai_clients.emulator import Emulator
from c4ai_clients.emulator.replies import Answer
from c4ai_clients.notebook import Comparison, compare, show

EXAMPLES = Path(__file__).parent.parent / "examples"
BOLD = "The **sky** is `blue<b>`."
NASTY = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1)) <javascript:alert(1)> [y](JaVa&#115;cript:alert(1))",
    "![p](http://127.0.0.1/p.png) ![q](javascript:alert(1))",
    '[a](http://127.0.0.1/"onmouseover="alert(1) "t\\"onclick=alert(1)")',
    '```x"onload="alert(1)\n</code></pre><svg onload=alert(1)>\n```',
    "$<img src=x onerror=alert(1)>$ \\(</div><script>alert(1)</script>\\)",
    "a|b\n-|-\n<script>|`</td><iframe src=x>`",
    "<a href='data:text/html,x' id=MathJax>\n\n<style>*{display:none}</style>",
    "[r](/hub/logout) [d](data:text/html;base64,x) [f](file:///etc/passwd) [v](vbscript:x)",
    r"$\href{javascript:alert(1)}{x}$ \(\style{background:url(x)}{y}\)",
    "<button data-commandlinker-command=x>go</button> &lt;script&gt;",
)


def reply_to(prompt: str) -> Answer:
    """Say what the prompt asks for."""
    if prompt.startswith("big"):
        return Answer(["word " * 80 for _ in range(100)])
    if prompt.startswith("long"):
        return Answer([f"w{n} " for n in range(60)], reasoning="Well.", title="Words & <b>")
    if prompt.startswith("endless"):
        return Answer("w" + str(n) + " " for n in range(2000))
    if prompt.startswith("halves"):
        return Answer(["a ", "\ud83d", "\ude00", " b ", "\ud83d", " c"], reasoning=["\ud83d"])
    if prompt.startswith("failing"):
        return Answer("It is so and so", error="out <b>of</b> memory", error_after=3)
    return Answer(BOLD, reasoning="Hm <i>.", title="Sky <script>")


@pytest.fixture(scope="module")
def server() -> Iterator[Emulator]:
    with Emulator(("chat-ui", "gradio"), replies=reply_to, pace=0.015) as running:
        yield running


@pytest.fixture(scope="module")
def kernel(server: Emulator) -> Iterator[Kernel]:
    """A kernel that has a client, and has imported what a notebook needs."""
    with Kernel() as running:
        started = running.run(
            "from c4ai_clients import *\n"
            "from c4ai_clients.notebook import compare, show\n"
            f"client = ChatUI({server.url('chat-ui')!r})\n"
            f"other = Gradio({server.url('gradio')!r})\n"
            "talk = client.conversation()"
        )
        assert [] == started.errors
        yield running


class _Tags(HTMLParser):
    """Collects what a browser would make elements of."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [(tag, name, value or "") for name, value in attrs] or [(tag, "", "")]

    def handle_data(self, data: str) -> None:
        self.text += data


def harm(html: str) -> list[tuple[str, str, str]]:
    """Return the elements and attributes of *html* that could do anything."""
    tags = "a b br blockquote code details div em h1 h2 h3 h4 h5 h6 hr li ol p pre s strong"
    tags += " summary table tbody td th thead tr ul"
    return [
        (tag, name, value)
        for tag, name, value in _Tags(html).found
        if tag not in tags.split()
        or name not in ("", "class", "href", "rel", "start", "style", "title")
        or (name == "href" and not value.startswith(("http://", "https://", "mailto:")))
        or (name == "style" and "url" in value)
    ]


def test_show__is_one_area_that_ends_as_the_answer(kernel: Kernel) -> None:
    """Markdown rendered, reasoning folded, title escaped; one area, not shown twice."""
    cell = kernel.run("show(client.stream('sky'))")

    assert ([], [], 1) == (cell.errors, cell.results, len(cell.areas))
    (left,) = cell.left()
    assert BOLD == left["text/plain"]
    assert "The <strong>sky</strong> is <code>blue&lt;b&gt;</code>." in left["text/html"]
    assert "<details><summary>Reasoning</summary>" in left["text/html"]
    assert "<b>Sky &lt;script&gt;</b>" in left["text/html"]
    assert "…" not in left["text/html"]


def test_show__gives_the_reply_and_other_cells_show_it(kernel: Kernel) -> None:
    """What is given back is a plain reply: the next cell displays it."""
    kernel.run("reply = show(client.stream('sky'))")
    cell = kernel.run("assert type(reply) is Reply; reply")

    assert [] == cell.errors
    (result,) = cell.results
    assert "<strong>sky</strong>" in result["content"]["data"]["text/html"]


def test_show__in_a_loop_has_an_area_each(kernel: Kernel) -> None:
    """Three shows leave three answers."""
    cell = kernel.run("for n in range(3): show(client.stream('sky'))")

    assert [BOLD] * 3 == [left["text/plain"] for left in cell.left()]


def test_show__updates_at_most_fifteen_times_a_second(kernel: Kernel) -> None:
    """Sixty pieces in 0.9 s are counted in the kernel's own messages."""
    cell = kernel.run("show(client.stream('long'))")

    times = [message["header"]["date"].timestamp() for message in cell.drawn]
    seconds = times[-1] - times[0]
    assert seconds > 0.5
    assert 4 < len(times) <= 2 + 15 * seconds
    lengths = [len(message["content"]["data"]["text/plain"]) for message in cell.drawn]
    assert sorted(lengths) == lengths


def test_show__of_a_big_answer_stays_below_the_servers_limit(kernel: Kernel) -> None:
    """Jupyter drops what comes at more than a million bytes a second; the last is always drawn."""
    cell = kernel.run("show(client.stream('big'))")

    sizes = [sum(map(len, m["content"]["data"].values())) for m in cell.drawn]
    times = [message["header"]["date"].timestamp() for message in cell.drawn]
    assert max(sizes) > 60_000
    assert sum(sizes[:-1]) <= 250_000 * (times[-1] - times[0]) + max(sizes)
    assert 100 * 80 == len(cell.left()[0]["text/plain"].split())


def test_show__of_half_a_character_shows_a_mark(kernel: Kernel) -> None:
    """Half a surrogate pair, which no message can hold, is shown as U+FFFD; both make one."""
    cell = kernel.run("show(client.stream('halves')); compare('halves', [client])")

    assert [] == cell.errors
    shown, compared = cell.left()
    assert "a \U0001f600 b \ufffd c" == shown["text/plain"]
    assert "a \U0001f600 b \ufffd c" in shown["text/html"]
    assert "a \U0001f600 b \ufffd c" in compared["text/plain"]


def test_show__draws_from_the_cells_own_thread(kernel: Kernel) -> None:
    """No reading thread touches the display."""
    cell = kernel.run(
        "import threading\n"
        "publisher, threads = get_ipython().display_pub, set()\n"
        "def publish(*a, _real=publisher.publish, **k):\n"
        "    threads.add(threading.current_thread())\n"
        "    return _real(*a, **k)\n"
        "publisher.publish = publish\n"
        "try:\n"
        "    show(client.stream('long'))\n"
        "    compare('sky', [client, other])\n"
        "finally:\n"
        "    del publisher.publish\n"
        "assert threads == {threading.current_thread()}, threads"
    )

    assert [] == cell.errors
    assert len(cell.updates) > 4


def test_show__tells_the_place_in_the_queue(kernel: Kernel, server: Emulator) -> None:
    """While the server's queue moves, the area says how many are ahead."""
    server.fail("slow_queue", seconds=0.5)
    cell = kernel.run("show(other.stream('sky'))")

    waiting = [m["content"]["data"]["text/html"] for m in cell.drawn]
    assert any("ahead in the queue" in html for html in waiting)
    assert "queue" not in cell.left()[0]["text/html"]


def test_show__interrupted_keeps_what_came(kernel: Kernel, server: Emulator) -> None:
    """The cell stops, the part is on display and in the conversation, the connection is closed."""
    hung_up = len(server.hang_ups)

    def interrupt(message: Message) -> None:
        if "w3 " in str(message["content"].get("data")) and not sent:
            sent.append(True)
            kernel.interrupt()

    sent: list[bool] = []
    cell = kernel.run("show(talk.stream('endless'))\nprint('went on')", interrupt)
    told = kernel.run("print(repr(talk.messages[-1]))")

    assert ["KeyboardInterrupt"] == [error["content"]["ename"] for error in cell.errors]
    assert "" == cell.written
    (left,) = cell.left()
    assert "Interrupted." in left["text/html"]
    answer = eval(told.written)
    assert {"role": "assistant", "content": left["text/plain"], "interrupted": True} == answer
    assert left["text/plain"].startswith("w0 w1 w2 w3")
    assert wait_until(lambda: len(server.hang_ups) > hung_up)


def test_show__after_an_interrupt_the_conversation_goes_on(kernel: Kernel) -> None:
    """The next question of the same conversation is answered."""
    cell = kernel.run("show(talk.stream('sky'))")

    assert [BOLD] == [left["text/plain"] for left in cell.left()]


def test_show__that_fails_says_so_and_raises(kernel: Kernel) -> None:
    """The part that came stays, with the escaped error; the cell has its usual traceback."""
    cell = kernel.run("show(client.stream('failing'))")

    (error,) = cell.errors
    assert "ModelError" == error["content"]["ename"]
    (left,) = cell.left()
    assert left["text/plain"].startswith("It")
    assert "Not complete: ModelError" in left["text/html"]
    assert "<b>of</b>" not in left["text/html"]


def test_batch__has_its_bar(kernel: Kernel, tmp_path: Path) -> None:
    """A cell shows how far a batch is, although what it writes goes to no terminal."""
    cell = kernel.run(
        "from c4ai_clients.batch import run_batch\n"
        f"run_batch(['sky', 'sea'], {str(tmp_path / 'out.jsonl')!r}, client)"
    )

    assert [] == cell.errors
    assert "2/2" in cell.written or "2/2" in str(cell.left())


def test_compare__is_one_table_side_by_side(kernel: Kernel) -> None:
    """Both answers with both times in one area, which is not shown twice; the result holds both."""
    cell = kernel.run("compared = compare('sky', {'<one>': client, 'two': other}); compared")
    told = kernel.run("print([len(each.reply.text) for each in compared.values()])")

    assert ([], [], 1) == (cell.errors, cell.results, len(cell.areas))
    (left,) = cell.left()
    assert 2 == left["text/html"].count("<strong>sky</strong>")
    assert 2 == left["text/html"].count("first token 0.")
    assert "&lt;one&gt;" in left["text/html"]
    assert [] == harm(left["text/html"])
    assert "The" in told.written or "[" in told.written


def test_compare__interrupted_keeps_what_came(kernel: Kernel, server: Emulator) -> None:
    """One Ctrl-C ends all, and each column says so."""

    def interrupt(message: Message) -> None:
        if str(message["content"].get("data")).count("w3 ") >= 2 and not sent:
            sent.append(True)
            kernel.interrupt()

    sent: list[bool] = []
    cell = kernel.run("compare('endless', [client, other])", interrupt)

    assert ["KeyboardInterrupt"] == [error["content"]["ename"] for error in cell.errors]
    assert 2 == cell.left()[0]["text/html"].count("Interrupted.")


@pytest.mark.parametrize("words", NASTY)
def test_display__runs_nothing_of_a_servers(words: str) -> None:
    """Whatever a server says where, no element or attribute comes of it."""
    talk = Conversation(None, system=words, model=words)
    talk.messages = [
        {"role": "user", "content": words},
        {"role": "assistant", "content": words, "interrupted": True},
    ]
    sources = [{"link": words, "title": words}, {"link": "javascript:alert(1)"}]
    shown = [
        Reply(words, reasoning=words, title=words, sources=sources)._repr_html_(),
        talk._repr_html_(),
        Models([Model(words, label=words, description=words)])._repr_html_(),
        ModelError(words, provider=words, partial=words)._repr_html_(),
    ]

    assert [[]] * 4 == [harm(html) for html in shown]
    assert all(html.count("alert") for html in shown) or "alert" not in words


def test_markup__shows_code_as_it_is() -> None:
    """A fence and a code span show their own characters, escaped once."""
    html = markup.html("`a < b && c`\n\n```python\nif a < b: print('&lt;')\n```\n\n    <tag>\n")

    text = _Tags(html).text
    assert "a < b && c" in text
    assert "if a < b: print('&lt;')" in text
    assert "<tag>" in text
    assert 2 == html.count("<pre>")


def test_markup__leaves_formulas_to_the_front_end() -> None:
    """What MathJax reads comes through as written; prices are no formula."""
    said = r"\(a_1*b*2\) and \[ x\\y \] and $a*b*c$ and $$a*b*c$$"

    assert said in _Tags(markup.html(said)).text
    assert "<em>not</em>" in markup.html("$5 and *not* $10")


def test_markup__a_link_to_nowhere_is_none() -> None:
    """What has no URL, or another kind of one, is no link; a link beside it is."""
    html = markup.html("[*here*]() ![pic]() [a](http://b) [c](data:d)\n\n- [e]( )")

    assert ["http://b"] == re.findall('<a href="([^"]*)"', html)
    assert 1 == html.count("</a>")
    assert "<em>here</em> pic" in html


def test_markup__of_hostile_length_ends_soon() -> None:
    """Openings without ends are not looked for through the whole text each time."""
    for part in ("\\(", "$$a", "[", "`a", "*a", "<a "):
        markup.html(part * 5_000)
    huge = markup.html("*a* " * 30_000)

    assert "<em>" not in huge
    assert "*a* " in huge


def test_display__holds_no_half_of_a_character() -> None:
    """What a kernel must send as UTF-8 can be encoded, whatever a server sent."""
    half = "a \ud83d b"
    talk = Conversation(None, system=half, model=half)
    talk.messages = [{"role": "user", "content": half}, {"role": "assistant", "content": half}]
    for shown in (
        Reply(half, reasoning=half, title=half),
        talk,
        Models([Model(half, label=half)]),
        ModelError(half, partial=half),
    ):
        assert "a \ufffd b".encode() in shown._repr_html_().encode()


def test_markup__without_its_reader_shows_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where markdown-it-py is missing an answer is shown as written, escaped."""
    monkeypatch.setitem(sys.modules, "markdown_it", None)

    assert "**a** &lt;b&gt;" in Reply("**a** <b>")._repr_html_()


def test_show__elsewhere_writes_the_text(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outside a notebook the answer goes to standard output, and no control character does."""
    with Emulator("chat-ui", replies="A \x1b[2Jnaïve\nanswer.") as server:
        with ChatUI(server.url("chat-ui")) as client:
            reply = show(client.stream("Hi"))

    assert "A [2Jnaïve\nanswer.\n" == capsys.readouterr().out
    assert "A \x1b[2Jnaïve\nanswer." == reply.text


def test_show__takes_a_stream_only() -> None:
    """A reply that has come already is a mistake, and is told so."""
    with pytest.raises(UsageError, match="takes a stream"):
        show(Reply("Hi"))  # type: ignore[arg-type]


def test_compare__elsewhere_writes_the_answers(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outside a notebook each answer follows its label, and behind what came why no more did."""
    quick = RetryPolicy.none()
    with Emulator("h2o", replies=lambda _: reply_to("failing")) as breaking:
        with ChatUI(emulator.url("chat-ui"), retry=quick) as good, H2O(breaking.url("h2o")) as bad:
            with Gradio("http://127.0.0.1:9", retry=quick) as dead:
                compared = compare("Hi", {"good": good, "bad": bad, "dead": dead})

    written = capsys.readouterr().out
    assert isinstance(compared, Comparison)
    assert compared["good"].text in written
    assert "Not complete: ConnectError" in written
    assert f"\n{compared['bad'].text}\nNot complete: ModelError" in written
    assert compared["bad"].text.startswith("It is")


def test_tour__runs_and_keeps_one_output_an_answer() -> None:
    """Every cell of the tour runs; a show leaves its final answer once, and no picture between."""
    tour = nbformat.read(EXAMPLES / "tour.ipynb", as_version=4)
    nbclient.NotebookClient(tour, timeout=60, resources={"metadata": {"path": EXAMPLES}}).execute()

    cells = [cell for cell in tour.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    shows = [
        c for c in cells if c.source.strip().splitlines()[-1].startswith(("show(", "compare("))
    ]
    assert len(shows) >= 3
    for cell in shows:
        assert ["display_data"] == [output.output_type for output in cell.outputs]
        assert "…" not in cell.outputs[0].data["text/html"]
