"""Keys made at run time: ``/admin/keys``."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import UTC, datetime
from itertools import islice
from typing import Any, ClassVar, TypeVar

from msgspec import UNSET, UnsetType, structs, to_builtins

from lmgateway.admin.answers import Answer, Conflict, Fault, Order, Query, Shape
from lmgateway.admin.declared import Call, Topic
from lmgateway.classes import frozen
from lmgateway.errors import ConfigError, MalformedRequest
from lmgateway.governance.issued import GRACE_SECONDS, Issued, IssuedKeys, Made
from lmgateway.governance.ledger import Ledger, Sum, grouped
from lmgateway.governance.pricing import NANO

topic = Topic("keys")

MAX_PAGE = 1000
MAX_GRACE = 30 * 24 * 3600.0

Text = str | None | UnsetType
Number = int | None | UnsetType
Texts = list[str] | None | UnsetType

_T = TypeVar("_T")


class KeyChanges(Order, frozen=True, kw_only=True):
    """What the holder of a key may do: as in ``[[clients]]``; ``null`` takes a member away."""

    name: str | UnsetType = UNSET
    profile: str | UnsetType = UNSET
    group: Text = UNSET
    allow_profiles: Texts = UNSET
    allow_models: Texts = UNSET
    allow_endpoints: Texts = UNSET
    rate_limit_rpm: Number = UNSET
    rate_limit_tpm: Number = UNSET
    rate_limit_usd_per_minute: float | UnsetType | None = UNSET
    burst: Number = UNSET
    max_concurrent: Number = UNSET
    limits: list[dict[str, Any]] | UnsetType | None = UNSET
    enforce: bool | UnsetType | None = UNSET
    budgets: Texts = UNSET
    default_priority: Number = UNSET
    priority_ceiling: Number = UNSET
    expert: bool | UnsetType | None = UNSET
    chaos: bool | UnsetType | None = UNSET
    expires: Text = UNSET
    tags: Texts = UNSET


class KeyCreation(KeyChanges, frozen=True, kw_only=True):
    """What the holder of a new key may do: as in ``[[clients]]``."""

    name: str
    profile: str


class KeyRotation(Order, frozen=True, kw_only=True):
    """
    How a key is rotated.

    Attributes:
        grace_seconds: For how long the old key is still good; a day if not given.
    """

    grace_seconds: float = GRACE_SECONDS


class KeyNothing(Order, frozen=True):
    """No members."""


class KeyPage(Query, frozen=True, kw_only=True):
    """
    Which keys are listed.

    Attributes:
        limit: How many at most.
        after: The id after which to go on: ``next`` of the page before.
    """

    limit: int = 100
    after: str | None = None


class Key(Shape, frozen=True, kw_only=True, omit_defaults=False):
    """
    A key, without its secret.

    Attributes:
        prefix: How the key begins.
        may: What its holder may do.
        old_until: Until when the key from before the last rotation is good.
        problem: Why it is not good with the configuration that is served.
    """

    id: str
    prefix: str
    may: dict[str, Any]
    created_at: str
    blocked: bool
    last_used_at: str | None
    old_until: str | None
    problem: str | None


class KeyUsage(Shape, frozen=True, kw_only=True):
    """What was used under a key's name; ``cost_usd`` is of what has a price."""

    requests: int
    input_tokens: int
    output_tokens: int
    cost_usd: float


class ShownKey(Key, frozen=True, kw_only=True, omit_defaults=False):
    """A key, and what its holder used."""

    usage: KeyUsage


class NewKey(Key, frozen=True, kw_only=True):
    """
    A key that was just made.

    Attributes:
        key: What its holder is to show; it is not told again.
    """

    key: str


class KeyListing(Shape, frozen=True):
    """
    Keys, the oldest first.

    Attributes:
        next: What to ask ``after`` for the next page; ``None`` on the last.
    """

    keys: list[Key]
    next: str | None


class KeyDeleted(Shape, frozen=True):
    """A key that is gone."""

    id: str
    deleted: bool = True


@frozen(eq=False)
class KeyRoutes:
    """
    The routes.

    Attributes:
        is_open: Whether everyone may ask without a key, so that none would mean anything.
    """

    keys: IssuedKeys
    ledger: Ledger
    is_open: bool
    topic: ClassVar[Topic] = topic

    @topic.route(
        "GET", "/admin/keys", role="operator", query=KeyPage, answer=KeyListing, summary="List keys"
    )
    def listing(self, call: Call, query: KeyPage) -> KeyListing:
        """List the keys that were made here, without their secrets."""
        if not 1 <= query.limit <= MAX_PAGE:
            raise MalformedRequest(f"'limit' must be from 1 to {MAX_PAGE}.", param="limit")
        found = [*islice(self.keys.after(query.after), query.limit + 1)]
        shown = found[: query.limit]
        return KeyListing(
            [_told(each) for each in shown],
            shown[-1].record.id if len(found) > len(shown) else None,
        )

    @topic.route(
        "POST", "/admin/keys", role="admin", body=KeyCreation, answer=NewKey, status=201,
        errors=(409, 422), summary="Make a key",
    )  # fmt: skip
    async def create(self, call: Call, body: KeyCreation) -> Answer:
        """Make a key that is good at once; its secret is in this answer and nowhere else."""
        call.note(name=body.name)
        if self.is_open:
            raise Conflict(
                "Everyone may use this gateway without a key: "
                'configure [[clients]], or say keys = "memory" in [state].'
            )
        return await self._made(call, self.keys.create(_members(body)), 201)

    @topic.route(
        "GET", "/admin/keys/<identity>", role="operator", answer=ShownKey, errors=(404,),
        summary="Show a key",
    )  # fmt: skip
    def show(self, call: Call, identity: str) -> ShownKey:
        """Show one key, without its secret, and what was used under its name."""
        issued = self.keys.get(identity)
        usage = self._usage(issued.record.members["name"])
        return ShownKey(usage=usage, **structs.asdict(_told(issued)))

    def _usage(self, name: str) -> KeyUsage:
        total = Sum()
        for _, each in grouped(self.ledger.sums, (), lambda key: key.client == name):
            total.add(each)
        return KeyUsage(
            requests=total.requests,
            input_tokens=total.input_tokens,
            output_tokens=total.output_tokens,
            cost_usd=total.cost / NANO,
        )

    @topic.route(
        "PATCH", "/admin/keys/<identity>", role="admin", body=KeyChanges, answer=Key,
        errors=(404, 422), summary="Change what a key may do",
    )  # fmt: skip
    async def change(self, call: Call, body: KeyChanges, identity: str) -> Key | Answer:
        """Change what the holder of a key may do, or until when; holds for the next request."""
        changes = _members(body)
        before = self.keys.get(identity).record.members
        call.note(id=identity, before={k: before.get(k) for k in changes}, after=changes)
        return await _fitting(self._changed(identity, changes))

    async def _changed(self, identity: str, changes: dict[str, Any]) -> Key:
        return _told(await self.keys.change(identity, changes))

    @topic.route(
        "POST", "/admin/keys/<identity>/rotate", role="admin", body=KeyRotation, answer=NewKey,
        errors=(404,), summary="Rotate a key",
    )  # fmt: skip
    async def rotate(self, call: Call, body: KeyRotation, identity: str) -> Answer:
        """Give a key another secret; both are good for a time of grace."""
        grace = body.grace_seconds
        if not 0 <= grace <= MAX_GRACE:
            raise MalformedRequest(f"'grace_seconds' must be from 0 to {MAX_GRACE:.0f}.")
        call.note(id=identity, grace_seconds=grace)
        return await self._made(call, self.keys.rotate(identity, grace), 200)

    @topic.route(
        "POST", "/admin/keys/<identity>/block", role="operator", body=KeyNothing, answer=Key,
        errors=(404,), summary="Block a key",
    )  # fmt: skip
    async def block(self, call: Call, body: KeyNothing, identity: str) -> Key:
        """Refuse a key from now on, until it is unblocked."""
        call.note(id=identity)
        return _told(await self.keys.block(identity, blocked=True))

    @topic.route(
        "POST", "/admin/keys/<identity>/unblock", role="admin", body=KeyNothing, answer=Key,
        errors=(404,), summary="Unblock a key",
    )  # fmt: skip
    async def unblock(self, call: Call, body: KeyNothing, identity: str) -> Key:
        """Let a key in again."""
        call.note(id=identity)
        return _told(await self.keys.block(identity, blocked=False))

    @topic.route(
        "DELETE", "/admin/keys/<identity>", role="admin", answer=KeyDeleted, errors=(404,),
        summary="Delete a key",
    )  # fmt: skip
    async def delete(self, call: Call, identity: str) -> KeyDeleted:
        """Forget a key."""
        call.note(id=identity)
        await self.keys.delete(identity)
        return KeyDeleted(identity)

    async def _made(self, call: Call, making: Awaitable[Made], status: int) -> Answer:
        made = await _fitting(making)
        if isinstance(made, Answer):
            return made
        call.note(id=made.issued.record.id)
        told = structs.asdict(_told(made.issued))
        return Answer(NewKey(key=made.secret, **told), status)


async def _fitting(change: Awaitable[_T]) -> _T | Answer:
    """Make a change, or say all that does not fit the configuration."""
    try:
        return await change
    except ConfigError as error:
        problems = list(error.problems)
        return Answer(Fault(error=str(error), kind="config", problems=problems), 422)


def _members(body: KeyChanges) -> dict[str, Any]:
    """Give what was said, and nothing of what was not."""
    said: dict[str, Any] = to_builtins(body)
    return said


def _told(issued: Issued) -> Key:
    record = issued.record
    return Key(
        id=record.id,
        prefix=f"lmg_{record.id}_",
        may=record.members,
        created_at=_moment(record.created),
        blocked=record.blocked,
        last_used_at=None if issued.last_used is None else _moment(issued.last_used),
        old_until=_moment(record.old_until) if record.old_digest else None,
        problem=issued.problem,
    )


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
