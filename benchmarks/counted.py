"""
The gateway, with what it does counted: ``python -m benchmarks.counted CONFIG FD``.

It is served as ``lmgateway serve`` does; with KEYS and ENTRIES behind them, as
``benchmarks.grown`` does.  Whoever started it writes commands to the socket FD,
a line each, and reads a line of JSON for each:

``ready``  nothing: it is there
``count``  how many calls were made so far in the thread of the reactor; counts from the first on
``names``  count by the name of what is called, which is slower
``top``    the calls so far by name; counting ends
``mark``   enter a function that nobody else enters: valgrind writes down what came before
``calibrate``  do what says how many instructions this interpreter takes for anything

A call is one of a Python function (also each time that a coroutine goes on)
or of a function written in C.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections import Counter
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from twisted.internet import reactor  # noqa: TID251  # this is a program
from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from benchmarks import grown
from lmgateway.service import start

CALIBRATION = 1000
"""How often ``calibrate`` does it."""

_DOCUMENT = '{"model": "m", "stream": true, "messages": [{"role": "user", "content": "hello"}]}'


class Calls:
    """Counts the calls of one thread."""

    def __init__(self) -> None:
        self.total = 0
        self._python: Counter[CodeType] = Counter()
        self._native: Counter[str] = Counter()

    def count(self, frame: FrameType, event: str, argument: Any) -> None:
        """Take what ``sys.setprofile`` tells."""
        if event in ("call", "c_call"):
            self.total += 1

    def name(self, frame: FrameType, event: str, argument: Any) -> None:
        """Take what ``sys.setprofile`` tells, and note who is called."""
        if event == "call":
            self._python[frame.f_code] += 1
        elif event == "c_call":
            self._native[argument.__qualname__] += 1

    def named(self) -> dict[str, int]:
        """Give the calls by name."""
        python = {_name(code): 0 for code in self._python}
        for code, calls in self._python.items():
            python[_name(code)] += calls
        return {**python, **{f"{name} (C)": calls for name, calls in self._native.items()}}


def _name(code: CodeType) -> str:
    """Name a function by the last parts of its file and itself."""
    folder, _, module = code.co_filename.removesuffix(".py").rpartition("/")
    return f"{os.path.basename(folder)}.{module}.{code.co_qualname}"


@implementer(IReadDescriptor)
class Commands:
    """What whoever started this process wants; a reader of the reactor's."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._calls = Calls()

    def fileno(self) -> int:
        """Give what the reactor watches."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """Give a name for Twisted's log."""
        return "commands"

    def doRead(self) -> None:  # noqa: N802  # Twisted's name
        """Do what is asked, and answer."""
        lines = self._socket.recv(1 << 12).split()
        if not lines:
            reactor.removeReader(self)
        for line in lines:
            act: Callable[[], Any] = getattr(self, f"_{line.decode()}")
            self._socket.sendall(json.dumps(act()).encode() + b"\n")

    def connectionLost(self, reason: object) -> None:
        """Take note of nothing: the reactor stops."""

    def _ready(self) -> None:
        pass

    def _mark(self) -> None:
        os.getpriority(os.PRIO_PROCESS, 0)

    def _calibrate(self) -> None:
        for _ in range(CALIBRATION):
            document = json.loads(_DOCUMENT)
            _name(_name.__code__)
            document["length"] = sum(len(name) for name in document)

    def _count(self) -> int:
        sys.setprofile(self._calls.count)
        return self._calls.total

    def _names(self) -> None:
        sys.setprofile(self._calls.name)

    def _top(self) -> dict[str, int]:
        sys.setprofile(None)
        return self._calls.named()


def main(config: str, descriptor: str, *size: str) -> None:
    """Serve until told to stop; *size* are keys and entries."""
    commands = Commands(int(descriptor))
    reactor.callWhenRunning(reactor.addReader, commands)
    if size:
        grown.main(config, *size)
    else:
        start.run(config)


if __name__ == "__main__":
    main(*sys.argv[1:])
