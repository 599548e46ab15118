"""Tests for the line between the supervisor and a worker."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from socket import socketpair
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from lmgateway.errors import ConfigError, GatewayError, TooManyConcurrent
from lmgateway.service.line import MAX_HELD, Closed, Line, read_frame


class LineTests(TestCase):
    """Tests for two ends in one process."""

    def setUp(self) -> None:
        """Connect them."""
        self.told: list[Any] = []
        self.got: list[bytes] = []
        self.lost: Deferred[None] = Deferred()
        ours, theirs = socketpair()
        self.near = Line(ours, reactor, {}, {}, lambda: None)
        answers: dict[str, Callable[..., Any]] = {
            "add": lambda a, b: a + b,
            "fail": self.fail_so,
            "note": self.told.append,
            "wait": Deferred,
        }
        self.far = Line(
            theirs, reactor, answers, {b"E": self.got.append}, lambda: self.lost.callback(None)
        )
        self.addCleanup(self.near.rest)
        self.addCleanup(self.far.rest)

    def fail_so(self, kind: str) -> None:
        """Fail in one of the ways that can be told."""
        if kind == "config":
            raise ConfigError(["this", "that"])
        raise TooManyConcurrent("Full.", retry_after=3)

    async def test_a_question_is_answered(self) -> None:
        """An answer comes to whoever asked, in whatever order."""
        first, second = self.near.ask("add", 1, 2), self.near.ask("add", "a", "b")
        self.assertEqual(await second, "ab")
        self.assertEqual(await first, 3)

    async def test_no_answer_is_one_in_the_end(self) -> None:
        """Whoever asks one that hangs does not wait for ever."""
        with self.assertRaises(Closed):
            await self.near.ask("wait", within=0.05)

    async def test_an_error_is_told(self) -> None:
        """What went wrong at the other end is raised at this one."""
        with self.assertRaises(TooManyConcurrent) as full:
            await self.near.ask("fail", "full")
        self.assertEqual(full.exception.retry_after, 3)
        with self.assertRaises(ConfigError) as config:
            await self.near.ask("fail", "config")
        self.assertEqual([*config.exception.problems], ["this", "that"])

    async def test_a_bug_is_told_without_its_words(self) -> None:
        """What nobody expected is logged there, and told as that here."""
        with self.assertRaises(GatewayError) as error:
            await self.near.ask("add", 1, "b")
        self.assertNotIn("unsupported", str(error.exception))
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    async def test_what_is_noted_comes_in_order(self) -> None:
        """Notes and records wait for the next question, and come before it."""
        self.near.note("note", 1)
        self.near.put(b"E", b"entry")
        self.near.say("note", 2)
        await self.near.ask("add", 0, 0)
        self.assertEqual((self.told, self.got), ([1, 2], [b"entry"]))

    async def test_notes_go_out_by_themselves(self) -> None:
        """Where nothing else is said, a note is sent after some milliseconds."""
        self.near.note("note", 1)
        while not self.told:
            await deferLater(reactor, 0.01)
        self.assertFalse(self.near.waits)

    async def test_much_comes_whole(self) -> None:
        """A frame of megabytes comes in pieces, and as it was."""
        self.near.put(b"E", bytes(3_000_000))
        self.assertEqual(await self.near.ask("add", 1, 1), 2)
        self.assertEqual(self.got, [bytes(3_000_000)])

    async def test_whoever_does_not_read_loses_records_only(self) -> None:
        """What is beyond the bound is dropped and counted; what waits is kept."""
        self.far.stopReading()
        for _ in range(MAX_HELD // 1_000_000 + 5):
            self.near.put(b"E", bytes(1_000_000))
        self.assertGreater(self.near.dropped, 0)
        self.assertLess(self.near.dropped, 6)
        self.near.connectionLost(None)  # type: ignore[arg-type]  # nobody looks at it

    async def test_the_end_is_noticed(self) -> None:
        """What is asked of an end that is gone fails, and its loss is told."""
        asked = self.near.ask("wait")
        self.near.connectionLost(None)  # type: ignore[arg-type]  # nobody looks at it
        with self.assertRaises(Closed):
            await asked
        with self.assertRaises(Closed):
            await self.near.ask("add", 1, 1)
        await self.lost

    def test_a_frame_is_read_without_a_reactor(self) -> None:
        """The first one is waited for; where the other end is gone, that is said."""
        ours, theirs = socketpair()
        line = Line(ours, reactor, {}, {}, lambda: None)
        line.hand(pickle.dumps("task"))
        letter, body = read_frame(theirs)
        self.assertEqual((letter, pickle.loads(body)), (b"P", "task"))
        line.rest()
        self.assertRaises(EOFError, read_frame, theirs)
        theirs.close()
