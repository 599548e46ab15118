"""
The spine's second scope: may this principal make this request, now?

Evaluate, decide, account, in one place: what holds for one surface holds for
all, because none can be served without passing through here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attrs import define

from lmgateway.errors import Overloaded
from lmgateway.exchange import Exchange


@define
class Admission:
    """
    Lets exchanges in.

    Attributes:
        max_in_flight: How many at once; ``None`` is unlimited.
        in_flight: How many now.
    """

    max_in_flight: int | None = None
    in_flight: int = 0

    @asynccontextmanager
    async def admit(self, exchange: Exchange) -> AsyncIterator[None]:
        """
        Hold a place for the exchange until it ends.

        Raises:
            Overloaded: If the gateway is full.
        """
        if self.max_in_flight is not None and self.in_flight >= self.max_in_flight:
            raise Overloaded("The gateway is full.", retry_after=1)
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
