"""
The spine: one exchange is one coroutine.

Three nested scopes round one relay, entered on the way in and left in
reverse, by completion, failure or cancellation.  Streaming happens *inside*
the scopes, so settlement, metrics and permits need no hook of their own and
no surface can forget one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Protocol

from msgspec import Struct

from lmgateway.backends.base import Reply
from lmgateway.chat import ChatRequest
from lmgateway.exchange import Exchange

_Scope = Callable[[Exchange], AbstractContextManager[None]]


class Open(Protocol):
    """The innermost scope: chooses a target and enters with its committed reply."""

    def __call__(self, exchange: Exchange, /) -> AbstractAsyncContextManager[Reply]:
        """Give the scope of an exchange."""


class Responder(Protocol):
    """A surface's half of an exchange: how the answer gets to the client."""

    async def relay(self, exchange: Exchange, reply: Reply) -> None:
        """
        Send the reply, no faster than the client reads.

        Raises:
            StreamInterrupted: If the backend fails after the first byte was sent.
        """


class Gateway(Struct, frozen=True):
    """
    Serves exchanges.

    Attributes:
        recording: Writes exactly one entry per exchange.
        admit: Says who may, and holds a place.
        open: Chooses a target and enters with its committed reply.
    """

    recording: _Scope
    admit: _Scope
    open: Open

    async def serve(
        self, exchange: Exchange, read: Callable[[], ChatRequest], responder: Responder
    ) -> None:
        """
        Carry one exchange from parsed request to last byte.

        Args:
            read: Parses the client's body.

        Raises:
            GatewayError: Whatever the client is to be told.
        """
        with self.recording(exchange):
            exchange.request = read()
            with self.admit(exchange):
                async with self.open(exchange) as reply:
                    await responder.relay(exchange, reply)
