"""What one client connection may cost."""

from __future__ import annotations

from msgspec import Struct


class Limits(Struct, frozen=True, kw_only=True):
    """
    The bounds of a server's connections.  All times are absolute: no trickle resets them.

    Attributes:
        header_seconds: From the connection, or a later request's first byte, to the end of its
            headers; the TLS handshake is in it.
        body_seconds: From the end of the headers to the end of the body.
        stall_seconds: How long unsent output may make no progress.
        linger_seconds: From the last byte sent on a closing connection to its forced end.
        keep_alive_seconds: How long a connection may idle between requests.
        max_header_bytes: Request line and headers; half of it for the target.
        max_headers: How many header fields.
        max_pipelined_bytes: What a client may send ahead of the answer it waits for.
        max_connections: How many connections at once; ``None`` is no limit.
    """

    header_seconds: float = 10.0
    body_seconds: float = 60.0
    stall_seconds: float = 30.0
    linger_seconds: float = 5.0
    keep_alive_seconds: float = 30.0
    max_header_bytes: int = 16384
    max_headers: int = 100
    max_pipelined_bytes: int = 8192
    max_connections: int | None = None
