"""
The client port where workers serve it: the sockets that they accept on.

The supervisor opens them, one for each worker with ``SO_REUSEPORT``, so that the system
spreads connections over them; and it holds them open, so that those which come while
a worker is started anew wait for it.  One that a service manager hands over is all workers'.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from lmgateway.classes import frozen
from lmgateway.config.values import is_loopback
from lmgateway.errors import ConfigError
from lmgateway.service.listener import BACKLOG, certificate_of
from lmgateway.service.port import Place, Port
from lmgateway.service.resources import Resources
from lmgateway.wire.accepting import tune
from lmgateway.wire.tls import ServerTLS


@frozen
class Opened:
    """
    Sockets that are listened on.

    Attributes:
        sockets: One for each worker, in their order.
        number: The port number that it came to be.
    """

    place: Place
    sockets: tuple[socket.socket, ...]
    number: int
    certificate: ServerTLS | None


class SharedPort:
    """
    What the supervisor has in the place of a ``Listener``.

    Attributes:
        wanted: How many workers there are to be.
        factory: None: nothing is served here.
    """

    factory = None

    def __init__(self, folder: Path, resources: Resources, wanted: int) -> None:
        self._folder = folder
        self._resources = resources
        self._opened: Opened | None = None
        self.wanted = wanted

    def prepare(self, port: Port) -> Opened:
        """
        Open whatever *port* needs that is not open yet.

        Raises:
            ConfigError: If the address cannot be listened on, or the certificate not used.
        """
        certificate = None if port.tls is None else certificate_of(port.tls, self._folder)
        old, place, number = self._opened, port.place, port.place.number
        kept: tuple[socket.socket, ...] = ()
        if old is not None and old.place == place:
            kept, number = old.sockets[: self.wanted], old.number
        try:
            if place.handed is not None:
                found = kept[:1] or (self._found(port, place.handed),)
                sockets = found * self.wanted
            else:
                patience = port.limits.stall_seconds
                sockets = kept or (_reserved(place.host, number, patience),)
                number = sockets[0].getsockname()[1]
                more = self.wanted - len(sockets)
                sockets += tuple(_listening(place.host, number, patience) for _ in range(more))
        except OSError as error:
            raise ConfigError(
                [f"cannot listen on {place.host}:{number} (client port): {error.strerror}"]
            ) from error
        return Opened(place, sockets, number, certificate)

    def apply(self, port: Port, opened: Opened) -> None:
        """Let workers accept on what ``prepare`` gave, from the next that is started on."""
        old, self._opened = self._opened, opened
        if old is not None:
            _close(old.sockets, opened.sockets)

    def discard(self, opened: Opened) -> None:
        """Close what ``prepare`` has opened and nothing will use."""
        _close(opened.sockets, () if self._opened is None else self._opened.sockets)

    def is_elsewhere(self, opened: Opened) -> bool:
        """Say whether workers have to be replaced for it."""
        return self._opened is None or self._opened.sockets[0] is not opened.sockets[0]

    def close(self) -> None:
        """Accept no more connections, once the workers do not."""
        if self._opened is not None:
            _close(self._opened.sockets, ())
            self._opened = None

    @property
    def connections(self) -> int:
        """How many are open, as the workers told last."""
        together = self._resources.together
        crew = None if together is None else together.crew
        return 0 if crew is None else sum(each.get("connections", 0) for each in crew.latest)

    def socket_of(self, number: int) -> socket.socket:
        """Give the socket of one worker, counted from 1."""
        assert self._opened is not None, "opened at the start"
        return self._opened.sockets[number - 1]

    @property
    def domain(self) -> str:
        """What sockets they are, as a config names that."""
        return self.socket_of(1).family.name.removeprefix("AF_")

    @property
    def address(self) -> str:
        """Where connections are accepted."""
        name: Any = self.socket_of(1).getsockname()
        return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else str(name)

    @property
    def expires(self) -> float | None:
        """When its certificate does, in seconds since the epoch."""
        certificate = None if self._opened is None else self._opened.certificate
        return None if certificate is None else certificate.not_after

    def _found(self, port: Port, handed: str) -> socket.socket:
        found = self._resources.handed.find("client_listen", handed)
        is_local = found.family == socket.AF_UNIX or is_loopback(found.getsockname()[0])
        if port.unguarded is not None and not is_local:
            found.close()
            raise ConfigError([f"gateway.client_listen: {port.unguarded}"])
        return found


def _reserved(host: str, number: int, stall_seconds: float) -> socket.socket:
    """Open the first socket, on a port number that nobody else has."""
    alone = _bound(host, number, shared=False)
    try:
        return _listening(host, alone.getsockname()[1], stall_seconds, after=alone)
    finally:
        alone.close()


def _listening(
    host: str, number: int, stall_seconds: float, after: socket.socket | None = None
) -> socket.socket:
    if after is not None:
        after.close()
    made = _bound(host, number, shared=True)
    tune(made, stall_seconds)
    made.listen(BACKLOG)
    return made


def _bound(host: str, number: int, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.setblocking(False)
        made.bind((host, number))
    except OSError:
        made.close()
        raise
    return made


def _close(sockets: tuple[socket.socket, ...], kept: tuple[socket.socket, ...]) -> None:
    for each in {*sockets} - {*kept}:
        each.close()
