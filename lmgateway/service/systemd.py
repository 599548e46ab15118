"""
What a service manager puts into the environment of the process that it starts.

All of it is for this process alone, so it is taken out of the environment: whatever is started
from here must neither speak to the service manager in our name nor take our sockets for its own.
``sd_notify(3)``, ``sd_watchdog_enabled(3)`` and ``sd_listen_fds(3)`` say what the variables mean.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress
from stat import S_ISSOCK

from msgspec import Struct

from lmgateway.config.listen import SocketName, socket_name
from lmgateway.errors import ConfigError

_FIRST = 3
_MOST = 256


class Handed(Struct, frozen=True, kw_only=True):
    """
    What was handed over.

    Attributes:
        notify: Where the service manager hears how we are.
        watchdog_seconds: The time in which it wants to hear so again; 0 if it does not.
        sockets: The descriptors of sockets that are listened on, in order.
        names: Their names.
    """

    notify: str | None = None
    watchdog_seconds: float = 0.0
    sockets: tuple[int, ...] = ()
    names: tuple[str, ...] = ()

    def find(self, key: str, text: str) -> socket.socket:
        """
        Give a socket of ours for the one that *text* names; the descriptor itself stays open.

        Args:
            key: The config key that names it, for the message.
            text: Its name.

        Raises:
            ConfigError: If there is no such socket.
        """
        name = socket_name(text)
        number = self._number(name)
        if number is None:
            raise ConfigError([f"gateway.{key}: no such socket was handed over: {self._told()}"])
        found = socket.socket(fileno=os.dup(number))
        listening = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        domain = found.family.name.removeprefix("AF_")
        if found.type != socket.SOCK_STREAM or not listening or domain != name.domain:
            found.close()
            raise ConfigError(
                [f"gateway.{key}: what was handed over is no {name.domain} socket that listens"]
            )
        found.setblocking(False)
        return found

    def close(self) -> None:
        """Close the sockets themselves: as long as one is open, connections come to it."""
        for number in {*self.sockets}:
            with suppress(OSError):
                os.close(number)

    def _number(self, name: SocketName) -> int | None:
        if name.name is not None:
            named = dict(zip(reversed(self.names), reversed(self.sockets), strict=False))
            return named.get(name.name)
        index = name.index or 0
        return self.sockets[index] if index < len(self.sockets) else None

    def _told(self) -> str:
        if not self.sockets:
            return "there is none (a systemd.socket unit, or another parent, hands them over)"
        names = ", ".join(self.names) or "without names"
        return f"there are {len(self.sockets)} ({names})"


def taken(environ: MutableMapping[str, str], pid: int) -> Handed:
    """
    Take what is meant for the process *pid* out of the environment.

    Args:
        environ: The environment; it loses the variables.
        pid: Our number.
    """
    address = environ.pop("NOTIFY_SOCKET", "")
    watchdog = _number(environ.pop("WATCHDOG_USEC", ""))
    watched = environ.pop("WATCHDOG_PID", str(pid))
    count = min(_number(environ.pop("LISTEN_FDS", "")), _MOST)
    meant = environ.pop("LISTEN_PID", "")
    names = environ.pop("LISTEN_FDNAMES", "")
    sockets = tuple(range(_FIRST, _FIRST + count)) if meant == str(pid) else ()
    sockets = tuple(number for number in sockets if _is_socket(number))
    for number in sockets:
        os.set_inheritable(number, False)
    return Handed(
        notify=address if address[:1] in ("/", "@") else None,
        watchdog_seconds=watchdog / 1e6 if watched == str(pid) else 0.0,
        sockets=sockets,
        names=tuple(names.split(":")) if names and sockets else (),
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def _is_socket(number: int) -> bool:
    try:
        return S_ISSOCK(os.fstat(number).st_mode)
    except OSError:
        return False
