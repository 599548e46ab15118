"""A whole gateway for one scenario of a self-test, and clients that ask it over sockets."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from attrs import field
from twisted.internet.defer import Deferred

from lmgateway.classes import define, frozen
from lmgateway.config.schema import Config
from lmgateway.service.life import GatewayService
from lmgateway.service.resources import Resources

PATH = "/v1/chat/completions"
"""What is asked."""
_SECONDS = 30.0
_SAY = [{"role": "user", "content": "Please say in a few words what you are."}]


@frozen(kw_only=True)
class Heard:
    """
    What a client heard.

    Attributes:
        status: The HTTP status; 0 if there was no answer at all.
        headers: The response headers, names in lower case.
        body: All that came of the body.
        whole: Whether the body came to its proper end.
        seconds: How long it took.
    """

    status: int
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes = b""
    whole: bool = False
    seconds: float = 0.0

    @property
    def error(self) -> str | None:
        """The kind of the error, if it is one."""
        if kind := self.headers.get("x-lmg-error"):
            return kind
        return None if self.status == 200 else "no answer" if not self.status else "error"

    @property
    def is_answer(self) -> bool:
        """Whether it is a whole answer."""
        if self.status != 200 or not self.whole or self.error is not None:
            return False
        return self.is_whole_stream if self._is_stream else b'"choices"' in self.body

    @property
    def is_whole_stream(self) -> bool:
        """Whether it is a stream that looks complete."""
        return self.body.rstrip().endswith(b"data: [DONE]")

    @property
    def tells_of_an_error(self) -> bool:
        """Whether there is an error in the stream."""
        return b'"error"' in self.body

    @property
    def _is_stream(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def tier(self) -> str:
        """The tier that answered, or was tried last."""
        return self.headers.get("x-lmg-tier", "")

    def worded(self) -> str:
        """Say it in a few words."""
        if not self.status:
            return "no answer at all"
        if self.error is not None:
            wait = self.headers.get("retry-after")
            told = "a friendly answer" if self.status == 200 else str(self.status)
            return f"{told} ({self.error})" + (f", retry after {wait} s" if wait else "")
        return f"{self.tier or 'the gateway'} answers"


@define(eq=False)
class Stage:
    """
    A gateway that serves a config until the scope is left.

    It is made of the reactor that it runs on, and of the config.
    """

    _reactor: Any
    _config: Config
    service: GatewayService = field(init=False)

    async def __aenter__(self) -> Stage:
        resources = Resources.of(self._reactor, {}, write=lambda block: None)
        self.service = GatewayService(self._config, resources, lambda: self._config)
        self.service.privilegedStartService()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for port in (self.service.client, self.service.admin):
            if port.factory is not None:
                port.factory.abort()
        await self.service.drain()
        self.service.resources.keep_only(set())
        self.service.resources.wheel.stop()

    @property
    def port(self) -> int:
        """The number of the client port."""
        return int(self.service.client.address.rpartition(":")[2])

    def ask(self, model: str, key: str | None, *, stream: bool = False) -> Deferred[Heard]:
        """Ask for a chat completion, in a thread."""
        port = self.port
        return self.service.resources.in_thread(lambda: _asked(port, model, key, stream=stream))

    def watch(self, model: str, key: str | None, begun: Callable[[], object]) -> Deferred[Heard]:
        """Ask for a stream, and call *begun* in the reactor once something came."""
        port, reactor = self.port, self._reactor

        def tell() -> None:
            reactor.callFromThread(begun)

        return self.service.resources.in_thread(
            lambda: _asked(port, model, key, stream=True, begun=tell)
        )


def _asked(
    port: int,
    model: str,
    key: str | None,
    *,
    stream: bool,
    begun: Callable[[], object] | None = None,
) -> Heard:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    headers = {"content-type": "application/json", "connection": "close"}
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    body = json.dumps({"model": model, "stream": stream, "messages": _SAY})
    start = time.monotonic()
    try:
        connection.request("POST", PATH, body, headers)
        response = connection.getresponse()
        data, whole = _read(response, begun)
    except (OSError, http.client.HTTPException):
        return Heard(status=0, seconds=time.monotonic() - start)
    finally:
        connection.close()
    return Heard(
        status=response.status,
        headers={name.lower(): value for name, value in response.getheaders()},
        body=data,
        whole=whole,
        seconds=time.monotonic() - start,
    )


def _read(
    response: http.client.HTTPResponse, begun: Callable[[], object] | None
) -> tuple[bytes, bool]:
    first = b""
    try:
        if begun is not None:
            first = response.readline()
            begun()
        return first + response.read(), True
    except http.client.IncompleteRead as cut:
        return first + cut.partial, False
    except OSError:
        return first, False
