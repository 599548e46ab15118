"""
Events, posted to whoever the operator names.

Deliveries are made as the Standard Webhooks specification has it
(https://www.standardwebhooks.com): a JSON body with ``type``, ``timestamp`` and
``data``, and three headers.

======================  =====================================================
``webhook-id``          the same for every try of one delivery
``webhook-timestamp``   seconds since the epoch, of this try
``webhook-signature``   ``v1,`` and the Base64 HMAC-SHA256 of the id, the time
                        and the body, joined by full stops
======================  =====================================================

Each receiver has a bounded queue and is sent one delivery at a time, in order.
A try that fails in a way that may pass (no answer, 408, 429, 5xx) is made again,
later and later; another refusal, or the last try, gives the delivery up.  What
finds the queue full is dropped and counted.  Nothing here is waited for by
traffic, and nothing outlives the process.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from os import urandom
from random import Random
from time import gmtime, strftime
from typing import Any

import msgspec
from msgspec import Struct
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from lmgateway.telemetry.events import Event
from lmgateway.telemetry.exposition import Family

MAX_QUEUE = 1000
"""Deliveries that wait for one receiver."""
MAX_TRIES = 12
LONGEST_PAUSE = 300.0
"""Seconds between two tries; they begin with one and double."""

_PREFIX = "whsec_"
_OUTCOMES = ("delivered", "retried", "failed", "dropped")

Pairs = Sequence[tuple[bytes, bytes]]
Send = Callable[[bytes, Pairs], Awaitable[int]]
"""Posts a body with headers; gives the status of the answer."""


class Undelivered(Exception):
    """There was no answer."""


class Hook(Struct, frozen=True, kw_only=True):
    """
    One receiver.

    Attributes:
        kinds: The events that it is told of.
        key: What deliveries are signed with; ``None`` leaves them unsigned.
        send: Raises ``Undelivered`` where there is no answer.
    """

    kinds: frozenset[str]
    key: bytes | None
    send: Send


def key_bytes(text: str) -> bytes:
    """Give the bytes of a key: as written, or in Base64 after ``whsec_``."""
    if text.startswith(_PREFIX):
        with suppress(ValueError):
            return b64decode(text.removeprefix(_PREFIX), validate=True)
    return text.encode()


def signature(key: bytes, name: bytes, moment: bytes, body: bytes) -> bytes:
    """Sign one try of a delivery."""
    signed = b".".join((name, moment, body))
    return b"v1," + b64encode(hmac.digest(key, signed, "sha256"))


class _Delivery(Struct, frozen=True):
    name: bytes
    body: bytes


class _Courier:
    """Delivers to one receiver."""

    _log = Logger()

    def __init__(self, name: str, hook: Hook, hooks: Webhooks) -> None:
        self.hook = hook
        self.counts = dict.fromkeys(_OUTCOMES, 0)
        self._name = name
        self._hooks = hooks
        self._queue: deque[_Delivery] = deque()
        self._work: Deferred[None] | None = None

    def put(self, delivery: _Delivery) -> None:
        """Deliver something after what waits already."""
        if len(self._queue) >= MAX_QUEUE:
            if not self.counts["dropped"]:
                self._log.warn("The webhook {name} is too slow: events are lost.", name=self._name)
            self.counts["dropped"] += 1
            return
        self._queue.append(delivery)
        if self._work is None:
            self._work = ensureDeferred(self._deliver_all())

    def stop(self) -> None:
        """Deliver nothing more."""
        self.counts["dropped"] += len(self._queue)
        self._queue.clear()
        if self._work is not None:
            self._work.cancel()

    async def _deliver_all(self) -> None:
        try:
            await deferLater(self._hooks.clock, 0)  # whoever told of it goes on first
            while self._queue:
                await self._deliver(self._queue[0])
                if self._queue:
                    self._queue.popleft()
        except CancelledError:
            pass
        finally:
            self._work = None

    async def _deliver(self, delivery: _Delivery) -> None:
        for number in range(MAX_TRIES):
            if number:
                self.counts["retried"] += 1
                await deferLater(self._hooks.clock, self._hooks.pause(number))
            reason, is_final = await self._try(delivery)
            if not reason:
                self.counts["delivered"] += 1
                return
            if is_final:
                break
        self.counts["failed"] += 1
        self._log.warn(
            "The webhook {name} did not take a delivery: {reason}.", name=self._name, reason=reason
        )

    async def _try(self, delivery: _Delivery) -> tuple[str, bool]:
        """Make one try; say what went wrong, and whether another would be no use."""
        moment = b"%d" % self._hooks.wall()
        headers = [(b"webhook-id", delivery.name), (b"webhook-timestamp", moment)]
        if self.hook.key is not None:
            signed = signature(self.hook.key, delivery.name, moment, delivery.body)
            headers.append((b"webhook-signature", signed))
        try:
            status = await self.hook.send(delivery.body, headers)
        except Undelivered as error:
            return str(error), False
        if 200 <= status < 300:
            return "", True
        return f"status {status}", status < 500 and status not in (408, 429)


class Webhooks:
    """
    A listener to events that posts them.

    Args:
        wall: Seconds since the epoch.
    """

    def __init__(self, clock: IReactorTime, wall: Callable[[], float], random: Random) -> None:
        self.clock = clock
        self.wall = wall
        self._random = random
        self._couriers: dict[str, _Courier] = {}

    def settle(self, hooks: Mapping[str, Hook]) -> None:
        """Have these receivers from now on; what waits for one that stays is kept."""
        for name in [name for name in self._couriers if name not in hooks]:
            self._couriers.pop(name).stop()
        for name, hook in hooks.items():
            if name in self._couriers:
                self._couriers[name].hook = hook
            else:
                self._couriers[name] = _Courier(name, hook, self)

    def __call__(self, event: Event) -> None:
        """Post one event to those who want it."""
        wanting = [c for c in self._couriers.values() if event.kind in c.hook.kinds]
        if not wanting:
            return
        delivery = _Delivery(b"msg_" + urandom(12).hex().encode(), _body(event))
        for courier in wanting:
            courier.put(delivery)

    def pause(self, number: int) -> float:
        """Say how long to wait before a further try: half of it, and up to as much again."""
        longest = min(2.0 ** (number - 1), LONGEST_PAUSE)
        return longest / 2 + self._random.uniform(0, longest / 2)

    def stop(self) -> None:
        """Deliver nothing more, now or later."""
        self.settle({})

    def families(self) -> Iterator[Family]:
        """Give what ``/metrics`` shows of deliveries."""
        samples: list[tuple[tuple[str, ...], Any]] = [
            ((name, outcome), courier.counts[outcome])
            for name, courier in self._couriers.items()
            for outcome in _OUTCOMES
        ]
        text = "Deliveries to webhooks, and their further tries, by what became of them."
        yield Family("lmg_webhook_deliveries", "counter", text, ("webhook", "outcome"), samples)


def _body(event: Event) -> bytes:
    told = strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(event.at))
    return msgspec.json.encode({"type": event.kind, "timestamp": told, "data": event.facts})
