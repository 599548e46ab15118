"""The first that a worker's process imports; the supervisor starts it with this."""

from __future__ import annotations

import gc
import pickle
import signal
import socket
import sys
from typing import Any

from twisted.logger import globalLogBeginner

from lmgateway.errors import ConfigError
from lmgateway.service.line import read_frame
from lmgateway.service.start import EX_STARTUP
from lmgateway.service.tap import prepare
from lmgateway.service.task import LINE, Start
from lmgateway.service.worker import Worker
from lmgateway.telemetry.logs import observer


def main() -> None:
    """Be a worker."""
    from twisted.internet import reactor

    gc.disable()
    end = socket.socket(fileno=LINE)
    try:
        _, body = read_frame(end)
    except EOFError:
        raise SystemExit(EX_STARTUP) from None
    start: Start = pickle.loads(body)  # noqa: S301 - the supervisor's
    prepare(reactor)
    worker = Worker(start, end, reactor)
    watch = observer(sys.stderr, worker.resources.levels)
    globalLogBeginner.beginLoggingTo([watch], redirectStandardIO=False)
    try:
        worker.serve()
    except ConfigError as error:
        worker.line.say("failed", [str(each) for each in error.problems])
        raise SystemExit(EX_STARTUP) from None
    reactor.callWhenRunning(_mind_signals, worker, reactor)
    reactor.run()


def _mind_signals(worker: Worker, reactor: Any) -> None:
    """End well when asked to; what a terminal or a reload sends is the supervisor's."""
    signal.signal(signal.SIGTERM, lambda *_: reactor.callFromThread(worker.asked))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
