"""
The connections to one origin, and the requests on their way over them.

Idle connections are reused last in, first out, and for less time than a
backend keeps them.  A request that was sent on a reused connection which then
closes without a byte of an answer had met a closing door: it is sent once
more, on a fresh connection.  Nothing else is ever sent twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, IProtocol, IStreamClientEndpoint
from twisted.internet.protocol import ClientFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from lmgateway.backend_errors import BackendError, BackendTimeout
from lmgateway.wire.awaited import Awaited
from lmgateway.wire.connection import Connection
from lmgateway.wire.faults import connection_fault
from lmgateway.wire.origin import Target
from lmgateway.wire.response import Response
from lmgateway.wire.timers import Timer, Wheel

_log = Logger()


class Flight:
    """
    One request, until the head of its answer is there.

    Args:
        pool: Whose connections may carry it.
        target: What is asked.
        pieces: The bytes to send.
        head_seconds: How long the answer's head may take once they are sent.
    """

    __slots__ = (
        "_answer",
        "_connection",
        "_dial",
        "_pool",
        "_reused",
        "bodiless",
        "head_seconds",
        "pieces",
        "target",
    )

    def __init__(
        self, pool: Pool, target: Target, pieces: Sequence[bytes], head_seconds: float
    ) -> None:
        self.target = target
        self.pieces = pieces
        self.head_seconds = head_seconds
        self.bodiless = target.method == b"HEAD"
        self._pool = pool
        self._connection: Connection | None = None
        self._dial: Dial | None = None
        self._reused = False
        self._answer: Deferred[Response] | None = None

    def depart(self) -> Deferred[Response]:
        """Send it, as soon as there is a connection; cancel to cut it off at once."""
        answer = self._answer = Awaited(self._cancelled)
        connection = self._pool.take()
        if connection is not None:
            self._reused = True
            self._connection = connection
            connection.start(self)
        else:
            self._open()
        return answer

    def _open(self) -> None:
        self._dial = Dial(self._pool, self)
        self._dial.begin()

    def board(self, connection: Connection) -> None:
        """Send it over *connection*."""
        self._dial = None
        self._connection = connection
        connection.start(self)

    def answered(self, response: Response) -> None:
        """The head is there."""
        answer, self._answer = self._answer, None
        self._connection = None
        if answer is not None:
            answer.callback(response)

    def failed(self, error: BackendError) -> None:
        """There will be no answer."""
        answer = self._land()
        if answer is not None:
            answer.errback(Failure(error))

    def lost(self, reason: Failure) -> None:
        """The connection closed before the answer's head was complete."""
        connection = self._connection
        if self._reused and connection is not None and not connection.touched:
            self._reused = False
            self._connection = None
            self._open()
            return
        self.failed(connection_fault(reason))

    def _cancelled(self, answer: Deferred[Response]) -> None:
        dial, connection = self._dial, self._connection
        self._land()
        if dial is not None:
            dial.stop()
        if connection is not None:
            connection.abort()

    def _land(self) -> Deferred[Response] | None:
        self._connection = self._dial = None
        answer, self._answer = self._answer, None
        return answer


class Dial(ClientFactory):
    """
    Opens one connection for one flight, all of it within one deadline.

    Args:
        pool: Knows the way.
        flight: Boards the connection, or is told why there is none.
    """

    noisy = False

    def __init__(self, pool: Pool, flight: Flight) -> None:
        self._pool = pool
        self._flight: Flight | None = flight
        self._phase = "name look-up"
        self._connection: Connection | None = None
        self._connecting: Deferred[IProtocol] | None = None

    def begin(self) -> None:
        """Start."""
        self._timer = self._pool.wheel.start(self._pool.connect_seconds, self._late)
        connecting = self._pool.endpoint.connect(self)
        if self._flight is not None:
            self._connecting = connecting
        connecting.addErrback(self._refused)

    def startFactory(self) -> None:
        """The address is known; Twisted begins to connect."""
        self._phase = self._pool.first_phase

    def buildProtocol(self, address: IAddress | None) -> Connection | None:
        """The way to the backend is open."""
        if self._flight is None:
            return None
        self._connection = Connection(self._pool, self)
        return self._connection

    def opened(self, connection: Connection) -> bool:
        """Take note that bytes can be exchanged; say whether a handshake is still to come."""
        self._phase = "TLS handshake"
        return self._pool.secure

    def ready(self, connection: Connection) -> None:
        """The connection may be used."""
        flight = self._end()
        self._pool.opened += 1
        self._pool.live += 1
        _log.debug("Connected to {origin}", origin=self._pool.name, live=self._pool.live)
        if flight is not None:
            flight.board(connection)

    def lost(self, reason: Failure) -> None:
        """The connection closed before it could be used."""
        self._fail(connection_fault(reason))

    def stop(self) -> None:
        """Nobody waits any more: leave nothing behind."""
        connecting, connection = self._connecting, self._connection
        self._end()
        if connecting is not None:
            connecting.cancel()
        if connection is not None:
            connection.abort()

    def _refused(self, reason: Failure) -> None:
        if not reason.check(CancelledError):
            self._fail(connection_fault(reason))

    def _late(self) -> None:
        flight = self._flight
        self.stop()
        if flight is not None:
            flight.failed(BackendTimeout(f"The backend did not connect in time: {self._phase}."))

    def _fail(self, error: BackendError) -> None:
        _log.debug("Not connected to {origin}: {kind}", origin=self._pool.name, kind=error.kind)
        flight = self._end()
        if flight is not None:
            flight.failed(error)

    def _end(self) -> Flight | None:
        self._timer.cancel()
        self._connection = self._connecting = None
        flight, self._flight = self._flight, None
        return flight


class Pool:
    """
    The connections to one origin.

    Args:
        wheel: Keeps the deadlines.
        endpoint: Leads to the origin.
        secure: Whether a TLS handshake follows the connection.
        first_phase: What the time before that is spent on, for the text of a time-out.
        connect_seconds: How long a new connection may take, all phases together.
        idle_seconds: How long an unused connection is kept.
        max_idle: How many unused connections are kept.
        name: What the origin is called in logs.

    Attributes:
        opened: Connections made, ever.
        reused: Requests sent over a connection that had carried one before.
        live: Connections there are now, idle ones included.
    """

    def __init__(
        self,
        wheel: Wheel,
        endpoint: IStreamClientEndpoint,
        *,
        secure: bool,
        first_phase: str,
        connect_seconds: float,
        idle_seconds: float,
        max_idle: int,
        name: str = "",
    ) -> None:
        self.wheel = wheel
        self.name = name
        self.endpoint = endpoint
        self.secure = secure
        self.first_phase = first_phase
        self.connect_seconds = connect_seconds
        self.opened = self.reused = self.live = 0
        self._idle: dict[Connection, float] = {}
        self._idle_seconds = idle_seconds
        self._max_idle = max_idle
        self._closed = False
        self._sweep: Timer | None = None
        self._now: Callable[[], float] = wheel.now

    @property
    def idle(self) -> int:
        """Connections that wait for a request."""
        return len(self._idle)

    def take(self) -> Connection | None:
        """Give the connection that was used last, unless all have waited too long."""
        if not self._idle:
            return None
        connection, since = self._idle.popitem()
        if self._now() - since >= self._idle_seconds:
            self._idle[connection] = since
            self._expire()
            return None
        self.reused += 1
        return connection

    def release(self, connection: Connection) -> None:
        """Take back a connection that has carried its answer whole."""
        if self._closed or len(self._idle) >= self._max_idle:
            connection.close()
            return
        self._idle[connection] = self._now()
        if self._sweep is None:
            self._sweep = self.wheel.start(self._idle_seconds, self._expire)

    def lost(self, connection: Connection) -> None:
        """Forget a connection that is closed, or about to be."""
        self.live -= 1
        self._idle.pop(connection, None)

    def _expire(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        oldest = self._now() - self._idle_seconds
        for connection, since in list(self._idle.items()):
            if since > oldest:
                left = since - oldest
                self._sweep = self.wheel.start(left, self._expire)
                break
            connection.close()

    def close(self) -> None:
        """Close idle connections now, and others as soon as they have carried their answer."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in list(self._idle):
            connection.close()
