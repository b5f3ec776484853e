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

__all__ = ["data_json", "models_list", "models_v2", "public_config"]

_SITE = "https://huggingface.co"


def models_list(settings: Settings, *, tools: bool) -> list[dict[str, Any]]:
    """Give the models as ``/api/models`` does; unlisted ones are left out.

    Args:
        settings: What there is.
        tools: Say of each whether it has ``tools``, as versions did that had them.
    """
    able = ("tools",) if tools else ("supportsTools", "supportsReasoning", "supportsArtifacts")
    return [
        {
            "id": name,
            "name": name,
            "websiteUrl": _SITE,
            "modelUrl": _SITE,
            "displayName": name,
            "description": "",
            "promptExamples": [],
            "preprompt": settings.preprompt,
            "multimodal": name in settings.multimodal,
            **({"unlisted": False} if tools else {}),
            **dict.fromkeys(able, False),
            **({} if tools else {"unlisted": False}),
            "hasInferenceAPI": False,
        }
        for name in settings.models
    ]


def models_v2(settings: Settings) -> dict[str, Any]:
    """Give the models as ``/api/v2/models`` does: superjson, which names what is undefined."""
    listed = []
    undefined: dict[str, list[str]] = {}
    for index, name in enumerate(settings.models):
        multimodal = name in settings.multimodal
        shown = {
            "id": name,
            "name": name,
            "websiteUrl": None,
            "modelUrl": None,
            "datasetName": None,
            "datasetUrl": None,
            "displayName": name,
            "description": None,
            "logoUrl": None,
            "promptExamples": None,
            "preprompt": settings.preprompt or None,
            "multimodal": multimodal,
            "multimodalAcceptedMimetypes": ["image/*"] if multimodal else None,
            "supportsTools": True,
            "supportsReasoning": False,
            "supportsArtifacts": False,
            "unlisted": False,
            "hasInferenceAPI": False,
            "isRouter": False,
        }
        listed.append(shown)
        for key, value in shown.items():
            if value is None:
                undefined[f"{index}.{key}"] = ["undefined"]
    return {"json": listed, "meta": {"values": undefined, "v": 1}}


def _layout_models(settings: Settings) -> list[dict[str, Any]]:
    """Give the models as the layout's page data does, the unlisted ones too."""
    unset = Undefined()
    return [
        {
            "id": name,
            "name": name,
            "websiteUrl": unset,
            "modelUrl": unset,
            "tokenizer": unset,
            "datasetName": unset,
            "datasetUrl": unset,
            "displayName": name,
            "description": unset,
            "reasoning": False,
            "logoUrl": unset,
            "promptExamples": unset,
            "parameters": {"stop_sequences": unset},
            "preprompt": settings.preprompt,
            "multimodal": name in settings.multimodal,
            "multimodalAcceptedMimetypes": unset,
            "tools": False,
            "unlisted": name in settings.unlisted,
            "hasInferenceAPI": False,
        }
        for name in (*settings.models, *settings.unlisted)
    ]


def public_config() -> dict[str, Any]:
    """Give what ``/api/v2/public-config`` says."""
    return {
        "PUBLIC_ORIGIN": "",
        "PUBLIC_APP_NAME": "ChatUI",
        "PUBLIC_APP_ASSETS": "chatui",
        "PUBLIC_APP_DESCRIPTION": "An emulator of ChatUI.",
        "PUBLIC_SHARE_PREFIX": "",
        "PUBLIC_GOOGLE_ANALYTICS_ID": "",
        "PUBLIC_PLAUSIBLE_SCRIPT_URL": "",
        "PUBLIC_APPLE_APP_ID": "",
        "PUBLIC_CAVEAT": "",
        "PUBLIC_FEATURE_ANNOUNCEMENTS": "",
        "PUBLIC_LLM_ROUTER_DISPLAY_NAME": "Omni",
        "PUBLIC_LLM_ROUTER_LOGO_URL": "",
        "PUBLIC_LLM_ROUTER_ALIAS_ID": "omni",
        "PUBLIC_COMMIT_SHA": "",
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
            "ethicsModalAcceptedAt": None,
            "activeModel": settings.models[0],
            "hideEmojiOnSidebar": False,
            "shareConversationsWithModelAuthors": True,
            "customPrompts": {},
            "assistants": [],
            "tools": [],
            "disableStream": False,
            "directPaste": False,
        },
        "models": _layout_models(settings),
        "oldModels": [],
        "tools": [],
        "communityToolCount": 0,
        "user": Undefined(),
        "assistant": None,
        "enableAssistants": False,
        "enableAssistantsRAG": False,
        "enableCommunityTools": False,
        "loginRequired": settings.login_required,
        "loginEnabled": settings.login_required,
        "guestMode": False,
        "assistants": Promised(),
    }
    uses = '"uses":{"dependencies":["conversation:list"]}'
    return f'{{"type":"data","data":{devalue(data)},{uses}}}'
