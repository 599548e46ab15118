"""
A route under way: a coroutine that is resumed with what it awaits.

``Deferred.fromCoroutine`` does this and more: it gives a Deferred that others may
add to, in a context of its own.  Nobody adds to a route's, and what it takes for that
is every thirtieth part of a request's time; so a route is driven here, step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from lmgateway.errors import untie
from lmgateway.wire.awaited import Awaited
from lmgateway.wire.request import Request


class Running:
    """
    One route's coroutine, begun with ``start`` and cut short with ``cancel``.

    Args:
        coroutine: Answers *request*; may await Deferreds.
        ended: Called when it has returned.
        failed: Called with what it raised.
    """

    __slots__ = ("_coroutine", "_ended", "_failed", "_is_cancelled", "_request", "_waiting")

    def __init__(
        self,
        coroutine: Coroutine[Deferred[Any], Any, object],
        request: Request,
        ended: Callable[[Request], object],
        failed: Callable[[Failure, Request], object],
    ) -> None:
        self._coroutine = coroutine
        self._request = request
        self._ended = ended
        self._failed = failed
        self._waiting: Deferred[Any] | None = None
        self._is_cancelled = False

    def start(self) -> None:
        """Run it up to where it waits, or to its end."""
        self._go_on(None)

    def cancel(self) -> None:
        """Have what it waits for fail with ``CancelledError``: now, or once it waits again."""
        if self._waiting is not None:
            self._waiting.cancel()
        else:
            self._is_cancelled = True

    def _go_on(self, result: object) -> None:
        self._waiting = None
        try:
            if isinstance(result, Failure):
                # Not by the failure's own method, whose frame would keep the failure.
                waiting = self._coroutine.throw(cast(BaseException, result.value))
            else:
                waiting = self._coroutine.send(result)
        except StopIteration:
            self._ended(self._request)
            return
        except BaseException as error:
            self._failed(Failure(), self._request)
            untie(error)  # it went through frames of Twisted's that hold it
            return
        self._waiting = waiting
        if type(waiting) is Awaited:
            waiting.tell(self._go_on)
        else:
            waiting.addBoth(self._go_on)
        if self._is_cancelled:
            self._is_cancelled = False
            waiting.cancel()
