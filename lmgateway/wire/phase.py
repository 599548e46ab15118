"""
What a client connection waits for.

A connection is in one phase at a time, and each phase has one deadline that no
trickle of bytes moves:

=======  =============================================  ==================  =======
phase    it waits for                                   at the deadline     seconds
=======  =============================================  ==================  =======
HEAD     the end of a request's headers (and, before    408; silence if     header
         the first request, the TLS handshake)          not a byte came
BODY     the end of that request's body                 408                 body
BUSY     our own answer; the gateway has its deadlines  -                   -
IDLE     the next request                               close               idle
CLOSING  the client's last reads, or its own close      abort               linger
=======  =============================================  ==================  =======

"""

from __future__ import annotations

from enum import Enum, auto


class Phase(Enum):
    """What a connection waits for."""

    HEAD = auto()
    BODY = auto()
    BUSY = auto()
    IDLE = auto()
    CLOSING = auto()
