"""The servers behind the recordings: how each was set up, and what its model said.

And where the emulator answers otherwise on purpose, with the reason for each.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any, NamedTuple

from side_by_side import Difference, differences, not_asked, recorded

from c4ai_clients.emulator import Answer, Emulator

__all__ = ["EXPLAINED", "Explained", "compared", "server_of", "wrong"]

_TOKENS = re.split(
    "¦",
    "Hello¦ wor¦ld¦!¦ ¦😀¦ caf¦é¦\n¦ha¦ha¦ha¦ 日本¦語¦\n\n¦"
    '- "quoted" \\back¦\n- last¦ <b>tag</b>¦.',
)
_MODELS = {
    "B": [f"test/{name}-1" for name in ("model", "reason", "vision", "tools", "summarize", "tgi")],
    "C": ["test/model-1", "test/vision-1", "test/reason-1"],
}
_H2O_MODELS = ("OpenAssistant/oasst-sft-6-llama-30b-xor",)
_H2O_MODELS += ("h2oai/h2ogpt-gm-oasst1-en-2048-falcon-7b-v3",)
_TITLE = "🌍 Test title"
_SEPARATORS = ["a\u2028b", "c\u0085d", "e\r\nf", "g\vh", "\u2029", " \u00a0"]
_SEPARATORS += ["\ufeff", " end \n", "\n  "]


def _chatui_model(prompt: str, era: str, case: str) -> Answer:
    """The deterministic model that was behind the recorded chat-ui servers."""
    if case == "upstream_down":
        return Answer(error="Connection error.", error_after=0, title="")
    if "tgi" in prompt and "LENGTH" not in prompt:
        return _tgi_model(prompt)
    if case == "websearch":
        return Answer(_TOKENS, title=_TITLE, sources=["http://127.0.0.1:27200/page1.html"])
    if era == "B" and case == "reasoning_content_delta":
        # That version drops what is reasoned in a field of its own.
        return Answer(_TOKENS, title=_TITLE)
    if case in ("tools", "mcp_tools") and "TOOLCALL" in prompt:
        result = "6*7 = 42" if era == "B" else 'echo: {"text":"x"}'
        return Answer(_TOKENS, title=_TITLE, tool=("calculator" if era == "B" else "echo", result))
    for word, said in (
        ("FAIL429", "429 Rate limit reached upstream"),
        ("FAIL500", "500 upstream exploded"),
        ("FAIL400", "400 context length exceeded upstream"),
    ):
        if word in prompt:
            return Answer(error=said, error_after=0, title=_TITLE)
    if "MIDERR" in prompt:
        return Answer(_TOKENS, error="mid-stream upstream error", error_after=3, title=_TITLE)
    if "MIDFAIL" in prompt:
        # Read between two tokens, so the older server had given out only two.
        count, said = (2, "Premature close") if era == "B" else (3, "terminated")
        return Answer(_TOKENS, error=said, error_after=count, title=_TITLE)
    if "EMPTY" in prompt:
        return Answer((), title=_TITLE)
    if "SLOW" in prompt:
        return Answer(_TOKENS * 2, title=_TITLE)
    if "NULS" in prompt:
        long = "a-token-longer-than-sixteen-characters"
        return Answer(["a\0b", "sixteen-chars-ab", long, "\0", " end"], title=_TITLE)
    if "FOURBYTE" in prompt:
        return Answer(["\ud83d", "\ude00", "ok"], title=_TITLE)
    if "LINESEP" in prompt:
        return Answer(_SEPARATORS, title=_TITLE)
    if "REASON" in prompt:
        thought = ["Let", " me", " think", " 🤔", " ha", " ha", "\n", "done"]
        if era == "C" and prompt.startswith("REASON "):
            # There the tags are the model's own tokens, and nobody's business.
            return Answer(["<think>", *thought, "</think>", "\n\n", *_TOKENS], title=_TITLE)
        tokens = ["\n\n", *_TOKENS] if prompt.startswith("REASON ") else _TOKENS
        return Answer(tokens, reasoning=thought, title=_TITLE)
    if "NOTITLE" in prompt:
        return Answer(_TOKENS, title="")
    return Answer(_TOKENS, title=_TITLE, late_title="LATETITLE" in prompt)


def _tgi_model(prompt: str) -> Answer:
    """The same as text-generation-inference says it, which is cut short otherwise."""
    if "FAIL429" in prompt:
        return Answer(error="Model is overloaded", error_after=0, title=_TITLE)
    if "MIDERR" in prompt:
        said = "Request failed during generation: Server error: transport error"
        return Answer(_TOKENS, error=said, error_after=3, title=_TITLE)
    if "MIDFAIL" in prompt:
        return Answer(_TOKENS, error="terminated", error_after=3, title=_TITLE)
    return Answer(_TOKENS, title=_TITLE)


def _h2o_model(prompt: str) -> Answer:
    """The same behind the servers of 2023."""
    failed = "Request failed during generation"
    if "FAIL400" in prompt:
        said = "422 Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048"
        return Answer(error=said, error_after=0)
    if "FAIL429" in prompt:
        return Answer(error="429 Model is overloaded", error_after=0)
    if "FAIL500" in prompt:
        return Answer(error=f"500 {failed}: upstream exploded", error_after=0)
    if "SLOW" in prompt:
        return Answer(_TOKENS * 2)
    if "MIDERR" in prompt:
        said = f"{failed}: Server error: transport error"
        return Answer(_TOKENS, error=said, error_after=3)
    if "EMPTY" in prompt:
        return Answer(())
    if "LENGTH" in prompt:
        return Answer([*_TOKENS, " cut"], finish="length")
    if "LINESEP" in prompt:
        return Answer(["a\u2028b", "c\u0085d", "e\r\nf", "g\vh", "\u2029", " end"])
    return Answer(_TOKENS, title=" Test title.")


_HI = re.split(
    "¦",
    "Hello¦, ¦wörld¦! ¦你好¦，世界¦ ¦😀¦👩\u200d👩\u200d👧¦ e\u0301¦\n"
    "¦\n¦ha¦ha¦ha¦ ¦[x]¦ and ¦[0, 1]¦\n¦[link](http://a.b/)¦\n"
    '¦```python\n¦print("hi\\n")\n¦x = [1, 2]\n¦```¦\n¦\n¦'
    "the¦ the¦ the¦ end¦.¦.¦.",
)
_QUOTA = "You have exceeded your GPU quota (60s requested vs. 0s left). Try again in 0:10:00"
_GRADIO: dict[str, Answer] = {
    "boom first": Answer(error="lab: boom before first yield", error_after=0),
    "gr first": Answer(error="gr.Error: lab: gr.Error before first yield", error_after=0),
    "boom mid": Answer(_HI, error="lab: boom mid stream", error_after=4),
    "gr mid": Answer(_HI, error="gr.Error: lab: gr.Error mid stream", error_after=4),
    "quota": Answer(_HI, error=f"gr.Error: {_QUOTA}", error_after=4),
    "empty gen": Answer(()),
    "empty": Answer(["", "", "a", ""]),
    "indent": Answer(
        ["\n\nList:\n", "    - one\n", "\t- two\n", "    - three", "\n", "done", "\n\n"]
    ),
    "warn": Answer(_HI, status_updates=["lab: an info"]),
    "think": Answer(_HI, reasoning=["Let", " me", " see"]),
    "edit": Answer(
        # The last of the rewrites is shorter than what it replaces.
        ["Ans"],
        rewrites=["Think", "Thinking", "Thinking...", "Answer", "Answer: 4"] + ["Answer: 42"] * 2,
    ),
}


def _gradio_model(prompt: str, version: str) -> Answer:
    """The app behind the recorded Gradio servers."""
    if not prompt.startswith("echo"):
        return _GRADIO.get(prompt, Answer(_HI))
    turn = 2 if prompt in ("echo two", "echo three") else 1
    if prompt == "echo second":
        # It counts what its history holds, which newer versions write as messages.
        turn = 2 if version.startswith("4") else 3
    said = f"turn {turn} you said: {prompt}"
    ends = [0, *range(1, len(said) + 5, 4)]
    return Answer([said[i:j] for i, j in itertools.pairwise(ends)])


# Where somebody leaves or stops it: what is said then depends on the moment.
_LEFT = {"stop_generating", "stop_with_point", "client_disconnect", "stream_resume", "cancel"}
_LEFT |= {"stream_order", "queue_closed"}
_LOOSE = _LEFT | {"cancel_queued", "two_events", "server_killed"}
_SETTINGS: dict[str, dict[str, Any]] = {
    "disclaimer_required": {"disclaimer": True},
    "login_required": {"login_required": True},
    "limits": {"messages_per_minute": 3, "max_message_length": 100, "max_conversations": 3},
    "rate_limit": {"messages_per_minute": 3},
    "auth": {"auth": ("user", "pass")},
    "errors_show_error_on": {"show_error": True},
    "chatinterface": {"layout": "chat_interface"},
    "queue_full": {"queue_size": 0},
    "gradio/4.2.0/server_killed": {"layout": "chat_interface"},
    "tools": {"preprompt": "Default model preprompt."},
    "tools_websearch": {"preprompt": "Default model preprompt."},
}


class Explained(NamedTuple):
    """A difference that is meant, or known and left.

    Args:
        reason: Why.
        at: Where in the answers, as a regular expression.
        where: Recordings and the numbers of requests in them, such as
            ``"chatui/B/limits#9#14"``; a case may be a pattern.
    """

    reason: str
    at: str
    where: str

    def requests(self, case: str) -> list[int]:
        """Give the numbers of those requests of a case that it concerns."""
        found = []
        for each in self.where.split():
            pattern, *numbers = each.split("#")
            if fnmatch(case, pattern):
                # A case without numbers stands for all of its requests.
                found += map(int, numbers or range(1, len(recorded(case)) + 1))
        return found

    def covers(self, case: str, found: Difference) -> bool:
        """Say whether it explains a difference."""
        return found.number in self.requests(case) and bool(re.match(self.at, found.place))


_ANY = ""
EXPLAINED = (
    Explained(
        "voting, sharing, previews of prompts, deleting one message, deleting by a form, listing "
        "tools, and what remains of the API, which serves chat-ui's own pages, are not emulated",
        _ANY,
        "chatui/A/delete_and_list#9#10 chatui/A*/first_and_second_turn#15#16#18#19 "
        "chatui/[BC]/delete_and_list#18 chatui/C/delete_and_list#17#19 chatui/B/tools#10 "
        "chatui/[BC]/first_and_second_turn#11#12 "
        "chatui/C/api_v2#2#3#4#8#9#10#11#12#13#15#18#19 chatui/C/mcp_tools#1",
    ),
    Explained(
        "the name of a shared conversation is made up",
        "body.shareId",
        "chatui/C/delete_and_list#16",
    ),
    Explained(
        "pages are not emulated beyond the start page",
        _ANY,
        "chatui/A/other_session#10 chatui/B/limits#9",
    ),
    Explained(
        "the model that a session has chosen is not stored",
        "body.*activeModel",
        "chatui/A/delete_and_list#4#10",
    ),
    Explained(
        "a model that is not there or is cut off is no answer of a model; the faults `status` and "
        "`cut` are for that",
        _ANY,
        "chatui/A/upstream_down#3 chatui/A/upstream_midfail#3#4",
    ),
    Explained(
        "web searches of 2023 are not emulated",
        _ANY,
        "chatui/A/web_search#3",
    ),
    Explained(
        "A2 stores dates with messages; the emulator does as A did",
        r"body.*(created|updated)At",
        "chatui/A2/first_and_second_turn#5#7#9#12#14",
    ),
    Explained("the recorded request was trimmed", _ANY, "chatui/B/files#12"),
    Explained(
        "was recorded after a minute's wait",
        _ANY,
        "chatui/B/limits#14#15#16 chatui/C/limits#13#14#15",
    ),
    Explained(
        "no identity provider is emulated, and no user that a bearer token names",
        _ANY,
        "chatui/B/login_required#7 chatui/C/login_required#1#8#9#10#13 chatui/C/cookies#8#9#10",
    ),
    Explained(
        "reasoning that another model summarizes is not emulated",
        "body.events",
        "chatui/B/reasoning_summarize#3",
    ),
    Explained(
        "text-generation-inference behind chat-ui, whose last token tells of an interruption, is "
        "not emulated",
        r"body.*(interrupted|text|content|updates\[1\])",
        "chatui/B/tgi_model#5#6#8#10",
    ),
    Explained(
        "the emulator's tool is called with the prompt, and has one kind of result",
        r"body.*(call\.parameters|argumentsRaw|outputs)",
        "chatui/B/tools#3#4#6#8 chatui/C/mcp_tools#4#5#6#8#10",
    ),
    Explained(
        "the emulator has no list of tools; an answer says itself whether it calls one",
        _ANY,
        "chatui/B/tools#5#6#8#9",
    ),
    Explained(
        "a model that was given tools is not asked twice there",
        r"body.*(events|messages\[4\])",
        "chatui/C/mcp_tools#7#8#10",
    ),
    Explained(
        "that server was configured with another web search, which reads the pages that it finds",
        r"body.*(searchEnabled|events|updates|args)",
        "chatui/B/tools_websearch#2 chatui/B/websearch#2#3#4 chatui/B/websearch_error#3",
    ),
    Explained(
        "how the server describes itself is configured",
        "body.json.PUBLIC_APP_DESCRIPTION",
        "chatui/C/api_v2#5",
    ),
    Explained(
        "two addresses of that version say the same thing with and without a full stop",
        "body.message",
        "chatui/C/data_json_in_this_era#15",
    ),
    Explained(
        "the model behind it named its provider, which an answer of the emulator does not",
        r"body.*(events\[\d+:|updates\[\d+:|routerMetadata)",
        "chatui/C/provider_metadata#3#4 chatui/C/reasoning_content_delta#3#4#5 "
        "chatui/C/reasoning_tokens#3#4",
    ),
    Explained(
        "no router among models is emulated",
        _ANY,
        "chatui/C/router_omni#1#2#3#4#5#6#7#8",
    ),
    Explained(
        "a title is stored when it comes, which was before the third event there",
        r"body\[0:0\]",
        "chatui/C/stream_resume#5",
    ),
    Explained(
        "the title there came before the model failed",
        r"body\.titles",
        "chatui/C/upstream_down#3",
    ),
    Explained(
        "Gradio 3 is not emulated; what speaks its websocket is tested with the recordings",
        _ANY,
        "gradio/3.50.2/*",
    ),
    Explained(
        "who is logged in is not told",
        _ANY,
        "gradio/4.*/auth#6",
    ),
    Explained(
        "recorded without what no client reads",
        r"body\.(connect_heartbeat|title|username)",
        "gradio/[456].*/config#1 gradio/[456].*/chatinterface#1",
    ),
    Explained(
        "that version says it in other words, takes an empty session, and lets any origin read",
        r"status|headers|body($|\.detail)",
        "gradio/4.16.0/bad_payload#17#23#28",
    ),
    Explained(
        "listeners other than those which chat return nothing",
        r"body\[2\]\.data\.output",
        "gradio/4.16.0/bad_payload#26 gradio/4.44.1/bad_payload#25 gradio/5.50.0/bad_payload#25 "
        "gradio/6.31.0/bad_payload#25",
    ),
    Explained(
        "an answer grows by tokens; the recorded app added and took away whole messages at its end",
        r"body\[\d+:\d+\]",
        "gradio/4.2.0/edits#5#7 gradio/4.16.0/edits#6#8 gradio/*/edits_messages#8#10 "
        "gradio/*/shrink#2#4",
    ),
    Explained(
        "an answer logs infos, and no warnings",
        r"body\[\d+:\d+\]",
        "gradio/4.2.0/edits#9 gradio/4.16.0/edits#10 gradio/*/edits_messages#14 gradio/*/shrink#6",
    ),
    Explained(
        "nobody else waits in the emulator's queue; the fault `slow_queue` is for that",
        r"body(\[\d+:\d+\]|\.detail)",
        "gradio/4.2.0/estimation#1 gradio/4.16.0/estimation#2 gradio/[56].*/estimation#2 "
        "gradio/4.44.1/cancel_queued#2 gradio/[56].*/cancel_queued#2 gradio/4.16.0/queue_full#1 "
        "gradio/4.44.1/queue_full#1 gradio/[56].*/queue_full#1",
    ),
    Explained(
        "a server that is killed or whose queue is closed is the fault `cut` or `status`",
        _ANY,
        "gradio/4.2.0/server_killed#1 gradio/4.16.0/server_killed#2 gradio/4.44.1/server_killed#2 "
        "gradio/[56].*/server_killed#2 gradio/*/queue_closed#2#3",
    ),
    Explained(
        "the chatbot of another library, modelscope_studio, is not emulated",
        _ANY,
        "gradio/4.44.1/ms_modelscope_chatbot#1#3#5#7#9#11#13#15",
    ),
)


def server_of(case: str) -> str:
    """Name the server of a recording."""
    family, version, _ = case.split("/")
    return f"{'chat-ui' if family == 'chatui' else 'Gradio'} {version}"


@contextlib.contextmanager
def _emulator(case: str) -> Iterator[str]:
    """Set the emulator up as that server was; its URL."""
    family, version, name = case.split("/")
    settings = dict(_SETTINGS.get(case, _SETTINGS.get(name, {})))
    pace = 0.01 if name in _LEFT else 0.0
    if family == "gradio":
        if name.endswith("_messages") and version != "6.31.0":
            settings["chatbot"] = "messages"
        made = Emulator(
            "gradio",
            version=version,
            replies=lambda prompt: _gradio_model(prompt, version),
            pace=pace,
            **settings,
        )
    elif version in ("A", "A2"):
        made = Emulator(
            "h2o",
            replies=_h2o_model,
            h2o_models=_H2O_MODELS,
            disclaimer=True,
            pace=pace,
            **settings,
        )
    else:
        made = Emulator(
            "chat-ui",
            era=version,
            replies=lambda prompt: _chatui_model(prompt, version, name),
            models=_MODELS[version],
            multimodal=("test/vision-1",),
            unlisted=("test/task",) if version == "B" else (),
            pace=pace,
            **settings,
        )
    with made as emulator:
        yield emulator.url("h2o" if version in ("A", "A2") else family.replace("tui", "t-ui"))


def wrong(case: str) -> list[str]:
    """Compare a recording; give what is not explained, and what is no longer so."""
    found = compared(case)
    said = [str(each) for each in found if not any(known.covers(case, each) for known in EXPLAINED)]
    for known in EXPLAINED:
        for number in known.requests(case):
            hit = any(each.number == number and known.covers(case, each) for each in found)
            if not hit:
                said.append(f"#{number} is as recorded now, but explained: {known.reason}")
    return said


def compared(case: str) -> list[Difference]:
    """Ask the emulator what was asked in a recording; where it answers otherwise."""
    _, version, name = case.split("/")
    if version == "3.50.2":
        return [not_asked(record) for record in recorded(case)]
    with _emulator(case) as url:
        return differences(url, case, loose=name in _LOOSE, swap_schemes=version in ("A", "A2"))
