"""What went through: ``/admin/traffic``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated, ClassVar, TypeAlias

from msgspec import Meta

from lmgateway.admin.answers import Query, Shape
from lmgateway.admin.declared import Call, Topic
from lmgateway.admin.reasons import Span, reasons_of, spans_of
from lmgateway.classes import frozen
from lmgateway.errors import MalformedRequest, NotFound
from lmgateway.telemetry.traffic import AttemptEntry, Entry, Stats, Traffic

topic = Topic("traffic")
DEFAULT_LIMIT = 100


_MOMENTS = {"anyOf": [{"format": "date-time"}, {"pattern": r"^([0-9]{1,11}([.][0-9]+)?)?$"}]}
Moment = Annotated[str, Meta(extra_json_schema=_MOMENTS)]


_STATUS = Meta(
    pattern="^([1-5]([0-9]{2}|xx|XX))?$",
    description="a status as `503`, or a class of them as `5xx`",
)


class Which(Query, frozen=True):
    """
    Which entries; what is not given, or empty, does not matter.

    Attributes:
        limit: How many at most.
        cursor: Where the page before ended: its ``next_cursor``.
        client: The client's name; ``-`` for those without one.
        model: What the client asked for, what it got, or what was tried for it.
        tier: Where it was answered, or was tried; ``backend`` likewise.
        status: A status, or a class of them as ``5xx``.
        outcome: ``ok``, ``error`` (anything else), ``client_closed``, or the kind of an error.
        min_latency_ms: Those that took at least so long.
        error: Text within the error or its kind, in upper or lower case.
        since: From then on: seconds since the epoch, or a time with its zone.
        until: Before then.
    """

    limit: Annotated[int, Meta(ge=0, le=1_000_000)] = DEFAULT_LIMIT
    cursor: Annotated[int, Meta(ge=1)] | None = None
    client: str | None = None
    profile: str | None = None
    model: str | None = None
    tier: str | None = None
    backend: str | None = None
    status: Annotated[str, _STATUS] | None = None
    outcome: str | None = None
    min_latency_ms: Annotated[float, Meta(ge=0)] | None = None
    error: str | None = None
    since: Moment | None = None
    until: Moment | None = None


class Page(Shape, frozen=True):
    """
    Entries, the newest first.

    Attributes:
        stats: What the whole ring says in sum, whatever was asked for.
        next_cursor: Asks for what follows; ``null`` if that is all.
    """

    stats: Stats
    entries: list[Entry]
    next_cursor: int | None


class Detail(Shape, frozen=True):
    """
    One request.

    Attributes:
        why: How it came to where it went, and how it ended, step by step.
        spans: What took how long, counted from when the request was complete.
    """

    entry: Entry
    why: list[str]
    spans: list[Span]


@frozen(eq=False)
class TrafficRoutes:
    """The routes."""

    traffic: Traffic
    topic: ClassVar[Topic] = topic

    @topic.route(
        "GET", "/admin/traffic", role="viewer", query=Which, answer=Page, summary="Latest requests"
    )
    def page(self, call: Call, query: Which) -> Page:
        """Show the newest entries that fit, and what the whole ring says in sum."""
        found: list[Entry] = []
        cursor: int | None = None
        for number, entry in self._fitting(query):
            if len(found) == query.limit:
                break
            found.append(entry)
            cursor = number
        else:
            cursor = None
        return Page(stats=self.traffic.stats(), entries=found, next_cursor=cursor)

    def _fitting(self, query: Which) -> Iterator[tuple[int, Entry]]:
        fits, before = _test(query), query.cursor or float("inf")
        for number, entry in self.traffic.numbered():
            if number < before and fits(entry):
                yield number, entry

    @topic.route(
        "GET", "/admin/traffic/<id>", role="viewer", answer=Detail, errors=(404,),
        summary="One request",
    )  # fmt: skip
    def one(self, call: Call, id: str) -> Detail:  # noqa: A002 - its name in the path
        """Show one request: the whole decision and its timing."""
        for _, entry in self.traffic.numbered():
            if entry.id == id:
                return Detail(entry=entry, why=reasons_of(entry), spans=spans_of(entry))
        raise NotFound("No such request is in the traffic log: it may have been pushed out.")


Test: TypeAlias = Callable[[Entry], bool]


def _test(query: Which) -> Test:
    """Make what says whether an entry fits."""
    tests = [*_names(query), *_results(query), *_times(query)]
    return lambda entry: all(test(entry) for test in tests)


def _names(query: Which) -> Iterator[Test]:
    if profile := query.profile:
        yield lambda entry: entry.profile == profile
    if tier := query.tier:
        yield lambda entry: any(one.tier == tier for one in _places(entry))
    if backend := query.backend:
        yield lambda entry: any(one.backend == backend for one in _places(entry))
    if client := query.client:
        yield lambda entry: (entry.client or "-") == client
    if model := query.model:
        yield (
            lambda entry: (
                model == entry.requested_model or any(one.model == model for one in _places(entry))
            )
        )


def _results(query: Which) -> Iterator[Test]:
    if status := query.status:
        digits = status.rstrip("xX")
        yield lambda entry: str(entry.status).startswith(digits)
    if query.outcome == "error":
        yield lambda entry: not entry.success
    elif outcome := query.outcome:
        yield lambda entry: entry.outcome == outcome
    if (least := query.min_latency_ms) is not None:
        yield lambda entry: entry.latency_ms >= least
    if text := query.error:
        words = text.lower()
        yield lambda entry: not entry.success and words in _failure(entry)


def _places(entry: Entry) -> tuple[Entry | AttemptEntry, ...]:
    """Give where it was answered, and where that was tried."""
    return (entry, *entry.attempts)


def _failure(entry: Entry) -> str:
    """Give all that is said of a failure: its text, and its kind with and without underscores."""
    kind = entry.outcome
    return f"{entry.error or ''} {kind} {kind.replace('_', ' ')}".lower()


def _times(query: Which) -> Iterator[Test]:
    # Entries tell their time in one fixed form, so that text compares as time does.
    if query.since:
        since = _moment("since", query.since)
        yield lambda entry: entry.timestamp >= since
    if query.until:
        until = _moment("until", query.until)
        yield lambda entry: entry.timestamp < until


def _moment(name: str, text: str) -> str:
    """Give a time as entries tell theirs."""
    try:
        when = datetime.fromtimestamp(float(text), UTC)
    except (ValueError, OverflowError, OSError):
        try:
            # A plus sign in a query is a blank, unless the client escapes it.
            when = datetime.fromisoformat(text.replace(" ", "+"))
        except ValueError:
            raise MalformedRequest(f"{name!r} is no time.", param=name) from None
    if when.tzinfo is None:
        raise MalformedRequest(f"{name!r} has no zone: end it with Z.", param=name)
    try:
        return when.astimezone(UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError):
        raise MalformedRequest(f"{name!r} is no time.", param=name) from None
