"""Request ids: the client's where they are decent, ours where not."""

from __future__ import annotations

from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.wire.door import Head
from lmgateway.wire.identity import request_id


def _head(given: bytes) -> Head:
    return Head(
        method=b"GET",
        path=b"/",
        query=b"",
        headers=[(b"x-request-id", given)],
        peer="",
        secure=False,
        length=0,
    )


class RequestIdTests(SynchronousTestCase):
    """See ``lmgateway.wire.identity``."""

    def test_ours_are_random_uuids(self) -> None:
        """However many are made, each is another, and each is a UUID of version 4 as written."""
        made = {request_id(None) for _ in range(500)}
        self.assertEqual(len(made), 500)
        for text in made:
            uuid = UUID(text)
            self.assertEqual((str(uuid), uuid.version), (text, 4))
        self.assertEqual({text[19] for text in made}, set("89ab"))

    def test_the_clients_own(self) -> None:
        """A decent one is kept; one that could harm a log is not."""
        self.assertEqual(request_id(_head(b"job-7.a_B")), "job-7.a_B")
        for bad in (b"", b"a b", b"a\xff", b"x" * 129):
            self.assertEqual(UUID(request_id(_head(bad))).version, 4)
