"""A real Jupyter kernel, and what it says while a cell runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from jupyter_client.manager import KernelManager

Message = dict[str, Any]


class Kernel:
    """A kernel of this Python; a context manager that ends it."""

    def __init__(self) -> None:
        self._manager = KernelManager(kernel_name="python3")

    def __enter__(self) -> Kernel:
        self._manager.start_kernel()
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._manager.context.destroy()

    def run(self, code: str, during: Callable[[Message], None] | None = None) -> Cell:
        """Run a cell; *during* is given each message as it comes."""
        asked = self._client.execute(code)
        end = time.monotonic() + 60
        heard: list[Message] = []
        while time.monotonic() < end:
            message = self._client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") != asked:
                continue
            if message["content"].get("execution_state") == "idle":
                return Cell(heard)
            heard.append(message)
            if during is not None:
                during(message)
        raise AssertionError(f"the cell did not end: {heard}")

    def interrupt(self) -> None:
        self._manager.interrupt_kernel()


class Cell:
    """What a cell showed."""

    def __init__(self, messages: list[Message]) -> None:
        self.messages = messages
        self.areas = self._of("display_data")
        self.updates = self._of("update_display_data")
        self.results = self._of("execute_result")
        self.errors = self._of("error")
        self.written = "".join(m["content"]["text"] for m in self._of("stream"))

    def _of(self, kind: str) -> list[Message]:
        return [m for m in self.messages if m["msg_type"] == kind]

    @property
    def drawn(self) -> list[Message]:
        """Everything that was put on display, in order."""
        return [m for m in self.messages if "display_data" in m["msg_type"]]

    def left(self) -> list[dict[str, str]]:
        """Return what is on display when the cell has ended, by area."""
        data: dict[str, dict[str, str]] = {}
        for message in self.drawn:
            data[message["content"]["transient"]["display_id"]] = message["content"]["data"]
        return list(data.values())
