"""Keys: whose they are, until when, and for what."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.errors import Forbidden, Unauthenticated
from lmgateway.exchange import Principal
from lmgateway.governance.keys import Keys, check_path, digest

ONE = Principal(name="one", profile="default")
ANYONE = Principal(name="", profile="default", anonymous=True)


def keys(anonymous: Principal | None = None, now: float = 100.0, **expiries: float) -> Keys:
    """Give a ring with one key."""
    return Keys.of([(digest("key"), ONE)], anonymous, expiries, lambda: now)


class KeysTests(SynchronousTestCase):
    """Who shows a key."""

    def test_known(self) -> None:
        """The client whose key it is."""
        self.assertIs(keys().identify("key"), ONE)

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
        self.assertIs(Keys.of([], ANYONE, {}, lambda: 0).identify("any"), ANYONE)

    def test_expiry(self) -> None:
        """From that moment on, the key is not good any more, and the client is told why."""
        self.assertIs(keys(one=100.1).identify("key"), ONE)
        for moment in (100.0, 99.0):
            with self.assertRaisesRegex(Unauthenticated, "expired"):
                keys(one=moment).identify("key")


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
