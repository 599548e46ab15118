"""
Keys made at run time, through the admin API.

========  ====================================================================
a key     ``lmg_<id>_<secret>``; shown once, when it is made or rotated
kept      its SHA-256, and what its holder may do, as in ``[[clients]]``
rotated   a new secret; the old one is good for a time of grace
blocked   not good until it is unblocked
expires   not good from then on
========  ====================================================================

A change is written to the store first and then holds for the next request, with
no reload; changes wait for each other.  All records are in memory too, so that no
request waits for a disk.  They outlive every config: what a record names (profile,
group, budgets) is looked up anew in each, and a key whose profile is gone is not
good while it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from functools import partial
from hashlib import sha256
from itertools import dropwhile, islice
from secrets import choice, token_hex
from string import ascii_letters, digits
from typing import Any, Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace
from twisted.internet.defer import Deferred, DeferredLock, ensureDeferred, succeed
from twisted.logger import Logger

from lmgateway.chat import Document
from lmgateway.errors import ConfigError, GatewayError, NotFound, Unauthenticated
from lmgateway.principal import Principal
from lmgateway.stores.keys import KeyRecord, KeyStore, MemoryKeys, StoreFailed
from lmgateway.wire.timers import Wheel

MAX_KEYS = 100_000
GRACE_SECONDS = 24 * 3600.0
"""For which a key is good after it was rotated, unless something else is said."""

NOTED_AFTER = 60.0
"""Seconds until the store is told that keys were shown."""

_LETTERS = ascii_letters + digits
_LENGTH = 43
"""Letters of a secret: 256 bits."""

_T = TypeVar("_T")

Run = Callable[[Callable[[], Any]], "Deferred[Any]"]
Spread = Callable[[str, KeyRecord | None], Awaitable[None]]
"""Is given a key's id and how it is now; ``None`` if there is none any more."""


class Read(Protocol):
    """Says who shows a key with these members, by the config that is served."""

    def __call__(self, record: KeyRecord) -> Principal:
        """
        Read a record.

        Raises:
            ConfigError: If it names what the config does not have.
        """


class Issued(Struct, eq=False):
    """
    One key, as it stands now.

    Attributes:
        principal: Who shows it; ``None`` if the config has not what it names.
        problem: What that is.
        last_used: When it was shown last, in seconds since the epoch.
    """

    record: KeyRecord
    principal: Principal | None = None
    problem: str | None = None
    last_used: float | None = None


class Made(Struct, frozen=True):
    """A key that was made: the only time that its secret is there."""

    issued: Issued
    secret: str


def unread(record: KeyRecord) -> Principal:
    """Know nobody, before a config is served."""
    raise ConfigError(["no config is served yet"])


class IssuedKeys:
    """
    The keys made at run time; outlives every config.

    Args:
        wheel: Tells the store now and then that keys were shown.
        wall: Seconds since the epoch.
        in_thread: Runs what may wait for a disk.
        tell: Told of every change: see ``telemetry.events``.

    Attributes:
        spread: Lets other processes know a change, before it is said that it holds.
    """

    _log = Logger()

    def __init__(
        self,
        wheel: Wheel,
        wall: Callable[[], float],
        in_thread: Run,
        tell: Callable[..., None],
    ) -> None:
        self._wheel = wheel
        self._wall = wall
        self._in_thread = in_thread
        self._tell = tell
        self._store: KeyStore = MemoryKeys()
        self._read: Read = unread
        self._lock = DeferredLock()
        self._shown: dict[str, float] = {}
        self._keys: dict[str, Issued] = {}
        self._digests: dict[bytes, Issued] = {}
        self.spread: Spread | None = None

    # Who shows a key -------------------------------------------------------
    def find(self, digest: bytes) -> Principal | None:
        """
        Say who shows a key with this digest; ``None`` if nobody could.

        Raises:
            Unauthenticated: If the key was good once, or will be.
        """
        issued = self._digests.get(digest)
        if issued is None:
            return None
        record, now = issued.record, self._wall()
        if record.old_digest and digest.hex() == record.old_digest and now >= record.old_until:
            raise Unauthenticated("The key was replaced by another one.")
        if record.blocked:
            raise Unauthenticated("The key is blocked.")
        principal = issued.principal
        if principal is None:
            raise Unauthenticated("The key is not good with the gateway's configuration.")
        if now >= principal.expires:
            raise Unauthenticated("The key has expired.")
        if not self._shown:
            self._wheel.start(NOTED_AFTER, self._note)
        issued.last_used = self._shown[record.id] = now
        return principal

    def _note(self) -> None:
        """Tell the store which keys were shown since it was told last."""
        shown, self._shown = self._shown, {}
        if shown:
            noted = self._run(partial(self._store.note_used, shown))
            noted.addErrback(lambda failure: self._log.failure("Use of keys not kept", failure))

    # What is known of them -------------------------------------------------
    def every(self) -> list[Issued]:
        """Give all keys, the oldest first."""
        return [*self._keys.values()]

    def after(self, identity: str | None) -> Iterator[Issued]:
        """Give the keys that were made after one; all if ``None``."""
        every = iter(self.every())
        if identity is not None:
            return islice(dropwhile(lambda each: each.record.id != identity, every), 1, None)
        return every

    def get(self, identity: str) -> Issued:
        """
        Give one key.

        Raises:
            NotFound: If there is none of that id.
        """
        issued = self._keys.get(identity)
        if issued is None:
            raise NotFound("There is no key of that id.")
        return issued

    # What is done with them ------------------------------------------------
    async def create(self, members: Document) -> Made:
        """
        Make a key.

        Raises:
            ConfigError: If the config has not what it names, or there are too many.
            GatewayError: If it could not be kept.
        """
        return await self._alone(self._create(members))

    async def _create(self, members: Document) -> Made:
        if len(self._keys) >= MAX_KEYS:
            raise ConfigError([f"there are {MAX_KEYS} keys already"])
        identity = token_hex(6)
        secret = _secret(identity)
        record = KeyRecord(id=identity, digest=_hex(secret), members=members, created=self._wall())
        return Made(await self._keep(record, "create"), secret)

    async def rotate(self, identity: str, grace: float = GRACE_SECONDS) -> Made:
        """
        Give a key another secret; the one before is good for *grace* seconds more.

        Raises:
            NotFound: If there is none of that id.
            GatewayError: If it could not be kept.
        """
        return await self._alone(self._rotate(identity, grace))

    async def _rotate(self, identity: str, grace: float) -> Made:
        old, secret = self.get(identity).record, _secret(identity)
        until = self._wall() + grace
        record = replace(old, digest=_hex(secret), old_digest=old.digest, old_until=until)
        return Made(await self._keep(record, "rotate"), secret)

    async def change(self, identity: str, members: Mapping[str, Any]) -> Issued:
        """
        Change what the holder of a key may do; ``None`` takes a member away.

        Raises:
            ConfigError: If the config has not what it names then.
            NotFound: If there is none of that id.
            GatewayError: If it could not be kept.
        """
        return await self._alone(self._change(identity, members))

    async def _change(self, identity: str, members: Mapping[str, Any]) -> Issued:
        old = self.get(identity).record
        left = {k: v for k, v in {**old.members, **members}.items() if v is not None}
        return await self._keep(replace(old, members=left), "change")

    async def block(self, identity: str, *, blocked: bool) -> Issued:
        """
        Make a key bad, or good again.

        Raises:
            NotFound: If there is none of that id.
            GatewayError: If it could not be kept.
        """
        return await self._alone(self._block(identity, blocked=blocked))

    async def _block(self, identity: str, *, blocked: bool) -> Issued:
        record = replace(self.get(identity).record, blocked=blocked)
        return await self._keep(record, "block" if blocked else "unblock")

    async def delete(self, identity: str) -> None:
        """
        Forget a key.

        Raises:
            NotFound: If there is none of that id.
            GatewayError: If that could not be kept.
        """
        await self._alone(self._delete(identity))

    async def _delete(self, identity: str) -> None:
        self.get(identity)
        await self._kept(partial(self._store.remove, identity))
        self._forget(self._keys.pop(identity))
        if self.spread is not None:
            await self.spread(identity, None)
        self._tell("key", action="delete", id=identity)

    async def _keep(self, record: KeyRecord, action: str) -> Issued:
        """Write a record down; then let it hold."""
        known = self._keys.get(record.id)
        issued = Issued(record, last_used=None if known is None else known.last_used)
        if action in ("create", "change"):
            issued.principal = self._read(record)
        else:
            self._fit(issued)
        await self._kept(partial(self._store.save, record))
        if known is not None:
            self._forget(known)
        self._learn(issued)
        if self.spread is not None:
            await self.spread(record.id, record)
        self._tell("key", action=action, id=record.id)
        return issued

    # What another process keeps --------------------------------------------
    def take(self, identity: str, record: KeyRecord | None) -> None:
        """Take over how a key is now that another process keeps."""
        known = self._keys.pop(identity, None)
        if known is not None:
            self._forget(known)
        if record is not None:
            issued = Issued(record, last_used=None if known is None else known.last_used)
            self._fit(issued)
            self._learn(issued)

    def shown(self, used: Mapping[str, float]) -> None:
        """Learn when keys were shown to another process."""
        for identity, when in used.items():
            if (issued := self._keys.get(identity)) is not None:
                if not self._shown:
                    self._wheel.start(NOTED_AFTER, self._note)
                issued.last_used = self._shown[identity] = max(when, issued.last_used or 0.0)

    async def _kept(self, write: Callable[[], object]) -> None:
        try:
            await self._run(write)
        except StoreFailed as error:
            raise GatewayError("The keys could not be written; nothing was changed.") from error

    def _run(self, write: Callable[[], object]) -> Deferred[Any]:
        return self._in_thread(write) if self._store.blocks else succeed(write())

    async def _alone(self, change: Coroutine[Any, Any, _T]) -> _T:
        """Make a change when no other is being made, and to its end, whoever still waits."""
        done: Deferred[_T] = self._lock.run(lambda: ensureDeferred(change))
        waiting: Deferred[_T] = Deferred()
        done.addBoth(lambda result: None if waiting.called else waiting.callback(result))
        return await waiting

    # Configs and stores ----------------------------------------------------
    def settle(self, read: Read, store: KeyStore | None) -> None:
        """
        Fit all keys to the config that is served from now on.

        Args:
            store: Another place to keep them in from now on; ``None`` goes on with the one
                there is.  What either of them keeps in memory only is written to the new one.
        """
        self._read = read
        if store is not None:
            self._move(store)
        for issued in self._keys.values():
            self._fit(issued)

    def _move(self, store: KeyStore) -> None:
        old, self._store = self._store, store
        known = [*self._keys.values()]
        self._keys, self._digests, self._shown = {}, {}, {}
        for record in store.load():
            self._learn(Issued(record, last_used=record.last_used))
        if not (old.blocks and store.blocks):
            for issued in known:
                if issued.record.id not in self._keys:
                    self._carry(issued, store)
        old.close()

    def _carry(self, issued: Issued, store: KeyStore) -> None:
        try:
            store.save(replace(issued.record, last_used=issued.last_used))
        except StoreFailed:
            self._log.failure("The key {id} stays in memory only", id=issued.record.id)
        self._learn(issued)

    def _fit(self, issued: Issued) -> None:
        try:
            issued.principal, issued.problem = self._read(issued.record), None
        except ConfigError as error:
            issued.principal, issued.problem = None, str(error)

    def _learn(self, issued: Issued) -> None:
        record = issued.record
        self._keys[record.id] = issued
        for digest in filter(None, (record.digest, record.old_digest)):
            self._digests[bytes.fromhex(digest)] = issued

    def _forget(self, issued: Issued) -> None:
        record = issued.record
        for digest in filter(None, (record.digest, record.old_digest)):
            self._digests.pop(bytes.fromhex(digest), None)

    def close(self) -> None:
        """Write down what is not yet, and let go of the store."""
        try:
            if self._shown:
                self._store.note_used(self._shown)
        except StoreFailed:
            self._log.failure("Use of keys not kept")
        self._shown = {}
        self._store.close()


def _secret(identity: str) -> str:
    return f"lmg_{identity}_" + "".join(choice(_LETTERS) for _ in range(_LENGTH))


def _hex(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
