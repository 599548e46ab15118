"""Keys: whose they are, until when, and for what."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.errors import Forbidden, Unauthenticated
from lmgateway.governance.keys import Keys, check_path, digest
from lmgateway.principal import NEVER, Principal

ONE = Principal(name="one", profile="default")
ANYONE = Principal(name="", profile="default", anonymous=True)


def keys(anonymous: Principal | None = None, now: float = 100.0, expires: float = NEVER) -> Keys:
    """Give a ring with one key."""
    return Keys.of([(digest("key"), evolve(ONE, expires=expires))], anonymous, lambda: now)


class KeysTests(SynchronousTestCase):
    """Who shows a key."""

    def test_known(self) -> None:
        """The client whose key it is."""
        self.assertEqual(keys().identify("key"), ONE)

    def test_wrong_keys_are_refused(self) -> None:
        """Even where none is needed: whoever shows one means it."""
        for anonymous in (None, ANYONE):
            with self.assertRaises(Unauthenticated):
                keys(anonymous).identify("other")

    def test_missing_keys(self) -> None:
        """Only with a public profile."""
        self.assertIs(keys(ANYONE).identify(None), ANYONE)
        for missing in (None, ""):
            with self.assertRaises(Unauthenticated):
                keys().identify(missing)

    def test_open(self) -> None:
        """Without clients, any key is as good as none."""
        self.assertIs(Keys.of([], ANYONE, is_open=True).identify("any"), ANYONE)

    def test_nobody_is_let_in_for_want_of_keys(self) -> None:
        """Where keys are to be made at run time and none is yet, everyone is refused."""
        for shown in (None, "any"):
            with self.assertRaises(Unauthenticated):
                Keys.of([], None).identify(shown)

    def test_keys_made_at_run_time(self) -> None:
        """They are asked for where the config knows no such key."""
        made = evolve(ONE, name="made")
        ring = Keys.of([], None, find={digest("other"): made}.get)
        self.assertIs(ring.identify("other"), made)
        with self.assertRaises(Unauthenticated):
            ring.identify("third")

    def test_expiry(self) -> None:
        """From that moment on, the key is not good any more, and the client is told why."""
        self.assertEqual(keys(expires=100.1).identify("key").name, "one")
        for moment in (100.0, 99.0):
            with self.assertRaisesRegex(Unauthenticated, "expired"):
                keys(expires=moment).identify("key")


class PathTests(SynchronousTestCase):
    """What a key is for."""

    def test_everything_by_default(self) -> None:
        """Unless paths are named."""
        check_path(ONE, "/v1/anything")

    def test_named_paths(self) -> None:
        """By glob."""
        chat = Principal(name="one", profile="p", allow_endpoints=("/v1/chat/*", "/api/chat"))
        check_path(chat, "/v1/chat/completions")
        check_path(chat, "/api/chat")
        for path in ("/v1/embeddings", "/api/chats", "/v1/chat%2Fcompletions"):
            with self.assertRaises(Forbidden):
                check_path(chat, path)
