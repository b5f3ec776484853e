"""Files that go into a Gradio app, and files that it shows.

A file is uploaded ahead of the message, which then holds its path on the
server: as Gradio's FileData since 4, in 3.50 as a dict of its own, where an
image goes as a ``data:`` URL instead.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote as percent

from ..decoding import string
from ..errors import ProtocolError, UsageError, quote
from ..events import File
from ..messages import Upload, image_upload, images_of
from ..stream import Turn
from .gradio_chat import Chat
from .gradio_messages import refusal

if TYPE_CHECKING:
    from ..transport import Transport

__all__ = ["placed", "shown", "uploaded"]


def placed(chat: Chat, turn: Turn) -> list[tuple[int, Upload]]:
    """Return the files of a question, each with the input that it goes into.

    Raises:
        UsageError: The app takes no files, or fewer.
    """
    images = [image_upload(url, i) for i, url in enumerate(images_of(turn.message))]
    files = [*turn.uploads, *(image for image in images if image is not None)]
    return list(zip(chat.places(len(files)), files, strict=True))


def uploaded(transport: Transport, turn: Turn, chat: Chat) -> list[tuple[int, Any]]:
    """Upload a question's files; return the inputs, and what each is given."""
    old = chat.protocol == "ws"
    given: list[tuple[int, Any]] = []
    for at, file in placed(chat, turn):
        if old and chat.inputs[at].kind == "image":
            data = base64.b64encode(file.data).decode()
            given.append((at, f"data:{file.mime};base64,{data}"))
            continue
        paths = transport.fetch(
            turn.call,
            "POST",
            f"{chat.prefix}/upload",
            phase="upload",
            files=[("files", (file.name, file.data, file.mime))],
            cookies=turn.conversation.cookies,
            refusal=refusal,
        )
        if not isinstance(paths, list) or not paths or not isinstance(paths[0], str):
            raise ProtocolError(f"the upload gave no path: {quote(paths)}", phase="upload")
        here = {"orig_name": file.name, "size": len(file.data)}
        if old:
            given.append((at, {"name": paths[0], "data": None, "is_file": True, **here}))
        else:
            told = {"mime_type": file.mime, "meta": {"_type": "gradio.FileData"}}
            given.append((at, {"path": paths[0], **here, **told}))
    return given


def shown(
    file: dict[str, Any], base_url: str, prefix: str, download: Callable[[str], bytes]
) -> File:
    """Return a file that the app shows; it is read from the server that was asked."""
    if "path" not in file:
        return _inline(file["data"])
    path = f"{prefix}/file={percent(file['path'], errors='replace')}"
    return File(
        name=string(file.get("orig_name")) or file["path"].rpartition("/")[2],
        mime=string(file.get("mime_type")),
        url=base_url + path,
        reader=lambda: download(path),
    )


def _inline(url: str) -> File:
    """Return the file in a ``data:`` URL, as 3.50 shows images."""
    try:
        image = image_upload(url, 0)
    except UsageError as error:
        raise ProtocolError(f"an image that the app shows cannot be read: {quote(url)}") from error
    data, mime = (b"", "") if image is None else (image.data, image.mime)
    return File(name="" if image is None else image.name, mime=mime, reader=lambda: data)
