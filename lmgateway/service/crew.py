"""
The workers of a supervisor: started, watched, told, replaced, ended.

A worker that ends without being told to is started anew, at once the first time and then
after ever longer waits; what it held of the shared counters, and its places in queues, are
given back.  One that does not answer for long is killed, and then is one that has ended.
One that is replaced is told to end when the new one serves.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from socket import AF_UNIX, SOCK_STREAM, socket, socketpair
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.internet.error import ProcessExitedAlready
from twisted.logger import Logger
from twisted.python.failure import Failure

from lmgateway.admin.inflight import InFlight
from lmgateway.errors import ConfigError
from lmgateway.service.hand import Hand, Process, command, environment
from lmgateway.service.line import Line
from lmgateway.service.places import Desk
from lmgateway.service.resources import Resources
from lmgateway.service.task import BOOKS, LINE, SOCKET, Start, Task, pickled
from lmgateway.service.together import Document
from lmgateway.stores.slate import PLACES, Slate

FIRST_WAIT = 0.1
SOON = 0.2
"""Seconds in which it turns out whether all were asked to end, and not one."""
LONGEST_WAIT = 30.0
STEADY = 30.0
"""Seconds after which a worker that ends is taken for one that did well."""
WATCH = 5.0
"""Seconds between two questions how a worker does."""
SILENCE = 30.0
"""Seconds after which a worker that has not said a word is taken for one that hangs."""
LEEWAY = 4.0
"""Seconds beyond its drain deadline after which a worker is killed."""


class Crew:
    """
    All workers.

    Args:
        slate: What they share.
        socket_of: Gives the socket of one of them.
        start: Gives what one of them begins with.
        hear: Gives what answers one of them, and what takes its records.

    Attributes:
        deaths: How many ended without being told to.
    """

    _log = Logger()

    def __init__(
        self,
        resources: Resources,
        slate: Slate,
        socket_of: Callable[[int], socket],
        start: Callable[[int, int], Start],
        hear: Callable[[Hand], tuple[dict[str, Any], dict[bytes, Any]]],
    ) -> None:
        self._resources = resources
        self._reactor: Any = resources.reactor
        self._slate = slate
        self._socket_of = socket_of
        self._start = start
        self._hear = hear
        self._hands: list[Hand] = []
        self._fails: dict[int, int] = {}
        self._waiting: dict[int, Any] = {}
        self._wanted = 0
        self._watch: Any = None
        self._looked = 0.0
        self.deaths = 0
        self.is_leaving = False

    # Start -------------------------------------------------------------------
    async def start(self, count: int) -> None:
        """
        Start so many workers, and wait until all serve.

        Raises:
            ConfigError: If one of them does not.
        """
        self._wanted = count
        await self._started([self._spawn(number) for number in range(1, count + 1)])
        self._looked = self._reactor.seconds()
        self._watch = self._reactor.callLater(WATCH, self._look)

    async def _started(self, hands: Sequence[Hand]) -> None:
        waiting: list[Deferred[Any]] = [hand.serving for hand in hands]
        for ok, found in await DeferredList(waiting, consumeErrors=True):
            if not ok:
                raise found.value

    def _spawn(self, number: int) -> Hand:
        taken = {hand.place for hand in self._hands}
        place = next(place for place in range(1, PLACES) if place not in taken)
        hand = Hand(number, place, self._reactor.seconds(), Desk(self._resources))
        self._hands.append(hand)
        ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
        answers, raw = self._hear(hand)
        answers |= {
            "serving": lambda generation: self._serves(hand, generation),
            "leaving": lambda: self._leaves(hand),
            "failed": lambda problems: setattr(hand, "problems", tuple(problems)),
            "enter": hand.desk.enter,
            "leave": hand.desk.leave,
        }
        hand.line = Line(ours, self._reactor, answers, raw, lambda: self._cut(hand))
        files = {0: 0, 1: 1, 2: 2, LINE: theirs.fileno(), BOOKS: self._slate.file}
        files[SOCKET] = self._socket_of(number).fileno()
        try:
            with open(os.devnull, "rb") as nothing:
                files[0] = nothing.fileno()
                hand.transport = self._reactor.spawnProcess(
                    Process(lambda reason: self._ended(hand, reason)),
                    sys.executable,
                    command(number),
                    env=environment(),
                    childFDs=files,
                )
        except OSError as error:
            self._hands.remove(hand)
            hand.line.rest()
            hand.desk.close()
            raise ConfigError([f"worker {number} cannot be started: {error.strerror}"]) from error
        finally:
            theirs.close()
        hand.report = {"pid": hand.transport.pid}
        hand.line.hand(pickled(self._start(number, place)))
        return hand

    def _serves(self, hand: Hand, generation: int) -> None:
        hand.is_serving, hand.generation = True, generation
        hand.since = self._reactor.seconds()
        self._tell(hand, "serving")
        if not hand.serving.called:
            hand.serving.callback(None)

    def _leaves(self, hand: Hand) -> None:
        """Replace a worker that somebody else has asked to end, unless all are asked."""
        if not hand.is_leaving and not self.is_leaving:
            self._later(hand.number, SOON, self._dismiss, hand)

    def _dismiss(self, hand: Hand) -> None:
        if hand.is_leaving:  # another has its place by now
            del self._waiting[hand.number]
        else:
            self._leave(hand)
            self._again(hand.number)

    def _later(self, number: int, seconds: float, call: Callable[..., None], *what: Any) -> None:
        """Do something about the workers of a number; whatever else was to be done is not."""
        before = self._waiting.get(number)
        if before is not None:
            before.cancel()
        self._waiting[number] = self._reactor.callLater(seconds, call, *what)

    def _cut(self, hand: Hand) -> None:
        """Kill a worker that has closed its line, and does not end."""
        if hand in self._hands and hand.transport is not None:
            hand.cut = self._reactor.callLater(LEEWAY, self._kill, hand)

    # The end of one ------------------------------------------------------------
    def _ended(self, hand: Hand, reason: Failure) -> None:
        self._hands.remove(hand)
        if hand.line is not None:
            hand.line.rest()
        if hand.cut is not None and hand.cut.active():
            hand.cut.cancel()
        hand.desk.close()
        self._slate.release(hand.place)
        status: Any = reason.value
        how = f"signal {status.signal}" if status.signal else f"status {status.exitCode}"
        if not hand.serving.called:
            text = f"worker {hand.number} ended before it served ({how})"
            hand.serving.addErrback(lambda _: None)
            hand.serving.errback(ConfigError(list(hand.problems) or [text]))
        is_expected = hand.is_leaving or self.is_leaving
        if is_expected or (self._watch is None and not hand.is_serving):  # the start has failed
            self._tell(hand, "ended")
        else:
            self._replace_dead(hand, how)
        hand.ended.callback(None)

    def _replace_dead(self, hand: Hand, how: str) -> None:
        self.deaths += 1
        lived = self._reactor.seconds() - hand.since
        fails = 0 if hand.is_serving and lived > STEADY else self._fails.get(hand.number, 0)
        wait = min(FIRST_WAIT * 2**fails if fails else 0.0, LONGEST_WAIT)
        self._fails[hand.number] = fails + 1
        self._log.error(
            "Worker {number} (process {pid}) has ended: {how}; another is started in {wait} s.",
            number=hand.number,
            pid=hand.report.get("pid"),
            how=how,
            wait=wait,
        )
        self._tell(hand, "died", how=how, seconds=wait)
        self._later(hand.number, wait, self._again, hand.number)

    def _again(self, number: int) -> None:
        del self._waiting[number]
        is_there = any(hand.number == number and not hand.is_leaving for hand in self._hands)
        if is_there or self.is_leaving or number > self._wanted:
            return
        try:
            self._spawn(number).serving.addErrback(lambda _: None)  # told when it ended
        except ConfigError as error:  # there is no room for another process now
            self._log.error(
                "{error}; it is tried again in {wait} s.", error=error, wait=LONGEST_WAIT
            )
            self._later(number, LONGEST_WAIT, self._again, number)

    # Silence ---------------------------------------------------------------------
    def _look(self) -> None:
        """Ask all how they do, and kill who has said nothing for long: it hangs."""
        self._watch = self._reactor.callLater(WATCH, self._look)
        now = self._reactor.seconds()
        late, self._looked = now - self._looked - WATCH, now
        for hand in self.serving if late < WATCH else ():  # else it is this process that hung
            if hand.line is not None and now - hand.line.heard > SILENCE:
                self._log.error("Worker {number} does not answer.", number=hand.number)
                self._kill(hand)
        ensureDeferred(self.reports())

    def _tell(self, hand: Hand, what: str, **facts: object) -> None:
        self._resources.events.tell("worker", worker=hand.number, what=what, **facts)

    def _kill(self, hand: Hand) -> None:
        with suppress(ProcessExitedAlready):
            hand.transport.signalProcess("KILL")

    # All of them -----------------------------------------------------------------
    @property
    def serving(self) -> list[Hand]:
        """Those that serve, and are to go on."""
        return [hand for hand in self._hands if hand.is_serving and not hand.is_leaving]

    @property
    def _staying(self) -> list[Hand]:
        """Those that are to go on, whether they serve yet or not."""
        return [hand for hand in self._hands if not hand.is_leaving]

    def order(self, name: str, *values: Any) -> None:
        """Let all of them know something, now."""
        for hand in self._hands:
            if hand.line is not None:
                hand.line.say(name, *values)

    async def ask(self, name: str, *values: Any) -> list[tuple[Hand, Any]]:
        """Ask all that serve; give the answers of those that do in time, or why not."""
        return await self._ask(self.serving, name, *values)

    async def tell(self, name: str, *values: Any) -> None:
        """Have all know something: those that start, and those that drain, too."""
        await self._ask([*self._hands], name, *values)

    async def _ask(self, hands: Sequence[Hand], name: str, *values: Any) -> list[tuple[Hand, Any]]:
        """Ask some of them; one that starts answers as soon as it serves."""
        asked = [hand.line.ask(name, *values) for hand in hands if hand.line is not None]
        results = await DeferredList(asked, consumeErrors=True)
        return [
            (hand, found if ok else found.value)
            for hand, (ok, found) in zip(hands, results, strict=True)
        ]

    # Another config ----------------------------------------------------------------
    async def prepare(self, task: Task) -> None:
        """
        Have all of them make what a config needs.

        Raises:
            ConfigError: If one of them cannot; then none of them goes over to it.
        """
        for _, found in await self._ask(self._staying, "prepare", pickled(task)):
            if isinstance(found, ConfigError):
                self.order("discard")
                raise found

    async def apply(self, generation: int) -> None:
        """Have all of them serve what they prepared; who does not is replaced."""
        for hand, found in await self._ask(self._staying, "apply"):
            if found == generation:
                hand.generation = generation
        late = [hand for hand in self._staying if hand.generation != generation]
        for hand in late:
            self._log.warn("Worker {number} is replaced.", number=hand.number)
            await self._replace(hand)

    async def replace(self) -> None:
        """Have others in the place of all of them, one after the other."""
        for hand in self._staying:
            await self._replace(hand)

    async def resize(self, count: int) -> None:
        """Have so many of them."""
        before, self._wanted = self._wanted, count
        for hand in [hand for hand in self._hands if hand.number > count]:
            self._leave(hand)
        for number in range(before + 1, count + 1):
            await self._replace(None, number)

    async def _replace(self, hand: Hand | None, number: int = 0) -> None:
        if self.is_leaving:
            return
        try:
            new = self._spawn(number if hand is None else hand.number)
            await new.serving
        except ConfigError as error:
            self._log.error("A worker could not be started: {error}", error=error)
            return
        if hand is not None:
            self._leave(hand)

    def _leave(self, hand: Hand) -> None:
        """Have a worker end, once what it serves has."""
        if not hand.is_leaving and hand.line is not None:
            hand.is_leaving = True
            hand.line.say("drain", False)
            self._tell(hand, "draining")

    # The end -------------------------------------------------------------------------
    async def drain(self, seconds: float) -> None:
        """Have all of them end; those that do not within so many seconds are killed."""
        self.is_leaving = True
        for call in (*self._waiting.values(), self._watch):
            if call is not None and call.active():
                call.cancel()
        self._waiting.clear()
        hands = [*self._hands]
        for hand in hands:
            if not hand.is_leaving and hand.line is not None:
                hand.is_leaving = True
                hand.line.say("drain", True)
        kill = self._reactor.callLater(seconds + LEEWAY, self.kill)
        await DeferredList([hand.ended for hand in hands])
        if kill.active():
            kill.cancel()

    def abort(self) -> None:
        """Have all connections end now."""
        self.order("abort")

    def kill(self) -> None:
        """End all processes now."""
        for hand in [*self._hands]:
            self._kill(hand)

    # What there is to see ------------------------------------------------------------
    async def reports(self) -> Sequence[Document]:
        """Give how each of them does now."""
        for hand, found in await self.ask("report"):
            if isinstance(found, dict):
                hand.report = found
        return self.latest

    @property
    def latest(self) -> Sequence[Document]:
        """How each of them did when it told last."""
        states = [
            (hand, "draining" if hand.is_leaving else "serving" if hand.is_serving else "starting")
            for hand in sorted(self._hands, key=lambda hand: hand.number)
        ]
        return [{**hand.report, "worker": hand.number, "state": state} for hand, state in states]

    async def under_way(self, limit: int) -> InFlight:
        """Give what is under way at all of them, the oldest first."""
        total, found = 0, []
        for _, answer in await self.ask("inflight", limit):
            if not isinstance(answer, Exception):
                there = msgspec.convert(answer, InFlight)
                total += there.total
                found += there.in_flight
        found.sort(key=lambda each: -each.age_ms)
        return InFlight(total=total, in_flight=found[:limit])

    async def cancel(self, identity: str) -> list[str | None]:
        """End an exchange, wherever it is; gives whose it was, of each that was found."""
        answers = await self.ask("cancel", identity)
        return [name for _, found in answers if isinstance(found, list) for name in found]
