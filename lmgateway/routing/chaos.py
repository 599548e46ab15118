"""
Failures on purpose, for clients who want to see how they cope: ``X-LMG-Chaos``.

The header says what is to happen, as ``status=503;retry_after=2`` or ``cut=40``:

===============  ==================================================================
``delay_ms``     the request waits so long first; alone, it is served after that
``status``       that HTTP error status
``retry_after``  with it, seconds told in ``Retry-After``
``cut``          the answer breaks off after so many chunks
``stall``        the answer comes to a halt after so many chunks
``malformed``    there is garbage in the answer after so many chunks
``probability``  the share of requests that this happens to; all if not given
===============  ==================================================================

Only clients with ``chaos = true`` are heard, for all others the header says nothing.
No backend is asked for what fails, and it costs nothing: the built-in mock backend
answers, and everything above it takes it for any other.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from math import isfinite

from attrs import evolve
from twisted.internet.task import deferLater

from lmgateway.backends.base import Call, Reply
from lmgateway.backends.mock import MockBackend, MockSettings
from lmgateway.backends.mock_faults import NO_FAULT, Fault
from lmgateway.chat import Overrides
from lmgateway.classes import frozen
from lmgateway.dialects.openai import OPENAI
from lmgateway.errors import MalformedRequest
from lmgateway.exchange import Exchange
from lmgateway.routing.ladder import Climber

HEADER = "x-lmg-chaos"
NAME = "chaos"
"""Of the tier, backend and model that such answers are said to come from."""

MAX_DELAY_MS = 600_000
_MAX_CHUNKS = 10_000
_STATUS = re.compile(r"[45]\d\d")
_AFTER: Mapping[str, Callable[[Fault, int], Fault]] = {
    "cut": lambda fault, chunks: evolve(fault, cut_after=chunks),
    "stall": lambda fault, chunks: evolve(fault, hold_after=chunks),
    "malformed": lambda fault, chunks: evolve(fault, garbage_after=chunks),
}

Open = Callable[[Exchange], AbstractAsyncContextManager[Reply]]


@frozen
class Mishap:
    """
    What is to happen.

    Attributes:
        fault: What fails; ``None`` if nothing does.
        seconds: How long the request waits first.
        probability: The share of requests that it happens to.
    """

    fault: Fault | None
    seconds: float
    probability: float


@frozen
class Chaos:
    """
    A router round another: see ``Router.open``.

    Attributes:
        inner: Opens what is not to fail.
    """

    inner: Open
    climber: Climber

    def open(self, exchange: Exchange) -> AbstractAsyncContextManager[Reply]:
        """Enter with what was asked for: a failure, or a reply."""
        principal = exchange.principal
        if principal is None or not principal.chaos or HEADER not in exchange.headers:
            return self.inner(exchange)
        return self._open(exchange, read_mishap(exchange.headers[HEADER]))

    @asynccontextmanager
    async def _open(self, exchange: Exchange, mishap: Mishap) -> AsyncIterator[Reply]:
        if self.climber.random.random() >= mishap.probability:
            mishap = Mishap(None, 0.0, 1.0)
        if mishap.seconds:
            await deferLater(self.climber.wheel.clock, mishap.seconds)
        scope = self.inner(exchange) if mishap.fault is None else self._fail(exchange, mishap.fault)
        async with scope as reply:
            yield reply

    def _fail(self, exchange: Exchange, fault: Fault) -> AbstractAsyncContextManager[Reply]:
        request, principal = exchange.request, exchange.principal
        assert request is not None and principal is not None, "only admitted requests are routed"
        exchange.mode = exchange.tier = exchange.backend = exchange.model = NAME
        exchange.profile_chain = (principal.profile,)
        wheel = self.climber.wheel
        backend = MockBackend(NAME, wheel.clock, MockSettings(fault=fault, style="lorem"), OPENAI)
        call = Call(
            request=request,
            overrides=Overrides(model=NAME),
            request_id=exchange.id,
            commit_by=self.climber.commit_by(exchange),
            end_by=exchange.started + self.climber.total_seconds,
        )
        return backend.open(call)


def read_mishap(text: str) -> Mishap:
    """
    Read the header.

    Raises:
        MalformedRequest: If it says nothing that could be done.
    """
    fault, seconds, probability = NO_FAULT, 0.0, 1.0
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, _, value = (each.strip() for each in part.partition("="))
        if name == "status" and _STATUS.fullmatch(value):
            fault = evolve(fault, status=int(value))
        elif name == "retry_after":
            fault = evolve(fault, retry_after=_number(name, value, 86_400))
        elif name in _AFTER:
            fault = _AFTER[name](fault, int(_number(name, value, _MAX_CHUNKS)))
        elif name == "delay_ms":
            seconds = _number(name, value, MAX_DELAY_MS) / 1000
        elif name == "probability":
            probability = _number(name, value, 1)
        else:
            raise _unreadable(name)
    if fault.status is None and fault.retry_after is not None:
        raise _unreadable("retry_after")
    return Mishap(None if fault == NO_FAULT else fault, seconds, probability)


def _number(name: str, value: str, most: float) -> float:
    try:
        number = float(value)
    except ValueError:
        raise _unreadable(name) from None
    if not isfinite(number) or not 0 <= number <= most:
        raise _unreadable(name)
    return number


def _unreadable(name: str) -> MalformedRequest:
    return MalformedRequest(f"The header X-LMG-Chaos cannot be read at {name[:40]!r}.")
