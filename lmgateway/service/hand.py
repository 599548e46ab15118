"""What the supervisor knows of one worker."""

from __future__ import annotations

from typing import Any

from attrs import field
from twisted.internet.defer import Deferred

from lmgateway.classes import define
from lmgateway.service.line import Line
from lmgateway.service.places import Desk
from lmgateway.service.reports import Document


@define(eq=False)
class Hand:
    """
    One worker.

    Attributes:
        number: Which one of the workers it is, from 1; one that replaces it has the same.
        place: Where it notes what it holds of the shared counters.
        serving: Fires when it serves; fails if it ends before.
        ended: Fires when it has ended.
        generation: The config that it serves.
        is_leaving: Whether it was told to end.
        cut: What kills it, once it has closed its line.
        report: What it told of itself last.
        problems: Why it could not start, if it said so.
    """

    number: int
    place: int
    since: float
    desk: Desk
    serving: Deferred[None] = field(factory=Deferred)
    ended: Deferred[None] = field(factory=Deferred)
    line: Line | None = None
    transport: Any = None
    cut: Any = None
    generation: int = 0
    is_serving: bool = False
    is_leaving: bool = False
    report: Document = field(factory=dict)
    problems: tuple[str, ...] = ()
