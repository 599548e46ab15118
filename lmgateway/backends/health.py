"""
How well each target is, judged by what comes of the attempts made at it.

A target is one model of one backend; it has a breaker (see ``backends.breaker``),
and shares its backend's retry budget and the results of its probes.

A stream that commits ends a trial, and is counted when it ends.  What the
client did (left, asked for the impossible, would not wait) is nobody's failure.
A rate limit is one only if it is to last; a short one lets the target cool down.

The operator may force breakers, and drain a backend, for a time.  All this outlives reloads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct
from twisted.logger import Logger

from lmgateway.backend_errors import (
    BackendError,
    BackendLimited,
    BackendOverloaded,
    BackendTimeout,
    BackendTLS,
    CredentialRefused,
    Unreachable,
)
from lmgateway.backends.breaker import Breaker, BreakerLimits, Cause, Forced, Reason, State
from lmgateway.backends.retries import RETRY_RATIO, RetryBudget
from lmgateway.errors import StreamInterrupted

_log = Logger()
_EASE = 0.2
_OUT_OF_REACH = (Unreachable, BackendTLS)

Imposed: TypeAlias = Literal["forced_open", "forced_closed", "drained"]
Telling: TypeAlias = Callable[..., object]
"""Tells an event: its kind, and its facts by keyword."""


class Pace:
    """
    The mean of a time, the newest samples counting most.

    Attributes:
        seconds: The mean.
        samples: How many there were.
        at: When the last one came, in reactor seconds.
    """

    __slots__ = ("at", "samples", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.samples = 0
        self.at = 0.0

    def add(self, seconds: float, now: float) -> None:
        """Take one more sample."""
        self.seconds += (seconds - self.seconds) * (_EASE if self.samples else 1.0)
        self.samples += 1
        self.at = now


class Probed(msgspec.Struct, frozen=True, kw_only=True):
    """
    How a probe ended.

    Attributes:
        at: Seconds since the epoch.
        seconds: How long it took.
        well: Whether the backend answered at all as a working one would.
        status: The HTTP status, if one came.
        error: The kind of what went wrong; empty if nothing did.
        message: The same in a sentence.
    """

    at: float
    seconds: float
    well: bool
    status: int | None = None
    error: str = ""
    message: str = ""


class BackendHealth(msgspec.Struct, eq=False):
    """
    What the targets of one backend share.

    Attributes:
        retries: Its retry budget.
        probed: How its last probe ended.
        failed_probes: How many failed since one was well.
    """

    retries: RetryBudget = msgspec.field(default_factory=RetryBudget)
    probed: Probed | None = None
    failed_probes: int = 0


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """
    What the operator imposed, for a time.

    Attributes:
        model: The target's; ``None`` for all targets of the backend.
        until: Reactor seconds.
    """

    backend: str
    model: str | None
    what: Imposed
    until: float


class TargetHealth(Breaker):
    """
    What is known of one target, and its breaker.

    Attributes:
        in_flight: Attempts that are under way, open streams included.
        retries: How many attempts its backend has, and how many of them may be retries.
        first_output: The time that streams take to their first output.
        whole: The time that whole answers take.
    """

    def __init__(self, backend: str, model: str, health: Health) -> None:
        super().__init__(health.limits_of(backend), health.now, self._tell_change)
        self.backend = backend
        self.model = model
        self.in_flight = 0
        self.retries = health.backend(backend).retries
        self.first_output = Pace()
        self.whole = Pace()
        self._health = health

    def begin(self, now: float | None = None) -> Watch:
        """Note that an attempt is made; it is a trial if the breaker awaits one."""
        self.in_flight += 1
        if now is None:
            now = self._now()
        self.retries.note(now)
        watch = Watch(self, now)
        if not self._calm:
            self._begun(watch)
        return watch

    def commit(self, watch: Watch) -> None:
        """Learn that an attempt has its first output."""
        if self._ended(watch):
            self.close("recovered")

    def end(self, watch: Watch, error: BaseException | None, *, blameless: bool = False) -> None:
        """Learn how an attempt ended."""
        self.in_flight -= 1
        window = self.limits.window
        if error is None and self._calm and window:
            # In a full window of good samples one more goes for another.
            if self._errors or len(self._samples) != window:
                self._succeeded(on_trial=False)
            return
        on_trial = bool(self.trials) and self._ended(watch)
        if blameless or not window:
            return
        wait = _wait(error)
        verdict = _verdict(error, wait, self.limits.long_wait, committed=watch.committed)
        if verdict:
            self._succeeded(on_trial=on_trial)
            return
        limited = isinstance(error, BackendLimited)
        if wait:
            self._limited = limited
            self.cool(min(wait, self.limits.long_wait))
        if verdict is False:
            self._limited = limited
            cause: Cause = "limited" if limited else "overloaded"
            out_of_reach = isinstance(error, _OUT_OF_REACH)
            self._failed(cause, wait, on_trial=on_trial, out_of_reach=out_of_reach)

    def _tell_change(self, old: State, new: State, reason: Reason) -> None:
        self._health.changed(self, old, new, reason)


class Watch(Struct, eq=False):
    """
    One attempt, watched.

    Attributes:
        committed: Whether it had output.
    """

    _target: TargetHealth | None
    since: float
    committed: bool = False

    def commit(self, pace: Pace, now: float) -> None:
        """Tell that the first output is there; *pace* is what this was a sample of."""
        self.committed = True
        pace.add(now - self.since, now)
        if self._target is not None and self._target.trials:
            self._target.commit(self)

    def end(self, error: BaseException | None, *, blameless: bool = False) -> None:
        """
        Tell how it ended; only the first word counts.

        Args:
            blameless: Whether that says nothing of the target.
        """
        target, self._target = self._target, None
        if target is not None:
            target.end(self, error, blameless=blameless)


def _wait(error: BaseException | None) -> float:
    """How long a backend wants to be left alone; 0 if it does not say."""
    if isinstance(error, BackendLimited | BackendOverloaded):
        return error.retry_after or 0.0
    return 0.0


def _verdict(
    error: BaseException | None, wait: float, long_wait: float, *, committed: bool
) -> bool | None:
    """Whether the target did well; ``None`` where this tells nothing of it."""
    if error is None:
        return True
    if isinstance(error, StreamInterrupted):
        return False
    if isinstance(error, CredentialRefused) or not isinstance(error, BackendError):
        return True if committed else None
    if not error.retryable:
        return True
    if error.status == 429 and wait <= long_wait:
        return None
    return False


class Health:
    """
    The health of all targets, by name, through every reload.

    Args:
        tell: Told of every change of a breaker (``breaker``) and of all that the operator
            imposes (``override``).

    Attributes:
        now: Reactor seconds.
        also: Told of each call of ``probed``, ``force`` and ``drain``, for other processes.
    """

    def __init__(
        self,
        now: Callable[[], float],
        limits: BreakerLimits | None = None,
        tell: Telling = lambda kind, **facts: None,
    ) -> None:
        self.now = now
        self._tell = tell
        self._limits: Mapping[str, BreakerLimits] = {}
        self._default = limits or BreakerLimits()
        self._retry_ratio = RETRY_RATIO
        self._targets: dict[tuple[str, str], TargetHealth] = {}
        self._backends: dict[str, BackendHealth] = {}
        self._imposed: dict[tuple[str, str | None, bool], Override] = {}
        self.also: Callable[..., object] = lambda name, *what: None

    def limits_of(self, backend: str) -> BreakerLimits:
        """Give what the breakers of a backend hold to."""
        return self._limits.get(backend, self._default)

    def backend(self, name: str) -> BackendHealth:
        """Give what is known of a backend; nothing if it is new."""
        if name not in self._backends:
            self._backends[name] = BackendHealth(RetryBudget(self._retry_ratio))
        return self._backends[name]

    def target(self, backend: str, model: str) -> TargetHealth:
        """Give what is known of a target; nothing if it is new."""
        key = (backend, model)
        if key not in self._targets:
            self._targets[key] = TargetHealth(backend, model, self)
            if self.overrides():
                self._impose(self._targets[key])
        return self._targets[key]

    def of_backend(self, backend: str) -> list[TargetHealth]:
        """Give all targets of a backend."""
        return [target for target in self._targets.values() if target.backend == backend]

    def __iter__(self) -> Iterator[TargetHealth]:
        """Give all targets."""
        return iter([*self._targets.values()])

    def allow_retries(self, ratio: float) -> None:
        """Let retries be this share of a backend's other attempts from now on."""
        self._retry_ratio = ratio
        for backend in self._backends.values():
            backend.retries.ratio = ratio

    def settle(self, limits: Mapping[str, BreakerLimits], known: Iterable[tuple[str, str]]) -> None:
        """Hold to these limits from now on, and forget all targets but the *known* ones."""
        self._limits = limits
        kept = set(known)
        backends = {backend for backend, _ in kept}
        self._targets = {k: v for k, v in self._targets.items() if k in kept}
        self._backends = {k: v for k, v in self._backends.items() if k in backends}
        self._imposed = {k: v for k, v in self._imposed.items() if k[0] in backends}
        for target in self._targets.values():
            target.limits = self.limits_of(target.backend)
            if not target.limits.window:
                target.close()

    def changed(self, target: TargetHealth, old: State, new: State, reason: Reason) -> None:
        """Tell that a breaker has changed."""
        names = {"backend": target.backend, "model": target.model}
        text = "Breaker of {backend}, {model}: {old} -> {new} ({reason})."
        log = _log.warn if new == "open" else _log.info
        log(text, old=old, new=new, reason=reason, **names)
        seconds = round(target.blocked_for(), 3)
        facts = {"from": old, "to": new, "reason": reason, "seconds": seconds}
        self._tell("breaker", **names, **facts)

    # probes -------------------------------------------------------------------
    def probed(self, name: str, probed: Probed) -> None:
        """
        Learn how a probe of a backend ended.

        Silence counts only while it has no attempts to work at: many list nothing meanwhile.
        """
        backend, targets = self.backend(name), self.of_backend(name)
        backend.probed = probed
        self.also("probed", name, probed)
        if probed.error == BackendTimeout.kind and any(target.in_flight for target in targets):
            return
        backend.failed_probes = 0 if probed.well else backend.failed_probes + 1
        for target in targets:
            target.probed(backend.failed_probes)

    # the operator -------------------------------------------------------------
    def force(self, backend: str, model: str | None, state: Forced | None, seconds: float) -> None:
        """
        Force the breaker of one target, or of all of a backend.

        Args:
            state: ``None`` lets them be as they are by themselves again.
            seconds: For how long.
        """
        if model is None:  # what holds for all replaces what held for each
            for key in [k for k in self._imposed if k[0] == backend and not k[2]]:
                del self._imposed[key]
        self.also("force", backend, model, state, seconds)
        self._set((backend, model, False), state, seconds)

    def drain(self, backend: str, seconds: float) -> None:
        """Let no new attempts go to a backend for so long; 0 ends that."""
        self.also("drain", backend, seconds)
        self._set((backend, None, True), "drained" if seconds else None, seconds)

    def is_drained(self, backend: str) -> bool:
        """Say whether no new attempts go to a backend."""
        override = self._imposed.get((backend, None, True))
        return override is not None and override.until > self.now()

    def overrides(self) -> list[Override]:
        """Give all that the operator imposed and that still holds."""
        now = self.now()
        self._imposed = {k: v for k, v in self._imposed.items() if v.until > now}
        return [*self._imposed.values()]

    def _set(self, key: tuple[str, str | None, bool], what: Imposed | None, seconds: float) -> None:
        backend, model, _ = key
        if what is None:
            self._imposed.pop(key, None)
        else:
            until = self.now() + seconds
            self._imposed[key] = Override(backend=backend, model=model, what=what, until=until)
        self.overrides()  # forgets what is over
        self._tell("override", backend=backend, model=model, what=what or "auto", seconds=seconds)
        for target in self.of_backend(backend):
            if model is None or target.model == model:
                self._impose(target)

    def _impose(self, target: TargetHealth) -> None:
        """Make a target's breaker be as the operator wants it."""
        drained = self._imposed.get((target.backend, None, True))
        target.drain(0.0 if drained is None else drained.until)
        forced = self._imposed.get((target.backend, target.model, False))
        forced = forced or self._imposed.get((target.backend, None, False))
        force = None
        if forced is not None and forced.what != "drained":
            force = (forced.what, forced.until)
        if force != target.forced:
            target.force(force)
