"""
A spool: what is to be kept goes into a bounded queue, and one thread writes it out.

Putting never waits: a disk that is slow, full or broken holds up no request.  The
thread gathers what comes within a second, writes it as one block, and has the
disk confirm it.  What the disk does not take is offered again, and again; when
the queue is full by then, what comes is dropped and counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import Event, Lock, Thread
from time import monotonic
from typing import Generic, Protocol, TypeVar

CAPACITY = 10_000
"""Items that wait at most."""
BATCH = 2_000
"""Items that are written at once at most."""
INTERVAL = 1.0
"""Seconds between two writes, at least: what a crash of the machine can lose."""

Item = TypeVar("Item")
Kept = TypeVar("Kept", contravariant=True)


class Archive(Protocol[Kept]):
    """Where items end up; used by the spool's thread only."""

    def take(self, items: Sequence[Kept]) -> None:
        """Hold *items* for the next ``flush``; does no input or output."""

    def flush(self) -> None:
        """
        Write what is held, and have the disk confirm it; again if there was a failure.

        Raises:
            OSError: If it cannot be done now.  What was not written is still held.
        """

    def reopen(self) -> None:
        """Use whatever is at the path from the next ``flush`` on: the old file was moved."""

    def close(self) -> None:
        """Let go of the file."""


def _unheard(error: OSError | None) -> None:
    """Nobody wants to know."""


class Spool(Generic[Item]):
    """
    Writes items to an archive, off the reactor.

    Args:
        archive: Where they go.
        changed: Told from the spool's thread when writing begins to fail, with the error, and
            with ``None`` when it goes on.

    Attributes:
        dropped: How many items were lost, because the queue was full or at the end.
        failing: Whether the last write failed, and no later one went well.
    """

    def __init__(
        self,
        archive: Archive[Item],
        *,
        changed: Callable[[OSError | None], object] = _unheard,
        capacity: int = CAPACITY,
        interval: float = INTERVAL,
    ) -> None:
        self._archive = archive
        self._changed = changed
        self._capacity = capacity
        self._interval = interval
        self._queue: deque[Item] = deque()
        self._work = Event()
        self._stop = Event()
        self._start = Lock()
        self._thread: Thread | None = None
        self._written = -interval
        self._moved = False
        self.dropped = 0
        self.failing = False

    @property
    def full(self) -> bool:
        """Whether the next item would be dropped."""
        return len(self._queue) >= self._capacity

    def put(self, item: Item) -> bool:
        """Have *item* written; false if there is no room for it."""
        if len(self._queue) >= self._capacity:
            self.dropped += 1
            return False
        self._queue.append(item)
        if not self._work.is_set():
            self._wake()
        return True

    def reopen(self) -> None:
        """Write to whatever is at the path from now on."""
        self._moved = True
        self._wake()

    def _wake(self) -> None:
        with self._start:  # a thread begun before a daemon forks would be lost
            if self._thread is None and not self._stop.is_set():
                self._thread = Thread(target=self._run, name="spool", daemon=True)
                self._thread.start()
        self._work.set()

    def close(self, seconds: float = 5.0) -> None:
        """Write what is left, within *seconds*, and end; blocks."""
        self._stop.set()
        self._work.set()
        if self._thread is not None:
            self._thread.join(seconds)
        self.dropped += len(self._queue)
        self._queue.clear()

    # In the thread ---------------------------------------------------------
    def _run(self) -> None:
        while True:
            self._work.wait()
            self._stop.wait(self._written + self._interval - monotonic())
            self._work.clear()
            if self._moved:
                self._moved = False
                self._archive.reopen()
            if not self._drain():
                break
            if self._stop.is_set():
                break
        self._archive.close()

    def _drain(self) -> bool:
        """Write all that waits; false if that failed to the end."""
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            self._archive.take(batch)
            if not self._flush():
                self.dropped += len(batch)
                return False
        return True

    def _flush(self) -> bool:
        """Try until it is written; false if the end came first."""
        while True:
            try:
                self._archive.flush()
            except OSError as error:
                self._note(error)
            else:
                self._note(None)
                self._written = monotonic()
                return True
            if self._stop.wait(self._interval):
                return False

    def _note(self, error: OSError | None) -> None:
        if self.failing != (error is not None):
            self.failing = error is not None
            self._changed(error)
