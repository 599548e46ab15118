"""
One client request and its response: the ledger that every floor writes on.

``Exchange`` is the only object of a request that changes.  It knows nothing
of HTTP, of config or of any provider; each floor notes what it learns as it
learns it, and ``telemetry`` reads it once, at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec
from msgspec import Struct

from lmgateway.chat import ChatRequest, Document, Usage
from lmgateway.errors import BudgetExhausted, GatewayError, LimitError
from lmgateway.principal import Principal, Standing

Outcome = Literal["open", "ok", "client_closed"] | str
"""``ok``, ``client_closed``, or the ``kind`` of the error that ended it."""


class Attempt(msgspec.Struct, kw_only=True, gc=False):
    """
    One try at one target.

    Attributes:
        outcome: ``ok``, the error's kind, or ``insufficient:`` and the gate that it failed.
        started: Reactor seconds.
        seconds: How long it took to commit, or to fail.
        status: The backend's HTTP status, if one came.
        settled: Whether it was charged.
        reserved: Nano-dollars that were set aside for it.
        cost: Nano-dollars, once settled; ``None`` if the target has no price.
        saved: Nano-dollars less than the baseline, once settled; ``None`` without one.
        purpose: What it was for; only an ``answer`` is for the client.
    """

    tier: str
    backend: str
    model: str
    started: float
    seconds: float = 0.0
    outcome: str = "open"
    status: int | None = None
    usage: Usage | None = None
    settled: bool = False
    reserved: int = 0
    cost: int | None = 0
    saved: int | None = None
    purpose: Literal["answer", "classify", "judge"] = "answer"


class Climb(Struct, frozen=True):
    """
    One step up the ladder, and why.

    Attributes:
        reason: The outcome of the attempt that was not good enough.
    """

    from_tier: str
    to_tier: str
    reason: str


_SPANS = 0xFFFF_FFFF_FFFF_FFFF
"""The largest number of a span; none has the number 0."""


class Trace(msgspec.Struct, frozen=True, gc=False):
    """
    The trace that an exchange belongs to: see ``wire.trace``.

    Attributes:
        id: Of the trace: 32 hexadecimal digits.
        span: The number of the exchange's own span; those of its attempts count on from it.
        parent: The client's span: 16 hexadecimal digits, or empty.
        flags: Whether it is recorded.
        state: What other tracers hand on.
    """

    id: bytes
    span: int
    parent: bytes
    flags: int
    state: bytes

    def span_id(self, attempt: int = 0) -> str:
        """Give the id of an attempt's span, counted from 1, or of the exchange's."""
        return f"{(self.span + attempt) & _SPANS or 1:016x}"

    def onward(self, attempt: int) -> tuple[tuple[bytes, bytes], ...]:
        """Give the headers that tell a backend."""
        number = (self.span + attempt) & _SPANS or 1
        parent = (b"traceparent", b"00-%b-%016x-%02x" % (self.id, number, self.flags))
        return (parent, (b"tracestate", self.state)) if self.state else (parent,)


class Account(Protocol):
    """
    What the ladder asks before and after each attempt; governance answers.

    Kept here, below both floors, so that neither imports the other.
    """

    def enter(self, profile: str) -> None:
        """
        Count the request for the profile that routes it.

        Raises:
            LimitError: If the profile has had too many.
        """

    def reserve(self, attempt: Attempt, request: ChatRequest) -> int | None:
        """
        Set aside money at this target's price.

        Returns:
            The most tokens of output that were reckoned with, to be told the backend;
            ``None`` where the client set a bound or no budget is kept.

        Raises:
            LimitError: If there is not enough.
        """

    def refusal(self, attempt: Attempt, request: ChatRequest) -> BudgetExhausted | None:
        """Say why ``reserve`` would raise now; ``None`` if it would not."""

    def limit(self, attempt: Attempt) -> LimitError | None:
        """Say which limit of its tier or backend refuses an attempt now; ``None`` if none does."""

    @property
    def downgrades(self) -> bool:
        """Whether a budget may send the request to another tier."""

    def note_refusal(self, attempt: Attempt, refusal: BudgetExhausted) -> None:
        """Note that a budget did send it to another tier than the attempt's."""

    def settle(self, attempt: Attempt) -> None:
        """Charge what the attempt really used; give the rest back.  Called once per attempt."""

    def price(self, attempt: Attempt, usage: Usage | None) -> int | None:
        """Say what *usage* costs there, in nano-dollars; ``None`` if it has no price."""

    def standings(self) -> Sequence[Standing]:
        """Say how the limits that apply stand, the tightest of each kind."""


class Unaccounted:
    """The account of a caller for whom nothing is counted."""

    downgrades = False

    def enter(self, profile: str) -> None:
        """Allow it."""

    def reserve(self, attempt: Attempt, request: ChatRequest) -> int | None:
        """Allow it."""
        return None

    def refusal(self, attempt: Attempt, request: ChatRequest) -> BudgetExhausted | None:
        """Allow it."""
        return None

    def note_refusal(self, attempt: Attempt, refusal: BudgetExhausted) -> None:
        """Nobody refuses."""

    def limit(self, attempt: Attempt) -> LimitError | None:
        """Know no limit."""
        return None

    def settle(self, attempt: Attempt) -> None:
        """Nothing was set aside."""

    def price(self, attempt: Attempt, usage: Usage | None) -> int | None:
        """Know no price."""
        return None

    def standings(self) -> Sequence[Standing]:
        """Know no limit."""
        return ()


UNACCOUNTED = Unaccounted()


def _uninterrupted() -> GatewayError | None:
    return None


def _unstoppable(error: GatewayError) -> None:
    """Leave it to itself."""


class Progress(Protocol):
    """A stream that is being read."""

    @property
    def output_bytes(self) -> int:
        """How much text it gave so far."""


class Taken(NamedTuple):
    """
    A rule that led somewhere.

    Attributes:
        profile: Whose rule it is.
        position: Its place among them, from 0.
        when: What it asks for, as configured.
        to: Where it leads.
    """

    profile: str
    position: int
    when: Mapping[str, str]
    to: str


MAX_DEBUG = 65536
"""Bytes kept of a body, for an operator who wants to see it."""


class Exchange(msgspec.Struct, kw_only=True, eq=False):
    """
    Everything known about one client request, as it becomes known.

    Attributes:
        id: The request id, ours or the client's.
        surface: Which API was spoken: ``openai``, ``anthropic``, ``ollama``.
        path: The request path, without query.
        peer: The client's address, as its limits and records have it.
        admitted: Reactor seconds at which the door let it in, before its body was read.
        headers: The client's ``x-lmg-*`` headers, and those that rules look at; lower-case names.
        idempotency_key: What the client calls this request, to be told its answer again.
        forwarded: The client's headers that a backend is sent too; never credentials.
        trace: The trace that it belongs to.
        started: Reactor seconds at which the request was complete.
        wall: Seconds since the epoch at the same moment, for records only.
        principal: Who asks, once known.
        request: What is asked, once parsed.
        dropped: What of the request the backend had no word for.
        patience: Seconds to the first output that the client allows, from ``started``.
        priority: How urgent it is: higher goes first.
        over_limits: The limits that would have refused it if they were enforced, as
            ``client:requests``.
        overflowed: Whether it went to another tier because its own had too long a queue.
        downgraded: The budget that sent it to another tier; empty if none did.
        injected: About how many tokens the profile puts before the client's own.
        debug: Whether the operator wants to see what backends are sent.
        expose_routing: Whether the client is told which backend served it.
        capture_bytes: How much is kept of the answer; 0 for nothing.
        captured: What was kept of it.
        friendly_errors: Whether failures are told as plain text with status 200.
        explanation: How the request was routed, if the client asked to be told.
        escalated: Whether a dearer tier than the cheapest one tried first answered.
        insufficient: The gate that the answer failed, where it is sent for want of a better.
        climbs: Each step up the ladder.
        saved: Nano-dollars less than the baseline, once it has ended; ``None`` without one.
        undecided: Whether a stream was opened before it was known who answers.
        last_output: Reactor seconds of the last output of a stream, if it ended well and did
            not come in one piece.
        waited: Seconds spent waiting for a place, or before a retry.
        cache: How it was answered without a backend, if so: ``idempotent`` (a kept answer, or
            one under way, to the same key) or ``single_flight``.
        mid_stream: What became of a stream that broke off: ``resumed``, ``restarted``,
            ``diverged`` or ``failed``; empty if none did, or nothing was to be done about it.
        rules: Those that led to the profile or tier that it was routed to.
        progress: The stream that answers, as far as it was read.
        interrupt: Ends it early; whoever asked is told the error.
        interruption: Tells why the gateway itself cut this exchange short, if it did: a
            cancellation without one means that the client left.
    """

    id: str
    surface: str
    path: str
    peer: str
    started: float
    wall: float
    admitted: float = 0.0
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    forwarded: Mapping[bytes, bytes] = msgspec.field(default_factory=dict)
    idempotency_key: bytes | None = None
    trace: Trace | None = None
    principal: Principal | None = None
    account: Account = UNACCOUNTED
    request: ChatRequest | None = None

    patience: float = float("inf")
    priority: int = 0
    over_limits: tuple[str, ...] = ()
    overflowed: bool = False
    downgraded: str = ""
    injected: int = 0
    expose_routing: bool = True
    friendly_errors: bool = False
    mode: str = ""
    profile_chain: tuple[str, ...] = ()
    label: str = ""
    tier: str = ""
    backend: str = ""
    model: str = ""
    escalated: bool = False
    insufficient: str = ""
    climbs: list[Climb] = msgspec.field(default_factory=list)
    undecided: bool = False
    cache: str = ""
    mid_stream: str = ""
    dropped: tuple[str, ...] = ()
    rules: tuple[Taken, ...] = ()
    progress: Progress | None = None
    interrupt: Callable[[GatewayError], object] = _unstoppable
    interruption: Callable[[], GatewayError | None] = _uninterrupted
    attempts: list[Attempt] = msgspec.field(default_factory=list)

    explanation: Document | None = None
    debug: bool = False
    sent_body: bytes | None = None
    capture_bytes: int = 0
    captured: bytearray | None = None
    usage: Usage | None = None
    saved: int | None = None
    finish_reason: str | None = None
    first_output: float | None = None
    last_output: float | None = None
    waited: float = 0.0
    bytes_out: int = 0
    status: int = 0
    outcome: Outcome = "open"
    error: GatewayError | None = None
    seconds: float = 0.0

    @property
    def cost(self) -> int | None:
        """Nano-dollars of all attempts so far; ``None`` if one of them has no price."""
        total = 0
        for attempt in self.attempts:
            if attempt.cost is None:
                return None
            total += attempt.cost
        return total

    def note_sent(self, body: bytes) -> None:
        """Keep the beginning of what a backend was sent; the last attempt's, in the end."""
        self.sent_body = body[:MAX_DEBUG]

    def onward(self) -> tuple[tuple[bytes, bytes], ...]:
        """Give the headers that tell the backend of the latest attempt of the trace."""
        return () if self.trace is None else self.trace.onward(len(self.attempts))

    def note_answer(self, data: bytes) -> None:
        """Keep the beginning of what the client is sent, where bodies are captured."""
        kept = self.captured
        if kept is None:
            kept = self.captured = bytearray()
        kept += data[: max(0, self.capture_bytes - len(kept))]

    @property
    def requested_model(self) -> str | None:
        """The model name that the client sent, if the body could be read."""
        return None if self.request is None else self.request.model
