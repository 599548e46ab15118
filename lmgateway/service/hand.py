"""What the supervisor knows of one worker, and how its process is started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from attrs import field
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from lmgateway.classes import define
from lmgateway.service.line import Line
from lmgateway.service.places import Desk
from lmgateway.service.reports import Document

_COMMAND = "from lmgateway.service.working import main; main()"


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


class Process(ProcessProtocol):
    """Notices that a worker has ended."""

    def __init__(self, ended: Callable[[Failure], None]) -> None:
        self.ended = ended

    def processEnded(self, reason: Failure) -> None:  # noqa: N802 - Twisted's
        """It has ended, and its output is read."""
        self.ended(reason)


def command(number: int) -> list[str]:
    """Give what a worker is started by, with the flags that this interpreter was started with."""
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    return [sys.executable, *flags, "-c", _COMMAND, "lmgateway", "worker", str(number)]


def environment() -> dict[str, str]:
    """Give the environment of a worker, which finds what this process has imported."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
