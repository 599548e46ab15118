"""Keys made at run time: what is done with them, and who shows one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.errors import ConfigError, GatewayError, NotFound, Unauthenticated
from lmgateway.governance.issued import NOTED_AFTER, IssuedKeys, Made
from lmgateway.governance.keys import digest
from lmgateway.principal import NEVER, Principal
from lmgateway.stores.keys import KeyRecord, KeyStore, MemoryKeys, StoreFailed
from lmgateway.stores.sqlite_keys import SqliteKeys
from lmgateway.wire.timers import Wheel

MEMBERS = {"name": "ann", "profile": "default"}


def read(record: KeyRecord) -> Principal:
    """Read a record by a config that has one profile."""
    if record.members["profile"] != "default":
        raise ConfigError(["there is no such profile"])
    expires = record.members.get("until", NEVER)
    return Principal(name=record.members["name"], profile="default", expires=expires)


class Waiting:
    """Runs what blocks when it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def run(self, function: Callable[[], Any]) -> Deferred[Any]:
        """Run it later."""
        done: Deferred[Any] = Deferred()
        self.calls.append((function, done))
        return done

    def next(self) -> None:
        """Run the next one."""
        function, done = self.calls.pop(0)
        try:
            done.callback(function())
        except Exception as error:
            done.errback(error)


class RingCase(SynchronousTestCase):
    """Makes a ring on a clock that stands still; the same tests run on every store."""

    def store(self) -> KeyStore:
        """Give where the keys are kept."""
        return MemoryKeys()

    def setUp(self) -> None:
        """Make a ring."""
        self.clock, self.now = Clock(), 1000.0
        self.wheel = Wheel(self.clock)
        self.addCleanup(self.wheel.stop)
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.kept = self.store()
        self.keys = self.ring(self.kept)

    def ring(self, store: KeyStore) -> IssuedKeys:
        """Make a ring over a store."""
        made = IssuedKeys(self.wheel, lambda: self.now, self.in_thread, self.tell)
        made.settle(read, store)
        return made

    def in_thread(self, function: Callable[[], Any]) -> Deferred[Any]:
        """Run what blocks at once."""
        done: Deferred[Any] = Deferred()
        try:
            done.callback(function())
        except Exception as error:
            done.errback(error)
        return done

    def tell(self, kind: str, **facts: Any) -> None:
        """Note what is told."""
        self.told.append((kind, facts))

    def result(self, coroutine: Any) -> Any:
        """Give what a change came to."""
        return self.successResultOf(ensureDeferred(coroutine))

    def made(self, **members: Any) -> Made:
        """Make a key."""
        made = self.result(self.keys.create(MEMBERS | members))
        assert isinstance(made, Made)
        return made

    def who(self, secret: str) -> str | None:
        """Say who shows a key."""
        principal = self.keys.find(digest(secret))
        return None if principal is None else principal.name

    def refused(self, secret: str) -> str:
        """Say why a key is refused."""
        with self.assertRaises(Unauthenticated) as caught:
            self.keys.find(digest(secret))
        return str(caught.exception)


class IssuedKeysTests(RingCase):
    """Tests for keys in memory."""

    def test_MX2_form(self) -> None:
        """A key tells its id, and is long enough that nobody guesses it."""
        made = self.made()
        self.assertRegex(made.secret, r"^lmg_[0-9a-f]{12}_[A-Za-z0-9]{43}$")
        self.assertEqual(made.secret.split("_")[1], made.issued.record.id)
        self.assertNotEqual(self.made().secret, made.secret)

    def test_good_at_once(self) -> None:
        """From the moment on that it was made, and no other is."""
        made = self.made()
        self.assertEqual(self.who(made.secret), "ann")
        self.assertIsNone(self.who(made.secret + "x"))
        self.assertIsNone(self.who(made.secret[:-1]))

    def test_the_secret_is_nowhere(self) -> None:
        """Only its SHA-256 is kept."""
        made = self.made()
        secret = made.secret.rpartition("_")[2]
        self.assertNotIn(secret, repr(self.kept.load()))
        self.assertNotIn(secret, repr(self.told))
        (record,) = self.kept.load()
        self.assertEqual(bytes.fromhex(record.digest), digest(made.secret))

    def test_what_the_config_has_not(self) -> None:
        """No key is made that names it."""
        self.failureResultOf(
            ensureDeferred(self.keys.create({"name": "x", "profile": "gone"})), ConfigError
        )
        self.assertEqual((self.keys.every(), self.kept.load(), self.told), ([], [], []))

    def test_MX3_rotation(self) -> None:
        """Both keys are good in the time of grace, then only the new one."""
        old = self.made()
        new = self.result(self.keys.rotate(old.issued.record.id, 60))
        self.assertEqual((self.who(old.secret), self.who(new.secret)), ("ann", "ann"))
        self.now += 59.9
        self.assertEqual(self.who(old.secret), "ann")
        self.now += 0.1
        self.assertIn("replaced", self.refused(old.secret))
        self.assertEqual(self.who(new.secret), "ann")

    def test_rotation_without_grace(self) -> None:
        """The old key is bad at once."""
        old = self.made()
        self.result(self.keys.rotate(old.issued.record.id, 0))
        self.assertIn("replaced", self.refused(old.secret))

    def test_rotated_twice(self) -> None:
        """Only one key before the newest is good."""
        first = self.made()
        second = self.result(self.keys.rotate(first.issued.record.id))
        third = self.result(self.keys.rotate(first.issued.record.id))
        told = [self.who(each.secret) for each in (first, second, third)]
        self.assertEqual(told, [None, "ann", "ann"])

    def test_blocking(self) -> None:
        """A blocked key is bad until it is unblocked; so is the one before."""
        made = self.made()
        identity = made.issued.record.id
        newer = self.result(self.keys.rotate(identity))
        self.result(self.keys.block(identity, blocked=True))
        for secret in (made.secret, newer.secret):
            self.assertEqual(self.refused(secret), "The key is blocked.")
        self.result(self.keys.block(identity, blocked=False))
        self.assertEqual(self.who(newer.secret), "ann")

    def test_expiry(self) -> None:
        """From that moment on it is bad; another moment can be set."""
        made = self.made(until=1010.0)
        self.now = 1010.0
        self.assertEqual(self.refused(made.secret), "The key has expired.")
        self.result(self.keys.change(made.issued.record.id, {"until": 1020.0}))
        self.assertEqual(self.who(made.secret), "ann")
        self.result(self.keys.change(made.issued.record.id, {"until": None}))
        self.now = 10.0**9
        self.assertEqual(self.who(made.secret), "ann")

    def test_bad_changes_change_nothing(self) -> None:
        """The key is as it was."""
        made = self.made()
        change = self.keys.change(made.issued.record.id, {"profile": "gone"})
        self.failureResultOf(ensureDeferred(change), ConfigError)
        self.assertEqual(self.who(made.secret), "ann")
        self.assertEqual(self.kept.load()[0].members, MEMBERS)

    def test_deletion(self) -> None:
        """A deleted key is as unknown as one that never was."""
        made = self.made()
        self.result(self.keys.delete(made.issued.record.id))
        self.assertIsNone(self.who(made.secret))
        self.assertEqual((self.keys.every(), self.kept.load()), ([], []))

    def test_unknown_ids(self) -> None:
        """404, whatever is asked."""
        for change in (
            self.keys.rotate("x"),
            self.keys.block("x", blocked=True),
            self.keys.change("x", {}),
            self.keys.delete("x"),
        ):
            self.failureResultOf(ensureDeferred(change), NotFound)

    def test_events(self) -> None:
        """Every change is told, with the id and no more."""
        identity = self.made().issued.record.id
        self.result(self.keys.rotate(identity))
        self.result(self.keys.block(identity, blocked=True))
        self.result(self.keys.block(identity, blocked=False))
        self.result(self.keys.change(identity, {}))
        self.result(self.keys.delete(identity))
        actions = ["create", "rotate", "block", "unblock", "change", "delete"]
        self.assertEqual(
            self.told, [("key", {"action": action, "id": identity}) for action in actions]
        )

    def test_restart(self) -> None:
        """Another ring over the same store knows the same keys."""
        made = self.made()
        newer = self.result(self.keys.rotate(made.issued.record.id))
        self.result(self.keys.block(made.issued.record.id, blocked=True))
        self.keys = self.ring(self.kept)
        self.assertEqual(self.refused(made.secret), "The key is blocked.")
        self.result(self.keys.block(made.issued.record.id, blocked=False))
        self.assertEqual((self.who(made.secret), self.who(newer.secret)), ("ann", "ann"))

    def test_last_use(self) -> None:
        """It is known at once, and kept within a minute."""
        made = self.made()
        self.assertIsNone(made.issued.last_used)
        self.now = 2000.0
        self.who(made.secret)
        self.assertEqual(self.keys.get(made.issued.record.id).last_used, 2000.0)
        self.assertIsNone(self.kept.load()[0].last_used)
        self.clock.pump([1.0] * int(NOTED_AFTER + 1))
        self.assertEqual(self.kept.load()[0].last_used, 2000.0)

    def test_a_change_keeps_the_last_use(self) -> None:
        """A key that was used and blocked was used all the same."""
        made = self.made()
        self.who(made.secret)
        blocked = self.result(self.keys.block(made.issued.record.id, blocked=True))
        self.assertEqual(blocked.last_used, 1000.0)

    def test_a_config_without_the_profile(self) -> None:
        """The key is bad while it is gone, and good again when it is back."""
        made = self.made()

        def without(record: KeyRecord) -> Principal:
            raise ConfigError(["there is no profile"])

        self.keys.settle(without, None)
        self.assertIn("configuration", self.refused(made.secret))
        self.assertEqual(made.issued.problem, "there is no profile")
        self.keys.settle(read, None)
        self.assertEqual(self.who(made.secret), "ann")


class SqliteIssuedKeysTests(IssuedKeysTests):
    """The same tests for keys in a file."""

    def store(self) -> KeyStore:
        """Give where the keys are kept."""
        store = SqliteKeys(Path(self.mktemp()))
        self.addCleanup(store.close)
        return store


class MovingTests(RingCase):
    """Tests for keys that are kept in another place after a reload."""

    def open(self, name: str) -> SqliteKeys:
        """Open a file."""
        store = SqliteKeys(Path(name))
        self.addCleanup(store.close)
        return store

    def test_from_memory_to_a_file_and_back(self) -> None:
        """No key is lost on the way."""
        made = self.made()
        name = self.mktemp()
        self.keys.settle(read, self.open(name))
        self.assertEqual(self.who(made.secret), "ann")
        self.assertEqual(len(self.open(name).load()), 1)
        self.keys.settle(read, MemoryKeys())
        self.assertEqual(self.who(made.secret), "ann")

    def test_from_one_file_to_another(self) -> None:
        """Each has its own keys."""
        self.keys.settle(read, self.open(self.mktemp()))
        made = self.made()
        self.keys.settle(read, self.open(self.mktemp()))
        self.assertIsNone(self.who(made.secret))


class ThreadTests(RingCase):
    """Tests for changes that wait for a disk."""

    def setUp(self) -> None:
        """Have what blocks wait."""
        self.waiting = Waiting()
        super().setUp()

    def store(self) -> KeyStore:
        """Keep them in a file."""
        store = SqliteKeys(Path(self.mktemp()))
        self.addCleanup(store.close)
        return store

    def in_thread(self, function: Callable[[], Any]) -> Deferred[Any]:
        """Wait to be told."""
        return self.waiting.run(function)

    def test_written_first(self) -> None:
        """A key is not good before it is on the disk."""
        making = ensureDeferred(self.keys.create(MEMBERS))
        self.assertNoResult(making)
        self.assertEqual(self.keys.every(), [])
        self.waiting.next()
        self.assertEqual(self.who(self.successResultOf(making).secret), "ann")

    def test_one_after_the_other(self) -> None:
        """Changes of one key do not undo each other."""
        making = ensureDeferred(self.keys.create(MEMBERS))
        self.waiting.next()
        made = self.successResultOf(making)
        identity = made.issued.record.id
        rotating = ensureDeferred(self.keys.rotate(identity))
        blocking = ensureDeferred(self.keys.block(identity, blocked=True))
        self.assertEqual(len(self.waiting.calls), 1)
        self.waiting.next()
        newer = self.successResultOf(rotating)
        self.waiting.next()
        self.successResultOf(blocking)
        self.assertEqual(self.refused(newer.secret), "The key is blocked.")

    def test_whoever_leaves_stops_nothing(self) -> None:
        """A change that was begun is made to its end."""
        making = ensureDeferred(self.keys.create(MEMBERS))
        making.addErrback(lambda failure: None)
        making.cancel()
        self.waiting.next()
        self.assertEqual(len(self.keys.every()), 1)
        self.assertEqual(len(self.kept.load()), 1)

    def test_failures(self) -> None:
        """What could not be written does not hold either, and the next change can be made."""

        def fail() -> None:
            raise StoreFailed("disk full")

        making = ensureDeferred(self.keys.create(MEMBERS))
        _, done = self.waiting.calls.pop()
        self.waiting.calls.append((fail, done))
        self.waiting.next()
        self.failureResultOf(making, GatewayError)
        self.assertEqual((self.keys.every(), self.told), ([], []))
        again = ensureDeferred(self.keys.create(MEMBERS))
        self.waiting.next()
        self.successResultOf(again)
