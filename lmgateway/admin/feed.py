"""
What happens, as it happens: the listeners of ``/admin/events``.

Each gets events of the kinds that it asked for, as server-sent events.  One that reads slowly
holds up nobody: up to ``MAX_WAITING`` events wait for it, of more the oldest are dropped, and
before it goes on it is told how many (``event: dropped``).  While nobody listens, nothing is
encoded and an exchange costs nothing here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from lmgateway.admin.answers import head_of
from lmgateway.errors import Draining, TooManyConcurrent
from lmgateway.telemetry.events import Event, Events
from lmgateway.telemetry.traffic import Entry, Traffic
from lmgateway.wire.request import Request
from lmgateway.wire.timers import Timer, Wheel

MEDIA = "text/event-stream"
BEAT_SECONDS = 15.0
MAX_LISTENERS = 32
MAX_WAITING = 1000
MAX_SECONDS = 900.0
"""How long one listener is served: it comes back by itself, and shows its token again."""

_RETRY = b"retry: 1000\n\n"
_BEAT = b": still here\n\n"
_encode = msgspec.json.Encoder().encode


class Feed(msgspec.Struct, eq=False):
    """Tells listeners what happens; outlives a reload."""

    events: Events
    traffic: Traffic
    wheel: Wheel
    _listeners: set[Listener] = msgspec.field(default_factory=set)
    _stops: list[Callable[[], None]] = msgspec.field(default_factory=list)
    _number: int = 0
    _stopped: bool = False

    def __len__(self) -> int:
        return len(self._listeners)

    def serve(
        self, request: Request, kinds: Iterable[str], hidden: Iterable[str], id_: str
    ) -> Deferred[None]:
        """
        Tell a client of events until it leaves, or its time is over.

        Args:
            kinds: Which ones; all if empty.
            hidden: Which ones not, even so.

        Raises:
            TooManyConcurrent: If too many listen already.
            Draining: After ``stop``.
        """
        if self._stopped:
            raise Draining("The gateway is shutting down.")
        if len(self._listeners) >= MAX_LISTENERS:
            raise TooManyConcurrent("Too many listen already.", retry_after=BEAT_SECONDS)
        if not self._listeners:
            self._stops = [self.events.listen(self._happened), self.traffic.listen(self._ended)]
        listener = Listener(self, request, frozenset(kinds), frozenset(hidden))
        self._listeners.add(listener)
        return listener.begin(id_)

    def forget(self, listener: Listener) -> None:
        """A listener has left."""
        self._listeners.discard(listener)
        if not self._listeners:
            stops, self._stops = self._stops, []
            for stop in stops:
                stop()

    def stop(self) -> None:
        """Let all listeners go, and take none of those who come back for more."""
        self._stopped = True
        self.close()

    def close(self) -> None:
        """Let all listeners go."""
        for listener in [*self._listeners]:
            listener.end()

    def _happened(self, event: Event) -> None:
        self._tell(event.kind, _encode({"at": event.at, "facts": event.facts}))

    def _ended(self, entry: Entry) -> None:
        if entry.debug_request_body is not msgspec.UNSET:
            entry = msgspec.structs.replace(entry, debug_request_body=msgspec.UNSET)
        self._tell("exchange", _encode(entry))

    def _tell(self, kind: str, data: bytes) -> None:
        self._number += 1
        message = b"id: %d\nevent: %b\ndata: %b\n\n" % (self._number, kind.encode(), data)
        for listener in [*self._listeners]:
            listener.tell(kind, message)


@implementer(IPushProducer)
class Listener:
    """
    One client that listens.

    Args:
        kinds: Of events that it wants; all if empty.
        hidden: Those that it is not told.
    """

    def __init__(
        self, feed: Feed, request: Request, kinds: frozenset[str], hidden: frozenset[str]
    ) -> None:
        self._feed = feed
        self._request = request
        self._kinds = kinds
        self._hidden = hidden
        self._paused = False
        self._waiting: deque[bytes] = deque()
        self._dropped = 0
        self._done: Deferred[None] = Deferred(lambda _: self._leave())
        self._timers: list[Timer] = []

    def begin(self, id_: str) -> Deferred[None]:
        """Begin the answer; what is given fires when it has ended."""
        self._request.registerProducer(self, True)
        self._request.begin(200, [*head_of(id_, MEDIA), (b"x-accel-buffering", b"no")], _RETRY)
        wheel = self._feed.wheel
        self._timers = [wheel.start(MAX_SECONDS, self.end), wheel.start(BEAT_SECONDS, self._beat)]
        return self._done

    def tell(self, kind: str, message: bytes) -> None:
        """Send an event, now or once there is room."""
        if kind in self._hidden or (self._kinds and kind not in self._kinds):
            return
        if not self._paused:
            self._request.write(message)
            return
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self._dropped += 1
        self._waiting.append(message)

    def end(self) -> None:
        """End the answer."""
        self._leave()
        self._request.finish()
        if not self._done.called:
            self._done.callback(None)

    def _leave(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._waiting.clear()
        self._feed.forget(self)

    def _beat(self) -> None:
        if not self._paused:
            self._request.write(_BEAT)
        self._timers[1] = self._feed.wheel.start(BEAT_SECONDS, self._beat)

    def pauseProducing(self) -> None:
        """The client is slower than we are."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Everything written has left."""
        self._paused = False
        if self._dropped:
            count, self._dropped = self._dropped, 0
            self._request.write(b'event: dropped\ndata: {"count":%d}\n\n' % count)
        while self._waiting and not self._paused:
            self._request.write(self._waiting.popleft())

    def stopProducing(self) -> None:
        """The connection is lost; the route is cancelled by the channel."""
