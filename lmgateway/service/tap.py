"""
``twistd -n lmgateway --config F`` and ``lmgateway serve``: the same service.

What twistd does by default and a service must not is put right here: timers on
the wall clock (O1 of the reliability notes), a log in free text, a process
that stays up without its ports.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from twisted.application.service import IService, Service
from twisted.logger import ILogObserver, globalLogBeginner

from lmgateway.errors import ConfigError
from lmgateway.service.descriptors import raise_limit
from lmgateway.service.life import GatewayService
from lmgateway.service.resources import Resources
from lmgateway.service.start import EX_CONFIG, EX_STARTUP, Beginning, end
from lmgateway.telemetry.logs import observer
from lmgateway.wire.resolver import Resolver
from lmgateway.wire.turns import lighten


def make_service(beginning: Beginning, reactor: Any) -> GatewayService:
    """
    Make the service.

    Raises:
        ConfigError: If the config cannot be used.
    """
    prepare(reactor)
    resources = Resources.of(reactor, beginning.environ, handed=beginning.handed)
    if beginning.config.gateway.workers == 1:
        return GatewayService(beginning.config, resources)
    from lmgateway.service.supervisor import Supervisor  # with all that workers take

    return Supervisor(beginning.config, resources)


def prepare(reactor: Any) -> None:
    """Make a reactor be as a service needs it."""
    reactor.seconds = time.monotonic  # O1: a step of the wall clock moves no timer
    lighten(reactor)
    raise_limit()
    resolver = Resolver(reactor)
    reactor.installNameResolver(resolver)
    reactor.addSystemEventTrigger("after", "shutdown", resolver.stop)


class _Started(Service):
    """Starts the gateway under twistd: ends the process, with a message, where that fails."""

    def __init__(self, gateway: GatewayService) -> None:
        self._gateway = gateway

    def setServiceParent(self, parent: Any) -> None:
        Service.setServiceParent(self, parent)
        if not isinstance(parent, Service):
            levels = self._gateway.resources.levels
            parent.setComponent(ILogObserver, observer(sys.stderr, levels))

    def privilegedStartService(self) -> None:
        try:
            self._gateway.privilegedStartService()
        except ConfigError as error:
            end(error, EX_STARTUP)

    def startService(self) -> None:
        self.running = True
        self._gateway.startService()


def make_started(beginning: Beginning) -> IService:
    """Make the service that twistd starts."""
    return _Started(_made(beginning))


def run(beginning: Beginning) -> None:
    """Serve until told to stop: ``lmgateway serve``."""
    from twisted.internet import reactor

    gateway = _made(beginning)
    watch = observer(sys.stderr, gateway.resources.levels)
    globalLogBeginner.beginLoggingTo([watch], redirectStandardIO=False)
    try:
        gateway.privilegedStartService()
    except ConfigError as error:
        end(error, EX_STARTUP)
    gateway.startService()
    reactor.run()


def _made(beginning: Beginning) -> GatewayService:
    from twisted.internet import reactor

    try:
        return make_service(beginning, reactor)
    except ConfigError as error:
        end(error, EX_STARTUP if error.transient else EX_CONFIG)
