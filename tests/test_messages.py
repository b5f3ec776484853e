"""What is asked: checked, copied, and written as one prompt where a server takes one."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from c4ai_clients.errors import UsageError
from c4ai_clients.messages import Upload, as_prompt, image_upload, parse, split_system, uploads

PNG = b"\x89PNG\r\n\x1a\nrest"


def test_parse__copies() -> None:
    """What the caller does to a message afterwards changes nothing."""
    given = [{"role": "user", "content": [{"type": "text", "text": "a"}], "extra": 1}]
    parsed = parse(given)
    given[0]["content"][0]["text"] = "b"  # type: ignore[index]

    assert [{"role": "user", "content": [{"type": "text", "text": "a"}]}] == parsed


def test_split_system__joined_by_newlines() -> None:
    """The argument comes first, then system messages wherever they stand."""
    said, others = split_system(
        parse(
            [
                {"role": "system", "content": "b"},
                {"role": "user", "content": "x"},
                {"role": "system", "content": "c"},
                {"role": "user", "content": "y"},
            ]
        ),
        "a",
    )

    assert "a\nb\nc" == said
    assert ["x", "y"] == [message["content"] for message in others]


def test_split_system__empty_is_not_none() -> None:
    """An empty system prompt is said; none is not."""
    assert "" == split_system(parse("x"), "")[0]
    assert None is split_system(parse("x"), None)[0]


@pytest.mark.parametrize(
    ("messages", "system", "prompt"),
    [
        ([("user", " as it is ")], None, " as it is "),
        ([("user", "x")], "s", "System: s\nUser: x\nAssistant:"),
        (
            [("user", "x"), ("assistant", "y"), ("user", "z")],
            None,
            "User: x\nAssistant: y\nUser: z\nAssistant:",
        ),
    ],
)
def test_as_prompt(messages: list[tuple[str, str]], system: str | None, prompt: str) -> None:
    """A whole exchange is one prompt; a single question stays as it is."""
    assert prompt == as_prompt([{"role": r, "content": c} for r, c in messages], system)


def test_uploads__path_bytes_and_open_file(tmp_path: Path) -> None:
    """A file is a path, bytes or an open file; its media type is found out."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\xff\xd8\xffrest")
    named, guessed, opened, text = uploads([path, PNG, io.BytesIO(b"\xff\x00"), b"words"])

    assert ("a.jpg", "image/jpeg") == (named.name, named.mime)
    assert ("file-2.png", "image/png") == (guessed.name, guessed.mime)
    assert ("file-3", "application/octet-stream") == (opened.name, opened.mime)
    assert ("file-4.txt", "text/plain") == (text.name, text.mime)


def test_uploads__a_name_that_is_no_unicode(tmp_path: Path) -> None:
    """A file goes through under a name in which odd bytes are replaced."""
    path = os.fsencode(tmp_path) + b"/caf\xe9.txt"
    with open(path, "wb+") as opened:
        opened.write(b"x")
        opened.seek(0)
        sent = uploads([os.fsdecode(path), opened])

    assert ["caf\ufffd.txt"] * 2 == [upload.name for upload in sent]


@pytest.mark.parametrize(
    ("name", "mime"), [("a\r\nX: y", "text/plain"), ("a", "text/plain\nX: y"), ("a\0", "x/y")]
)
def test_uploads__names_become_no_headers(name: str, mime: str, tmp_path: Path) -> None:
    """A line break in a file's name or media type is refused."""
    with pytest.raises(UsageError, match="control character"):
        Upload(name, b"x", mime)
    if "\n" in name:
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(UsageError, match="the name of a file"):
            uploads([tmp_path / name])


@pytest.mark.parametrize("file", [7, io.StringIO("text"), None])
def test_uploads__refused(file: object) -> None:
    """What is no file is refused in one sentence."""
    with pytest.raises(UsageError):
        uploads([file])  # type: ignore[list-item]


def test_image_upload__only_data_urls_hold_an_image() -> None:
    """A data URL is an upload; another URL is not; a broken one is refused."""
    upload = image_upload("data:image/png;base64,iVBORw0KGgo=", 0)

    assert upload is not None
    assert ("image-1.png", PNG[:8]) == (upload.name, upload.data)
    assert image_upload("https://host.test/a.png", 0) is None
    with pytest.raises(UsageError, match="Base64"):
        image_upload("data:image/png;base64,§", 0)
    with pytest.raises(UsageError, match="media type of a file holds a control character"):
        image_upload("data:image/png\r\nX: y\r\n\r\nbody;base64,AAAA", 0)
