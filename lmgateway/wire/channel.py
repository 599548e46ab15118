"""
One client connection: HTTP/1.1 as a server speaks it, and nothing more than that.

A connection is in one ``Phase`` at a time, each with its deadline.  Output that stands
still for ``stall_seconds`` aborts it in any phase.  Input is read in every phase, or a
client that left would not be noticed; so what it may send ahead of an answer is bounded,
and more aborts.

A client that half-closes its side is taken to have left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IAddress, IProtocol, ITransport
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from lmgateway.errors import GatewayError, Overloaded, RequestTimeout, RequestTooLarge, untie
from lmgateway.wire.deadline import Deadline
from lmgateway.wire.door import Head
from lmgateway.wire.framing import expects_continue, read_head
from lmgateway.wire.heads import CLOSE, CONTINUE
from lmgateway.wire.known import HEADS, Recognised, take
from lmgateway.wire.outflow import Outflow
from lmgateway.wire.phase import Phase
from lmgateway.wire.reader import Message, Reader
from lmgateway.wire.refusal import render_refusal
from lmgateway.wire.request import Request

if TYPE_CHECKING:
    from lmgateway.wire.server import ServerFactory

_log = Logger()

_LINGER_BYTES = 65536
"""How much more of a refused request is read, so that its sender gets to see why."""
_GRACE = 1.0
"""How long a drain waits for a request on a connection that has none."""


@implementer(IProtocol)
class Channel:
    """
    Serves one connection, one request after the other.

    Args:
        factory: Whose limits, door and routes count, as they are when a head is complete.
        peer: The client's address.
        surplus: Whether this connection is one too many.

    Attributes:
        keep_alive: Whether the connection goes on after the present answer.
        outflow: Where answers are written.
    """

    __slots__ = (
        "_advancing",
        "_deadline",
        "_excess",
        "_factory",
        "_peer",
        "_phase",
        "_reader",
        "_request",
        "_surplus",
        "_unmistakably",
        "keep_alive",
        "outflow",
        "transport",
    )

    transport: ITransport
    outflow: Outflow

    def __init__(self, factory: ServerFactory, peer: str, surplus: bool = False) -> None:
        self._factory = factory
        self._peer = peer
        self._surplus = surplus
        self._reader = Reader(factory.limits)
        self._request: Request | None = None
        self._phase = Phase.HEAD
        self._deadline = Deadline(factory.wheel, self._expire)
        self._excess = 0
        self._advancing = False
        self._unmistakably = False
        self.keep_alive = True

    # What the transport calls -------------------------------------------------
    def makeConnection(self, transport: ITransport) -> None:
        """A client connected."""
        limits, wheel = self._factory.limits, self._factory.wheel
        self.transport = transport
        self.outflow = Outflow(transport, wheel, limits.stall_seconds, self)
        self.outflow.tune()
        self._factory.connections.add(self)
        draining = self._factory.draining
        self._deadline.set(_GRACE if draining else limits.header_seconds)
        self.connectionMade()

    def connectionMade(self) -> None:
        """The connection can be used: tell one that is too many so."""
        if self._surplus:
            self._refuse(None, Overloaded("The gateway has too many connections."))

    def dataReceived(self, data: bytes) -> None:
        """The client sent something."""
        phase, reader = self._phase, self._reader
        if phase is Phase.IDLE or (phase is Phase.HEAD and not reader.heading):
            known = take(reader, data)
            if known is not None:
                self._meet(known)
                return
        elif phase is Phase.CLOSING:
            self._discard(len(data))
            return
        else:
            if phase is Phase.BUSY:
                self._excess += len(data)
                if self._excess > reader.limits.max_pipelined_bytes:
                    self.abort()
                    return
            reader.feed(data)
        self._advance()

    def _meet(self, message: Recognised) -> None:
        """Go the short way with a request that is whole and alone."""
        if self.outflow.watch is not None or not self._admit(message):
            self._advance()
        elif message.received > message.limit:
            self._refuse(message.head, RequestTooLarge("The request body is too large."))
        else:
            del self._reader.messages[0]
            self._start(message)

    def connectionLost(self, reason: Failure) -> None:
        """The connection is gone, whoever ended it."""
        self._phase = Phase.CLOSING
        self._deadline.close()
        self._reader.close()
        self.outflow.close()
        request, self._request = self._request, None
        self._factory.lost(self)
        if request is not None:
            request.connectionLost(reason)

    # From messages to requests --------------------------------------------------
    def _advance(self) -> None:
        """Go as far as what came allows."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._request is None and self._phase is not Phase.CLOSING:
                if not self._step():
                    break
        finally:
            self._advancing = False

    def _step(self) -> bool:
        """Look at the oldest message; tell whether to look again."""
        reader = self._reader
        if self.outflow.watch is not None and self.outflow.congested:
            return False
        if not reader.messages:
            self._await_head()
            return False
        message = reader.messages[0]
        if not message.admitted and not self._admit(message):
            return True
        if message.excessive:
            self._refuse(message.head, RequestTooLarge("The request body is too large."))
            return False
        if not message.complete:
            self._await_body(message)
            return False
        del reader.messages[0]
        self._start(message)
        return True

    def _await_head(self) -> None:
        reader = self._reader
        if reader.broken is not None:
            self._refuse(None, reader.broken)
        elif reader.heading:
            self._enter(Phase.HEAD, self._factory.limits.header_seconds)
        elif self._phase is Phase.BUSY:
            self._rest()

    def _rest(self) -> None:
        """Nothing is asked and nothing is owed."""
        if self._factory.draining:
            self.loseConnection()
        else:
            self._phase = Phase.IDLE
            self._deadline.set(self._factory.limits.keep_alive_seconds)

    def _await_body(self, message: Message) -> None:
        if self._reader.broken is not None:
            self._refuse(message.head, self._reader.broken)
        elif self._phase is not Phase.BODY:
            self._enter(Phase.BODY, self._reader.limits.body_seconds)
            if expects_continue(message, message.head):
                self.outflow.write(CONTINUE)

    def _admit(self, message: Message) -> bool:
        """Check a head and ask the door; refuse what may not come in."""
        factory = self._factory
        limits = factory.limits
        if limits is not self._reader.limits:
            self._reader.limits = limits
            self.outflow.stall_seconds = limits.stall_seconds
        self.keep_alive = message.keep_alive
        head = None
        try:
            if type(message) is Recognised:
                head = message.read(self._peer, factory.secure)
            else:
                head = read_head(message, self._peer, factory.secure)
            pass_ = factory.door.admit(head)
        except GatewayError as error:
            self._turn_away(message, head, error)
            untie(error)
            return False
        except Exception:
            _log.failure("The door failed.")
            self._turn_away(message, head, GatewayError())
            return False
        if message.whole is not None:
            HEADS.learn(message, head)
        message.head = head
        message.pass_ = pass_
        message.limit = pass_.max_body
        message.routes = factory.resource
        message.admitted = True
        return True

    def _turn_away(self, message: Message, head: Head | None, error: GatewayError) -> None:
        """Refuse; the connection may go on only if nothing of the message is outstanding."""
        whole = head is not None and message.complete and self._reader.broken is None
        if not whole or not self.settle_keep_alive():
            self._refuse(head, error)
            return
        del self._reader.messages[0]
        self.outflow.write(self._refusal(head, error, b""))
        self._phase = Phase.BUSY

    def _start(self, message: Message) -> None:
        """Hand a complete request to the routes."""
        reader = self._reader
        self._excess = reader.backlog() if reader.messages or reader.heading else 0
        if self._excess > reader.limits.max_pipelined_bytes:
            self.abort()
            return
        self._phase = Phase.BUSY
        self._deadline.lift()
        request = Request(self, message)
        self._request = request
        try:
            message.routes.dispatch(request)
        except Exception:
            _log.failure("A request could not be dispatched.")
            request.abort()

    # What requests say ----------------------------------------------------------
    def settle_keep_alive(self) -> bool:
        """Decide, for the head being written, whether the connection goes on."""
        self.keep_alive = self.keep_alive and not self._factory.draining
        return self.keep_alive

    def begun(self) -> None:
        """An answer in parts has begun and may take its time: keep little meanwhile."""
        self._reader.rest()

    def answered(self) -> None:
        """The answer is written."""
        self._request = None
        reader = self._reader
        if not self.keep_alive:
            self.loseConnection()
        elif reader.messages or reader.heading or reader.broken or self.outflow.watch:
            self._advance()
        else:
            self._rest()

    def eased(self) -> None:
        """Output that waited has all left."""
        self._advance()

    def break_off(self, *, unmistakably: bool) -> None:
        """
        End the connection after what was written, without the answer's proper end.

        Args:
            unmistakably: Whether the client can tell only by a reset.
        """
        self._request = None
        if unmistakably:
            self._unmistakably = True
            self._enter(Phase.CLOSING, 0.1)
            self._linger_out()
        else:
            self.loseConnection()

    # What Twisted's own code may call through a request ---------------------------
    def getPeer(self) -> IAddress:
        """The client's end."""
        return self.transport.getPeer()

    def getHost(self) -> IAddress:
        """Our end."""
        return self.transport.getHost()

    def isSecure(self) -> bool:
        """Whether TLS protects this."""
        return self._factory.secure

    # Ends -------------------------------------------------------------------------
    def loseConnection(self) -> None:
        """Send what is written, then close; force it if that takes too long."""
        if self._phase is not Phase.CLOSING:
            self._enter(Phase.CLOSING, self._reader.limits.linger_seconds)
            self.transport.loseConnection()

    def abort(self) -> None:
        """End it now."""
        self._phase = Phase.CLOSING
        self._deadline.close()
        (getattr(self.transport, "abortConnection", None) or self.transport.loseConnection)()

    def rest_or_finish(self) -> None:
        """Drain: close soon if nothing is asked or owed, else after the present answer."""
        resting = self._phase is Phase.HEAD and not self._reader.heading
        if resting or self._phase is Phase.IDLE:
            # A request may be on its way, and closed upon it would fail: it is answered yet,
            # and told that it was the last.
            self._deadline.set(_GRACE)

    def interrupt(self, error: GatewayError) -> None:
        """End what is under way early, telling the client *error* where that can be done."""
        if self._request is not None:
            self._request.interrupt(error)
        elif self._reader.messages:
            self._refuse(self._reader.messages[0].head, error)
        else:
            self.loseConnection()

    # Refusals -----------------------------------------------------------------------
    def _refuse(self, head: Head | None, error: GatewayError) -> None:
        """Say no, and close in a way that lets a client still busy sending read it."""
        if self._phase is Phase.CLOSING:
            return
        self.outflow.write(self._refusal(head, error, CLOSE))
        self._reader.close()
        self._excess = 0
        transport = self.transport
        if isinstance(transport, Connection):
            # Closed outright, unread input would make the kernel reset the connection, and
            # with it what we just said.  So: no more from us, and listen on for a while.
            self._enter(Phase.CLOSING, self._reader.limits.linger_seconds)
            transport.loseWriteConnection()
        else:
            self.loseConnection()

    def _refusal(self, head: Head | None, error: GatewayError, framing: bytes) -> bytes:
        return render_refusal(self._factory.door, head, self._peer, error, framing)

    def _discard(self, size: int) -> None:
        """Drop input that comes while closing; leave it to the kernel beyond a bound."""
        self._excess += size
        if self._excess > _LINGER_BYTES:
            self.outflow.stop_reading()

    # Deadlines ------------------------------------------------------------------------
    def _enter(self, phase: Phase, seconds: float) -> None:
        """Go to *phase*, whose time runs from now, unless it is the present one."""
        if phase is not self._phase:
            self._phase = phase
            self._deadline.set(seconds)

    def _expire(self) -> None:
        """The phase's time is over."""
        if self._phase is Phase.CLOSING:
            self._linger_out()
        elif self._phase is Phase.BODY:
            self._refuse(self._reader.messages[0].head, RequestTimeout("The body took too long."))
        elif self._reader.heading:
            self._refuse(None, RequestTimeout("The request headers took too long."))
        else:
            self.loseConnection()

    def _linger_out(self) -> None:
        """Let go, unless output is still moving: whether it does, the outflow watches."""
        if self.outflow.unsent():
            self._deadline.set(0.1 if self._unmistakably else self._reader.limits.linger_seconds)
        elif self._unmistakably or not self.outflow.let_go():
            self.abort()
