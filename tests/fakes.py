"""A backend that a test scripts, on stock twisted.web: nothing of ours serves it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

reactor: Any = the_reactor

LONG = "This is a perfectly fine answer of a decent length."


def completion(text: str | None = LONG, model: str = "m", **message: Any) -> dict[str, Any]:
    """Give a whole chat completion."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, **message},
                "finish_reason": "tool_calls" if "tool_calls" in message else "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    """Give one SSE event of a streamed completion."""
    document = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return b"data: " + json.dumps(document).encode() + b"\n\n"


USAGE = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}\n\n'
)
DONE = b"data: [DONE]\n\n"
STREAM = (
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "Hello"}),
    chunk({"content": ", world"}),
    chunk({}, "stop"),
    USAGE,
    DONE,
)


@define
class Asked:
    """One request as the backend saw it."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        """The body as parsed JSON."""
        return json.loads(self.raw)


Script = Callable[["Request", Asked], Any]


@define(eq=False)
class FakeBackend(Resource):
    """
    Records what it is asked and answers as its script says.

    The script is called with the request and gives: a dict (answered as JSON), bytes parts as
    a tuple (streamed as SSE), or ``None`` if it answers by itself.
    """

    script: Script = lambda request, asked: (
        completion(model=asked.body.get("model", "m")) if asked.raw else {"data": []}
    )
    asked: list[Asked] = field(factory=list)
    requests: list[Request] = field(factory=list)
    lost: list[int] = field(factory=list)
    port: IListeningPort | None = None
    isLeaf = True

    def __attrs_pre_init__(self) -> None:
        Resource.__init__(self)

    def listen(self) -> str:
        """Open a port; give its base URL."""
        site = Site(self)
        self.port = reactor.listenTCP(0, site, interface="127.0.0.1")
        host: Any = self.port.getHost()
        return f"http://127.0.0.1:{host.port}"

    async def close(self) -> None:
        """Close the port and every connection."""
        assert self.port is not None
        stopped = self.port.stopListening()
        if stopped is not None:
            await stopped
        for request in self.requests:
            if getattr(request, "channel", None) is not None:
                self.cut(self.requests.index(request))

    def cut(self, number: int) -> None:
        """Reset the connection of a request."""
        transport: Any = self.requests[number].transport
        transport.abortConnection()

    def render(self, request: Request) -> int:
        """Record, and follow the script."""
        headers = {
            name.decode().lower(): values[-1].decode("latin-1")
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        asked = Asked(
            request.method.decode(),
            request.path.decode(),
            headers,
            request.content.read() if request.content else b"",
        )
        number = len(self.asked)
        self.asked.append(asked)
        self.requests.append(request)
        request.notifyFinish().addErrback(lambda failure: self.lost.append(number))
        answer = self.script(request, asked)
        if isinstance(answer, dict):
            request.setHeader("content-type", "application/json")
            request.write(json.dumps(answer).encode())
            request.finish()
        elif isinstance(answer, tuple):
            request.setHeader("content-type", "text/event-stream")
            for part in answer:
                request.write(part)
            request.finish()
        return NOT_DONE_YET

    @property
    def models(self) -> list[str]:
        """The models asked for, in order."""
        return [asked.body.get("model") for asked in self.asked if asked.raw]


def status(code: int, document: Any = None, **headers: str) -> Script:
    """Make a script that answers every request with a status."""

    def script(request: Request, asked: Asked) -> None:
        request.setResponseCode(code)
        request.setHeader("content-type", "application/json")
        for name, value in headers.items():
            request.setHeader(name.replace("_", "-"), value)
        request.write(json.dumps(document or {"error": {"message": "scripted"}}).encode())
        request.finish()

    return script


def hang(request: Request, asked: Asked) -> None:
    """A script that never answers."""


def turns(*scripts: Script) -> Script:
    """Make a script that follows one of *scripts* per request; the last for all further ones."""
    rest = list(scripts)

    def script(request: Request, asked: Asked) -> Any:
        return (rest.pop(0) if len(rest) > 1 else rest[0])(request, asked)

    return script


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait on the real reactor until *condition* holds; fail if it does not in time."""
    end = reactor.seconds() + seconds
    while not condition():
        if reactor.seconds() > end:
            raise AssertionError("waited in vain")
        pause: Deferred[None] = Deferred()
        reactor.callLater(0.01, pause.callback, None)
        await pause
