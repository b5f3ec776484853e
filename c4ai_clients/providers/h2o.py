"""H2O's gpt-gm: chat-ui of 2023, which passes text-generation-inference (TGI) through.

1. ``POST /settings``, a form with a Referer of the server's own origin, accepts
   the terms and names the model; the answer sets the session cookie.
2. ``POST /conversation`` makes a conversation. It has no system prompt, so that
   is written into the first question.
3. ``POST /conversation/{id}`` asks; the ids of question and answer are ours.
4. The answer is TGI's own events, one token each, without a space after
   ``data:``; the one whose ``generated_text`` is not null ends the reply. There
   is no ``[DONE]``, and ``{"error"}`` in place of a token is the model's failure.
5. ``DELETE /conversation/{id}`` afterwards, unless it is kept. A title is not
   streamed; ``POST /conversation/{id}/summarize`` makes one.

Seen on upstream chat-ui of 2023-06 and 2023-07 (recordings A and A2). H2O's own
fork of it is of the same weeks and was never recorded.
"""

from __future__ import annotations

import functools
import math
import uuid
from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..client import ChatClient, Model, Models
from ..clocks import Call, TimeoutLike
from ..conversation import Conversation, is_id
from ..decoding import Halves, count, loads, sse_objects, string
from ..errors import (
    AuthError,
    C4AIError,
    CancelledError,
    ModelError,
    NotFoundError,
    ProtocolError,
    ServerError,
    TimedOutError,
    UsageError,
    quote,
)
from ..events import Event, Finish, Started, Text, Title, Unknown, Usage
from ..messages import FileLike, Messages, as_prompt, images_of
from ..stream import Stream, Turn
from .chatui_conversation import delete, id_of, not_made
from .sveltekit import nodes

if TYPE_CHECKING:
    from ..http_answer import Answer

__all__ = ["H2O"]


class H2O(ChatClient):
    """A client of H2O's gpt-gm, or of any chat-ui server of summer 2023.

    Seen: chat-ui of 2023-06 and 2023-07 (recordings A and A2), which H2O's own
    is a fork of. The settings are those of :class:`~c4ai_clients.ChatClient`.
    """

    provider = "h2o"
    label = "H2O gpt-gm"
    _model_hint = "; models() learns what else the server lists"
    default_url = "https://gpt-gm.h2o.ai"
    default_model = "h2oai/h2ogpt-gm-oasst1-en-2048-falcon-40b-v1"
    built_in_models = ("h2oai/h2ogpt-gm-oasst1-en-2048-falcon-40b-v1",)

    def stream(
        self,
        messages: Messages,
        *,
        model: str | None = None,
        system: str | None = None,
        conversation: Conversation | None = None,
        files: Iterable[FileLike] = (),
        timeout: TimeoutLike = None,
        temperature: float = 0.4,
        truncate: int = 2048,
        max_new_tokens: int = 1024,
        do_sample: bool = True,
        repetition_penalty: float = 1.2,
        use_cache: bool = False,
        web_search_id: str = "",
        title: bool = False,
        keep: bool | None = None,
    ) -> Stream:
        """Ask, and give the reply as it comes; see :meth:`ChatClient.stream`.

        Args:
            messages: What to ask.
            model: Which model.
            system: The system prompt, written into the first question.
            conversation: What to go on with.
            files: None can be sent here.
            timeout: For this turn.
            temperature: How freely the model chooses; above 0.
            truncate: How many tokens of the prompt the model is given.
            max_new_tokens: How many tokens the answer may have.
            do_sample: Whether the model chooses at random at all.
            repetition_penalty: What a repeated token costs; 1 is nothing.
            use_cache: Whether the server may answer from its cache.
            web_search_id: Id of a web search that the server has made.
            title: Ask for a title once the reply is complete, one request more;
                it is waited for by ``events()`` and ``reply()``.
            keep: Whether the conversation stays on the server afterwards. By
                default only one that ``conversation()`` began does.
        """
        return self._stream(
            messages,
            model=model,
            system=system,
            conversation=conversation,
            files=files,
            timeout=timeout,
            options={
                "parameters": {
                    "temperature": _above_0("temperature", temperature, int, float),
                    "truncate": _above_0("truncate", truncate, int),
                    "max_new_tokens": _above_0("max_new_tokens", max_new_tokens, int),
                    "do_sample": _of_type("do_sample", do_sample, bool),
                    "repetition_penalty": _above_0(
                        "repetition_penalty", repetition_penalty, int, float
                    ),
                    "return_full_text": False,
                },
                "use_cache": _of_type("use_cache", use_cache, bool),
                "web_search_id": _of_type("web_search_id", web_search_id, str),
                "title": _of_type("title", title, bool),
                "keep": keep if keep is None else _of_type("keep", keep, bool),
            },
        )

    def models(self) -> list[Model]:
        """Return the models that the server lists; the built-in one where it does not say."""
        try:
            page = self._fetch(
                "GET", "/__data.json", phase="models", params={"x-sveltekit-invalidated": "1"}
            )
        except (NotFoundError, ProtocolError):
            page = None
        models = Models(
            Model(
                id=row["id"],
                label=string(row.get("displayName")) or row["id"],
                description=string(row.get("description")),
                raw=row,
            )
            for row in nodes(page)[0].rows("models", "id", "name", "displayName", "description")
            if string(row.get("id"))
        )
        self._listed = tuple(model.id for model in models)
        return models or super().models()

    def _check(self, turn: Turn) -> None:
        if turn.uploads or any(map(images_of, [*turn.history, turn.message])):
            raise UsageError(f"{self.provider} takes no files and no images")

    def _events(self, turn: Turn) -> Iterator[Event]:
        conversation, options = turn.conversation, turn.options
        if options["keep"] is not None:
            conversation.keep = options["keep"]
        if turn.act != "ask" and _asked_as(turn) is None:
            conversation.id = None  # the server knows that question only inside another
        try:
            prompt = turn.prompt
            if conversation.id is None:
                self._create(turn)
                prompt = as_prompt([*turn.history, turn.message], turn.system)
            yield Started(conversation)
            with self._transport.open(
                turn.call,
                "POST",
                f"/conversation/{conversation.id}",
                phase="message",
                json=_question(turn, prompt),
                cookies=conversation.cookies,
                refusal=_refusal,
            ) as answer:
                complete = yield from _read(sse_objects(answer.chunks()))
            if complete and options["title"]:
                yield self._title(turn)
        finally:
            if conversation.id is not None and not conversation.keep:
                self._transport.goodbye(
                    "DELETE",
                    f"/conversation/{conversation.id}",
                    phase="delete",
                    turn=turn.call,
                    cookies=dict(conversation.cookies),
                )
                # The next question, if there is one, begins anew with what was said.
                conversation.id = None

    def _create(self, turn: Turn) -> None:
        """Accept the terms and make the conversation."""
        try:
            self._accepted_and_made(turn)
        except ServerError as error:
            raise self._explained(turn.call, error) from error

    def _explained(self, call: Call, error: C4AIError) -> C4AIError:
        """Return *error*, or one that says more where the server is not of 2023."""
        try:
            listed = self._transport.fetch(
                call, "GET", "/api/models", phase="era", preparing=False, authorize=False
            )
        except (CancelledError, TimedOutError):
            raise
        except C4AIError:
            return error
        if not isinstance(listed, list):
            return error
        return UsageError(
            f"this is a chat-ui of 2024 or later: use ChatUI({self.base_url!r}, …) for it",
            provider=self.provider,
            phase=error.phase,
        )

    def _accepted_and_made(self, turn: Turn) -> None:
        conversation = turn.conversation
        how: dict[str, Any] = {
            "cookies": conversation.cookies,
            "refusal": functools.partial(_refusal, model=turn.model),
        }
        form = {
            "ethicsModalAccepted": "true",
            "shareConversationsWithModelAuthors": "true",
            "ethicsModalAcceptedAt": "",
            "activeModel": turn.model,
            "searchEnabled": "true",
        }
        self._transport.fetch(turn.call, "POST", "/settings", phase="settings", data=form, **how)
        wanted = {"model": turn.model}
        made = self._transport.fetch(
            turn.call, "POST", "/conversation", phase="create", json=wanted, **how
        )
        conversation.id = id_of(made)
        conversation.state.pop("ids", None)

    def _title(self, turn: Turn) -> Event:
        """Have the server make a title; it names the conversation by it, too."""
        made = self._transport.fetch(
            turn.call,
            "POST",
            f"/conversation/{turn.conversation.id}/summarize",
            phase="title",
            cookies=turn.conversation.cookies,
            refusal=_refusal,
        )
        title = made.get("title") if isinstance(made, dict) else None
        return Title(title.strip()) if isinstance(title, str) else Unknown(made)

    def _delete(self, conversation: Conversation) -> None:
        delete(self, conversation, _refusal)


def _above_0(name: str, value: Any, *kinds: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < math.inf:
        raise UsageError(
            f"{name}={value!r}: give a {'' if float in kinds else 'whole '}number above 0"
        )
    return value


def _of_type(name: str, value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise UsageError(f"{name}={value!r}: give {'a string' if kind is str else 'True or False'}")
    return value


def _question(turn: Turn, prompt: str) -> dict[str, Any]:
    """Return the body that asks, under new ids.

    They are the only handle by which a question can be asked again or edited,
    so they stay in the conversation, one pair a question in the order asked.
    """
    again = None if turn.act == "ask" else _asked_as(turn)
    ids = {"id": again or str(uuid.uuid4()), "response_id": str(uuid.uuid4())}
    state = turn.conversation.state
    known, before = _known_ids(turn)
    state["ids"] = [*[*known, *([None] * before)][:before], ids]
    return {
        "inputs": prompt,
        "parameters": turn.options["parameters"],
        "stream": True,
        "options": {
            **ids,
            # With the id of an earlier question that one is dropped, and all after it.
            "is_retry": again is not None,
            "use_cache": turn.options["use_cache"],
            "web_search_id": turn.options["web_search_id"],
        },
    }


def _known_ids(turn: Turn) -> tuple[list[Any], int]:
    """Return the ids of the questions asked so far, and how many come before this one."""
    known = turn.conversation.state.get("ids")
    before = sum(message["role"] == "user" for message in turn.history)
    return (known if isinstance(known, list) else []), before


def _asked_as(turn: Turn) -> str | None:
    """Return the id under which the question that is asked again was asked."""
    known, before = _known_ids(turn)
    ids = known[before] if before < len(known) else None
    name = ids.get("id") if isinstance(ids, dict) else None
    return name if is_id(name) else None


def _read(
    events: Iterable[dict[str, Any] | tuple[str, str]],
) -> Generator[Event, None, bool]:
    """Turn TGI's events into ours; return whether the end mark came."""
    halves = Halves()
    complete = False
    for event in events:
        if not complete and (text := _only_text(event)) is not None:
            if text := halves.join(text):
                yield Text(text)
            continue
        update, name = (event, "") if isinstance(event, dict) else (loads(event[0]), event[1])
        token, final = update.get("token"), update.get("generated_text")
        if complete:
            yield Unknown(update)
            continue
        if name == "error" or update.get("error"):
            said = update.get("error")
            raise ModelError(quote(said if isinstance(said, str) and said else update))
        text = token.get("text") if isinstance(token, dict) else None
        special = token.get("special", False) if isinstance(token, dict) else None
        if isinstance(text, str) and special is False:
            if text := halves.join(text):
                yield Text(text)
        elif token is None:
            yield Unknown(update)
        elif not isinstance(text, str) or special is not True:
            raise ProtocolError(f"expected a token, got: {quote(update)}")
        if final is None:
            continue
        if not isinstance(final, str):
            raise ProtocolError(f"expected generated_text, got: {quote(update)}")
        if rest := halves.rest():
            yield Text(rest)
        details = update.get("details")
        details = details if isinstance(details, dict) else {}
        if (tokens := count(details.get("generated_tokens"))) is not None:
            yield Usage(completion_tokens=tokens)
        yield Finish(_reason(details, cut=special is False), final)
        complete = True
    return complete


def _only_text(event: Any) -> str | None:
    """Return the text of an event that says nothing but that, as nearly all do; else None."""
    try:
        token = event["token"]
        text = token["text"]
        plain = token["special"] is False and event["generated_text"] is None
    except (LookupError, TypeError):
        return None
    return text if plain and type(text) is str and not event.get("error") else None


def _reason(details: dict[str, Any], *, cut: bool) -> str:
    """Return why the reply ended.

    Where TGI gives no details (none of the recordings has any), its last token
    tells: a special one is the model's own end, another was cut off by
    ``max_new_tokens``.
    """
    reason = details.get("finish_reason")
    if isinstance(reason, str) and reason:
        return {"eos_token": "stop", "stop_sequence": "stop"}.get(reason, reason)
    return "length" if cut else "stop"


def _refusal(answer: Answer, said: str, model: str = "") -> C4AIError | None:
    """Return the error of a refusal that this era words in its own way."""
    known: dict[str, Any] = {"status": answer.status, "body": said}
    lost = "the server has lost the session that it gave us; begin a new conversation"
    if answer.status == 405 and "modal" in said:
        return AuthError(f"{lost}. It said: {said}", lasting=True, **known)
    if answer.status == 403 and "referer" in said:
        hint = "is base_url the server's own address, and no Referer among your headers?"
        return AuthError(f"{said}: {hint}", lasting=True, **known)
    if answer.status == 404 and "onversation not found" in said:
        return NotFoundError(f"{lost}. It said: {said}", **known)
    if answer.status == 500 and model:
        return not_made(answer, said, model)
    return None
