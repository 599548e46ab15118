"""
Who stands at the door: what the wire asks before it reads a request body.

The wire knows bytes, limits and deadlines, and nothing of keys or of any
grammar.  So it asks: may this head come in (``admit``), how does this refusal
look to that client (``refuse``), and it tells of every refusal that it sent
(``refused``), so that none goes uncounted.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
from msgspec import Struct

from lmgateway.errors import GatewayError
from lmgateway.principal import Principal


class Head(msgspec.Struct, kw_only=True, frozen=True):
    """
    The head of a request: strictly read, safe to decide on.

    Attributes:
        method: The method, upper-case.
        path: The target up to the first ``?``, as sent, percent-encoding included.
        query: The target after the first ``?``.
        headers: Names in lower case, values without surrounding blanks, in order.
        peer: The address at the other end of the socket; empty for a local socket.
        secure: Whether TLS protects the connection.
        length: The body's declared length, 0 without a body, ``None`` if it comes in chunks.
        first: The first value of each header, by name.
    """

    method: bytes
    path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]
    peer: str
    secure: bool
    length: int | None
    first: dict[bytes, bytes] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Sort the headers, unless they are: looking for one after the other takes longer."""
        if not self.first:
            self.first.update(reversed(self.headers))

    def get(self, name: bytes) -> bytes | None:
        """The value of the first header of that lower-case name."""
        return self.first.get(name)


class Pass(msgspec.Struct, frozen=True):
    """
    What a head was admitted with.

    Attributes:
        max_body: How many bytes of body are accepted.
        principal: Who asks, if the door knows.
        address: Where the request comes from, if not from the socket's other end.
        admitted: Reactor seconds of that.
    """

    max_body: int
    principal: Principal | None = None
    address: str = ""
    admitted: float = 0.0


class Refusal(Struct, frozen=True):
    """An error as the client is to see it; the wire adds length, date and connection."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class Door(Protocol):
    """Decides on heads, and says no in the right grammar.  Must not block."""

    def admit(self, head: Head) -> Pass:
        """
        Let a request in.

        Asked when the headers are complete, before a byte of the body is used and before
        ``100 Continue``.

        Raises:
            GatewayError: If it may not come in; the wire answers with ``refuse``.
        """

    def refuse(self, head: Head | None, error: GatewayError) -> Refusal:
        """Render *error* for the client; *head* is ``None`` where none could be read."""

    def refused(self, head: Head | None, peer: str, error: GatewayError) -> None:
        """Take note: the wire answered *error* (``admit``'s or its own); no route will run."""
