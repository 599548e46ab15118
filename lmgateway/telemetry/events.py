"""
What happens in the process, told to whoever wants to know.

One floor tells (``breaker``, ``reload``, ``budget`` ...), others listen: the admin port's
stream of events, webhooks, metrics.  Neither knows the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.logger import Logger

_log = Logger()


class Event(msgspec.Struct, frozen=True):
    """
    One thing that happened.

    Attributes:
        kind: What sort of thing: ``breaker``, ``probe``, ``reload``, ``budget``, ``override`` ...
        at: Seconds since the epoch.
        facts: What is known of it; JSON values only, and never a prompt, an answer or a key.
    """

    kind: str
    at: float
    facts: dict[str, Any]


Listener = Callable[[Event], object]


class Events:
    """
    Tells listeners, at once and in order.

    Args:
        wall: Seconds since the epoch.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._listeners: list[Listener] = []

    def tell(self, kind: str, **facts: Any) -> None:
        """Tell every listener; one that fails is logged and harms no other."""
        if not self._listeners:
            return
        event = Event(kind, self._wall(), facts)
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception:
                _log.failure("A listener to events failed on {kind}", kind=kind)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call *listener* with each event from now on; what is returned ends that."""
        self._listeners.append(listener)

        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return stop
