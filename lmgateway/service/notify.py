"""
Tells the service manager how the process is: ready, reloading, stopping, alive.

``sd_notify(3)``: one datagram of ``KEY=value`` lines per message.  Without a service manager that
listens, nothing is sent and no timer runs.  The reactor itself says that it is alive, so that one
which hangs is noticed.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from time import monotonic_ns

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

_KEPT = 16
"""Messages that wait for a service manager which reads none; the oldest goes first."""
_AGAIN = 0.1


class Notifier:
    """
    The line to the service manager.

    Args:
        clock: Times the signs of life.
        address: A path, or ``@`` and an abstract name; ``None`` tells nobody.
        watchdog_seconds: The time in which a sign of life is wanted; 0 for none.
        monotonic: The system's monotonic clock, in nanoseconds.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        address: str | None = None,
        watchdog_seconds: float = 0.0,
        monotonic: Callable[[], int] = monotonic_ns,
    ) -> None:
        self._clock = clock
        self._address = "\0" + address[1:] if address and address[0] == "@" else address
        self._watchdog_seconds = watchdog_seconds
        self._monotonic = monotonic
        self._waiting: deque[bytes] = deque(maxlen=_KEPT)
        self._socket: socket.socket | None = None
        self._again: IDelayedCall | None = None
        self._beat: IDelayedCall | None = None
        self._failed = False
        if self._address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)

    def ready(self, status: str) -> None:
        """It serves; *status* is a line for people."""
        self._tell("READY=1", f"STATUS={status}")
        if self._beat is None and self._watchdog_seconds and self._socket is not None:
            self._alive()

    def reloading(self) -> None:
        """It reads its config again; ``ready`` is to follow."""
        microseconds = self._monotonic() // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={microseconds}")

    def stopping(self, status: str, seconds: float) -> None:
        """It is about to end, within so many *seconds*."""
        microseconds = int(seconds * 1e6)
        self._tell("STOPPING=1", f"STATUS={status}", f"EXTEND_TIMEOUT_USEC={microseconds}")

    def close(self) -> None:
        """Say nothing more."""
        for call in (self._again, self._beat):
            if call is not None and call.active():
                call.cancel()
        self._watchdog_seconds = 0.0
        found, self._socket = self._socket, None
        if found is not None:
            found.close()

    def _alive(self) -> None:
        self._tell("WATCHDOG=1")
        self._beat = self._clock.callLater(self._watchdog_seconds / 2, self._alive)

    def _tell(self, *lines: str) -> None:
        if self._socket is None:
            return
        self._waiting.append("\n".join(lines).encode())
        if self._again is None:
            self._send()

    def _send(self) -> None:
        self._again = None
        while self._waiting and self._socket is not None:
            try:
                self._socket.sendto(self._waiting[0], self._address or "")
            except BlockingIOError:
                self._again = self._clock.callLater(_AGAIN, self._send)
                return
            except OSError as error:
                self._warn(error)
            self._waiting.popleft()

    def _warn(self, error: OSError) -> None:
        if not self._failed:
            self._failed = True
            self._log.warn("The service manager cannot be told: {why}", why=error.strerror)
