"""
Stand-ins for backends: real servers on loopback that answer in each provider's grammar, or fail.

They are served by stock ``twisted.web``, so that what the gateway meets is not made by its own
wire.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from contextlib import aclosing
from enum import Enum, auto
from typing import Any

from attrs import field
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from lmgateway.backends.base import Call
from lmgateway.backends.mock import MockBackend, MockSettings
from lmgateway.chat import Overrides
from lmgateway.classes import define
from lmgateway.config.providers import PROVIDERS
from lmgateway.config.schema import Config
from lmgateway.dialects.base import Mark
from lmgateway.surfaces.grammars import BACKEND_DIALECTS

RETRY_AFTER = 60
"""Longer than anything here waits."""
_CUT_AFTER = 3
_PACE = 400
"""Tokens a second: slow enough for something to happen during a stream."""
_FLUSH_SECONDS = 0.05
_NEVER = float("inf")


class Fault(Enum):
    """What a stand-in does instead of answering."""

    DOWN = auto()
    BROKEN = auto()
    LIMITED = auto()
    SLOW = auto()
    GARBAGE = auto()
    PAGE = auto()
    CUT = auto()


@define(eq=False)
class _Answers(Resource):
    """Answers every request as one backend would."""

    reactor: Any
    backend: MockBackend
    parse: Callable[[bytes], Any]
    media: bytes
    fault: Fault | None = None
    asked: int = 0
    isLeaf = True

    def __attrs_pre_init__(self) -> None:
        Resource.__init__(self)

    def render(self, request: Request) -> int:
        """Answer, or fail."""
        if request.method == b"GET":
            return self._say(request, 200, b"application/json", b'{"data": [], "models": []}')
        self.asked += 1
        match self.fault:
            case Fault.BROKEN:
                body = b'{"error": {"message": "broken on purpose"}}'
                return self._say(request, 500, b"application/json", body)
            case Fault.LIMITED:
                request.setHeader(b"retry-after", b"%d" % RETRY_AFTER)
                body = b'{"error": {"message": "limited on purpose"}}'
                return self._say(request, 429, b"application/json", body)
            case Fault.GARBAGE:
                return self._say(request, 200, b"application/json", b'{"choices": [{"mess')
            case Fault.PAGE:
                return self._say(request, 200, b"text/html", b"<html>Please log in</html>")
            case Fault.SLOW:
                return NOT_DONE_YET
        answering = Deferred.fromCoroutine(self._answer(request))
        request.notifyFinish().addErrback(lambda _: answering.cancel())
        answering.addErrback(self._give_up, request)
        return NOT_DONE_YET

    def _say(self, request: Request, status: int, media: bytes, body: bytes) -> int:
        request.setResponseCode(status)
        request.setHeader(b"content-type", media)
        request.write(body)
        request.finish()
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        content: Any = request.content
        asked = self.parse(content.read())
        call = Call(
            request=asked,
            overrides=Overrides(model=asked.model or ""),
            request_id="selftest",
            commit_by=_NEVER,
            end_by=_NEVER,
        )
        async with self.backend.open(call) as reply:
            if reply.batches is None:
                self._say(request, 200, b"application/json", reply.body)
                return
            request.setHeader(b"content-type", self.media)
            await self._stream(request, reply.batches)
        request.finish()

    async def _stream(self, request: Request, batches: Any) -> None:
        outputs = 0
        async with aclosing(batches):
            async for batch in batches:
                for event, mark in batch:
                    request.write(event.raw)
                    outputs += mark is Mark.OUTPUT
                    if self.fault is Fault.CUT and outputs == _CUT_AFTER:
                        await deferLater(self.reactor, _FLUSH_SECONDS)
                        raise ConnectionAbortedError

    def _give_up(self, failure: Failure, request: Request) -> None:
        """Break the connection off: on purpose, as the other side left, or asked no JSON."""
        channel: Any = request.channel
        if channel is not None:
            channel.transport.abortConnection()


@define(eq=False)
class StandIns:
    """
    One stand-in for each backend of a config.

    They are made of the reactor that serves them, and of the config.
    """

    _reactor: Any
    _config: Config
    _answers: dict[str, _Answers] = field(factory=dict)
    _ports: dict[str, Any] = field(factory=dict)
    _closed: socket.socket = field(factory=socket.socket)

    def open(self) -> None:
        """Listen on loopback."""
        self._closed.bind(("127.0.0.1", 0))  # and never listens: connections are refused
        for name, section in self._config.backends.items():
            codec = BACKEND_DIALECTS[PROVIDERS[section.provider].dialect]
            settings = MockSettings(tokens_per_second=_PACE)
            answers = _Answers(
                self._reactor,
                MockBackend(name, self._reactor, settings, codec),
                lambda body, codec=codec: codec.parse(body, "chat"),  # type: ignore[misc]
                b"application/x-ndjson" if codec.framing == "ndjson" else b"text/event-stream",
            )
            self._answers[name] = answers
            site = Site(answers)
            site.noisy = False
            self._ports[name] = self._reactor.listenTCP(0, site, interface="127.0.0.1")

    async def close(self) -> None:
        """Listen no more."""
        self._closed.close()
        for port in self._ports.values():
            await port.stopListening()

    def origins(self, faults: Mapping[str, Fault]) -> Mapping[str, str]:
        """
        Give where each backend is, and have those of *faults* fail.

        Args:
            faults: What is wrong, by the name of the backend.
        """
        for name, answers in self._answers.items():
            answers.fault = faults.get(name)
            answers.asked = 0
        return {
            name: _origin(
                self._closed.getsockname()[1]
                if faults.get(name) is Fault.DOWN
                else port.getHost().port
            )
            for name, port in self._ports.items()
        }


def _origin(port: int) -> str:
    return f"http://127.0.0.1:{port}"
