"""
One answer, written once and read by any number of clients, each at its own pace.

Whoever answers writes on a ``Tape`` as on a request.  It is told to wait when even the fastest
reader is ``LAG`` behind, so a single slow client holds its backend up as it always does, and a
slow one among several holds nobody up.  What was written is kept from its beginning, so that a
late reader misses nothing, until ``let_go``: from then on only what somebody has still to read is
kept, nobody else may begin, and a reader that falls ``MAX_LAG`` behind is cut off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IPushProducer

from lmgateway.backend_errors import BackendTimeout
from lmgateway.errors import GatewayError, Overloaded
from lmgateway.wire.heads import Headers
from lmgateway.wire.outlet import Outlet
from lmgateway.wire.request import Request

LAG = 65536
"""Bytes by which the fastest reader may be behind before the writer waits; one write at most."""

MAX_LAG = 1024 * 1024
"""Bytes by which a reader may be behind the fastest one, once nothing is kept for others."""


class Tape:
    """
    One answer: see ``wire.outlet.Sink`` for the writer's side.

    Args:
        deserted: Called when the last reader has left before the end.
        grew: Told how many bytes more are kept.

    Attributes:
        status: The HTTP status; 0 until the answer has begun.
        headers: Those that every reader is given.
        streamed: Whether it came in parts, and not with its length.
        ended: How it ended, if it has.
        held: The bytes that are kept.
        kept: Whether it is kept from its beginning.
    """

    def __init__(self, deserted: Callable[[], object], grew: Callable[[int], object]) -> None:
        self._deserted = deserted
        self._grew = grew
        self._parts: list[bytes] = []
        self._dropped = 0
        self._readers: set[Reader] = set()
        self._waiting: list[Deferred[None]] = []
        self._producer: IPushProducer | None = None
        self._paused = False
        self.status = 0
        self.headers: Headers = []
        self.streamed = False
        self.ended: Literal["", "whole", "broken"] = ""
        self.size = 0
        self.held = 0
        self.kept = True

    # The writer's side ---------------------------------------------------------
    @property
    def startedWriting(self) -> bool:
        """Whether the answer has begun."""
        return self.status > 0

    @property
    def gone(self) -> bool:
        """Whether nothing more can be written."""
        return bool(self.ended)

    def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer at once, and done."""
        self.status, self.headers = status, headers
        self._end("whole", body)

    def begin(self, status: int, headers: Headers, data: bytes = b"") -> None:
        """Begin a streamed answer."""
        self.status, self.headers, self.streamed = status, headers, True
        self.write(data)

    def write(self, data: bytes) -> None:
        """Write a part."""
        if data:
            self._add(data)
        self._wake()
        self._pace()

    def finish(self, data: bytes = b"") -> None:
        """End a streamed answer well."""
        self._end("whole", data)

    def abort(self) -> None:
        """End the answer so that every reader sees that it is not whole."""
        if not self.ended:
            self._end("broken")

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Tell *producer* when to wait."""
        self._producer = producer

    def _end(self, how: Literal["whole", "broken"], data: bytes = b"") -> None:
        if data:
            self._add(data)
        self.ended = how
        self._producer = None
        self._wake()

    def _add(self, data: bytes) -> None:
        self._parts.append(data)
        self.size += len(data)
        self.held += len(data)
        if self.kept:
            self._grew(len(data))

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.called:  # or it was cancelled meanwhile
                waiter.callback(None)

    # Pace ----------------------------------------------------------------------
    def _pace(self) -> None:
        """Have the writer wait, or go on, and cut off who holds up too much."""
        furthest = max([reader.offset for reader in self._readers], default=self.size)
        behind = self.size - furthest > LAG
        if self._producer is not None and behind != self._paused:
            self._paused = behind
            if behind:
                self._producer.pauseProducing()
            else:
                self._producer.resumeProducing()
        if self.kept:
            return
        for reader in tuple(self._readers):
            if furthest - reader.offset > MAX_LAG and not self.ended:
                reader.cut()
        self._trim()

    def let_go(self) -> None:
        """Keep no more than what somebody has still to read."""
        self.kept = False
        self._trim()

    def _trim(self) -> None:
        if not self._readers:
            return  # the last one may still be told how it ended; then all of it goes
        count = min(reader.at for reader in self._readers) - self._dropped
        self.held -= sum(map(len, self._parts[:count]))
        del self._parts[:count]
        self._dropped += count

    # The readers' side ---------------------------------------------------------
    @property
    def readers(self) -> int:
        """How many read it now."""
        return len(self._readers)

    def join(self, reader: Reader) -> None:
        """Let one more read."""
        self._readers.add(reader)

    def leave(self, reader: Reader) -> None:
        """Take note that one reads no more."""
        self._readers.discard(reader)
        if self.ended:
            if not self._readers and not self._dropped and reader.at == len(self._parts):
                self._parts = [b"".join(self._parts)]  # many small ones take more room
            return
        if self._readers:
            self._pace()
        else:
            self._deserted()

    def more(self) -> Deferred[None]:
        """Fire when something was written, or the answer ended."""
        waiter: Deferred[None] = Deferred()
        self._waiting.append(waiter)
        return waiter

    def after(self, at: int) -> list[bytes]:
        """Give parts from the one numbered *at*: about as much as is sent at once."""
        parts: list[bytes] = []
        size = 0
        for number in range(at - self._dropped, len(self._parts)):
            parts.append(self._parts[number])
            size += len(parts[-1])
            if size >= LAG:
                break
        return parts

    def has(self, at: int) -> bool:
        """Tell whether nothing from the part numbered *at* on was let go of."""
        return at >= self._dropped

    def advanced(self) -> None:
        """Take note that a reader went on."""
        if self._paused or not self.kept:
            self._pace()


class Reader:
    """
    Reads a tape out to one client.

    Args:
        headers: Gives this client's own headers, from those of the answer.
        why: Told why the gateway itself ended this client's request, if it did.

    Attributes:
        at: The number of the part that comes next.
        offset: The bytes read.
    """

    def __init__(
        self,
        tape: Tape,
        request: Request,
        headers: Callable[[Headers], Headers],
        why: Callable[[GatewayError | None], object],
    ) -> None:
        self._tape = tape
        self._request = request
        self._headers = headers
        self._why = why
        self.at = 0
        self.offset = 0
        tape.join(self)

    async def play(self, within: Callable[[Deferred[None]], object] | None = None) -> None:
        """
        Send what is written, as it is written, until the end.

        Args:
            within: Bounds the wait for its beginning.

        Raises:
            BackendTimeout: If it has not begun by then.
        """
        tape, request = self._tape, self._request
        try:
            while not tape.status and not tape.ended:
                more = tape.more()
                if within is not None:
                    within(more)
                await more
            if not tape.has(self.at):
                raise Overloaded("The beginning of this answer is gone.", retry_after=5)
            outlet = Outlet(request)
            self._open(outlet)
            while True:
                data = self._next()
                if data:
                    gate = outlet.write(data)
                    if gate is not None:
                        await gate
                elif tape.ended:
                    break
                else:
                    await tape.more()
            self._close()
        except CancelledError:
            self._why(request.interruption)
            raise
        except TimeoutError:
            late = BackendTimeout()
            self._why(late)
            raise late from None
        finally:
            tape.leave(self)

    def catch_up(self) -> bool:
        """
        Send at once all that is left, whatever the client takes.

        Returns:
            Whether the answer has ended.
        """
        if not self._tape.ended or not self._tape.has(self.at):
            return False
        if not self._request.startedWriting:
            self._open(Outlet(self._request))
        while data := self._next():
            self._request.write(data)
        self._close()
        return True

    def cut(self) -> None:
        """End this client's request: it holds up too much."""
        self._request.interrupt(Overloaded("The answer was read too slowly."))

    def _open(self, outlet: Outlet) -> None:
        tape = self._tape
        headers = self._headers(tape.headers)
        if tape.streamed:
            outlet.open(tape.status, headers, self._next())
        elif tape.status:
            self._request.respond(tape.status, headers, self._next())

    def _close(self) -> None:
        if self._tape.ended == "whole" and self._tape.streamed:
            self._request.finish()
        elif self._tape.ended == "broken":
            self._request.abort()

    def _next(self) -> bytes:
        parts = self._tape.after(self.at)
        data = b"".join(parts)
        self.at += len(parts)
        self.offset += len(data)
        if parts:
            self._tape.advanced()
        return data
