"""R-P: priority and queues, and R-E09: a bad target is left alone; over HTTP."""

from __future__ import annotations

import json
import socket
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred

from tests.fakes import DONE, STREAM, Asked, FakeBackend, completion, hang, status, until
from tests.harness import BASE, GatewayCase, Got

ONE = BASE.replace(
    'model = "fast-model"', 'model = "fast-model"\n    max_concurrent = 1\n    {tier}'
)


def finish(backend: FakeBackend, number: int) -> None:
    """Answer a request that was held."""
    request = backend.requests[number]
    request.setHeader("content-type", "application/json")
    request.write(json.dumps(completion(model="m")).encode())
    request.finish()


class PriorityCases(GatewayCase):
    """Tests with a backend that holds its replies."""

    def one_at_a_time(self, *, tier: str = "", **parts: str) -> None:
        """Serve the first tier one request at a time."""
        self.backend.script = hang
        self.start(ONE, tier=tier, **parts)

    def send(self, content: str, priority: object = None, **members: Any) -> Deferred[Got]:
        """Begin a call; *content* tells it from others at the backend."""
        if priority is not None:
            members["X_LMG_Priority"] = str(priority)
        messages = [{"role": "user", "content": content}]
        got: Deferred[Got] = ensureDeferred(self.chat(messages=messages, **members))
        return got

    @property
    def seen(self) -> list[str]:
        """What the backend has been asked, in order."""
        return [content(asked) for asked in self.backend.asked]

    async def waiting(self, count: int) -> None:
        """Wait until so many requests are in a queue."""
        assert self.service is not None
        gate = self.service.resources.queues.find("local:fast")
        assert gate is not None
        await until(lambda: gate.pending == count)

    async def answer(self, number: int) -> None:
        """Answer the request of that number, once it is there."""
        await until(lambda: len(self.seen) > number)
        finish(self.backend, number)

    async def held(self, *contents: str) -> None:
        """Wait until the backend holds exactly these."""
        await until(lambda: len(self.seen) >= len(contents))
        self.assertEqual(self.seen, [*contents])

    async def test_R_P01_equal_priorities_one_at_a_time(self) -> None:
        """The backend sees the second only after the first is done."""
        self.one_at_a_time()
        first = self.send("a")
        await self.held("a")
        second = self.send("b")
        await self.waiting(1)
        self.assertEqual(self.seen, ["a"])
        finish(self.backend, 0)
        await first
        await self.held("a", "b")
        finish(self.backend, 1)
        self.assertEqual((await second).code, 200)

    async def test_R_P02_higher_runs_on_top(self) -> None:
        """A strictly higher priority does not wait for a lower one."""
        self.one_at_a_time()
        low = self.send("low")
        await self.held("low")
        high = self.send("high", 100)
        await self.held("low", "high")
        finish(self.backend, 0)
        finish(self.backend, 1)
        self.assertEqual([(await low).code, (await high).code], [200, 200])
        self.assertEqual({e["priority"] for e in await self.entries()}, {100, 0})

    async def test_R_P03_lower_waits(self) -> None:
        """A lower priority waits behind what is in flight."""
        self.one_at_a_time()
        normal = self.send("normal")
        await self.held("normal")
        low = self.send("low", -100)
        await self.waiting(1)
        self.assertEqual(self.seen, ["normal"])
        finish(self.backend, 0)
        await normal
        await self.held("normal", "low")
        finish(self.backend, 1)
        await low

    async def test_R_P04_order_of_the_queue(self) -> None:
        """Higher first, equal ones as they came."""
        self.one_at_a_time()
        calls = [self.send("first")]
        await self.held("first")
        for number, (name, priority) in enumerate([("c", -50), ("a", 0), ("d", -50), ("b", 0)]):
            calls.append(self.send(name, priority))
            await self.waiting(number + 1)
        for number in range(5):
            await self.answer(number)
        for call in calls:
            await call
        self.assertEqual(self.seen, ["first", "a", "b", "c", "d"])

    async def test_R_P05_no_number_is_zero(self) -> None:
        """A header that is no number counts as 0, in the entry too."""
        self.start()
        self.assertEqual((await self.chat(X_LMG_Priority="abc")).code, 200)
        self.assertEqual((await self.entries())[0]["priority"], 0)

    async def test_R_P06_unlimited_tiers_are_not_serialised(self) -> None:
        """Without ``max_concurrent`` calls run side by side."""
        self.backend.script = hang
        self.start()
        calls = [self.send("a"), self.send("b")]
        await until(lambda: len(self.seen) == 2)
        for number in (0, 1):
            finish(self.backend, number)
        for call in calls:
            await call

    async def test_R_P07_a_waiter_that_leaves(self) -> None:
        """The queue moves on past a caller that disconnects while it waits."""
        self.one_at_a_time()
        first = self.send("first")
        await self.held("first")
        leaver = self.send("leaver")
        await self.waiting(1)
        last = self.send("last")
        await self.waiting(2)
        leaver.addErrback(lambda failure: failure.trap(CancelledError, Exception) and None)
        leaver.cancel()
        await self.waiting(1)
        finish(self.backend, 0)
        await first
        await self.held("first", "last")
        finish(self.backend, 1)
        self.assertEqual((await last).code, 200)

    async def test_a_disconnect_in_flight_moves_the_queue(self) -> None:
        """So does one whose call is at the backend."""
        self.one_at_a_time()
        first = self.send("first")
        await self.held("first")
        last = self.send("last")
        await self.waiting(1)
        first.addErrback(lambda failure: failure.trap(CancelledError, Exception) and None)
        first.cancel()
        await self.held("first", "last")
        finish(self.backend, 1)
        self.assertEqual((await last).code, 200)

    async def test_R_P08_ceilings(self) -> None:
        """A client's ceiling clamps the header, its default applies without one."""
        self.environ.update(A="k" * 20, B="m" * 20)
        clients = """
            [[clients]]
            key_env = "A"
            profile = "default"
            default_priority = -10
            priority_ceiling = 5
            [[clients]]
            key_env = "B"
            profile = "default"
            """
        self.start(gateway='public_profile = "default"', more=clients)
        key, other = {"Authorization": "Bearer " + "k" * 20}, "Bearer " + "m" * 20
        await self.chat(X_LMG_Priority="100", **key)
        await self.chat(X_LMG_Priority="-20", **key)
        await self.chat(X_LMG_Priority="abc", **key)
        await self.chat(**key)
        await self.chat(X_LMG_Priority="100", Authorization=other)
        await self.chat(X_LMG_Priority="100")
        priorities = [entry["priority"] for entry in await self.entries()]
        self.assertEqual(priorities[::-1], [5, -20, 0, -10, 0, 0])

    async def test_R_P09_overflow(self) -> None:
        """When too many are ahead, the overflow tier takes the call; not below its floor."""
        self.one_at_a_time(
            tier='overflow_tier = "cloud:economy"\noverflow_depth = 1\noverflow_min_priority = 0'
        )
        calls = [self.send("a")]
        await self.held("a")
        calls.append(self.send("b"))
        await self.waiting(1)
        over = self.send("c")
        await until(lambda: len(self.seen) == 2)
        self.assertEqual(self.backend.models, ["fast-model", "economy-model"])
        finish(self.backend, 1)
        self.assertEqual((await over).headers["x-lmg-tier"], "cloud:economy")
        self.assertTrue((await self.entries())[0]["overflowed"])
        calls.append(self.send("d", -1))
        await self.waiting(2)
        for number in (0, 2, 3):
            await self.answer(number)
        for call in calls:
            self.assertEqual((await call).headers["x-lmg-tier"], "local:fast")
        self.assertFalse((await self.entries())[0]["overflowed"])

    async def test_R_P09_the_callers_own_patience(self) -> None:
        """``X-LMG-Max-Queue`` lowers the depth, and never raises it."""
        self.one_at_a_time(tier='overflow_tier = "cloud:economy"\noverflow_depth = 5')
        first = self.send("a")
        await self.held("a")
        over = self.send("b", X_LMG_Max_Queue="0")
        await until(lambda: len(self.seen) == 2)
        self.assertEqual(self.backend.models[1], "economy-model")
        finish(self.backend, 0)
        finish(self.backend, 1)
        await first
        await over

    async def test_R_P10_full_queue(self) -> None:
        """Beyond the depth it is a 429 that says when to come back; no backend is asked."""
        self.one_at_a_time(tier="queue_depth = 1")
        calls = [self.send("a")]
        await self.held("a")
        calls.append(self.send("b"))
        await self.waiting(1)
        got = await self.send("c")
        self.assertEqual(got.code, 429)
        self.assertEqual(got.headers["x-lmg-error"], "too_many_concurrent")
        self.assertGreaterEqual(int(got.headers["retry-after"]), 1)
        self.assertEqual(self.seen, ["a"])
        for number in (0, 1):
            await self.answer(number)
        for call in calls:
            self.assertEqual((await call).code, 200)

    async def test_R_P10_wait_deadline(self) -> None:
        """Who waits too long is told so in the same way."""
        self.one_at_a_time(tier="queue_timeout_ms = 100")
        first = self.send("a")
        await self.held("a")
        got = await self.send("b")
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (429, "too_many_concurrent"))
        finish(self.backend, 0)
        await first

    async def test_R_P11_shared_queue(self) -> None:
        """Two tiers with one ``queue_id`` are served one at a time together."""
        self.one_at_a_time(
            tier='queue_id = "gpu"',
            more="""
            [[tiers]]
            name = "local:big"
            backend = "mock"
            model = "big-model"
            queue_id = "gpu"
            """,
        )
        assert self.service is not None
        gate = self.service.resources.queues.find("gpu")
        assert gate is not None
        calls = [self.send("a")]
        await self.held("a")
        calls.append(self.send("b", model="local:big"))
        await until(lambda: gate.pending == 1)
        self.assertEqual(self.seen, ["a"])
        finish(self.backend, 0)
        await self.held("a", "b")
        self.assertEqual(self.backend.models, ["fast-model", "big-model"])
        finish(self.backend, 1)
        for call in calls:
            await call

    async def test_R_S07_a_stream_holds_its_permit(self) -> None:
        """The next one begins only when the stream has ended."""
        self.one_at_a_time()
        first = self.send("a", stream=True)
        await self.held("a")
        request = self.backend.requests[0]
        request.setHeader("content-type", "text/event-stream")
        for part in STREAM[:2]:
            request.write(part)
        second = self.send("b")
        await self.waiting(1)
        self.assertEqual(self.seen, ["a"])
        for part in (*STREAM[2:-1], DONE):
            request.write(part)
        request.finish()
        self.assertIn(b"[DONE]", (await first).body)
        await self.held("a", "b")
        finish(self.backend, 1)
        await second

    async def test_a_reload_keeps_the_queue(self) -> None:
        """A raised limit lets waiters go; what is in flight still counts."""
        self.one_at_a_time()
        calls = [self.send("a")]
        await self.held("a")
        calls += [self.send("b"), self.send("c")]
        await self.waiting(2)
        raised = ONE.replace("max_concurrent = 1", "max_concurrent = 2")
        self.write(raised, tier="")
        self.assertEqual((await self.ask("POST", "/admin/reload", admin=True)).code, 200)
        await until(lambda: len(self.seen) == 2)
        await self.waiting(1)
        for number in range(3):
            await self.answer(number)
        for call in calls:
            self.assertEqual((await call).code, 200)


class BulkheadCases(GatewayCase):
    """Tests for limits and health of backends."""

    async def test_a_full_backend_does_not_take_the_others_place(self) -> None:
        """With its places taken and its queue full, the next tier's backend answers."""
        _, url = self.another()
        self.backend.script = hang
        self.start(
            backends=f"""
            max_concurrent = 1
            queue_depth = 0
            [backends.other]
            base_url = "{url}"
            """,
            profile='fallback = ["else"]',
            more='[[tiers]]\nname = "else"\nbackend = "other"\nmodel = "m"',
        )
        first: Deferred[Got] = ensureDeferred(self.chat())
        await until(lambda: len(self.backend.asked) == 1)
        got = await self.chat(X_LMG_Priority="100")
        self.assertEqual((got.code, got.headers["x-lmg-tier"]), (200, "else"))
        finish(self.backend, 0)
        await first

    async def test_all_full_is_a_429(self) -> None:
        """Where every target is on that backend there is nowhere to go."""
        self.backend.script = hang
        self.start(backends="max_concurrent = 1\nqueue_depth = 0")
        first: Deferred[Got] = ensureDeferred(self.chat())
        await until(lambda: len(self.backend.asked) == 1)
        self.assertEqual((await self.chat()).code, 429)
        document = (await self.ask("GET", "/admin/backends", admin=True)).json
        queue = {"in_flight": 1, "pending": 0, "max_concurrent": 1, "queue_depth": 0}
        self.assertEqual(document["backends"][0]["queue"], queue)
        finish(self.backend, 0)
        await first

    async def test_R_E09_a_bad_target_is_skipped(self) -> None:
        """After three failures of three the next request does not ask that target."""
        self.backend.script = by_model(status(500), "fast-model")
        self.start()
        for _ in range(3):
            self.assertEqual((await self.chat()).headers["x-lmg-tier"], "cloud:economy")
        self.backend.asked.clear()
        self.assertEqual((await self.chat()).headers["x-lmg-attempts"], "1")
        self.assertEqual(self.backend.models, ["economy-model"])
        document = (await self.ask("GET", "/admin/backends", admin=True)).json
        (backend,) = document["backends"]
        self.assertEqual((backend["state"], backend["errors"]), ("partial", 3))
        states = {target["model"]: target["state"] for target in backend["targets"]}
        self.assertEqual(states, {"fast-model": "open", "economy-model": "closed"})

    async def test_all_open_is_a_503(self) -> None:
        """It says when the first target may be tried again."""
        self.backend.script = status(500)
        self.start(profile="failover = false")
        for _ in range(3):
            self.assertEqual((await self.chat()).code, 502)
        got = await self.chat()
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (503, "no_target"))
        self.assertIn(int(got.headers["retry-after"]), range(8, 11))
        self.assertEqual(len(self.backend.asked), 3)

    async def test_health_can_be_switched_off(self) -> None:
        """With ``health_window = 0`` a bad target is asked each time."""
        self.backend.script = status(500)
        self.start(gateway="health_window = 0", profile="failover = false")
        for _ in range(8):
            await self.chat()
        self.assertEqual(len(self.backend.asked), 8)

    async def test_R_N06_all_well(self) -> None:
        """Probes of all backends: 200."""
        self.backend.script = lambda request, asked: completion()
        self.start()
        got = await self.ask("GET", "/admin/backends/health", admin=True)
        document = {"backends": [{"backend": "mock", "status": "ok", "traffic": None}]}
        self.assertEqual((got.code, got.json), (200, document))
        await self.chat()
        got = await self.ask("GET", "/admin/backends/health", admin=True)
        traffic = {"window": 1, "errors": 0, "error_rate": 0.0, "healthy": True}
        self.assertEqual(got.json["backends"][0]["traffic"], traffic)

    async def test_R_N07_one_is_down(self) -> None:
        """One that refuses connections: 207."""
        down = socket.socket()
        self.addCleanup(down.close)
        down.bind(("127.0.0.1", 0))  # it listens to nobody, and nobody else can have its port
        url = f"http://127.0.0.1:{down.getsockname()[1]}"
        self.backend.script = lambda request, asked: completion()
        self.start(backends=f'[backends.down]\nbase_url = "{url}"')
        got = await self.ask("GET", "/admin/backends/health", admin=True)
        self.assertEqual(got.code, 207)
        states = {b["backend"]: b["status"] for b in got.json["backends"]}
        self.assertEqual(states, {"mock": "ok", "down": "unreachable"})

    async def test_targets_of_one_tier(self) -> None:
        """Round robin asks them in turn; one that fails is followed by the other."""
        other, url = self.another()
        self.start(
            backends=f'[backends.other]\nbase_url = "{url}"',
            more="""
            [[tiers]]
            name = "both"
            strategy = "round_robin"
            targets = [{{ backend = "mock", model = "a" }}, {{ backend = "other", model = "b" }}]
            """.replace("{{", "{").replace("}}", "}"),
            profile='fallback = ["local:fast"]',
        )
        for _ in range(4):
            self.assertEqual((await self.chat("both")).headers["x-lmg-tier"], "both")
        self.assertEqual((self.backend.models, other.models), (["a", "a"], ["b", "b"]))
        self.backend.script = status(500)
        got = await self.chat("both")
        self.assertEqual(
            (got.headers["x-lmg-backend"], got.headers["x-lmg-attempts"]), ("other", "2")
        )


def by_model(script: Any, model: str) -> Any:
    """Make a script that only one model follows."""

    def choose(request: Any, asked: Asked) -> Any:
        if asked.body["model"] == model:
            return script(request, asked)
        return completion(model=asked.body["model"])

    return choose


def content(asked: Asked) -> str:
    """Tell one request from another."""
    text: str = asked.body["messages"][-1]["content"]
    return text
