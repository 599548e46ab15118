"""
How well each target is, judged by what comes of the attempts made at it.

A target is one model of one backend, and has a breaker:

========= ==================================================================
closed    Attempts are made.  It opens after ``CONSECUTIVE`` failures in a
          row; when at least ``FEWEST`` of the last ``health_window`` attempts
          are known and ``health_error_threshold`` of them failed; or at once
          when the backend asks for a wait of more than ``LONG_WAIT``.
open      No attempt is made for 10 s, twice that after each trial that
          fails, at most 60 s; or for the wait that was asked for, at most 60 s.
half_open One attempt, the trial, is made.  It closes or opens the breaker.
========= ==================================================================

A stream that commits ends a trial, and is counted when it ends.  What the
client did (left, asked for the impossible) is nobody's failure.  With
``health_window = 0`` breakers never open.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from lmgateway.backends.retries import RETRY_RATIO, RetryBudget
from lmgateway.errors import BackendError, BackendLimited, CredentialRefused, StreamInterrupted

State = Literal["closed", "open", "half_open"]

CONSECUTIVE = 5
FEWEST = 3
LONG_WAIT = 10.0
SHORTEST_OPEN = 10.0
LONGEST_OPEN = 60.0
TRIAL_WAIT = 1.0
"""What a caller is told to wait while a trial is on."""

_EASE = 0.2


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


class TargetHealth:
    """
    What is known of one target.

    Attributes:
        in_flight: Attempts that are under way, open streams included.
        retries: How many attempts its backend has, and how many of them may be retries.
        first_output: The time that streams take to their first output.
        whole: The time that whole answers take.
        limited: Whether an open breaker is open because the backend asked for a wait.
    """

    def __init__(self, backend: str, model: str, health: Health) -> None:
        self.backend = backend
        self.model = model
        self.in_flight = 0
        self.retries = health.retries_of(backend)
        self.first_output = Pace()
        self.whole = Pace()
        self._health = health
        self._now = health.now
        self._samples: deque[bool] = deque()
        self._errors = 0
        self._consecutive = 0
        self._open_until: float | None = None
        self._open_seconds = SHORTEST_OPEN
        self._trial: Watch | None = None
        self.limited = False

    @property
    def state(self) -> State:
        """The breaker's state; an open one whose time is over awaits its trial."""
        if self._open_until is None:
            return "closed"
        return "half_open" if self._trial is not None else "open"

    @property
    def errors(self) -> int:
        """Failures among the samples."""
        return self._errors

    @property
    def samples(self) -> int:
        """Attempts that are judged by."""
        return len(self._samples)

    def blocked_for(self) -> float:
        """Say in how many seconds an attempt may be made; 0 for now."""
        if self._open_until is None or not self._health.window:
            return 0.0
        if self._trial is not None:
            return TRIAL_WAIT
        return max(0.0, self._open_until - self._now())

    def begin(self) -> Watch:
        """Note that an attempt is made; it is the trial if the breaker awaits one."""
        self.in_flight += 1
        now = self._now()
        self.retries.note(now)
        watch = Watch(self, now)
        if self._open_until is not None and self._trial is None and not self.blocked_for():
            self._trial = watch
        return watch

    # what attempts tell -----------------------------------------------------
    def commit(self, watch: Watch) -> None:
        """Learn that an attempt has its first output."""
        if watch is self._trial:
            self.close()

    def end(self, watch: Watch, error: BaseException | None, *, blameless: bool = False) -> None:
        """Learn how an attempt ended."""
        self.in_flight -= 1
        on_trial = watch is self._trial
        if on_trial:
            self._trial = None
        verdict = None if blameless else _verdict(error, committed=watch.committed)
        if verdict is None or not self._health.window:
            return
        if verdict:
            self._succeeded(on_trial)
        else:
            self._failed(on_trial, getattr(error, "retry_after", None) or 0.0)
            self.limited = isinstance(error, BackendLimited)

    def _succeeded(self, on_trial: bool) -> None:
        if on_trial:
            self.close()
        if self._open_until is None:
            self._consecutive = 0
            self._sample(failed=False)

    def _failed(self, on_trial: bool, wait: float) -> None:
        if on_trial:
            self._open(max(min(self._open_seconds * 2, LONGEST_OPEN), min(wait, LONGEST_OPEN)))
        elif self._open_until is None:
            self._consecutive += 1
            self._sample(failed=True)
            if wait > LONG_WAIT:
                self._open(min(wait, LONGEST_OPEN))
            elif self._is_bad():
                self._open(SHORTEST_OPEN)

    def _sample(self, *, failed: bool) -> None:
        self._samples.append(failed)
        self._errors += failed
        while len(self._samples) > self._health.window:
            self._errors -= self._samples.popleft()

    def _is_bad(self) -> bool:
        count = len(self._samples)
        ratio = count >= FEWEST and self._errors >= self._health.threshold * count
        return ratio or self._consecutive >= CONSECUTIVE

    def _open(self, seconds: float) -> None:
        self._open_seconds = seconds
        self._open_until = self._now() + seconds

    def close(self) -> None:
        """Close the breaker and begin anew."""
        self._open_until = self._trial = None
        self._open_seconds = SHORTEST_OPEN
        self._consecutive = self._errors = 0
        self._samples.clear()


class Watch:
    """
    One attempt, watched.

    Attributes:
        committed: Whether it had output.
    """

    __slots__ = ("_target", "committed", "since")

    def __init__(self, target: TargetHealth, since: float) -> None:
        self._target: TargetHealth | None = target
        self.since = since
        self.committed = False

    def commit(self, pace: Pace, now: float) -> None:
        """Tell that the first output is there; *pace* is what this was a sample of."""
        self.committed = True
        pace.add(now - self.since, now)
        if self._target is not None:
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


def _verdict(error: BaseException | None, *, committed: bool) -> bool | None:
    """Whether the target did well; ``None`` where this tells nothing of it."""
    if error is None:
        return True
    if isinstance(error, StreamInterrupted):
        return False
    if isinstance(error, CredentialRefused) or not isinstance(error, BackendError):
        return True if committed else None
    if not error.retryable:
        return True
    if error.status == 429 and (error.retry_after or 0.0) <= LONG_WAIT:
        return None
    return False


class Health:
    """
    The health of all targets, by name, through every reload.

    Attributes:
        now: Reactor seconds.
        window: How many attempts are judged by; 0 keeps every breaker closed.
        threshold: The share of failures from which a target is bad.
    """

    def __init__(self, now: Callable[[], float], window: int = 10, threshold: float = 0.7) -> None:
        self.now = now
        self.window = window
        self.threshold = threshold
        self._targets: dict[tuple[str, str], TargetHealth] = {}
        self._retries: dict[str, RetryBudget] = {}
        self._retry_ratio = RETRY_RATIO

    def retries_of(self, backend: str) -> RetryBudget:
        """Give the retry budget of a backend, which all of its targets share."""
        if backend not in self._retries:
            self._retries[backend] = RetryBudget(self._retry_ratio)
        return self._retries[backend]

    def allow_retries(self, ratio: float) -> None:
        """Let retries be this share of a backend's other attempts from now on."""
        self._retry_ratio = ratio
        for budget in self._retries.values():
            budget.ratio = ratio

    def target(self, backend: str, model: str) -> TargetHealth:
        """Give what is known of a target; nothing if it is new."""
        key = (backend, model)
        if key not in self._targets:
            self._targets[key] = TargetHealth(backend, model, self)
        return self._targets[key]

    def of_backend(self, backend: str) -> list[TargetHealth]:
        """Give all targets of a backend."""
        return [target for target in self._targets.values() if target.backend == backend]

    def __iter__(self) -> Iterator[TargetHealth]:
        """Give all targets."""
        return iter([*self._targets.values()])

    def settle(self, window: int, threshold: float, known: Iterable[tuple[str, str]]) -> None:
        """Judge by other numbers from now on, and forget all targets but the *known* ones."""
        self.window = window
        self.threshold = threshold
        kept = set(known)
        for key in [key for key in self._targets if key not in kept]:
            del self._targets[key]
        if not window:
            for target in self._targets.values():
                target.close()
