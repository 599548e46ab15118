"""
What is written in one turn of the reactor, sent at its end in one go.

To send takes the kernel a long way, and most of what that costs is to fetch what
lies on the way: between two requests there is so much of ours that none of it is
left in the processor's caches.  Of many sends one after the other only the first
pays.  A reactor that is not lightened (see ``turns``) has no bursts, and
whatever is written outside of a turn, or is large, leaves at once.
"""

from __future__ import annotations

from typing import Protocol

from twisted.logger import Logger

_log = Logger()

SMALL = 16384
"""Bytes up to which a write is held back: more is worth a way of its own."""
_MOST = 64
"""Writes that are held at most, so that nothing waits for long, nor fills the memory."""


class Sender(Protocol):
    """Whose bytes are held back."""

    def send(self, data: bytes) -> None:
        """Send *data* now, after whatever waits."""


class Burst:
    """
    The writes of a turn, in their order.

    Attributes:
        is_open: Whether writes are held: a turn is under way.
    """

    __slots__ = ("_held", "is_open")

    def __init__(self) -> None:
        self._held: list[tuple[Sender, bytes]] = []
        self.is_open = False

    def send(self, sender: Sender, data: bytes) -> None:
        """Have *sender* send *data* at the end of the turn: now, if it is large."""
        held = self._held
        if held and held[-1][0] is sender:
            data = held.pop()[1] + data
        held.append((sender, data))
        if len(data) > SMALL or len(held) >= _MOST:
            self.flush()

    def flush(self) -> None:
        """Send all that is held, and what is written meanwhile."""
        while self._held:
            held, self._held = self._held, []
            for sender, data in held:
                try:
                    sender.send(data)
                except Exception:
                    _log.failure("What was written could not be sent.")

    def end(self) -> None:
        """Send all that is held, and hold nothing from now on."""
        self.flush()
        self.is_open = False


NEVER = Burst()
"""Where nothing is ever held."""


def burst_of(transport: object) -> Burst:
    """Give the burst of the reactor that *transport* is on."""
    found = getattr(getattr(transport, "reactor", None), "lmgateway_burst", NEVER)
    return found if isinstance(found, Burst) else NEVER
