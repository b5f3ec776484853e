"""A loopback server that speaks the protocols of real chat back ends.

For trying the package out, and for testing what is built on it: the server
really listens, its answers follow recordings of real ones, and every failure
can be asked for by name.

    with Emulator(replies="Hello!") as emulator:
        emulator.fail("cut", at=100)
        base_url = emulator.url("c4ai-command")

It imports nothing from the rest of the package: a decoder shared with the
client would share its mistakes.
"""

from c4ai_clients.emulator.faults import Fault
from c4ai_clients.emulator.replies import Answer
from c4ai_clients.emulator.request import Request
from c4ai_clients.emulator.server import Emulator

__all__ = ["Answer", "Emulator", "Fault", "Request"]
