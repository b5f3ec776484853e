"""What is asked: roles, parts, files, and the prompt formats.

Everything a caller may hand in is checked here, before anything is sent, and
copied: what the caller does to a list afterwards changes no conversation.
"""

from __future__ import annotations

import base64
import mimetypes
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Union

from .errors import UsageError

__all__ = ["FileLike", "Message", "Messages", "Upload"]

Message = dict[str, Any]
Messages = Union[str, Sequence[Mapping[str, Any]]]
FileLike = Union[str, "os.PathLike[str]", bytes, IO[bytes]]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")

ROLES = ("system", "user", "assistant")


def parse(messages: Messages) -> list[Message]:
    """Return *messages* as a list of ``{"role", "content"}``, checked and copied.

    Args:
        messages: A prompt, or a list of messages whose content is a string or
            a list of parts (``{"type": "text", "text"}`` or
            ``{"type": "image_url", "image_url": {"url"}}``).

    Raises:
        UsageError: Something in it cannot be sent.
    """
    given: Any = messages
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, Sequence) or isinstance(given, (bytes, bytearray)):
        raise UsageError(f"messages is a string or a list of messages, not {type(given).__name__}")
    parsed = [checked(message, i) for i, message in enumerate(given)]
    if not parsed or parsed[-1]["role"] != "user":
        raise UsageError("the last message must be the user's: add what you want to ask")
    if not text_of(parsed[-1]).strip() and not images_of(parsed[-1]):
        raise UsageError("the prompt is empty: say what you want to ask")
    return parsed


def checked(message: Any, index: int) -> Message:
    """Return role and content of a message, checked and copied.

    Raises:
        UsageError: It is none; names it by its *index*.
    """
    if not isinstance(message, Mapping):
        raise UsageError(
            f'message {index} is {type(message).__name__}, not {{"role": …, "content": …}}'
        )
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise UsageError(f"message {index} has role {role!r}; roles are {', '.join(ROLES)}")
    if isinstance(content, str):
        return {"role": role, "content": content}
    if isinstance(content, Sequence) and not isinstance(content, (bytes, bytearray)):
        return {"role": role, "content": [_part(part, index) for part in content]}
    raise UsageError(
        f"message {index} has content of type {type(content).__name__}; "
        "give a string or a list of parts"
    )


def _part(part: Any, index: int) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if kind == "image_url":
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, Mapping) else image
        if isinstance(url, str) and url:
            return {"type": "image_url", "image_url": {"url": url}}
    raise UsageError(
        f'message {index} has a part that is neither {{"type": "text", "text": …}} '
        'nor {"type": "image_url", "image_url": {"url": …}}'
    )


def text_of(message: Mapping[str, Any]) -> str:
    """Return the text of a message, its text parts joined by newlines."""
    content = message["content"]
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] == "text")


def images_of(message: Mapping[str, Any]) -> list[str]:
    """Return the URLs of a message's image parts."""
    if isinstance(message["content"], str):
        return []
    return [part["image_url"]["url"] for part in message["content"] if part["type"] == "image_url"]


def split_system(
    messages: Iterable[Message], system: str | None
) -> tuple[str | None, list[Message]]:
    """Return the system prompt, joined by newlines, and the other messages.

    *system* comes first; None comes out where nobody said anything.
    """
    if system is not None and not isinstance(system, str):
        raise UsageError(f"system is a string, not {type(system).__name__}")
    said = [] if system is None else [system]
    others = []
    for message in messages:
        if message["role"] == "system":
            said.append(text_of(message))
        else:
            others.append(message)
    return ("\n".join(said) if said else None), others


def as_prompt(messages: Sequence[Message], system: str | None = None) -> str:
    """Write a whole exchange as one prompt, for servers that take one string.

    A single question without a system prompt stays as it is.
    """
    if len(messages) == 1 and not system:
        return text_of(messages[0])
    spoken = [f"System: {system}"] if system else []
    spoken += [f"{message['role'].capitalize()}: {text_of(message)}" for message in messages]
    return "\n".join([*spoken, "Assistant:"])


@dataclass(frozen=True, slots=True)
class Upload:
    """A file to send along with a question.

    What of its name is no Unicode, as a file system may hold it, is replaced.

    Raises:
        UsageError: Its name or media type, which become headers, hold a line
            break or another control character.
    """

    name: str
    data: bytes = field(repr=False)
    mime: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", _SURROGATE.sub("\ufffd", self.name))
        for what, said in (("name", self.name), ("media type", self.mime)):
            if _CONTROL.search(said):
                raise UsageError(f"the {what} of a file holds a control character: {said!r}")


def uploads(files: Iterable[FileLike | Upload] | None) -> list[Upload]:
    """Read *files*: paths, bytes, or files open for reading in binary; None is none."""
    if files is None:
        return []
    if isinstance(files, (str, bytes, os.PathLike)) or not isinstance(files, Iterable):
        raise UsageError("files is a list: write files=[…]")
    return [_upload(file, i) for i, file in enumerate(files)]


def _upload(file: FileLike | Upload, index: int) -> Upload:
    if isinstance(file, Upload):
        return file
    if isinstance(file, (bytes, bytearray)):
        return Upload(
            f"file-{index + 1}{_suffix(bytes(file))}", bytes(file), _mime("", bytes(file))
        )
    if isinstance(file, (str, os.PathLike)):
        path = os.fsdecode(file)
        try:
            with open(path, "rb") as opened:
                data = opened.read()
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        return Upload(os.path.basename(path), data, _mime(path, data))
    if hasattr(file, "read"):
        data = file.read()
        if not isinstance(data, bytes):
            raise UsageError('open files in binary mode: open(path, "rb")')
        given = getattr(file, "name", "")
        given = os.fsdecode(given) if isinstance(given, bytes) else str(given)
        name = os.path.basename(given) or f"file-{index + 1}"
        return Upload(name, data, _mime(name, data))
    raise UsageError(f"a file is a path, bytes, or an open file, not {type(file).__name__}")


def image_upload(url: str, index: int) -> Upload | None:
    """Return the upload that a ``data:`` URL holds, or None for any other URL."""
    head, comma, body = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return None
    try:
        data = base64.b64decode(body, validate=True)
    except ValueError as error:
        raise UsageError(f"image {index + 1} is not valid Base64: {error}") from error
    mime = head[len("data:") : -len(";base64")] or _mime("", data)
    return Upload(f"image-{index + 1}{mimetypes.guess_extension(mime) or ''}", data, mime)


_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
)


def _mime(name: str, data: bytes) -> str:
    guessed = mimetypes.guess_type(name)[0]
    if guessed:
        return guessed
    for signature, mime in _SIGNATURES:
        if data.startswith(signature):
            return mime
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "application/octet-stream"
    return "text/plain"


def _suffix(data: bytes) -> str:
    return mimetypes.guess_extension(_mime("", data)) or ""
