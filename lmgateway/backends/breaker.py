"""
One target's breaker: whether attempts may be made at it now.

============= ==============================================================
closed        Attempts are made.  It opens after ``consecutive`` failures in
              a row; when at least ``fewest`` of the last ``window`` attempts
              are known and ``threshold`` of them failed; when so many probes
              in a row failed; or at once when the backend asks for a wait of
              more than ``long_wait``.
open          No attempt is made for ``open_seconds``, twice that after each
              trial that fails, at most 60 s; or for the wait that was asked
              for, at most 60 s.
half_open     At most ``trials`` attempts at once.  The first that commits
              closes the breaker, the first that fails opens it again.
forced_open   No attempt is made: the operator said so, for a time.
forced_closed All attempts are made, likewise.
============= ==============================================================

An open breaker whose time is over is half open from its first trial on.  A
probe may be the trial, but only where the backend was out of reach: a listing
that is answered says nothing of answers that failed.  A breaker that was closed
by a probe is on probation until an attempt has been good: one failure opens it,
for twice the time.

Besides, a target *cools down* when its backend asks for a wait that is too
short to open the breaker: no attempt is made until that is over.

With a ``window`` of 0 a breaker neither opens nor cools down by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal, TypeAlias

from msgspec import Struct

State: TypeAlias = Literal["closed", "open", "half_open", "forced_open", "forced_closed"]
Forced: TypeAlias = Literal["forced_open", "forced_closed"]
Cause: TypeAlias = Literal[
    "consecutive", "ratio", "limited", "overloaded", "probes", "trial_failed"
]
Reason: TypeAlias = (
    Cause | Literal["trial", "recovered", "probe", "operator", "expired", "switched_off"]
)
Tell: TypeAlias = Callable[[State, State, Reason], object]

LONGEST_OPEN = 60.0
TRIAL_WAIT = 1.0
"""What a caller is told to wait while a trial is on."""


class BreakerLimits(Struct, frozen=True, kw_only=True):
    """
    What breakers hold to; times in seconds.

    Attributes:
        window: How many attempts are judged by; 0 keeps the breaker closed.
        threshold: The share of failures among them from which it opens.
        fewest: Of how many attempts at least.
        consecutive: The failures in a row from which it opens; 0 is off.
        open_seconds: For how long at first.
        trials: How many attempts at once while it is half open.
        long_wait: The wait that a backend asks for from which it opens.
        failed_probes: The failed probes in a row from which it opens; 0 is off.
    """

    window: int = 10
    threshold: float = 0.7
    fewest: int = 3
    consecutive: int = 5
    open_seconds: float = 10.0
    trials: int = 1
    long_wait: float = 10.0
    failed_probes: int = 3


class Breaker:
    """
    The breaker of one target.

    Args:
        now: Reactor seconds.
        tell: Told every change of state: the old one, the new one, and why.

    Attributes:
        limits: What it holds to.
        cause: What opened it last.
        trials: The attempts under way that its state depends on.
    """

    def __init__(self, limits: BreakerLimits, now: Callable[[], float], tell: Tell) -> None:
        self.limits = limits
        self.cause: Cause | None = None
        self._now = now
        self._tell = tell
        self._own: State = "closed"
        self._calm = True
        self._samples: deque[bool] = deque()
        self._errors = 0
        self._consecutive = 0
        self._out_of_reach = False
        self._limited = False
        self._open_until = 0.0
        self._open_seconds = limits.open_seconds
        self._cool_until = 0.0
        self.trials: set[object] = set()
        self._probation = False
        self._force: tuple[Forced, float] | None = None
        self._drained_until = 0.0

    # what there is to see ---------------------------------------------------
    @property
    def state(self) -> State:
        """The state now; an open breaker whose time is over awaits its trial."""
        if self._force is not None:
            self._lapse()
        return self._own if self._force is None else self._force[0]

    @property
    def errors(self) -> int:
        """Failures among the samples."""
        return self._errors

    @property
    def samples(self) -> int:
        """Attempts that are judged by."""
        return len(self._samples)

    @property
    def drained(self) -> bool:
        """Whether the operator lets no new attempts go to this backend."""
        return self._drained_until > self._now()

    @property
    def limited(self) -> bool:
        """Whether no attempt is made now because of the backend's rate limit."""
        return self._limited and self._force is None and not self.drained

    def blocked_for(self) -> float:
        """Say in how many seconds an attempt may be made; 0 for now."""
        return 0.0 if self._calm else self._blocked()

    def against(self) -> str:
        """Say in words what speaks against an attempt now; nothing if it may be made."""
        if not self.blocked_for():
            return ""
        if self.drained:
            return "drained"
        words = {"forced_open": "breaker forced open", "open": "breaker open"}
        words["half_open"] = "breaker open"
        return words.get(self.state, "cooling down")

    def _blocked(self) -> float:
        now = self._now()
        if self._drained_until > now:
            return min(self._drained_until - now, LONGEST_OPEN)
        state = self.state
        if state == "forced_closed":
            return 0.0
        if self._force is not None:
            return min(self._force[1] - now, LONGEST_OPEN)
        if state == "half_open" and len(self.trials) >= self.limits.trials:
            return TRIAL_WAIT
        until = max(self._open_until, self._cool_until)
        if until > now:
            return until - now
        self._calm = state == "closed"
        return 0.0

    # attempts -----------------------------------------------------------------
    def _begun(self, attempt: object) -> None:
        """Note an attempt; it is a trial if the breaker awaits one."""
        if self._calm or self._force is not None or self.blocked_for():
            return
        if self._own == "open":
            self._change("half_open", "trial")
        if self._own == "half_open":
            self.trials.add(attempt)

    def _ended(self, attempt: object) -> bool:
        """Forget an attempt; say whether it was a trial."""
        if attempt not in self.trials:
            return False
        self.trials.discard(attempt)
        return True

    def _succeeded(self, *, on_trial: bool) -> None:
        if on_trial:
            self.close("recovered")
        if self._own != "closed":
            return
        self._consecutive = 0
        if self._probation:
            self._probation = False
            self._open_seconds = self.limits.open_seconds
        self._sample(failed=False)

    def _failed(self, cause: Cause, wait: float, *, on_trial: bool, out_of_reach: bool) -> None:
        if not on_trial and self._own != "closed":
            return
        self._out_of_reach = out_of_reach
        if on_trial:
            self._reopen("trial_failed", wait)
            return
        self._consecutive += 1
        self._sample(failed=True)
        if self._force is not None:
            return
        if wait > self.limits.long_wait:
            self._open(cause, min(wait, LONGEST_OPEN))
        elif self._probation:
            self._reopen("trial_failed", wait)
        elif (reached := self._reached()) is not None:
            self._open(reached, self.limits.open_seconds)

    def _sample(self, *, failed: bool) -> None:
        self._samples.append(failed)
        self._errors += failed
        while len(self._samples) > self.limits.window:
            self._errors -= self._samples.popleft()

    def _reached(self) -> Cause | None:
        limits, count = self.limits, len(self._samples)
        if limits.consecutive and self._consecutive >= limits.consecutive:
            return "consecutive"
        bad = count >= limits.fewest and self._errors >= limits.threshold * count
        return "ratio" if bad else None

    def cool(self, seconds: float) -> None:
        """Make no attempt for so long, at most a minute."""
        if self.limits.window and seconds > 0:
            self._cool_until = self._now() + min(seconds, LONGEST_OPEN)
            self._calm = False

    # probes -------------------------------------------------------------------
    def probed(self, failures: int) -> None:
        """
        Learn how a probe of the backend ended.

        Args:
            failures: How many in a row have failed now; 0 after one that was well.
        """
        if self._force is not None or not self.limits.window:
            return
        limit = self.limits.failed_probes
        if self._own == "closed":
            if limit and failures >= limit:
                self._out_of_reach, self._limited = True, False
                self._open("probes", self.limits.open_seconds)
        elif not self.trials and self._open_until <= self._now():
            if failures:
                self._reopen("trial_failed", 0.0)
            elif self._out_of_reach:
                seconds = self._open_seconds
                self.close("probe")
                self._open_seconds, self._probation = seconds, True

    # the operator -------------------------------------------------------------
    @property
    def forced(self) -> tuple[Forced, float] | None:
        """The state that the operator wants, and until when."""
        if self._force is not None:
            self._lapse()
        return self._force

    def force(self, force: tuple[Forced, float] | None) -> None:
        """Be in a state until a time, whatever happens; or, again, in one's own, begun anew."""
        was = self.state
        self._force = force
        self.close(None)
        if self.state != was:
            self._tell(was, self.state, "operator")

    def drain(self, until: float) -> None:
        """Let no attempt be made until a time."""
        self._drained_until = until
        self._calm = False

    def _lapse(self) -> None:
        """End a forced state whose time is over."""
        assert self._force is not None, "looked at only then"
        forced, until = self._force
        if until <= self._now():
            self._force = None
            self._tell(forced, self._own, "expired")

    # changes --------------------------------------------------------------------
    def _open(self, cause: Cause, seconds: float) -> None:
        self.cause = cause
        self._open_seconds = seconds
        self._open_until = self._now() + seconds
        self.trials.clear()
        self._probation = False
        self._calm = False
        self._change("open", cause)

    def _reopen(self, cause: Cause, wait: float) -> None:
        self._open(cause, min(max(self._open_seconds * 2, wait), LONGEST_OPEN))

    def close(self, reason: Reason | None = "switched_off") -> None:
        """Close the breaker and begin anew; without a reason nobody is told."""
        self._open_until = self._cool_until = 0.0
        self._open_seconds = self.limits.open_seconds
        self._consecutive = self._errors = 0
        self._probation = self._limited = False
        self._samples.clear()
        self.trials.clear()
        self._calm = self._force is None and self._drained_until <= self._now()
        if reason is None:
            self._own = "closed"
        else:
            self._change("closed", reason)

    def _change(self, state: State, reason: Reason) -> None:
        was, self._own = self._own, state
        if was != state and self._force is None:
            self._tell(was, state, reason)
