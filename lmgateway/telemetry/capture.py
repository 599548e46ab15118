"""
Bodies of requests and answers, for those who asked to keep them: one JSON line an exchange.

Each line has the exchange's id and trace, what was asked and what was answered, each up to a
size, as text; bytes that are no text are shown as such.  The file expires (see ``LineFile``).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from twisted.internet.interfaces import IReactorTime

from lmgateway.exchange import Exchange
from lmgateway.telemetry.lines import Lines

MAX_HELD = 16 * 1024 * 1024
"""Bytes kept while the writer is busy; what comes beyond is dropped."""


class Captured(msgspec.Struct, frozen=True):
    """One exchange with its bodies; sizes are of the whole of each."""

    id: str
    trace_id: str | None
    at: float
    path: str
    client: str | None
    tier: str | None
    model: str | None
    status: int
    outcome: str
    request: str
    request_bytes: int
    answer: str
    answer_bytes: int


class Capture(Lines):
    """
    Takes exchanges that have ended: see ``Lines``.

    Args:
        max_body: How much is kept of each body.
    """

    def __init__(
        self, write: Callable[[bytes], object], clock: IReactorTime, max_body: int
    ) -> None:
        super().__init__(write, clock, MAX_HELD)
        self._encode = msgspec.json.Encoder().encode
        self.max_body = max_body

    def __call__(self, exchange: Exchange) -> None:
        """Take one exchange."""
        if self.full:
            self.dropped += 1
        else:
            self.put(self._encode(self._captured(exchange)))

    def _captured(self, exchange: Exchange) -> Captured:
        principal, request, trace = exchange.principal, exchange.request, exchange.trace
        asked = b"" if request is None else request.raw
        answer = bytes(exchange.captured or b"")
        return Captured(
            id=exchange.id,
            trace_id=None if trace is None else trace.id.decode(),
            at=exchange.wall,
            path=exchange.path,
            client=None if principal is None else principal.name or None,
            tier=exchange.tier or None,
            model=exchange.model or None,
            status=exchange.status,
            outcome=exchange.outcome,
            request=_text(asked[: self.max_body]),
            request_bytes=len(asked),
            answer=_text(answer),
            answer_bytes=exchange.bytes_out,
        )


def _text(body: bytes) -> str:
    return body.decode("utf-8", "backslashreplace")
