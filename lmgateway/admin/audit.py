"""Who did what, and who was turned away: ``/admin/audit``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from lmgateway.admin.answers import Query, Shape
from lmgateway.admin.declared import Call, Topic
from lmgateway.classes import frozen
from lmgateway.stores.audit import MAX_ROWS, AuditLog, Row

topic = Topic("audit")


class AuditQuery(Query, frozen=True, rename={"from_": "from"}):
    """
    Which rows.

    Attributes:
        kind: Only these.
        actor: Only what the holder of this token did.
        ip: Only what came from there.
        request_id: Only what this request did.
        to: Only earlier ones than this time, or beginning of one, as ``2026-11-21T16``; ``from``
            is for later ones.
        cursor: Only rows before the one with this number: ``next_cursor`` of the page before.
    """

    kind: Literal["action", "denied", "config", "alarm"] | None = None
    actor: str | None = None
    ip: str | None = None
    request_id: str | None = None
    from_: str | None = None
    to: str | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_ROWS)] = 100
    cursor: Annotated[int, Meta(ge=1)] | None = None


class AuditPage(Shape, frozen=True):
    """
    Rows, the newest first.

    Attributes:
        next_cursor: What gets the next page; ``null`` on the last one.
        dropped: Rows that the configured file does not have, since it could not be written.
    """

    rows: list[Row]
    next_cursor: int | None
    dropped: int


@frozen(eq=False)
class AuditRoutes:
    """The routes."""

    log: AuditLog
    topic: ClassVar[Topic] = topic

    @topic.route(
        "GET", "/admin/audit", role="operator", query=AuditQuery, answer=AuditPage,
        summary="Audit log",
    )  # fmt: skip
    def audit(self, call: Call, query: AuditQuery) -> AuditPage:
        """Show who did what here, who was turned away at either port, and what was configured."""
        found = [*_found(self.log, query)]
        page = found[: query.limit]
        more = page[-1].n if len(found) > len(page) else None
        return AuditPage(rows=page, next_cursor=more, dropped=self.log.dropped)


def _found(log: AuditLog, query: AuditQuery) -> Iterator[Row]:
    for row in reversed(log.newest):
        if query.cursor is not None and row.n >= query.cursor:
            continue
        if query.kind not in (None, row.kind):
            continue
        if query.from_ is not None and row.at < query.from_:
            continue
        if query.to is not None and row.at >= query.to:
            continue
        wanted = (("actor", query.actor), ("ip", query.ip), ("request_id", query.request_id))
        if all(value in (None, row.facts.get(name)) for name, value in wanted):
            yield row
