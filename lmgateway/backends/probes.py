"""
Asking backends whether they are well, while nobody else asks them anything.

A probe is a ``GET`` of the backend's listing, which costs nothing and loads no
model.  Each backend is asked every ``interval`` or so (a fifth more or less, so
that many gateways do not ask at once), and about every five seconds while it is
out of order; a breaker that opens has its backend asked when its time is over.
There is never more than one probe of a backend under way.

An answer is an answer: a backend that refuses the listing (401, 403, 404, any
status below 500) is alive.  No connection, silence, and 5xx are failures, which
count towards the breakers of all its targets; a good probe lets those recover
without traffic (see ``backends.breaker``).

A drained backend is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from attrs import field
from msgspec import Struct
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from lmgateway.backend_errors import BackendError
from lmgateway.backends.base import Backend
from lmgateway.backends.health import Health, Probed, Telling
from lmgateway.classes import define

RECHECK_SECONDS = 5.0
"""Between two probes of a backend that is out of order."""
JITTER = 0.2

_GONE = "There is no such backend any more."
_log = Logger()


class Probing(Struct, frozen=True):
    """
    How one backend is to be probed.

    Attributes:
        interval: Seconds between two probes; 0 for none but those that are asked for.
    """

    backend: Backend
    interval: float


@define(kw_only=True, eq=False)
class Probes:
    """
    The probes of all backends, through every reload.

    Attributes:
        clock: Whose time counts.
        wall: Seconds since the epoch, for records.
        health: Learns of each probe.
        tell: Told when a backend goes out of order, and when it is well again (``probe``).
    """

    clock: IReactorTime
    random: Random
    wall: Callable[[], float]
    health: Health
    tell: Telling
    _rounds: dict[str, _Round] = field(factory=dict, init=False)

    def settle(self, backends: Mapping[str, Probing]) -> None:
        """Probe these backends from now on, and no others."""
        for name in [name for name in self._rounds if name not in backends]:
            self._rounds.pop(name).stop()
        for name, probing in backends.items():
            if name in self._rounds:
                self._rounds[name].resume(probing)
            else:
                self._rounds[name] = _Round(self, probing)

    def stop(self) -> None:
        """Probe nothing any more."""
        self.settle({})

    def check(self, name: str) -> Deferred[Probed]:
        """
        Probe a backend now, or wait for the probe that is under way.

        Raises:
            BackendError: If there is no such backend any more.
        """
        if name not in self._rounds:
            return fail(BackendError(_GONE))
        return self._rounds[name].check()

    def hasten(self, name: str, seconds: float) -> None:
        """Have the next probe of a backend in so many seconds, or a little later."""
        if name in self._rounds:
            self._rounds[name].hasten(seconds)


class _Round:
    """One backend's probes, one after the other."""

    def __init__(self, probes: Probes, probing: Probing) -> None:
        self._probes = probes
        self._probing = probing
        self._timer: IDelayedCall | None = None
        self._asking: Deferred[Probed | None] | None = None
        self._waiting: list[Deferred[Probed]] = []
        self._schedule(probes.random.uniform(0.5, 1) * probing.interval)

    def resume(self, probing: Probing) -> None:
        """Go on with another config: with the time that is left, if the interval is the same."""
        same, self._probing = probing.interval == self._probing.interval, probing
        self._give_up()
        if self._waiting:
            self._ask()
        elif not same or self._timer is None:
            self._schedule(self._delay())

    def stop(self) -> None:
        """Ask no more."""
        self._schedule(0)
        self._give_up()
        self._disappoint(BackendError(_GONE))

    def check(self) -> Deferred[Probed]:
        """Ask now, unless that is under way."""
        waiting: Deferred[Probed] = Deferred()
        self._waiting.append(waiting)
        if self._asking is None:
            self._ask()
        return waiting

    def hasten(self, seconds: float) -> None:
        """Ask earlier than planned, but not more often than a sick backend is asked."""
        due = max(seconds, RECHECK_SECONDS) * self._probes.random.uniform(1, 1 + JITTER)
        if self._timer is not None and self._timer.getTime() - self._probes.clock.seconds() > due:
            self._schedule(due)

    def _schedule(self, seconds: float) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._probes.clock.callLater(seconds, self._due) if seconds else None

    def _delay(self) -> float:
        interval = self._probing.interval
        known = self._probes.health.backend(self._probing.backend.name).probed
        if known is not None and not known.well:
            interval = min(interval, RECHECK_SECONDS)
        return interval * self._probes.random.uniform(1 - JITTER, 1 + JITTER)

    def _due(self) -> None:
        self._timer = None
        if self._asking is None and not self._probes.health.is_drained(self._probing.backend.name):
            self._ask()
        else:
            self._schedule(self._delay())

    def _ask(self) -> None:
        self._schedule(0)
        self._asking = Deferred.fromCoroutine(self._answer())
        self._asking.addCallbacks(self._answered, self._failed)

    async def _answer(self) -> Probed:
        """Ask, and say what came of it."""
        probes, backend = self._probes, self._probing.backend
        begun = probes.clock.seconds()
        status, error, message = None, "", ""
        try:
            status = await backend.probe()
        except BackendError as failure:
            status, error = failure.upstream_status, failure.kind
            message = type(failure).default_message()
        return Probed(
            at=probes.wall(),
            seconds=probes.clock.seconds() - begun,
            well=not error if status is None else status < 500,
            status=status,
            error=error,
            message=message,
        )

    def _answered(self, probed: Probed) -> None:
        if self._asking is None:  # given up
            return
        self._asking = None
        probes, name = self._probes, self._probing.backend.name
        before = probes.health.backend(name).probed
        probes.health.probed(name, probed)
        if probed.well != (before is None or before.well):
            probes.tell(
                "probe", backend=name, well=probed.well, status=probed.status, error=probed.error
            )
        self._schedule(self._delay())
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(probed)

    def _failed(self, failure: Failure) -> None:
        """End what nobody expected to fail, or what was given up."""
        if self._asking is None:
            failure.trap(CancelledError, BackendError)
            return
        self._asking = None
        _log.failure("A probe of {name} failed.", failure, name=self._probing.backend.name)
        self._schedule(self._delay())
        self._disappoint(BackendError())

    def _give_up(self) -> None:
        """End the probe that is under way, if there is one."""
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()

    def _disappoint(self, error: BackendError) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.errback(error)
