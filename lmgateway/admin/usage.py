"""What was used and what it cost: ``/admin/usage``."""

from __future__ import annotations

import csv
import io
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from lmgateway.admin.answers import Query, Raw, Shape
from lmgateway.admin.declared import Call, Topic
from lmgateway.classes import frozen
from lmgateway.errors import MalformedRequest
from lmgateway.governance.ledger import DAY, Key, Ledger, Sum, day_text, grouped
from lmgateway.governance.pricing import NANO, usd
from lmgateway.stores.usage import Record

topic = Topic("usage")
PARTS = ("day", "client", "group", "tier", "model")
DEFAULT_LIMIT = 1_000
MAX_LIMIT = 10_000
_MEDIA = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}

_DAY = Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="a day as `2026-01-31`")
Day = Annotated[str, _DAY]


class UsageQuery(Query, frozen=True, rename={"from_": "from"}):
    """
    UsageQuery rows.

    Attributes:
        by: What a row is for: some of ``day``, ``client``, ``group``, ``tier`` and ``model``, with
            commas between; all of them if not given, and one row of everything if empty.
        to: The last day, in UTC; ``from`` is the first.
        format: ``json``, ``csv`` or ``jsonl``; what ``Accept`` asks for if not given.
        limit: How many rows.
        cursor: The ``next_cursor`` of the page before.
    """

    by: str | None = None
    from_: Day | None = None
    to: Day | None = None
    client: str | None = None
    group: str | None = None
    tier: str | None = None
    model: str | None = None
    format: Literal["json", "csv", "jsonl"] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT
    cursor: str | None = None


class UsageRow(Shape, frozen=True, kw_only=True):
    """
    What some attempts took and cost.

    Attributes:
        requests: Answers to clients, or beginnings of one.
        attempts: All attempts: also those that failed, were not good enough, or classified.
        cached_read: Part of the input.
        cached_write: Part of the input.
        reasoning: Part of the output.
        estimated: Attempts whose backend told no usage, so that the tokens were counted here.
        unpriced: Attempts at targets without a price.
        cost_usd: Of those with a price; ``null`` if there is none.
        saved_usd: Less than the baseline; ``null`` without one.
    """

    day: str | UnsetType = UNSET
    client: str | UnsetType = UNSET
    group: str | UnsetType = UNSET
    tier: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    requests: int
    attempts: int
    input_tokens: int
    output_tokens: int
    cached_read: int
    cached_write: int
    reasoning: int
    estimated: int
    unpriced: int
    cost_usd: float | None
    saved_usd: float | None


class UsagePage(Shape, frozen=True):
    """
    Rows, in the order of what they are for.

    Attributes:
        totals: Of all rows, not of this page only.
        next_cursor: What gets the next page; ``null`` on the last one.
        since: The first day of which all is known.
        dropped: Records that the configured file does not have, since it could not be written.
        torn: Unreadable lines that the file had at the start.
    """

    rows: list[UsageRow]
    totals: UsageRow
    next_cursor: str | None
    since: str
    dropped: int
    torn: int


class RecordQuery(Query, frozen=True):
    """
    UsageQuery records.

    Attributes:
        client: Of this one only.
    """

    client: str | None = None
    limit: Annotated[int, Meta(ge=0, le=1_000)] = 100


class RecordPage(Shape, frozen=True):
    """Records of attempts, the newest first."""

    records: list[Record]


Labelled = tuple[tuple[str, ...], Sum]


@frozen(eq=False)
class UsageRoutes:
    """The routes."""

    ledger: Ledger
    topic: ClassVar[Topic] = topic

    @topic.route(
        "GET",
        "/admin/usage",
        role="viewer",
        query=UsageQuery,
        answer=UsagePage,
        other_media=(*_MEDIA.values(),),
        summary="Usage and costs",
    )
    def usage(self, call: Call, query: UsageQuery) -> UsagePage | Raw:
        """Show what was used, by day, client, group, tier or model; as JSON, CSV or JSON lines."""
        by = _parts(query.by)
        rows = grouped(self.ledger.sums, by, _Wanted.of(query))
        total = Sum()
        for _, each in rows:
            total.add(each)
        start = _after(rows, query.cursor)
        page = rows[start : start + query.limit]
        more = _cursor(page[-1]) if page and start + len(page) < len(rows) else None
        form = query.format or _accepted(call.request.head.get(b"accept"))
        if form != "json":
            return _lines(by, page, form, more)
        ledger = self.ledger
        return UsagePage(
            rows=[_row(by, each) for each in page],
            totals=_row((), ((), total)),
            next_cursor=more,
            since=day_text(ledger.since),
            dropped=ledger.dropped,
            torn=ledger.torn,
        )

    @topic.route(
        "GET", "/admin/usage/records", role="viewer", query=RecordQuery, answer=RecordPage,
        summary="Latest attempts",
    )  # fmt: skip
    def records(self, call: Call, query: RecordQuery) -> RecordPage:
        """Show the latest records as the ledger has them, the newest first."""
        found = [r for r in self.ledger.newest if query.client in (None, r.client)]
        return RecordPage(records=found[::-1][: query.limit])


@frozen
class _Wanted:
    """Says which sums are asked for."""

    first: int
    last: int
    exact: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, query: UsageQuery) -> _Wanted:
        """Read the filters of a query."""
        exact = [(Key._fields.index(name), getattr(query, name)) for name in PARTS[1:]]
        return cls(
            first=0 if query.from_ is None else _day(query.from_, "from"),
            last=10**9 if query.to is None else _day(query.to, "to"),
            exact=tuple((place, value) for place, value in exact if value is not None),
        )

    def __call__(self, key: Key) -> bool:
        return self.first <= key.day <= self.last and all(
            key[place] == value for place, value in self.exact
        )


def _day(text: str, name: str) -> int:
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) // DAY
    except ValueError:
        raise MalformedRequest(f"The parameter '{name}' must be a day.", param=name) from None


def _parts(by: str | None) -> tuple[str, ...]:
    wanted = PARTS if by is None else [part.strip() for part in by.split(",") if part.strip()]
    if unknown := [part for part in wanted if part not in PARTS]:
        raise MalformedRequest(
            f"The parameter 'by' takes {', '.join(PARTS)}; not {unknown[0][:64]!r}.", param="by"
        )
    return tuple(dict.fromkeys(wanted))


def _row(by: Sequence[str], labelled: Labelled) -> UsageRow:
    labels, total = labelled
    members: dict[str, Any] = dict(zip(by, labels, strict=True))
    return UsageRow(**members, **_numbers(total, lambda nano: nano / NANO))


def _numbers(total: Sum, money: Any) -> dict[str, Any]:
    """Give the members of a row that are no labels; *money* says how nano-dollars are written."""
    unknown = total.unpriced == total.attempts > 0
    return {
        "requests": total.requests,
        "attempts": total.attempts,
        "input_tokens": total.input_tokens,
        "output_tokens": total.output_tokens,
        "cached_read": total.cached_read,
        "cached_write": total.cached_write,
        "reasoning": total.reasoning,
        "estimated": total.estimated,
        "unpriced": total.unpriced,
        "cost_usd": None if unknown else money(total.cost),
        "saved_usd": money(total.saved) if total.compared else None,
    }


# Pages -----------------------------------------------------------------------
def _cursor(last: Labelled) -> str:
    return urlsafe_b64encode(msgspec.json.encode(last[0])).decode().rstrip("=")


def _after(rows: Sequence[Labelled], cursor: str | None) -> int:
    """Say where the page begins: what came in between before it does not shift it."""
    if cursor is None:
        return 0
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        last = msgspec.json.decode(urlsafe_b64decode(padded), type=tuple[str, ...])
    except (ValueError, msgspec.DecodeError):
        raise MalformedRequest("The cursor is none of ours.", param="cursor") from None
    return sum(labels <= last for labels, _ in rows)


# Other forms -----------------------------------------------------------------
def _accepted(accept: bytes | None) -> Literal["json", "csv", "jsonl"]:
    """Say what is asked for; the first that is known."""
    for kind in (accept or b"").decode("latin-1").lower().split(","):
        match kind.partition(";")[0].strip():
            case "text/csv":
                return "csv"
            case "application/x-ndjson" | "application/jsonl" | "application/json-lines":
                return "jsonl"
            case "application/json":
                return "json"
    return "json"


def _lines(by: Sequence[str], page: Sequence[Labelled], form: str, more: str | None) -> Raw:
    headers = () if more is None else ((b"x-next-cursor", more.encode()),)
    if form == "jsonl":
        body = b"".join(msgspec.json.encode(_row(by, each)) + b"\n" for each in page)
    else:
        body = _csv(by, page).encode()
    return Raw(body, _MEDIA[form], headers=headers)


def _csv(by: Sequence[str], page: Sequence[Labelled]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*by, *_numbers(Sum(), usd)])
    for labels, total in page:
        writer.writerow([*labels, *_numbers(total, _signed).values()])
    return text.getvalue()


def _signed(amount: int) -> str:
    return usd(amount) if amount >= 0 else f"-{usd(-amount)}"
