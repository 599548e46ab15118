"""Tests for events as they happen."""

from __future__ import annotations

import json
from typing import Any

from treq.content import collect

from lmgateway.admin import feed
from lmgateway.config.webhook import KINDS
from tests.fakes import until
from tests.harness import GatewayCase

TOKENS = """
    [[admin_tokens]]
    name = "looker"
    token_env = "LOOK"

    [[admin_tokens]]
    name = "ops"
    token_env = "OPS"
    role = "operator"
"""


class EventTests(GatewayCase):
    """Tests for ``/admin/events``."""

    async def listen(self, query: str = "", **headers: Any) -> list[bytes]:
        """Begin to listen; give what will have come."""
        response = await self.begin("GET", f"/admin/events{query}", admin=True, **headers)
        self.assertEqual(response.code, 200)
        got: list[bytes] = []
        self.ended = collect(response, got.append)
        self.ended.addErrback(lambda failure: None)
        await until(lambda: bool(got))
        return got

    def events(self, got: list[bytes]) -> list[tuple[str, Any]]:
        """Read what has come."""
        found = []
        for block in b"".join(got).split(b"\n\n"):
            fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if b": " in line)
            if b"event" in fields:
                found.append((fields[b"event"].decode(), json.loads(fields[b"data"])))
        return found

    async def test_L7_1_a_request_is_seen_within_a_second(self) -> None:
        """An exchange that ends is told at once, with its traffic entry."""
        self.start()
        got = await self.listen()
        await self.chat(X_Request_ID="r1")
        await until(lambda: bool(self.events(got)), 1.0)
        ((kind, entry),) = self.events(got)
        self.assertEqual((kind, entry["id"], entry["tier"]), ("exchange", "r1", "local:fast"))

    async def test_kinds_are_chosen(self) -> None:
        """Who asks for some kinds is told of no other."""
        service = self.start()
        got = await self.listen("?kinds=breaker,reload")
        await self.chat()
        service.resources.events.tell("breaker", backend="mock", to="open")
        await until(lambda: bool(self.events(got)))
        ((kind, event),) = self.events(got)
        self.assertEqual((kind, event["facts"]), ("breaker", {"backend": "mock", "to": "open"}))

    async def test_unknown_kinds(self) -> None:
        """Who asks for a kind that there is not is told so, and which ones there are."""
        self.start()
        for query in ("typo", "exchange,breakers", "x" * 4000):
            got = await self.ask("GET", f"/admin/events?kinds={query}", admin=True)
            self.assertEqual((got.code, got.json["kind"]), (400, "malformed_request"))
            self.assertIn(f"There is no kind '{query.split(',')[-1][:40]}'", got.json["error"])
            for kind in ("exchange", *KINDS):
                self.assertIn(f"`{kind}`", got.json["error"])
        told = await self.listen("?kinds=exchange,%20reload,")
        await self.chat()
        await until(lambda: bool(self.events(told)))

    async def test_viewers_are_not_told_who_did_what(self) -> None:
        """What the audit log holds is told to those who may read it: the same roles."""
        self.environ |= {"LOOK": "viewer" * 4, "OPS": "operator" * 3}
        service = self.start(more=TOKENS)
        for role, told in (("LOOK", ["key"]), ("OPS", ["audit", "denied", "key"])):
            got = await self.listen(Authorization=f"Bearer {self.environ[role]}")
            for kind in ("audit", "denied", "key"):
                service.resources.events.tell(kind, ok=True)
            await until(lambda got=got: any(kind == "key" for kind, _ in self.events(got)))  # type: ignore[misc]
            self.assertEqual([kind for kind, _ in self.events(got)], told)

    async def test_nothing_listens_when_nobody_does(self) -> None:
        """The last listener that leaves takes the cost with it; the number of them is bounded."""
        self.patch(feed, "MAX_LISTENERS", 1)
        service = self.start()
        before = [*service.resources.traffic._sinks]
        await self.listen()
        got = await self.ask("GET", "/admin/events", admin=True)
        self.assertEqual((got.code, got.json["kind"]), (429, "too_many_concurrent"))
        self.assertEqual(len(service.resources.feed), 1)
        service.resources.feed.close()
        await self.ended
        self.assertEqual(len(service.resources.feed), 0)
        self.assertEqual(service.resources.traffic._sinks, before)

    async def test_a_listener_that_leaves_is_forgotten(self) -> None:
        """A browser tab that is closed leaves nothing behind."""
        service = self.start()
        response = await self.begin("GET", "/admin/events", admin=True)
        self.assertEqual(len(service.resources.feed), 1)
        response.original._transport._producer.abortConnection()
        await until(lambda: len(service.resources.feed) == 0)

    async def test_a_slow_listener_is_told_what_it_missed(self) -> None:
        """What does not fit is dropped, and the number of it told; the rest is in order."""
        self.patch(feed, "MAX_WAITING", 2)
        service = self.start()
        got = await self.listen("?kinds=breaker")
        (listener,) = service.resources.feed._listeners
        listener.pauseProducing()
        for number in range(5):
            service.resources.events.tell("breaker", number=number)
        listener.resumeProducing()
        await until(lambda: len(self.events(got)) == 3)
        dropped, *rest = self.events(got)
        self.assertEqual(dropped, ("dropped", {"count": 3}))
        self.assertEqual([event["facts"]["number"] for _, event in rest], [3, 4])

    async def test_a_stop_waits_for_no_listener(self) -> None:
        """Who listens does not keep the gateway from stopping."""
        service = self.start()
        await self.listen()
        await service.drain()
        await self.ended

    async def test_a_stop_waits_for_none_who_comes_back(self) -> None:
        """A browser asks again on the connection that it has, and would hold up the stop."""
        service = self.start()
        service.resources.feed.stop()
        got = await self.ask("GET", "/admin/events", admin=True)
        self.assertEqual((got.code, got.json["kind"]), (503, "draining"))
