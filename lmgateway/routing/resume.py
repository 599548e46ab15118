"""
Streams that break off after they were committed: ``mid_stream = "restart" | "resume"``.

A room of its own round the climb: it hands on the reply's events, and when they break off it
leaves that attempt, which is settled as the failure it was, and asks the next targets of the plan
that were not asked yet.

============  =================================================================================
``restart``   while nothing output-bearing was delivered, the next target answers in its place
``resume``    that, and afterwards: the next target answers anew, and is relayed from where the
              delivered text ends, only if it begins with exactly that; or it is asked to
              continue, where its tier says that it can (``prefill``)
============  =================================================================================

Where neither can be done the failure is told in band, as without this room: an answer is whole,
or it is seen to be broken, and never put together from two.  The stream keeps the id, the model
and the grammar that it began with.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from math import inf
from types import TracebackType
from typing import Any

from attrs import evolve, field
from msgspec.structs import replace

from lmgateway.backend_errors import BackendError, ProtocolError
from lmgateway.backends.base import Batch, Reply
from lmgateway.chat import ChatRequest
from lmgateway.classes import frozen
from lmgateway.dialects.base import Dialect, Mark, StreamReader
from lmgateway.errors import GatewayError, StreamInterrupted
from lmgateway.exchange import Exchange
from lmgateway.routing.continued import Continuation, Marked, Said, SaidReader, outline
from lmgateway.routing.delivered import Again, Delivered, Diverged, Onward, Rest
from lmgateway.routing.ladder import Climber, Step
from lmgateway.routing.prefill import Prefill, prefilled

Scope = AbstractAsyncContextManager[Reply]

MAX_TURNS = 3
"""Times that one answer is gone on with."""

MAX_OUTLINE = 64
"""Blocks and frames of one stream that are compared."""


Tell = Callable[..., object]
"""Tells whoever listens what happened: see ``telemetry.events``."""


@frozen(kw_only=True)
class MidStream:
    """
    What is done about a stream that breaks off.

    Attributes:
        resumes: Whether also after output was delivered.
        prefill: How the tiers that can continue an answer are asked to, by name.
    """

    resumes: bool
    prefill: Mapping[str, Prefill] = field(factory=dict)


@frozen(kw_only=True)
class Resumption:
    """
    Makes streams that go on.

    Attributes:
        dialects: All of them, by name: what a backend may have spoken.
    """

    climber: Climber
    dialects: Mapping[str, Dialect]
    tell: Tell

    def open(
        self, way: MidStream, steps: Iterable[Step], first: Scope, exchange: Exchange
    ) -> Scope:
        """
        Enter with the reply of *first*, which goes on when it breaks off.

        Args:
            way: What may be done about that.
            steps: The plan that *first* climbs.
        """
        return _Resuming(self, way, steps, first, exchange)


class _Resuming:
    """The scope of one answer: see ``Resumption.open``."""

    def __init__(
        self,
        resumption: Resumption,
        way: MidStream,
        steps: Iterable[Step],
        first: Scope,
        exchange: Exchange,
    ) -> None:
        assert exchange.request is not None, "only parsed requests are routed"
        self._resumption = resumption
        self._way = way
        self._steps = steps
        self._scope: Scope | None = first
        self._exchange = exchange
        self._request: ChatRequest = exchange.request
        self._delivered = Delivered(compared=way.resumes)
        self._outline: list[bytes] = []
        self._turns = 0

    async def __aenter__(self) -> Reply:
        assert self._scope is not None, "entered once"
        reply = await self._scope.__aenter__()
        if reply.reader is None or self._exchange.undecided:
            return reply
        self._dialect = self._resumption.dialects[reply.dialect]
        self._verbatim = reply.verbatim and reply.dialect == self._request.dialect
        self._reader = SaidReader(reply.reader)
        self._since = self._exchange.first_output
        reader: Any = self._reader
        return replace(reply, reader=reader, batches=self._batches(reply))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        scope, self._scope = self._scope, None
        return None if scope is None else await scope.__aexit__(kind, error, trace)

    # The stream --------------------------------------------------------------
    async def _batches(self, reply: Reply) -> AsyncGenerator[Batch, None]:
        """Give what the first backend sends, and when it breaks off, what others do."""
        assert reply.batches is not None, "a reply with a reader is a stream"
        try:
            async with aclosing(reply.batches) as batches:
                async for batch in batches:
                    yield self._seen(batch)
            return
        except BackendError as error:
            broken = error
        while True:
            reply, rest = await self._next(broken)
            try:
                async with aclosing(self._continued(reply, rest)) as batches:
                    async for batch in batches:
                        yield batch
                return
            except Diverged:
                await self._give_up(broken)
            except BackendError as error:
                broken = error

    def _seen(self, batch: Batch) -> Batch:
        """Note what the client is about to be given, while that matters."""
        if self._delivered.closed:
            return batch
        try:
            seen = [(self._read(event), mark) for event, mark in batch]
        except ProtocolError:
            self._delivered.close()  # refused where it must be translated, else relayed as it is
            return batch
        if self._verbatim:
            self._outline += outline([event for event, _ in batch])
            if len(self._outline) > MAX_OUTLINE:
                self._delivered.close()
        for event, _ in seen:
            for chunk in event.chunks:
                self._delivered.add(chunk)
        return seen

    def _read(self, event: Any) -> Said:
        if isinstance(event, Said):
            return event
        return Said(event.raw, event.name, event.data, self._reader.decode(event))

    async def _continued(self, reply: Reply, rest: Rest) -> AsyncGenerator[Batch, None]:
        """Give what goes beyond the delivered, in the grammar that was begun."""
        assert reply.reader is not None and reply.batches is not None, "a stream was asked for"
        writer = self._writer
        async with aclosing(reply.batches) as batches:
            async for batch in batches:
                out: list[Marked] = []
                for event, mark in batch:
                    for chunk in reply.reader.decode(event):
                        if (beyond := rest.take(chunk)) is not None:
                            self._delivered.add(beyond)
                            out += writer.say(beyond)
                    if mark is Mark.END:
                        rest.end()
                        out += writer.end()
                if out:
                    yield out

    # From one backend to the next -----------------------------------------------
    async def _next(self, broken: BackendError) -> tuple[Reply, Rest]:
        """
        Find the target that answers in the place of one that broke off.

        Raises:
            BackendError: What broke off, if there is none, or none may.
        """
        delivered, exchange = self._delivered, self._exchange
        if delivered.closed or self._turns >= MAX_TURNS or (writer := self._begun()) is None:
            raise broken
        await self._leave(StreamInterrupted())
        for step in untried(self._steps, exchange):
            request, rest = self._asked(step)
            reply = await self._enter(step, request)
            if reply is not None:
                self._turns += 1
                self._writer = writer
                self._note("resumed" if delivered.has_output else "restarted")
                return reply, rest
        self._note("failed")
        raise broken

    def _asked(self, step: Step) -> tuple[ChatRequest, Rest]:
        """Give what a step is asked, and how its answer goes on from what was delivered."""
        way, request = self._way.prefill.get(step.tier.name), self._request
        if way is not None and self._delivered.text:
            rest = Onward(self._delivered)
            begun = prefilled(request, rest.begun, way, self._resumption.dialects)
            if begun is not None:
                return begun, rest
        return request, Again(self._delivered)

    def _begun(self) -> Continuation | None:
        """Give what writes the rest; nothing if the stream is framed in a way of its own."""
        if self._turns:
            return self._writer
        writer = Continuation(self._dialect, self._request, self._delivered)
        if self._verbatim and writer.outline != self._outline:
            return None
        return writer

    async def _leave(self, error: GatewayError | None) -> None:
        """Leave the attempt that is open: it is settled, its places are given back."""
        scope, self._scope = self._scope, None
        if scope is not None:
            kind, trace = (type(error), error.__traceback__) if error else (None, None)
            await scope.__aexit__(kind, error, trace)

    async def _enter(self, step: Step, request: ChatRequest) -> Reply | None:
        """Have one step answer; ``None`` if none of its targets does."""
        exchange, climber = self._exchange, self._resumption.climber
        spent, patience = climber.wheel.now() - exchange.started, exchange.patience
        # As long again as for the first output, which the client's deadline is for.
        seconds = spent + min(climber.commit_seconds, patience)
        scope = replace(climber, commit_seconds=seconds).climb([step], exchange)
        exchange.request, exchange.patience = request, inf
        try:
            reply = await scope.__aenter__()
        except GatewayError:
            return None
        finally:
            exchange.request, exchange.patience = self._request, patience
            exchange.first_output = self._since
        self._scope = scope
        if reply.reader is None:
            await self._leave(None)
            return None
        reader: StreamReader = reply.reader
        self._reader.reader = reader
        return reply

    async def _give_up(self, broken: BackendError) -> None:
        """
        Leave an answer that is not the one that was begun.

        Raises:
            BackendError: What broke off.
        """
        self._exchange.attempts[-1].outcome = "diverged"
        await self._leave(None)
        self._note("diverged")
        raise broken

    def _note(self, outcome: str) -> None:
        exchange = self._exchange
        exchange.mid_stream = outcome
        self._resumption.tell(
            "mid_stream",
            outcome=outcome,
            exchange=exchange.id,
            tier=exchange.tier,
            backend=exchange.backend,
            model=exchange.model,
        )


def untried(steps: Iterable[Step], exchange: Exchange) -> Iterator[Step]:
    """Give what is left of a plan: the targets that this exchange did not ask yet, each once."""
    for step in steps:
        tried = {(a.tier, a.backend, a.model) for a in exchange.attempts if a.purpose == "answer"}
        name = step.tier.name
        left = [
            target
            for target in step.tier.order(exchange)
            if (name, target.backend.name, target.model) not in tried
        ]
        if left:
            tier = evolve(step.tier, targets=tuple(left), balance=None)
            yield replace(step, tier=tier, tries=1)
