"""Attempts over real sockets: retries and their budget, waits, silence, the client's deadline."""

from __future__ import annotations

import json
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.task import deferLater

from lmgateway.backends.retries import FLOOR
from tests.fakes import completion, hang, status, turns, until
from tests.harness import GatewayCase


def well(request: Any, asked: Any) -> Any:
    """A script that answers."""
    return completion()


TWO_BACKENDS = """
    [gateway]
    client_port = {client}
    admin_port = {admin}
    {gateway}

    [backends.mock]
    base_url = "{backend}"
    {backends}

    [backends.other]
    base_url = "{other}"

    [[tiers]]
    name = "local:fast"
    {tier}

    [[tiers]]
    name = "cloud:economy"
    backend = "mock"
    model = "economy-model"

    [aliases]
    "hint:fast" = "local:fast"

    [profiles.default]
    mode = "{mode}"
    classifier = "local:fast"
    max_auto_tier = "cloud:economy"
    {profile}
"""
BOTH = 'targets = [{ backend = "mock", model = "a" }, { backend = "other", model = "b" }]'


class AttemptCase(GatewayCase):
    """Has two backends, and a tier of one target of each."""

    def begin_two(self, **parts: str) -> None:
        """Serve with both backends."""
        self.other, url = self.another(well)
        self.start(TWO_BACKENDS, **{"other": url, "tier": BOTH, "mode": "dispatch", **parts})

    def write_two(self, **parts: str) -> None:
        """Write such a config again."""
        assert self.other.port is not None
        url = f"http://127.0.0.1:{self.other.port.getHost().port}"  # type: ignore[attr-defined]  # of IPv4
        self.write(TWO_BACKENDS, **{"other": url, "tier": BOTH, "mode": "dispatch", **parts})

    def answer(self, number: int) -> None:
        """Have the backend answer a request that hangs."""
        request = self.backend.requests[number]
        request.setHeader("content-type", "application/json")
        request.write(json.dumps(completion()).encode())
        request.finish()

    async def until_asked(self, times: int) -> None:
        """Wait until the backend was asked so often."""
        await until(lambda: len(self.backend.asked) >= times)

    async def later(self, seconds: float) -> None:
        """Let time pass."""
        await deferLater(cast(Any, reactor), seconds)

    def outcomes(self, entry: dict[str, Any]) -> list[tuple[str, str]]:
        """Give what was tried."""
        return [(attempt["backend"], attempt["outcome"]) for attempt in entry["attempts"]]


class RetryCases(AttemptCase):
    """Tests for retries of the same target."""

    async def test_L5_4_retries_until_it_answers(self) -> None:
        """L5.4: 503, 503, 200: the client sees the 200."""
        self.start(gateway="max_retries = 2\nretry_delay_ms = 20\nfailover = false")
        self.backend.script = turns(status(503), status(503), well)
        self.assertEqual((await self.chat()).code, 200)

    async def test_retries_where_the_operator_forced_the_breaker(self) -> None:
        """A breaker that is forced closed is no trial: retries are made as ever."""
        self.start(gateway="max_retries = 2\nretry_delay_ms = 1\nfailover = false")
        forced = {"state": "forced_closed"}
        await self.ask("POST", "/admin/backends/mock/breaker", forced, admin=True)
        self.backend.script = turns(status(500), status(500), well)
        self.assertEqual((await self.chat()).code, 200)
        self.assertEqual(len(self.backend.asked), 3)

    async def test_row_17_retry_budget(self) -> None:
        """Row 17: a backend that always fails is asked at most a fifth more for retries."""
        self.start(
            gateway="max_retries = 3\nretry_delay_ms = 1\nfailover = false\nhealth_window = 0"
        )
        self.backend.script = status(500)
        for _ in range(20):
            self.assertEqual((await self.chat()).code, 502)
        self.assertLessEqual(len(self.backend.asked), 20 + max(FLOOR, 4))
        self.assertGreater(len(self.backend.asked), 20)

    async def test_no_retry_budget(self) -> None:
        """With ``retry_budget = 0`` nothing is retried."""
        self.start(
            gateway="max_retries = 3\nretry_delay_ms = 1\nfailover = false\nretry_budget = 0"
        )
        self.backend.script = status(500)
        await self.chat()
        self.assertEqual(len(self.backend.asked), 1)

    async def test_retry_after_is_honoured(self) -> None:
        """A wait that fits the deadline is waited for, and the same target answers."""
        self.begin_two(gateway="max_retries = 1\nretry_delay_ms = 1")
        self.backend.script = turns(status(429, retry_after="0.4"), well)
        got = await self.chat()
        self.assertEqual((got.code, len(self.backend.asked), self.other.asked), (200, 2, []))
        (entry,) = await self.entries()
        self.assertGreaterEqual(entry["latency_ms"], 400)

    async def test_retry_after_beyond_the_deadline(self) -> None:
        """A wait that does not fit is not waited for: the next target is asked at once."""
        self.begin_two(gateway="max_retries = 1\nretry_delay_ms = 1\nrequest_timeout_ms = 3000")
        self.backend.script = status(429, x_ratelimit_reset_requests="6m0s")
        got = await self.chat()
        self.assertEqual((got.code, len(self.backend.asked), len(self.other.asked)), (200, 1, 1))

    async def test_long_waits_are_waited_out_last(self) -> None:
        """A long wait is waited out only once no other target has answered."""
        self.begin_two(
            gateway="max_retries = 1\nretry_delay_ms = 1",
            backends="breaker = { long_wait_ms = 100 }",
            profile="failover = false",
        )
        self.backend.script = turns(status(429, retry_after="0.5"), well)
        self.other.script = status(500)
        got = await self.chat()
        self.assertEqual((got.code, got.headers["x-lmg-backend"]), (200, "mock"))
        (entry,) = await self.entries()
        tried = [name for name, _ in self.outcomes(entry)]
        self.assertEqual(tried, ["mock", "other", "other", "mock"])
        self.assertGreaterEqual(entry["latency_ms"], 500)

    async def test_long_waits_that_do_not_fit(self) -> None:
        """Where the deadline has no room for it, the client is told the wait at once."""
        self.start(gateway="max_retries = 1\nrequest_timeout_ms = 5000\nfailover = false")
        self.backend.script = status(429, retry_after="30")
        got = await self.chat()
        self.assertEqual((got.code, got.headers["retry-after"]), (429, "30"))
        self.assertEqual(len(self.backend.asked), 1)

    async def test_row_10_silence(self) -> None:
        """Row 10: a silent backend is left, and not asked again on the same route."""
        self.begin_two(gateway="max_retries = 3\nretry_delay_ms = 1", backends="timeout_ms = 150")
        self.backend.script = hang
        self.other.script = status(500)
        got = await self.chat()
        self.assertEqual(got.code, 502)
        (entry,) = await self.entries()
        tried = self.outcomes(entry)
        self.assertEqual(tried[0], ("mock", "backend_timeout"))
        self.assertEqual({name for name, _ in tried[1:]}, {"other"})
        self.assertEqual(len(self.backend.asked), 1)
        await until(lambda: self.backend.lost == [0])


class DeadlineCases(AttemptCase):
    """Tests for ``X-LMG-Deadline``."""

    async def test_it_shortens(self) -> None:
        """A hanging backend ends at the client's deadline, and its connection is closed."""
        self.start()
        self.backend.script = hang
        got = await self.chat(X_LMG_Deadline="200ms")
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (504, "backend_timeout"))
        self.assertEqual(len(self.backend.asked), 1)
        await until(lambda: self.backend.lost == [0])

    async def test_it_never_lengthens(self) -> None:
        """The gateway's own deadline holds where it is shorter."""
        self.start(gateway="request_timeout_ms = 200")
        self.backend.script = hang
        self.assertEqual((await self.chat(X_LMG_Deadline="600s")).code, 504)

    async def test_streams(self) -> None:
        """A stream must have begun by then; once it has, it may take its time."""
        self.start()
        self.backend.script = hang
        got = await self.chat(stream=True, X_LMG_Deadline="0.2s")
        self.assertEqual(got.code, 504)

        def slowly(request: Any, asked: Any) -> None:
            event = {"choices": [{"index": 0, "delta": {"content": "Hel"}}]}
            request.setHeader("content-type", "text/event-stream")
            request.write(b"data: " + json.dumps(event).encode() + b"\n\n")

        self.backend.script = slowly
        response = await self.begin(
            "POST",
            "/v1/chat/completions",
            {"model": "hint:fast", "stream": True, "messages": [{"role": "user", "content": "x"}]},
            X_LMG_Deadline="300ms",
        )
        self.assertEqual(response.code, 200)
        body = ensureDeferred(response.content())
        await self.later(0.5)
        self.assertFalse(body.called)
        request = self.backend.requests[-1]
        request.write(b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n')
        request.write(b"data: [DONE]\n\n")
        request.finish()
        self.assertIn(b"[DONE]", await body)

    async def test_malformed(self) -> None:
        """A deadline that cannot be read is a 400, and no backend is asked."""
        self.start()
        for text in ("soon", "1.5", "-3s", "0"):
            got = await self.chat(X_LMG_Deadline=text)
            self.assertEqual((got.code, got.json["error"]["param"]), (400, "X-LMG-Deadline"))
        self.assertEqual(self.backend.asked, [])

    async def test_waits_in_queues(self) -> None:
        """Who waits for a place waits no longer than the client does."""
        self.start(backends="max_concurrent = 1")
        self.backend.script = hang
        first = ensureDeferred(self.chat(X_LMG_Deadline="1500ms"))
        await until(lambda: len(self.backend.asked) == 1)
        got = await self.chat(X_LMG_Deadline="200ms")
        self.assertEqual((got.code, len(self.backend.asked)), (429, 1))
        await first

    async def test_impatience_harms_nobody(self) -> None:
        """Clients that wait too short a time do not open a breaker for the others."""
        self.start(gateway="failover = false")
        self.backend.script = hang
        asked = [ensureDeferred(self.chat(X_LMG_Deadline="100ms")) for _ in range(8)]
        codes = [got.code for got in await gatherResults(asked)]
        self.assertEqual(codes, [504] * 8)
        self.backend.script = well
        self.assertEqual((await self.chat()).code, 200)

    async def test_what_another_took_harms_nobody(self) -> None:
        """A target that was asked when most of the time was gone is not judged by the rest."""
        self.begin_two(gateway="request_timeout_ms = 600", backends="timeout_ms = 400")
        self.backend.script = self.other.script = hang
        got = await self.chat()
        self.assertEqual((got.code, len(self.other.asked)), (504, 1))
        document = (await self.ask("GET", "/admin/backends", admin=True)).json
        errors = {backend["backend"]: backend["errors"] for backend in document["backends"]}
        self.assertEqual(errors, {"mock": 1, "other": 0})


class SheddingCases(AttemptCase):
    """Tests for places, and who finds none."""

    async def test_a_full_backend_takes_no_place_of_another(self) -> None:
        """While one hangs with all its places and its queue taken, the other serves."""
        self.begin_two(backends="max_concurrent = 1\nqueue_depth = 1", profile="failover = false")
        self.backend.script = hang
        waiting = []
        for _ in range(2):  # one after the other, or either may be the first
            waiting.append(ensureDeferred(self.chat("cloud:economy", X_LMG_Deadline="3s")))
            await self.until_asked(1)
        for _ in range(5):
            self.assertEqual((await self.chat()).headers["x-lmg-backend"], "other")
        got = await self.chat("cloud:economy")
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (429, "too_many_concurrent"))
        self.assertGreaterEqual(int(got.headers["retry-after"]), 1)
        self.assertEqual(len(self.backend.asked), 1)
        for number, one in enumerate(waiting):
            await self.until_asked(number + 1)
            self.answer(number)
            self.assertEqual((await one).code, 200)

    async def test_a_full_gateway(self) -> None:
        """Whoever is too many is told so at once, and a time after which there is a place."""
        self.start(gateway="max_in_flight = 1")
        self.backend.script = hang
        for seconds, waits in ((1.2, range(1, 2)), (0, range(2, 5))):
            first = ensureDeferred(self.chat())
            await self.until_asked(len(self.backend.asked) + 1)
            got = await self.chat()
            self.assertEqual((got.code, got.headers["x-lmg-error"]), (503, "overloaded"))
            self.assertIn(int(got.headers["retry-after"]), waits)
            await self.later(seconds)
            self.answer(-1)
            self.assertEqual((await first).code, 200)
        (served, _, _, _) = await self.entries()
        self.assertEqual(served["outcome"], "ok")
