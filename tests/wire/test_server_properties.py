"""The server under whatever order of events hypothesis thinks of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.errors import Draining
from tests.wire.serving import Client, Server, body_of, chunks, get, post, statuses
from tests.wire.test_framing import REFUSED

BOUNDED = settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)

REQUESTS = (
    get(b"/wait"),
    get(b"/stream"),
    get(b"/echo"),
    get(b"/stream", version=b"1.0"),
    get(b"/echo", b"Connection: close"),
    post(b"/echo", b"hello"),
    post(b"/wait", b"hello", b"Authorization: Bearer bad"),
    post(b"/echo", b"x" * 2000),
    get(b"/wait") + post(b"/echo", b"next"),
    b"nonsense\r\n\r\n",
)


class Life(RuleBasedStateMachine):
    """One connection's life; every step may come at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.server = Server()
        self.client: Client | None = None
        self.failures: list[LogEvent] = []
        self.observer = cast("Any", self._observe)
        globalLogPublisher.addObserver(self.observer)

    def _observe(self, event: LogEvent) -> None:
        if "log_failure" in event:
            self.failures.append(event)

    @precondition(lambda self: self.client is None)
    @rule()
    def connect(self) -> None:
        self.client = self.server.connect()

    @precondition(lambda self: self.client is not None)
    @rule(data=st.sampled_from(REQUESTS), part=st.integers(1, 400))
    def send(self, data: bytes, part: int) -> None:
        client = self.client
        if client is not None and not client.aborted:
            client.channel.dataReceived(data[:part])
            if data[part:] and not client.aborted:
                client.channel.dataReceived(data[part:])

    @precondition(lambda self: self.client is not None)
    @rule()
    def leave(self) -> None:
        if self.client is not None:
            self.client.leave()
        self.client = None

    @rule(seconds=st.sampled_from((0.1, 1, 6, 11, 31)))
    def wait(self, seconds: float) -> None:
        self.server.advance(seconds)

    @precondition(lambda self: self.server.site.waiting)
    @rule()
    def go_on(self) -> None:
        turn = self.server.site.waiting.pop(0)
        if not turn.called:
            turn.callback(None)

    @precondition(lambda self: self.server.site.outlets)
    @rule(word=st.sampled_from(("write", "finish", "abort")))
    def let_out(self, word: str) -> None:
        outlet = self.server.site.outlets[-1]
        request: Any = outlet._request
        if word == "write" and not request.finished:
            outlet.write(b"data: x\n\n")
        elif word != "write":
            getattr(outlet, word)()

    @precondition(lambda self: self.client is not None and self.client.transport.producer)
    @rule(word=st.sampled_from(("pauseProducing", "resumeProducing")))
    def push_back(self, word: str) -> None:
        if self.client is not None:
            getattr(self.client.transport.producer, word)()

    @rule(word=st.sampled_from(("drain", "interrupt", "abort")))
    def end(self, word: str) -> None:
        factory = self.server.factory
        if word == "interrupt":
            factory.interrupt(Draining())
        else:
            getattr(factory, word)()

    def teardown(self) -> None:
        """Whatever happened, nothing failed unseen and nothing is left over."""
        if self.client is not None:
            self.client.leave()
        globalLogPublisher.removeObserver(self.observer)
        assert self.failures == []
        assert self.server.wheel.pending == 0
        assert self.server.factory.connections == set()


class LifeTests(SynchronousTestCase):
    """C17: the state machine of a connection and its requests."""

    def test_c17_any_order(self) -> None:
        """C17: no order of events fails unseen or leaves a timer or a connection."""
        case: Any = Life.TestCase
        case.settings = settings(BOUNDED, max_examples=150, stateful_step_count=25)
        case("runTest").runTest()


class SplitTests(SynchronousTestCase):
    """How bytes are cut on their way makes no difference."""

    @BOUNDED
    @given(st.lists(st.integers(1, 60), min_size=1, max_size=40))
    def test_any_cut(self, sizes: Sequence[int]) -> None:
        """Requests of every kind, in pieces of any size, are the same requests."""
        data = (
            post(b"/echo", b"one")
            + b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            + chunks(b"t", b"wo")
            + post(b"/echo", b"three", b"Connection: Upgrade", b"Upgrade: h2c")
            + get(b"/things/four")
        )
        client = Server().connect()
        position = 0
        for size in (*sizes, len(data)):
            client.channel.dataReceived(data[position : position + size])
            position += size
            if position >= len(data):
                break
        answers = client.received().split(b"HTTP/1.1 200 OK\r\n")[1:]
        self.assertEqual([body_of(part) for part in answers], [b"one", b"two", b"three", b"four"])

    @BOUNDED
    @given(st.sampled_from(sorted(REFUSED)), st.integers(1, 200))
    def test_refused_however_cut(self, name: str, cut: int) -> None:
        """What must be refused is, wherever it is cut in two."""
        data, status = REFUSED[name]
        server = Server()
        client = server.connect()
        client.channel.dataReceived(data[:cut])
        if data[cut:]:
            client.channel.dataReceived(data[cut:])
        if not client.received():
            server.advance(12)
        self.assertEqual(statuses(client.received()), [status])
        self.assertEqual(server.site.requests, [])

    @BOUNDED
    @given(st.binary(max_size=300))
    def test_any_bytes(self, noise: bytes) -> None:
        """No bytes make the server fail, or run a route without a door."""
        server = Server()
        client = server.connect()
        client.channel.dataReceived(noise or b"\r\n")
        client.channel.dataReceived(noise + get(b"/echo"))
        server.advance(45)
        self.assertTrue(client.closing)
        self.assertEqual(len(server.site.requests), len(server.door.seen))
