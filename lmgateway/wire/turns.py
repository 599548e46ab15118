"""
A lighter turn of Twisted's reactor.

The reactor hands on each event through ``log.callWithLogger``: a failure is
logged, and all that is logged meanwhile gets the protocol's name as a prefix.
The prefix is seen only in free text, which this service does not write, and
it takes five calls for each event of each connection.  Three more are between
the event and the protocol that reads: nearly all events say that a connection
can be read, and what ``tcp.Connection.doRead`` does then is done here.

And it reads from all that can be read, before anybody acts on it, and sends what
was written (see ``burst``) at the end: a few dozen times the same thing, while
its code and data are at hand, instead of a few dozen times a bit of everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from select import EPOLLIN
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.tcp import Client, Server
from twisted.logger import Logger
from twisted.python.failure import Failure

from lmgateway.wire.accepting import Acceptor, Served
from lmgateway.wire.burst import Burst
from lmgateway.wire.channel import Channel
from lmgateway.wire.connection import Connection

_log = Logger()

_STREAMS = frozenset((Client, Server, Served))
_AT_ONCE = Server.bufferSize
_TOGETHER = 16
"""Streams that are read before anybody acts: of each 64 KiB may have to wait for that."""
_DONE = Failure(CONNECTION_DONE)


def lighten(reactor: Any) -> None:
    """Have *reactor* hand on events as told above, if it is the one on epoll."""
    if type(reactor) is EPollReactor:
        reactor.lmgateway_burst = Burst()  # type: ignore[attr-defined]  # read by burst_of
        turn = _Turn(reactor)
        reactor.doIteration = reactor.doPoll = turn  # type: ignore[method-assign]  # its way in


class _Turn:
    """What ``EPollReactor.doPoll`` does, but for the log's context, and in bursts."""

    __slots__ = ("_act", "_burst", "_disconnect", "_poll", "_selectables")

    def __init__(self, reactor: Any) -> None:
        self._poll = reactor._poller.poll
        self._selectables: dict[int, Any] = reactor._selectables
        self._act = reactor._doReadOrWrite
        self._disconnect = reactor._disconnectSelectable
        self._burst: Burst = reactor.lmgateway_burst

    def __call__(self, timeout: float | None) -> None:
        events = self._poll(-1 if timeout is None else timeout, len(self._selectables))
        if len(events) == 1:
            self._alone(*events[0])
        elif len(events) <= _TOGETHER:
            self._step(events)
        else:
            for start in range(0, len(events), _TOGETHER):
                self._step(events[start : start + _TOGETHER])

    def _alone(self, fd: int, event: int) -> None:
        """Do the same for one that is alone in a turn, as it is with little to do."""
        stream: Any = self._selectables.get(fd)
        if event != EPOLLIN or type(stream) not in _STREAMS:
            self._step(((fd, event),))
            return
        ended: list[Any] = []
        try:
            data = self._received(stream, ended)
            if data:
                stream.protocol.dataReceived(data)
        except Exception as error:
            self._fail(stream, error)
        if ended:
            self._end(ended)

    def _step(self, events: Sequence[tuple[int, int]]) -> None:
        """Read from these, have each act, and send what they wrote."""
        burst = self._burst
        ended: list[Any] = []
        came = self._read(events, ended)
        # One alone has nothing to wait for: its client would, until all else is done.
        together = burst.is_open = len(came) > 1
        for stream, data in came:
            if not stream.connected or stream._aborting:
                continue  # what came before it in this turn ended it
            try:
                stream.protocol.dataReceived(data)
            except Exception as error:
                self._fail(stream, error)
        if together:
            burst.end()
        if ended:
            self._end(ended)

    def _read(self, events: Sequence[tuple[int, int]], ended: list[Any]) -> list[tuple[Any, bytes]]:
        """
        Read whatever can be read, answers before requests; see to all else at once.

        Args:
            ended: Given the clients that left: nobody waits for that, so it is seen to last.
        """
        selectables = self._selectables
        opening: list[Any] = []
        requests: list[tuple[Any, bytes]] = []
        answers: list[tuple[Any, bytes]] = []
        for fd, event in events:
            stream = selectables.get(fd)
            if stream is None:
                continue
            try:
                if event != EPOLLIN or type(stream) not in _STREAMS:
                    self._other(stream, fd, event, opening)
                    continue
                data = self._received(stream, ended)
                if data:
                    (answers if type(stream) is Client else requests).append((stream, data))
            except Exception as error:
                self._fail(stream, error)
        for port in opening:
            try:
                requests += self._opened(port, ended)
            except Exception as error:  # what was read of others is still handed on
                self._fail(port, error)
        return answers + requests

    def _received(self, stream: Any, ended: list[Any]) -> bytes:
        """Do what ``tcp.Connection.doRead`` does, but for handing on what came."""
        try:
            data: bytes = stream.socket.recv(_AT_ONCE)
        except BlockingIOError:
            return b""
        except OSError:
            self._disconnect(stream, CONNECTION_LOST, True)
            return b""
        if not data:
            self._over(stream, ended)
        return data

    def _other(self, stream: Any, fd: int, event: int, opening: list[Any]) -> None:
        """See to what is not just bytes; to new connections later, when others have left."""
        if isinstance(stream, Acceptor) and event == EPOLLIN:
            opening.append(stream)
        else:
            self._act(stream, fd, event)

    def _over(self, stream: Any, ended: list[Any]) -> None:
        """Note that a peer sends no more: ours take that for the end of all."""
        kind = type(stream.protocol)
        if kind is Channel:
            ended.append(stream)
        elif kind is Connection:
            stream.connectionLost(_DONE)
        else:
            self._disconnect(stream, CONNECTION_DONE, True)

    def _opened(self, port: Acceptor, ended: list[Any]) -> list[tuple[Any, bytes]]:
        """Accept new connections, and read from a few: what opens one mostly comes with it."""
        if ended and port.is_crowded():
            self._end(ended)
        came: list[tuple[Any, bytes]] = []
        for stream in port.accept()[:_TOGETHER] if port.connected else ():
            try:
                data = stream.socket.recv(_AT_ONCE)
            except OSError:
                continue  # nothing yet; or an end, which is met in the next turn
            if data:
                came.append((stream, data))
        return came

    def _end(self, ended: list[Any]) -> None:
        """Let go of clients that left."""
        for stream in ended:
            try:
                if stream.connected:  # and was not ended meanwhile
                    stream.connectionLost(_DONE)
            except Exception as error:
                self._fail(stream, error)
        ended.clear()

    def _fail(self, stream: Any, error: Exception) -> None:
        """Drop a connection whose protocol failed, as the reactor does."""
        _log.failure("An event of {stream} failed.", stream=stream)
        try:
            self._disconnect(stream, error, False)
        except Exception:
            _log.failure("A connection could not be dropped.")
