"""
Read one response body: whole, or chunk by chunk as it comes.

The backend is asked to pause while more than ``HIGH_WATER`` bytes wait for
their reader, so a slow client slows its backend down and nothing piles up
in between.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProtocol, ITransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from zope.interface import implementer

from lmgateway.backend_errors import BackendError, BackendTimeout, ProtocolError, Unreachable
from lmgateway.wire.faults import connection_fault
from lmgateway.wire.response import DONE, HIGH_WATER, Response
from lmgateway.wire.timers import Timer, Wheel

RELEASE_SECONDS = 1.0
RELEASE_BYTES = 4096
_TOO_LARGE = "The backend's answer is larger than this gateway accepts."


def at_hand(response: Response, limit: int) -> bytes | None:
    """
    Give a body that has come whole, and needs no reader; ``None`` if it has not, and has one.

    Raises:
        ProtocolError: If it is too large.
    """
    parts = response.claim() if response.proper_end else None
    if parts is None:
        return None
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    if len(body) > limit:
        raise ProtocolError(_TOO_LARGE)
    return body


@implementer(IProtocol)
class BodyReader:
    """
    Reads the body of *response*; make it as soon as the response is there.

    Every path out of a request must end in the body's end or in ``abort``.

    Attributes:
        proper_end: False if the body's end was, or would be, told by the connection's end
            alone: then only the grammar inside can say whether it is whole.
    """

    __slots__ = (
        "_alarm",
        "_due",
        "_end_by",
        "_ended",
        "_fault",
        "_length",
        "_limit",
        "_parts",
        "_paused",
        "_peer",
        "_released",
        "_silence",
        "_size",
        "_take_on",
        "_timer",
        "_waiter",
        "_wheel",
        "proper_end",
    )

    def __init__(self, response: Response, wheel: Wheel) -> None:
        self.proper_end = response.proper_end
        self._wheel = wheel
        self._length = response.length
        self._parts: list[bytes] = []
        self._size = 0
        self._limit: int | None = None
        self._paused = self._ended = self._released = False
        self._fault: BaseException | None = None
        self._waiter: Deferred[None] | None = None
        self._timer: Timer | None = None
        self._alarm = self._due = self._silence = self._end_by = 0.0
        self._peer: Any = None
        self._take_on: Callable[[bytes], bool] | None = None
        whole = response.claim()
        if whole is not None:
            self._parts = whole
            self._size = len(whole[0]) if len(whole) == 1 else sum(map(len, whole))
            self._ended = True
        else:
            response.deliverBody(self)

    # Reading ---------------------------------------------------------------
    async def whole(self, limit: int, seconds: float, *, certain: bool = True) -> bytes:
        """
        Give the body, once it is complete.

        Args:
            limit: The most bytes it may have.
            seconds: How long it may take from now.
            certain: Whether a body is refused that may have been cut, since it has no length.

        Raises:
            BackendError: If it is cut, too large or too slow; the connection is closed then.
        """
        self._limit = limit
        if self._size > limit or (isinstance(self._length, int) and self._length > limit):
            self._refuse_size()
        if not self._ended:
            self._go_on()
            due = self._wheel.now() + seconds
            while not self._ended:
                await self._wait(due)
        self._raise_fault()
        if certain and not self.proper_end:
            raise ProtocolError("The backend's answer has no length: it may have been cut.")
        return self._take()

    async def chunk(self, silence_seconds: float) -> bytes:
        """
        Give all that has come since the last call, and wait if that is nothing.

        Args:
            silence_seconds: How long to wait.

        Returns:
            Bytes; none of them only at the body's end.

        Raises:
            BackendError: If the body is cut, or the backend silent for too long; the
                connection is closed then.
        """
        while not self._parts:
            if self._ended:
                self._raise_fault()
                return b""
            await self._wait(self._wheel.now() + silence_seconds)
        return self._take()

    async def flow(
        self, take: Callable[[bytes], bool], silence_seconds: float, end_by: float
    ) -> bool:
        """
        Hand on all that comes at once, without a turn through whoever waits here.

        Args:
            take: Given what has come; says whether to go on.  Must not raise.
            silence_seconds: How long the backend may be silent.
            end_by: When all must have come.

        Returns:
            Whether this is the body's end; else *take* had enough.

        Raises:
            BackendError: If the body is cut, or comes too late; the connection is closed then.
        """
        if self._parts and not take(self._take()):
            return False
        if not self._ended:
            self._take_on, self._silence, self._end_by = take, silence_seconds, end_by
            try:
                await self._wait(min(self._wheel.now() + silence_seconds, end_by))
            finally:
                self._take_on = None
        if self._parts or not self._ended:
            return False
        self._raise_fault()
        return True

    def abort(self) -> None:
        """Cut the connection, unless the body has come whole or was released; may be repeated."""
        if self._ended or self._released:
            return
        peer = self._peer
        self._end(CancelledError())
        self._parts.clear()
        if peer is not None:
            # A stock response has no abort of its own.
            cut = getattr(peer, "abortConnection", None) or peer.stopProducing
            cut()

    def release(self) -> None:
        """
        Say that nothing more is read: what still comes is thrown away, within bounds.

        A grammar's own end comes a moment before that of its transfer; a connection that is
        given this moment can be used again.
        """
        if self._ended:
            return
        self._released = True
        self._parts.clear()
        self._size = 0
        self._go_on()
        self._due = 0.0
        if not getattr(self._peer, "arrived", False):
            self._set_alarm(self._wheel.now() + RELEASE_SECONDS)

    def _take(self) -> bytes:
        parts = self._parts
        if len(parts) == 1:
            data = parts.pop()
        else:
            data = b"".join(parts)
            parts.clear()
        self._size = 0
        if self._paused:
            self._go_on()
        return data

    def _go_on(self) -> None:
        if self._paused:
            self._paused = False
            if self._peer is not None:
                self._peer.resumeProducing()

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault

    # Waiting ---------------------------------------------------------------
    def _wait(self, due: float) -> Deferred[None]:
        self._due = due
        # One timer serves many waits: it is only set again where the new deadline is earlier,
        # and looks at ``_due`` when it rings.
        if self._timer is None or due < self._alarm:
            self._set_alarm(due)
        waiter: Deferred[None] = Deferred(self._cancelled)
        self._waiter = waiter
        return waiter

    def _set_alarm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._alarm = due
        self._timer = self._wheel.start(due - self._wheel.now(), self._rung)

    def _rung(self) -> None:
        self._timer = None
        if self._released:
            self._released = False
            self.abort()
            return
        if self._waiter is None:
            return
        if self._due > self._wheel.now():
            self._set_alarm(self._due)
        else:
            self._fail(BackendTimeout("The backend was silent for too long."))

    def _cancelled(self, _: Deferred[None]) -> None:
        self._waiter = None
        self.abort()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)

    # Ending ----------------------------------------------------------------
    def _refuse_size(self) -> None:
        self._fail(ProtocolError(_TOO_LARGE))
        self._raise_fault()

    def _fail(self, fault: BackendError) -> None:
        if not self._ended:
            waiter, self._waiter = self._waiter, None
            self.abort()
            self._fault = fault
            if waiter is not None:
                waiter.callback(None)
        else:
            self._fault = fault

    def _end(self, fault: BaseException | None) -> None:
        self._ended = True
        self._fault = fault
        self._peer = None
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self._wake()

    # Twisted's side --------------------------------------------------------
    def makeConnection(self, transport: ITransport) -> None:
        """The body is about to come."""
        self._peer = transport

    def connectionMade(self) -> None:
        """There is nothing more to do then."""

    def dataReceived(self, data: bytes) -> None:
        """A piece came."""
        if self._ended:
            return
        take = self._take_on
        if take is not None:
            due = self._wheel.now() + self._silence
            self._due = due if due < self._end_by else self._end_by
            if not take(data):
                self._wake()
            return
        self._size += len(data)
        if self._released:
            if self._size > RELEASE_BYTES:
                self._released = False
                self.abort()
            return
        self._parts.append(data)
        if self._limit is not None:
            if self._size > self._limit:
                self._fail(
                    ProtocolError("The backend's answer is larger than this gateway accepts.")
                )
            return
        if self._waiter is not None:
            self._wake()
        elif self._size > HIGH_WATER and not self._paused:
            self._paused = True
            self._peer.pauseProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """No more will come."""
        if self._ended:
            return
        if reason is DONE or reason.check(ResponseDone):
            self._end(None)
        elif reason.check(PotentialDataLoss):
            self.proper_end = False
            self._end(None)
        else:
            self._end(_broken(reason))


def _broken(reason: Failure) -> BackendError:
    if isinstance(reason.value, BackendError):
        return reason.value
    fault = connection_fault(reason)
    if type(fault) is Unreachable:
        fault = Unreachable("The backend broke off its answer.")
        fault.__cause__ = reason.value
    return fault
