"""
What goes wrong in the mock backend on purpose, as one value and as a suffix.

In a model name, where the config allows it, faults are letters joined by ``-`` at
the end: ``mock-c100-d20-t50``.

==========  ===================================================================
suffix      meaning
==========  ===================================================================
``cN``      the answer has N chunks
``dN``      N milliseconds between chunks of a stream
``tN``      N milliseconds before the first token
``h``       hold: one chunk, then silence; ``hN``: after N chunks
``xN``      the connection breaks after N chunks
``gN``      garbage in place of an event after N chunks
``iN``      an error told in band after N chunks
``eNNN``    that HTTP error status
``rNNN``    the same with ``Retry-After: 1``; ``rNNN:S``: of S seconds
``wNNN:T``  that status, and T (the rest of the name) as the whole body
==========  ===================================================================

An answer that is not streamed has no chunks: ``h`` never comes, ``x`` breaks
off, ``g`` is no JSON and ``i`` is an error document with status 200.
"""

from __future__ import annotations

import re
from random import Random

from attrs import evolve, field
from attrs.validators import ge, le

from lmgateway.classes import frozen

MAX_CHUNKS = 10_000
_LONGEST_SUFFIX = 200

_ONE = r"-(?:[cdtxgi]\d{1,7}|h\d{0,7}|e[45]\d\d|r[45]\d\d(?::\d{1,5})?|w[1-5]\d\d:.*)"
_SUFFIX = re.compile(rf"(?:{_ONE})+\Z", re.DOTALL)
_PARTS = re.compile(r"-(?:w(\d{3}):(.*)|([a-z])(\d*)(?::(\d+))?)", re.DOTALL)


@frozen(kw_only=True)
class Fault:
    """
    What goes wrong, and how often.

    Attributes:
        status: The HTTP error status to answer with.
        retry_after: Seconds told in ``Retry-After`` with that status.
        body: Answered, with ``status`` or 200, in place of an answer.
        first_token_ms: Milliseconds before the first token.
        gap_ms: Milliseconds between chunks of a stream.
        chunks: How many chunks the answer has; filled up with words if need be.
        hold_after: Chunks after which nothing more comes.
        cut_after: Chunks after which the connection breaks.
        garbage_after: Chunks after which an event is no JSON.
        error_after: Chunks after which an error is told in band.
        probability: The share of requests that this happens to.
        every: It happens to each request of this number only: 1 is all of them.
    """

    status: int | None = None
    retry_after: float | None = None
    body: bytes | None = None
    first_token_ms: float | None = None
    gap_ms: float | None = None
    chunks: int | None = None
    hold_after: int | None = None
    cut_after: int | None = None
    garbage_after: int | None = None
    error_after: int | None = None
    probability: float = field(default=1.0, validator=[ge(0), le(1)])
    every: int = field(default=1, validator=ge(1))

    def strikes(self, number: int, random: Random) -> bool:
        """Tell whether request *number* (from 1) is hit."""
        if number % self.every:
            return False
        return self.probability >= 1 or random.random() < self.probability


NO_FAULT = Fault()


def fault_in(model: str) -> Fault | None:
    """Give the fault that a model name ends with, if it does."""
    match = _SUFFIX.search(model, max(0, len(model) - _LONGEST_SUFFIX))
    return None if match is None else _read(match[0])


def _read(suffix: str) -> Fault:
    fault = NO_FAULT
    for status, body, letter, digits, seconds in _PARTS.findall(suffix):
        if status:
            fault = evolve(fault, status=int(status), body=body.encode())
        else:
            fault = _with_letter(fault, letter, digits, seconds)
    return fault


def _with_letter(fault: Fault, letter: str, digits: str, seconds: str) -> Fault:
    number = int(digits or 1)
    match letter:
        case "c":
            return evolve(fault, chunks=min(number, MAX_CHUNKS))
        case "d":
            return evolve(fault, gap_ms=number)
        case "t":
            return evolve(fault, first_token_ms=number)
        case "h":
            return evolve(fault, hold_after=number)
        case "x":
            return evolve(fault, cut_after=number)
        case "g":
            return evolve(fault, garbage_after=number)
        case "i":
            return evolve(fault, error_after=number)
        case "r":
            return evolve(fault, status=number, retry_after=float(seconds or 1))
        case _:
            return evolve(fault, status=number)
