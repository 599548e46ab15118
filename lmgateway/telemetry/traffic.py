"""
The spine's outermost scope: exactly one entry per exchange, whatever happens.

An entry is made once, when the exchange ends, and goes to a bounded ring (the
admin port's view) and to the access log.  It holds no prompt, no answer, no
key and no upstream text.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from time import gmtime, strftime
from types import TracebackType

import msgspec
from twisted.internet.defer import CancelledError

from lmgateway.chat import Usage
from lmgateway.errors import GatewayError, LimitError
from lmgateway.exchange import Attempt, Climb, Exchange, Taken
from lmgateway.principal import Principal, Standing

MAX_NAME = 128
"""Characters kept of a name that a client chose."""

_NOBODY = Principal(name="", profile="")
_NOTHING = Usage()


class AttemptEntry(msgspec.Struct, frozen=True, gc=False):
    """
    One attempt, as recorded.

    Attributes:
        ms: How long it took to commit, or to fail.
        start_ms: When it began, counted from when the request was complete.
    """

    tier: str
    backend: str
    model: str
    outcome: str
    status: int | None
    ms: float
    purpose: str
    start_ms: float
    cost_usd: float | None


class RuleEntry(msgspec.Struct, frozen=True):
    """A rule that led to where the request went, as recorded."""

    profile: str
    position: int
    when: Mapping[str, str]
    to: str


class ClimbEntry(msgspec.Struct, frozen=True):
    """One step up the ladder, as recorded."""

    from_tier: str
    to_tier: str
    reason: str


class Entry(msgspec.Struct, frozen=True, gc=False):
    """
    One exchange, as recorded.

    The first twelve members, and the first three of the last ones, are the reference's, with its
    meanings; but a failed exchange is an entry too, and ``latency_ms`` spans the whole exchange.
    The last ones are left out where there is nothing to say.  All is flat and plain: msgspec
    writes an entry as JSON or MessagePack, and reads it back, in two microseconds.

    Attributes:
        waited_ms: For a place in a queue, and between retries.
        output_ms: From the first output of a stream to the last.
        cached_tokens: Of the input.
        reasoning_tokens: Of the output.
        trace_id: The trace that it belongs to; ``span_id`` is its own span.
        limit: The limit that refused it: whose it is and of what (``client:tokens``).
    """

    id: str
    timestamp: str
    profile: str | None
    requested_model: str | None
    tier: str | None
    backend: str | None
    routing_mode: str | None
    escalated: bool
    latency_ms: float
    success: bool
    error: str | None
    priority: int

    overflowed: bool
    downgraded: str | None
    surface: str
    path: str
    client: str | None
    group: str | None
    model: str | None
    status: int
    outcome: str
    stream: bool
    ttft_ms: float | None
    upstream_ms: float | None
    waited_ms: float
    output_ms: float | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int
    reasoning_tokens: int
    usage_estimated: bool
    cost_usd: float | None
    saved_usd: float | None
    finish_reason: str | None
    bytes_out: int
    attempts: Sequence[AttemptEntry]
    climbs: Sequence[ClimbEntry]
    receive_ms: float
    insufficient: str | None
    limit: str | None
    mid_stream: str | None
    trace_id: str | None
    span_id: str | None
    cache: str | None

    class_label: str | msgspec.UnsetType = msgspec.UNSET
    profile_chain: Sequence[str] | msgspec.UnsetType = msgspec.UNSET
    debug_request_body: str | msgspec.UnsetType = msgspec.UNSET
    over_limits: Sequence[str] | msgspec.UnsetType = msgspec.UNSET
    tags: Sequence[str] | msgspec.UnsetType = msgspec.UNSET
    rules: Sequence[RuleEntry] | msgspec.UnsetType = msgspec.UNSET


class Stats(msgspec.Struct):
    """What the ring says in sum, in the reference's shape."""

    total_requests: int
    error_count: int
    escalation_count: int
    avg_latency_ms: float
    tier_counts: dict[str, int]


class Traffic:
    """
    The ring.

    Args:
        capacity: How many entries are kept.
        now: Reactor seconds.
        sinks: Called with each entry; must not raise or block.

    Attributes:
        takers: Called with each exchange that has ended, likewise.
        failed: Called with each that ended in an error, likewise.
    """

    def __init__(
        self,
        capacity: int,
        now: Callable[[], float],
        sinks: Sequence[Callable[[Entry], object]] = (),
    ) -> None:
        self._ring: deque[Entry] = deque(maxlen=max(0, capacity))
        self._now = now
        self._sinks = sinks
        self.takers: Sequence[Callable[[Exchange], object]] = ()
        self.failed: Callable[[Exchange], object] | None = None
        self.open: set[Exchange] = set()
        self.total = 0

    @property
    def in_flight(self) -> int:
        """How many exchanges have not ended yet."""
        return len(self.open)

    def listen(self, sink: Callable[[Entry], object]) -> Callable[[], None]:
        """Call *sink* with each entry from now on; what is returned ends that."""
        self._sinks = [*self._sinks, sink]

        def stop() -> None:
            self._sinks = [each for each in self._sinks if each != sink]

        return stop

    def resize(self, capacity: int) -> None:
        """Keep so many entries from now on."""
        if capacity != self._ring.maxlen:
            self._ring = deque(self._ring, maxlen=max(0, capacity))

    def recording(self, exchange: Exchange) -> Recording:
        """Give the scope that writes the exchange's entry."""
        return Recording(self, exchange)

    def write(self, exchange: Exchange) -> None:
        """Write the entry of an exchange that has ended."""
        exchange.seconds = self._now() - exchange.started
        entry = entry_of(exchange)
        self.total += 1
        self._ring.append(entry)
        for sink in self._sinks:
            sink(entry)
        for taker in self.takers:
            taker(exchange)
        if exchange.error is not None and self.failed is not None:
            self.failed(exchange)

    def take(self, entry: Entry) -> None:
        """Take the entry of an exchange that has ended in another process."""
        self.total += 1
        self._ring.append(entry)
        for sink in self._sinks:
            sink(entry)

    def newest(self, limit: int) -> list[Entry]:
        """Give up to *limit* entries, the newest first."""
        entries: Iterable[Entry] = reversed(self._ring)
        return [entry for _, entry in zip(range(limit), entries, strict=False)]

    def numbered(self) -> Iterator[tuple[int, Entry]]:
        """Give all entries, the newest first, each with its number since the start."""
        return zip(range(self.total, 0, -1), reversed(self._ring), strict=False)

    def stats(self) -> Stats:
        """Sum up the whole ring."""
        count = len(self._ring)
        return Stats(
            total_requests=count,
            error_count=sum(not entry.success for entry in self._ring),
            escalation_count=sum(entry.escalated for entry in self._ring),
            avg_latency_ms=sum(entry.latency_ms for entry in self._ring) / count if count else 0.0,
            tier_counts=dict(Counter(entry.tier for entry in self._ring if entry.tier)),
        )


class Recording(msgspec.Struct, eq=False):
    """The scope of one exchange: see ``Traffic.recording``."""

    _traffic: Traffic
    _exchange: Exchange

    def __enter__(self) -> None:
        self._traffic.open.add(self._exchange)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        exchange = self._exchange
        self._traffic.open.discard(exchange)
        if error is not None:
            _end(exchange, error)
        elif exchange.outcome == "open":
            exchange.outcome = "ok"
        self._traffic.write(exchange)


def _end(exchange: Exchange, error: BaseException | None) -> None:
    """Write down how an exchange failed."""
    if isinstance(error, CancelledError | GeneratorExit):
        error = exchange.interruption()
    if error is None:
        exchange.outcome = "client_closed"
        exchange.status = exchange.status or 499
    elif isinstance(error, GatewayError):
        exchange.outcome = error.kind
        exchange.error = error
        exchange.status = exchange.status or error.status
    else:
        exchange.outcome = "internal_error"
        exchange.status = exchange.status or 500


def entry_of(exchange: Exchange) -> Entry:
    """Give what is kept of an exchange."""
    request, trace, told = exchange.request, exchange.trace, exchange.usage
    chain, who, usage = exchange.profile_chain, exchange.principal or _NOBODY, told or _NOTHING
    begun, first, last = exchange.started, exchange.first_output, exchange.last_output
    attempts, saved, admitted = exchange.attempts, exchange.saved, exchange.admitted
    outcome, error, sent = exchange.outcome, exchange.error, exchange.sent_body
    tried: tuple[AttemptEntry, ...]
    if len(attempts) == 1:
        only = _attempted(attempts[0], begun)
        tried, upstream_ms, cost_usd = (only,), only.ms, only.cost_usd
    else:
        tried = tuple([_attempted(attempt, begun) for attempt in attempts])
        upstream_ms = _ms(sum([attempt.seconds for attempt in attempts]))
        cost_usd = None if (cost := exchange.cost) is None else cost / 1e9
    # Fifty members by name cost as much as all the rest: they are in the order of the class.
    # fmt: off
    return Entry(
        exchange.id,
        _timestamp(exchange.wall),
        chain[-1] if chain else None,
        None if request is None or request.model is None else request.model[:MAX_NAME],
        exchange.tier or None, exchange.backend or None, exchange.mode or None,
        exchange.escalated,
        _ms(exchange.seconds),
        outcome == "ok",
        None if outcome == "ok" else _told(exchange),
        exchange.priority,

        exchange.overflowed,
        exchange.downgraded or None,
        exchange.surface, exchange.path,
        who.name or None, who.group or None,
        exchange.model or None,
        exchange.status, outcome,
        request is not None and request.stream,
        None if first is None else _ms(first - begun),
        upstream_ms,
        _ms(exchange.waited) if exchange.waited else 0.0,
        None if first is None or last is None else _ms(last - first),
        None if told is None else told.input_tokens,
        None if told is None else told.output_tokens,
        usage.cached_read, usage.reasoning, usage.estimated,
        cost_usd,
        None if saved is None else saved / 1e9,
        exchange.finish_reason,
        exchange.bytes_out,
        tried,
        _climbed(exchange.climbs) if exchange.climbs else (),
        _ms(begun - admitted) if admitted else 0.0,
        exchange.insufficient or None,
        None if error is None else _limit(error),
        exchange.mid_stream or None,
        None if trace is None else trace.id.decode(),
        None if trace is None else trace.span_id(),
        exchange.cache or None,

        exchange.label or msgspec.UNSET,
        chain if len(chain) > 1 else msgspec.UNSET,
        msgspec.UNSET if sent is None else sent.decode("utf-8", "replace"),
        exchange.over_limits or msgspec.UNSET,
        who.tags or msgspec.UNSET,
        _ruled(exchange.rules) if exchange.rules else msgspec.UNSET,
    )
    # fmt: on


def _attempted(attempt: Attempt, begun: float) -> AttemptEntry:
    return AttemptEntry(
        attempt.tier,
        attempt.backend,
        attempt.model,
        attempt.outcome,
        attempt.status,
        _ms(attempt.seconds),
        attempt.purpose,
        _ms(attempt.started - begun),
        None if attempt.cost is None else attempt.cost / 1e9,
    )


def _limit(error: GatewayError) -> str | None:
    """The limit that was reached, of which ``standings`` tell first."""
    if not isinstance(error, LimitError) or not error.standings:
        return None
    standing: Standing = error.standings[0]
    return f"{standing.scope}:{standing.what}"


def _climbed(climbs: Sequence[Climb]) -> tuple[ClimbEntry, ...]:
    return tuple([ClimbEntry(c.from_tier, c.to_tier, c.reason) for c in climbs])


def _ruled(rules: Sequence[Taken]) -> tuple[RuleEntry, ...]:
    return tuple([RuleEntry(r.profile, r.position, dict(r.when), r.to) for r in rules])


def _told(exchange: Exchange) -> str:
    """The error in our own words: an upstream's text is never kept."""
    error = exchange.error
    if error is None or error.origin == "upstream":
        return exchange.outcome
    return f"{error.kind}: {type(error).default_message()}" if error.param else str(error)


def _ms(seconds: float) -> float:
    return int(seconds * 1e6 + 0.5) / 1000


@lru_cache(maxsize=4)
def _to_the_second(second: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))


def _timestamp(wall: float) -> str:
    """ISO 8601, to the millisecond, in UTC."""
    second, rest = divmod(int(wall * 1000), 1000)
    return f"{_to_the_second(second)}.{rest:03d}+00:00"
