import pytest
from summary import summary


@pytest.mark.chat_emulator(replies=["A cat sleeps."])
def test_summary(chat_client, chat_emulator):
    assert summary(chat_client, "The cat …") == "A cat sleeps."
    assert chat_emulator.prompts == ["Summarise in one line: The cat …"]


def test_server_that_breaks_off(chat_client, chat_emulator):
    chat_emulator.fail("cut", at=300)
    assert summary(chat_client, "The cat …").startswith("no summary: ")
