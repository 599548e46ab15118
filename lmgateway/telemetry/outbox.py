"""
What is sent elsewhere, in batches: bounded, never waited for, and counted where it is lost.

Items wait in memory until there are enough, or for a moment.  One batch is
under way at a time; one that fails is tried again a few times, while what comes
in waits behind it, up to ``capacity``, beyond which it is dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

CAPACITY = 2048
BATCH = 64
SECONDS = 1.0
RETRIES = 3
RETRY_SECONDS = 1.0

Item = TypeVar("Item")


class NotTaken(Exception):
    """The other end did not take a batch; ``retryable`` says whether it may later."""

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


class Outbox(Generic[Item]):
    """
    Sends items.

    Args:
        name: What it is called in logs and metrics.
        clock: Whose time counts.
        encode: Makes one body of a batch.
        post: Sends a body; raises ``NotTaken`` if it did not arrive.
        capacity: How many items wait at most.
        ended: Called when nothing is sent any more.

    Attributes:
        dropped: Items that were lost.
        sent: Items that arrived.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        clock: IReactorTime,
        encode: Callable[[list[Item]], bytes],
        post: Callable[[bytes], Awaitable[None]],
        *,
        capacity: int = CAPACITY,
        ended: Callable[[], object] | None = None,
    ) -> None:
        self.name = name
        self._clock = clock
        self._encode = encode
        self._post = post
        self._capacity = capacity
        self._ended = ended
        self._items: deque[Item] = deque()
        self._due: IDelayedCall | None = None
        self._sending = False
        self._under_way: Deferred[None] | None = None
        self._failing = False
        self.dropped = 0
        self.sent = 0

    def put(self, item: Item) -> None:
        """Take one item."""
        if len(self._items) >= self._capacity:
            self.dropped += 1
            return
        self._items.append(item)
        if not self._sending and self._due is None:
            self._due = self._clock.callLater(SECONDS, self._begin)

    def _begin(self) -> None:
        self._due = None
        self._sending = True
        # It may end at once: what says so is therefore not whether there is a Deferred.
        self._under_way = ensureDeferred(self._send_all())

    async def _send_all(self) -> None:
        with suppress(CancelledError):  # there is no time left: see close
            while self._items:
                count = min(BATCH, len(self._items))
                await self._send([self._items.popleft() for _ in range(count)])
        self._sending = False

    async def _send(self, batch: list[Item]) -> None:
        """Send a batch, or lose it."""
        try:
            body = self._encode(batch)
            for number in range(RETRIES + 1):
                if await self._arrives(body, last=number == RETRIES):
                    self.sent += len(batch)
                    return
                await deferLater(self._clock, RETRY_SECONDS * 2**number)
        except NotTaken as error:
            self.dropped += len(batch)
            if not self._failing:
                self._failing = True
                self._log.warn("{name}: not sent: {error}", name=self.name, error=str(error))
        except CancelledError:
            self.dropped += len(batch)
            raise
        except Exception:
            self.dropped += len(batch)
            self._log.failure("{name}: a batch could not be sent", name=self.name)

    async def _arrives(self, body: bytes, *, last: bool) -> bool:
        try:
            await self._post(body)
        except NotTaken as error:
            if last or not error.retryable:
                raise
            return False
        if self._failing:
            self._failing = False
            self._log.info("{name}: sent again", name=self.name)
        return True

    async def close(self, seconds: float) -> None:
        """Send what is left, as far as that takes no longer."""
        if self._due is not None:
            self._due.cancel()
            self._begin()
        if self._sending and self._under_way is not None:
            deadline = self._clock.callLater(seconds, self._under_way.cancel)
            ended: Deferred[None] = Deferred()
            self._under_way.addBoth(lambda _: ended.callback(None))
            await ended
            if deadline.active():
                deadline.cancel()
        self.dropped += len(self._items)
        self._items.clear()
        if self._ended is not None:
            self._ended()
