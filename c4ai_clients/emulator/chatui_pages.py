"""What chat-ui shows of itself: models, SvelteKit's page data, HTML."""

from __future__ import annotations

from typing import Any

from c4ai_clients.emulator.chatui_tree import (
    Moment,
    Promised,
    Session,
    Thread,
    Undefined,
    devalue,
)
from c4ai_clients.emulator.settings import Settings

__all__ = ["data_json", "models_list", "public_config"]

_SITE = "https://huggingface.co"


def models_list(settings: Settings, *, v2: bool = False) -> list[dict[str, Any]]:
    """Give the models as ``/api/models`` does; unlisted ones are left out."""
    listed = []
    for name in settings.models:
        multimodal = name in settings.multimodal
        shown: dict[str, Any] = {
            "id": name,
            "name": name,
            "websiteUrl": None if v2 else _SITE,
            "modelUrl": None if v2 else _SITE,
            "displayName": name,
            "description": "",
            "promptExamples": None if v2 else [],
            "preprompt": settings.preprompt,
            "multimodal": multimodal,
            "unlisted": False,
        }
        if v2:
            shown["supportsTools"] = True
        else:
            shown["tools"] = False
        listed.append({**shown, "hasInferenceAPI": False})
    return listed


def public_config() -> dict[str, Any]:
    """Give what ``/api/v2/public-config`` says."""
    return {
        "PUBLIC_ORIGIN": "",
        "PUBLIC_APP_NAME": "ChatUI",
        "PUBLIC_APP_ASSETS": "chatui",
        "PUBLIC_VERSION": "0.20.0",
    }


def data_json(
    session: Session,
    settings: Settings,
    host: str,
    shown: Thread | dict[str, Any] | None,
    mask: str,
) -> tuple[str, str]:
    """Write a page's ``__data.json``.

    Args:
        session: Whose conversations the layout lists.
        settings: What models and modes the layout lists.
        host: The server's own, as the client called it.
        shown: The conversation, an error node, or None for the start page.
        mask: Which of layout and page are wanted, as "1" and "0"; what is
            missing is not.

    Returns:
        The content type and the text; two lines where the layout is part of it.
    """
    layout = mask[:1] != "0"
    wanted = mask[1:2] == "1"
    nodes = [_layout(session, settings) if layout else '{"type":"skip"}']
    if not wanted:
        nodes.append('{"type":"skip"}')
    elif isinstance(shown, Thread):
        uses = (
            f'"uses":{{"dependencies":["https://{host}/conversation/conversation"],'
            '"params":["id"]}'
        )
        nodes.append(f'{{"type":"data","data":{devalue(shown.page())},{uses}}}')
    else:
        nodes.append(_plain_node(shown))
    text = f'{{"type":"data","nodes":[{",".join(nodes)}]}}\n'
    if not layout:
        return "application/json", text
    return "text/sveltekit-data", text + '{"type":"chunk","id":1,"data":[[]]}\n'


def _plain_node(error: dict[str, Any] | None) -> str:
    if error is None:
        return "null"
    status = error.pop("status", None)
    tail = f',"status":{status}' if status else ""
    pairs = ",".join(f'"{key}":"{value}"' for key, value in error.items())
    return f'{{"type":"error","error":{{{pairs}}}{tail}}}'


def _layout(session: Session, settings: Settings) -> str:
    conversations = [
        {
            "id": thread.id,
            "title": thread.title,
            "model": thread.model,
            "updatedAt": Moment(thread.updated),
            "assistantId": Undefined(),
            "avatarUrl": Undefined(),
        }
        for thread in reversed(session.threads.values())
    ]
    data = {
        "nConversations": len(conversations),
        "conversations": conversations,
        "settings": {
            "searchEnabled": False,
            "ethicsModalAccepted": session.accepted,
            "activeModel": settings.models[0],
            "shareConversationsWithModelAuthors": True,
        },
        "models": models_list(settings),
        "oldModels": [],
        "tools": [],
        "user": Undefined(),
        "assistant": None,
        "loginRequired": settings.login_required,
        "loginEnabled": settings.login_required,
        "guestMode": False,
        "assistants": Promised(),
    }
    uses = '"uses":{"dependencies":["conversation:list"]}'
    return f'{{"type":"data","data":{devalue(data)},{uses}}}'
