"""What the running gateway shows of itself in sum."""

from __future__ import annotations

from typing import Any

from treq.content import collect
from twisted.internet import reactor as the_reactor

from lmgateway.errors import ConfigError
from tests.fakes import STREAM, Asked, completion, until
from tests.harness import GatewayCase
from tests.telemetry.scraping import Found, read, value

reactor: Any = the_reactor

REFERENCE = {
    "lmg_window_size",
    "lmg_requests",
    "lmg_latency_ms_sum",
    "lmg_latency_ms_count",
    "lmg_escalations_total",
    "lmg_errors_total",
}


class MetricsTests(GatewayCase):
    """See ``lmgateway.service.metrics``."""

    async def scraped(self) -> Found:
        """Scrape, as Prometheus does of old."""
        got = await self.ask("GET", "/metrics", admin=True)
        self.assertEqual(got.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8")
        return read(got.body)

    async def test_L1_5_both_formats_are_whole(self) -> None:
        """Both texts are read by a scraper's parser, and show the same but the reference's."""
        self.start()
        await self.chat()
        plain = await self.scraped()
        accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
        got = await self.ask("GET", "/metrics", admin=True, accept=accept)
        kind = "application/openmetrics-text; version=1.0.0; charset=utf-8"
        self.assertEqual(got.headers["content-type"], kind)
        found = {name for name, _ in read(got.body, openmetrics=True)}
        self.assertTrue(got.body.endswith(b"# EOF\n"))
        ours = {name for name, _ in plain if name.startswith("lmg_")}
        self.assertEqual(ours - found, REFERENCE)

    async def test_L1_5_not_on_the_client_port(self) -> None:
        """Clients are shown no metrics."""
        self.start()
        self.assertEqual((await self.ask("GET", "/metrics")).code, 404)

    async def test_H1_3c1_requests_move_the_counters_once(self) -> None:
        """A whole answer, a stream and a refusal each count once, where they belong."""
        self.backend.script = _as_asked
        self.start()
        await self.chat()
        await self.chat(stream=True)
        await self.chat(model=3)  # type: ignore[arg-type]  # a client's mistake
        found = await self.scraped()
        self.assertEqual(value(found, "lmg_http_requests_total"), 3)
        where = {"tier": "local:fast", "backend": "mock", "model": "fast-model"}
        self.assertEqual(value(found, "lmg_http_requests_total", status="200", **where), 2)
        self.assertEqual(value(found, "lmg_http_requests_total", status="400", tier="none"), 1)
        self.assertEqual(value(found, "lmg_ttft_seconds_count", **where), 1)
        self.assertEqual(value(found, "lmg_tokens_total", direction="output", **where), 10)
        self.assertEqual(value(found, "lmg_in_flight_requests"), 0)
        self.assertEqual(value(found, "lmg_build_info"), 1)
        self.assertGreater(value(found, "process_resident_memory_bytes"), 1e6)

    async def test_M4_1_a_stream_that_breaks_counts_as_failed(self) -> None:
        """Its status was 200 already; it is told as a failure, of the backend, all the same."""
        self.backend.script = lambda request, asked: _broken(request)
        self.start()
        response = await self.begin(
            "POST",
            "/v1/chat/completions",
            {"model": "hint:fast", "messages": [{"role": "user", "content": "hi"}], "stream": True},
        )
        collect(response, lambda data: None).addErrback(lambda failure: None)
        assert self.service is not None
        traffic = self.service.resources.traffic
        await until(lambda: traffic.total == 1)
        found = await self.scraped()
        ended = {"status": "200", "outcome": "stream_interrupted"}
        self.assertEqual(value(found, "lmg_http_requests_total", **ended), 1)
        counted = "lmg_http_request_duration_seconds_count"
        self.assertEqual(value(found, counted, result="failed", backend="mock"), 1)
        self.assertEqual(value(found, "lmg_streams_aborted_total", by="backend"), 1)

    async def test_R_N09_the_reference_s_families(self) -> None:
        """The six families of the reference have their names and the right numbers."""
        self.start()
        await self.chat()
        await self.chat()
        await self.chat(model=3)  # type: ignore[arg-type]  # a client's mistake
        found = await self.scraped()
        self.assertEqual(value(found, "lmg_window_size"), 3)
        done = {"tier": "local:fast", "backend": "mock", "success": "true"}
        self.assertEqual(value(found, "lmg_requests", **done), 2)
        self.assertEqual(value(found, "lmg_requests", success="false"), 1)
        self.assertEqual(value(found, "lmg_latency_ms_count", tier="local:fast"), 2)
        self.assertGreater(value(found, "lmg_latency_ms_sum", tier="local:fast"), 0)
        self.assertEqual(value(found, "lmg_escalations_total"), 0)
        self.assertEqual(value(found, "lmg_errors_total"), 1)

    async def test_reloads_are_counted_and_told(self) -> None:
        """A reload that works and one that does not are counted, and listeners are told."""
        service = self.start()
        told: list[dict[str, object]] = []
        service.resources.events.listen(lambda event: told.append(event.facts))
        service.reload()
        self.write(gateway="nonsense = 1")
        with self.assertRaises(ConfigError):
            service.reload()
        found = await self.scraped()
        self.assertEqual(value(found, "lmg_config_reloads_total", result="ok"), 1)
        self.assertEqual(value(found, "lmg_config_reloads_total", result="failed"), 1)
        self.assertEqual(value(found, "lmg_config_generation"), 2)
        self.assertEqual([facts["ok"] for facts in told], [True, False])
        self.assertIn("nonsense", str(told[1]["error"]))


def _broken(request: Any) -> None:
    request.setHeader("content-type", "text/event-stream")
    request.write(STREAM[0] + STREAM[1])
    reactor.callLater(0.02, request.transport.abortConnection)


def _as_asked(request: object, asked: Asked) -> object:
    return STREAM if asked.body.get("stream") else completion()
