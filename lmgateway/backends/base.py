"""
What a backend is: something that can be asked, and answers with a committed reply.

``Backend.open`` is entered with the answer's first output-bearing event in
hand (the *commit point*): until then it raises, and another target may be
tried; after it, whatever fails is told in band.  Leaving it closes the
upstream connection, whole or not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

import msgspec

from lmgateway.chat import ChatRequest, Event, Overrides, Usage
from lmgateway.dialects.base import Answer, Mark, StreamReader

Batch: TypeAlias = Sequence[tuple[Event, Mark]]


class Call(msgspec.Struct, kw_only=True, frozen=True):
    """
    What one attempt asks of one backend.

    Attributes:
        request: What the client asked.
        overrides: What the gateway changes of it for this target.
        headers: Request headers of the client to pass on, by lower-case name: already
            filtered by an allow-list.
        trace: The headers that tell which trace this belongs to.
        request_id: Sent upstream as ``X-Request-ID``.
        sent: Told the body that the backend is sent, where the operator wants to see it.
        strict: Whether a member that this backend has no word for is refused, not left out.
        commit_by: Reactor seconds by which the first output must be in hand.
        end_by: Reactor seconds by which the last byte must be in hand.
    """

    request: ChatRequest
    overrides: Overrides
    headers: Mapping[bytes, bytes] = msgspec.field(default_factory=dict)
    trace: tuple[tuple[bytes, bytes], ...] = ()
    request_id: str
    sent: Callable[[bytes], object] | None = None
    strict: bool = False
    commit_by: float
    end_by: float


class Batches(Protocol):
    """The batches of a stream, asked for one after the other; close it when done."""

    def __aiter__(self) -> AsyncIterator[Batch]:
        """Give itself."""

    def __anext__(self) -> Awaitable[Batch]:
        """Wait for the next batch."""

    def aclose(self) -> Awaitable[object]:
        """Read no more."""


class Reply(msgspec.Struct, kw_only=True, eq=False):
    """
    A committed backend answer.

    Exactly one of ``answer`` (whole) and ``reader`` with ``batches`` (streamed) is there.

    Attributes:
        dialect: The grammar that the backend spoke.
        status: The backend's HTTP status.
        headers: The backend's response headers that may be passed on, lower-case names.
        dropped: The members of the request that this backend was not told.
        verbatim: Whether the backend's own bytes may be passed on to a client of its grammar.
        body: The whole answer's bytes as they came; empty for a stream.
        answer: The whole answer, read.
        reader: Has inspected every event of a batch before the batch is given out.
        batches: The stream: events that arrived together, each with what it is.  Ends
            after the grammar's proper end was seen; raises ``BackendError`` if the stream
            breaks, goes silent or reports an error before that.
    """

    dialect: str
    status: int = 200
    headers: Mapping[bytes, bytes] = msgspec.field(default_factory=dict)
    dropped: Sequence[str] = ()
    verbatim: bool = True
    body: bytes = b""
    answer: Answer | None = None
    reader: StreamReader | None = None
    batches: Batches | None = None

    @property
    def usage(self) -> Usage | None:
        """The usage told so far."""
        source = self.reader if self.answer is None else self.answer
        return None if source is None else source.usage


class Backend(Protocol):
    """One configured upstream."""

    @property
    def name(self) -> str:
        """What the config calls it."""

    @property
    def dialect(self) -> str:
        """The grammar that it speaks."""

    def open(self, call: Call) -> AbstractAsyncContextManager[Reply]:
        """
        Ask, and enter once the answer is committed.

        Raises:
            BackendError: If this target cannot answer; ``retryable`` says whether to climb.
            Unsupported: If the request cannot be said in this backend's grammar.
        """

    async def probe(self) -> int:
        """
        Ask for something free (a listing) to see whether the backend is well.

        Returns:
            The HTTP status that it answered with.

        Raises:
            BackendError: If it is not.
        """
