"""
How many files the process may hold open, and so how many connections at once.

A connection to a client mostly comes with one to a backend.  What does not fit is refused with
503 while there are descriptors left to say so; met at the system's limit, it would fail somewhere
in the middle (O9 of the reliability notes).
"""

from __future__ import annotations

from contextlib import suppress
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit, setrlimit

_ENOUGH = 1_048_576
MOST = 10_000
"""Client connections at once, if nobody says how many."""
_OWN = 256
"""For listeners, logs, state, the admin port and what libraries hold."""


def raise_limit() -> None:
    """Allow as many open files as the system lets us have."""
    soft, hard = getrlimit(RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == RLIM_INFINITY else hard
    if soft != RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # a sandbox may forbid it
            setrlimit(RLIMIT_NOFILE, (wanted, hard))


def connections_that_fit(wanted: int | None) -> int:
    """Give *wanted* (``MOST``), or how many client connections fit into the limit on open files."""
    wanted = MOST if wanted is None else wanted
    soft, _ = getrlimit(RLIMIT_NOFILE)
    if soft == RLIM_INFINITY:
        return wanted
    return min(wanted, max((soft - _OWN) // 2, soft // 4, 1))
