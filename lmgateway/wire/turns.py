"""
A lighter turn of Twisted's reactor.

The reactor hands on each event through ``log.callWithLogger``: a failure is
logged, and all that is logged meanwhile gets the protocol's name as a prefix.
The prefix is seen only in free text, which this service does not write, and
it takes five calls for each event of each connection.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.logger import Logger

_log = Logger()


def lighten(reactor: object) -> None:
    """Have *reactor* hand on events without a log's context, if it is the one on epoll."""
    if type(reactor) is EPollReactor:
        turn = _Turn(reactor)
        reactor.doIteration = reactor.doPoll = turn  # type: ignore[method-assign]  # its way in


class _Turn:
    """What ``EPollReactor.doPoll`` does, but for the log's context."""

    __slots__ = ("_act", "_poll", "_selectables")

    def __init__(self, reactor: Any) -> None:
        self._poll = reactor._poller.poll
        self._selectables: dict[int, object] = reactor._selectables
        self._act = reactor._doReadOrWrite

    def __call__(self, timeout: float | None) -> None:
        selectables, act = self._selectables, self._act
        for fd, event in self._poll(-1 if timeout is None else timeout, len(selectables)):
            selectable = selectables.get(fd)
            if selectable is not None:
                try:
                    act(selectable, fd, event)
                except Exception:
                    _log.failure("An event of {selectable} failed.", selectable=selectable)
