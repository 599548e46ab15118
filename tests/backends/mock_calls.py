"""Asks a mock backend, in memory, and reads what it answers."""

from __future__ import annotations

import json
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backends.base import Call, Reply
from lmgateway.backends.mock import MockBackend, MockSettings
from lmgateway.chat import ChatRequest, Document, Endpoint, Event, Overrides
from lmgateway.dialects.base import Mark
from lmgateway.dialects.openai import OPENAI

T = TypeVar("T")


def request_of(document: Document, endpoint: Endpoint = "chat") -> ChatRequest:
    """Make a request of the OpenAI surface."""
    options = document.get("stream_options") or {}
    return ChatRequest(
        dialect="openai",
        endpoint=endpoint,
        raw=json.dumps(document).encode(),
        document=document,
        spans={},
        hub=document,
        model=document.get("model"),
        stream=document.get("stream", False),
        wants_usage=options.get("include_usage", False),
    )


def chat(text: str = "Hello", **members: Any) -> Document:
    """Make a chat document with one user message."""
    return {"model": "asked", "messages": [{"role": "user", "content": text}], **members}


def call_of(
    document: Document,
    endpoint: Endpoint = "chat",
    *,
    model: str = "target",
    max_tokens: int | None = None,
    commit_by: float = 100.0,
    end_by: float = 200.0,
) -> Call:
    """Make a call with the given document."""
    return Call(
        request=request_of(document, endpoint),
        overrides=Overrides(model=model, max_tokens=max_tokens),
        request_id="req-1",
        commit_by=commit_by,
        end_by=end_by,
    )


@define
class Answered:
    """What came, as far as it came."""

    reply: Reply | None = None
    events: list[tuple[Event, Mark]] = field(factory=list)
    batches: int = 0
    times: list[float] = field(factory=list)

    @property
    def document(self) -> Document:
        """The whole answer."""
        assert self.reply is not None
        found: Document = json.loads(self.reply.body)
        return found

    @property
    def chunks(self) -> list[Document]:
        """The streamed answer, without its end."""
        return [json.loads(event.data) for event, _ in self.events if event.data != b"[DONE]"]

    @property
    def deltas(self) -> list[Document]:
        """The first choice's deltas."""
        choices = [choice for chunk in self.chunks for choice in chunk["choices"]]
        return [choice["delta"] for choice in choices if choice["index"] == 0]

    @property
    def text(self) -> str:
        """The first choice's text, streamed."""
        return "".join([delta.get("content") or "" for delta in self.deltas])

    @property
    def marks(self) -> list[Mark]:
        """What each event is."""
        return [mark for _, mark in self.events]


class MockTestCase(SynchronousTestCase):
    """Has a clock, and asks mocks."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.addCleanup(self.check_timers)

    def check_timers(self) -> None:
        """No test leaves anything scheduled."""
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def backend(self, **settings: Any) -> MockBackend:
        """Make a mock."""
        return MockBackend("m1", self.clock, MockSettings(**settings), OPENAI, wall=lambda: 1700.5)

    def start(self, backend: MockBackend, call: Call) -> tuple[Answered, Deferred[None]]:
        """Begin to ask; the answer fills as it comes."""
        answered = Answered()

        async def asking() -> None:
            async with backend.open(call) as reply:
                answered.reply = reply
                if reply.batches is None:
                    return
                async for batch in reply.batches:
                    answered.batches += 1
                    answered.times.append(self.clock.seconds())
                    answered.events += batch

        return answered, started(asking())

    def ask(self, backend: MockBackend, call: Call) -> Answered:
        """Ask a mock that answers at once."""
        answered, done = self.start(backend, call)
        self.successResultOf(done)
        return answered

    def say(self, document: Document, **settings: Any) -> Document:
        """Give the whole answer to a document."""
        return self.ask(self.backend(**settings), call_of(document)).document

    def pump(self, seconds: Sequence[float]) -> None:
        """Let time pass, in steps."""
        self.clock.pump(seconds)


def started(work: Coroutine[Any, Any, T]) -> Deferred[T]:
    """Begin a coroutine."""
    return Deferred.fromCoroutine(work)
