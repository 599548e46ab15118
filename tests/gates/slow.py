"""
Gate G3: slow clients are shut in time, and cost the others nothing that these would notice.

Slow headers and slow bodies come at a byte a second, slow readers take 16 bytes a second.  Good
clients ask all the while, in calm and with the slow ones there; what is compared is their slowest
hundredth, in the median of some rounds.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median

from attrs import frozen

from tests.gates.dawdlers import Dawdlers, Kind
from tests.gates.figures import Figure, none_of, percentile, told
from tests.gates.goods import Goods, Seen, asking
from tests.gates.subject import Subject, files_allowed, serving

GRACE = 2.0
"""Seconds after the deadline in which they must be gone."""
TIMES = 2.0
"""How much slower good clients may become."""
KINDS: tuple[Kind, ...] = ("headers", "bodies", "readers")
_FEW, _FILES_OF_MANY = 300, 4096

_CONFIG = """
[gateway]
@ports
header_timeout_ms = @deadline
body_timeout_ms = @deadline
write_stall_timeout_ms = @deadline

[backends.mock]
provider = "mock"

[backends.big]
provider = "mock"
mock = { style = "scripted", fixtures = "big.json", tokens_per_second = 50 }

[[tiers]]
name = "t"
backend = "mock"
model = "m"

[[tiers]]
name = "big"
backend = "big"
model = "big"

[profiles.default]
classifier = "t"
max_auto_tier = "big"
"""


@frozen
class Plan:
    """
    How much is done.

    Attributes:
        clients: Slow clients of each kind at once; fewer if not so many files may be open.
        rounds: How often each kind comes.
        deadline: The gateway's patience, in seconds.
        calm: Seconds for which the good clients are watched alone.
        timed: Whether goals count that a slow machine alone can miss.
    """

    clients: int = 1000
    rounds: int = 3
    deadline: int = 10
    calm: float = 5.0
    timed: bool = True


@frozen
class _Round:
    """What came of one round of one kind."""

    dawdlers: Dawdlers
    calm: Seen
    meanwhile: Seen

    @property
    def ratio(self) -> float:
        """How much slower the good clients were."""
        return _p99(self.meanwhile) / _p99(self.calm)


def slow(plan: Plan) -> bool:
    """Run the gate, print its figures, and tell whether it is passed."""
    many = files_allowed() >= _FILES_OF_MANY
    clients = plan.clients if many else min(plan.clients, _FEW)
    config = _CONFIG.replace("@deadline", str(plan.deadline * 1000))
    with serving(config, {"big.json": _BIG}) as subject:
        with asking(subject.client_port) as goods:
            _in_calm(goods, 1.0)
            before = subject.descriptors()
            figures = [
                figure for kind in KINDS for figure in _of_kind(kind, plan, clients, subject, goods)
            ]
        figures += [*subject.leaked(before), subject.unexpected()]
    return told(figures, timed=plan.timed)


def _of_kind(
    kind: Kind, plan: Plan, clients: int, subject: Subject, goods: Goods
) -> Iterator[Figure]:
    """Have slow clients of a kind come some times over."""
    rounds = [_round(kind, plan, clients, subject.client_port, goods) for _ in range(plan.rounds)]
    ages = [age for each in rounds for age in each.dawdlers.ages]
    statuses = sum((each.dawdlers.statuses for each in rounds), Counter[str]())
    what = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    yield Figure(f"slow {kind}", f"{plan.rounds} x {clients} clients, told {what}")
    yield none_of(f"slow {kind} never shut", sum(each.dawdlers.left for each in rounds))
    most = plan.deadline + GRACE
    slowest = max(ages, default=math.inf)
    text = f"after {min(ages, default=math.inf):.2f} to {slowest:.2f} s"
    yield Figure(f"slow {kind} shut", text, f"at most {most:g} s", slowest <= most, timed=True)
    failed = Counter[str]()
    for each in rounds:
        failed.update(each.calm.failed)
        failed.update(each.meanwhile.failed)
    yield none_of(f"good clients failed beside slow {kind}", failed.total(), str(dict(failed)))
    yield _compared(kind, rounds)


def _compared(kind: Kind, rounds: Sequence[_Round]) -> Figure:
    ratio = median(each.ratio for each in rounds)
    pairs = ", ".join(
        f"{_p99(each.calm) * 1000:.1f} -> {_p99(each.meanwhile) * 1000:.1f} ms" for each in rounds
    )
    asked = sum(len(each.meanwhile.took) for each in rounds)
    return Figure(
        f"p99 of good clients, calm -> slow {kind}",
        f"{ratio:.2f} times in the median ({pairs}; {asked} answers)",
        f"at most {TIMES:g} times",
        ratio <= TIMES,
        timed=True,
    )


def _round(kind: Kind, plan: Plan, clients: int, port: int, goods: Goods) -> _Round:
    calm = _in_calm(goods, plan.calm)
    dawdlers = Dawdlers(port, kind, clients, opening=0.9 * plan.deadline)  # all at once for a while
    dawdlers.run(patience=plan.deadline + 30.0)
    return _Round(dawdlers, calm, goods.seen())


def _in_calm(goods: Goods, seconds: float) -> Seen:
    """Watch the good clients by themselves."""
    time.sleep(0.5)
    goods.seen()
    time.sleep(seconds)
    return goods.seen()


def _p99(seen: Seen) -> float:
    return percentile(seen.took, 0.99)


_BIG = json.dumps({"fixtures": [{"answers": [{"chunks": ["x" * 40_000] * 12}]}]}).encode()
"""What slow readers are answered: more than is held for them, in a few large events."""
