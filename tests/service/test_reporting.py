"""Records of traffic in files, at a collector and at a receiver, from a running gateway."""

from __future__ import annotations

import json
from typing import Any

from lmgateway.errors import ConfigError
from tests.fakes import STREAM, completion, status, turns, until
from tests.harness import GatewayCase
from tests.telemetry.scraping import read, value

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"

Span = dict[str, Any]


def attributes(span: Span) -> dict[str, Any]:
    """Give the attributes of a span as plain values."""
    return {each["key"]: next(iter(each["value"].values())) for each in span["attributes"]}


class ReportingCase(GatewayCase):
    """A gateway with somebody to send to."""

    def lines_of(self, name: str) -> list[dict[str, Any]]:
        """Give the lines of a file beside the config; none if it is not there."""
        path = self.folder / name
        return [json.loads(each) for each in path.read_text().splitlines()] if path.exists() else []

    async def dropped(self, sink: str) -> float:
        """Give how many records a sink lost."""
        got = await self.ask("GET", "/metrics", admin=True)
        return value(read(got.body), "lmg_records_dropped_total", sink=sink)


class FileTests(ReportingCase):
    """The access log, the export and the capture as files."""

    async def test_L8_5_the_access_log_goes_to_a_file(self) -> None:
        """Lines go to the file, to a new one once it was moved away, and nowhere else."""
        self.start(more='[logs]\naccess_file = "access.jsonl"')
        await self.chat()
        await until(lambda: len(self.lines_of("access.jsonl")) == 1)
        path = self.folder / "access.jsonl"
        path.rename(self.folder / "access.old")
        await self.chat()
        await until(lambda: len(self.lines_of("access.jsonl")) == 1)
        self.assertEqual(self.lines, [])
        self.assertEqual(len(self.lines_of("access.old")), 1)

    async def test_a_reload_changes_where_lines_go(self) -> None:
        """After a reload lines go where the new config says; none is lost on the way."""
        service = self.start(more='[logs]\naccess_file = "one.jsonl"')
        await self.chat()
        self.write(more='[logs]\naccess_file = "two.jsonl"')
        service.reload()
        await self.chat()
        await until(lambda: bool(self.lines_of("two.jsonl")))
        count = len(self.lines_of("one.jsonl")) + len(self.lines_of("two.jsonl"))
        self.assertEqual(count, 2)
        self.write()
        service.reload()
        await self.chat()
        await until(lambda: bool(self.lines))

    async def test_L8_2_a_sample_keeps_what_went_wrong(self) -> None:
        """With no share at all, errors and slow requests are still there, and a count."""
        answer = lambda request, asked: completion()  # noqa: E731
        self.backend.script = turns(answer, answer, status(500))
        service = self.start(
            more="[logs]\naccess_sample = 0.0\naccess_slow_ms = 60000", profile="failover = false"
        )
        for _ in range(3):
            await self.chat()
        service.resources.access.flush()
        (line,) = b"".join(self.lines).splitlines()
        self.assertEqual(json.loads(line)["outcome"], "backend_failed")
        self.write(more="[logs]\naccess_sample = 0.0\naccess_slow_ms = 1")
        service.reload()
        self.backend.script = lambda request, asked: _later(request)
        await self.chat()
        service.resources.access.flush()
        self.assertEqual(len(b"".join(self.lines).splitlines()), 2)
        got = await self.ask("GET", "/metrics", admin=True)
        self.assertEqual(value(read(got.body), "lmg_access_left_out_total"), 2)

    async def test_export_to_a_file(self) -> None:
        """Every request is exported, without what was said, in files of a bounded size."""
        self.start(more='[export]\nfile = "traffic.jsonl"\nmax_bytes = 2000\nkeep = 1')
        for _ in range(5):
            await self.chat()
            await until(lambda: not _is_busy(self))
        names = sorted(path.name for path in self.folder.glob("traffic.jsonl*"))
        self.assertEqual(names, ["traffic.jsonl", "traffic.jsonl.1"])
        self.assertNotIn("perfectly fine", (self.folder / "traffic.jsonl").read_text())
        self.assertEqual(self.lines_of("traffic.jsonl")[0]["tier"], "local:fast")

    async def test_capture(self) -> None:
        """Bodies are kept up to a size, in a file for nobody else; start-up warns of it."""
        self.backend.script = lambda request, asked: (
            STREAM if asked.body.get("stream") else completion()
        )
        service = self.start(more='[capture]\nfile = "bodies.jsonl"\nmax_body_bytes = 300')
        await self.chat()
        await self.chat(stream=True, padding="x" * 500)
        await until(lambda: len(self.lines_of("bodies.jsonl")) == 2)
        whole, streamed = self.lines_of("bodies.jsonl")
        self.assertEqual(json.loads(whole["request"])["messages"][0]["content"], "hi")
        self.assertIn("perfectly fine", whole["answer"])
        self.assertTrue(streamed["answer"].startswith("data: "))
        self.assertEqual((len(streamed["request"]), len(streamed["answer"])), (300, 300))
        self.assertGreater(streamed["request_bytes"], 500)
        self.assertGreater(streamed["answer_bytes"], 300)
        self.assertEqual((self.folder / "bodies.jsonl").stat().st_mode & 0o777, 0o600)
        health = await self.ask("GET", "/admin/health", admin=True)
        self.assertIn("all that is asked and answered", str(health.json["warnings"]))
        self.assertEqual(service.resources.sinks.keys(), {"capture"})

    async def test_a_file_that_cannot_be_written(self) -> None:
        """Start-up says which file cannot be written, and all of them at once."""
        more = '[logs]\naccess_file = "no/such"\n[capture]\nfile = "."\n'
        with self.assertRaises(ConfigError) as caught:
            self.start(more=more)
        self.assertEqual(len(caught.exception.problems), 2)


class SpanTests(ReportingCase):
    """Spans at a collector."""

    def setUp(self) -> None:
        """Have a collector."""
        super().setUp()
        self.collector, self.url = self.another(lambda request, asked: {})

    def spans(self) -> list[Span]:
        """Give what was collected."""
        return [
            span
            for asked in self.collector.asked
            for resource in asked.body["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]

    async def test_L9_1_spans_of_a_request(self) -> None:
        """A request's spans hang together, under the client's own, with times that fit."""
        self.backend.script = turns(status(503), lambda request, asked: completion())
        self.environ["OTEL_KEY"] = "Bearer sesame-0123456789"
        self.start(
            gateway="max_retries = 1\nretry_delay_ms = 1",
            more=f'[otel]\nendpoint = "{self.url}"\nauth_env = "OTEL_KEY"',
        )
        await self.chat(Traceparent=PARENT, Tracestate="a=1", temperature=0.5, max_tokens=9)
        await until(lambda: bool(self.collector.asked), 5)
        asked = self.collector.asked[0]
        self.assertEqual(asked.path, "/v1/traces")
        self.assertEqual(asked.headers["authorization"], "Bearer sesame-0123456789")
        whole, admission, route, failed, answered = self.spans()
        names = [span["name"] for span in (whole, admission, route)]
        self.assertEqual(names, ["gateway.request", "admission", "route"])
        self.assertEqual({span["traceId"] for span in self.spans()}, {TRACE})
        self.assertEqual((whole["parentSpanId"], whole["traceState"]), ("b7ad6b7169203331", "a=1"))
        self.assertEqual({admission["parentSpanId"], route["parentSpanId"]}, {whole["spanId"]})
        self.assertEqual({failed["parentSpanId"], answered["parentSpanId"]}, {route["spanId"]})
        told = [one.headers["traceparent"].split("-")[2] for one in self.backend.asked]
        self.assertEqual(told, [failed["spanId"], answered["spanId"]])
        for span in self.spans():
            begun, ended = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
            self.assertLessEqual(int(whole["startTimeUnixNano"]), begun)
            self.assertLessEqual(begun, ended)
            self.assertLessEqual(ended, int(whole["endTimeUnixNano"]))
        self.assertEqual(failed["status"]["code"], 2)
        self.assertNotIn("status", whole)

    async def test_L9_4_attributes(self) -> None:
        """Spans tell model, tokens and reason by the conventions' names, and nothing said."""
        self.start(more=f'[otel]\nendpoint = "{self.url}/v1/traces"')
        await self.chat(temperature=0.5, max_tokens=9, Traceparent=PARENT)
        await until(lambda: bool(self.collector.asked), 5)
        whole, *_, attempt = self.spans()
        found = attributes(attempt)
        self.assertEqual(found["gen_ai.operation.name"], "chat")
        self.assertEqual(found["gen_ai.request.model"], "fast-model")
        self.assertEqual(found["gen_ai.request.temperature"], 0.5)
        self.assertEqual(found["gen_ai.request.max_tokens"], "9")
        self.assertEqual(found["gen_ai.usage.input_tokens"], "3")
        self.assertEqual(found["gen_ai.usage.output_tokens"], "5")
        self.assertEqual(found["server.address"], "127.0.0.1")
        whole_found = attributes(whole)
        self.assertEqual(whole_found["lmg.tier"], "local:fast")
        self.assertEqual(whole_found["gen_ai.request.model"], "hint:fast")
        self.assertEqual(whole_found["http.request.method"], "POST")
        for said in (found, whole_found):
            reasons = said["gen_ai.response.finish_reasons"]
            self.assertEqual(reasons, {"values": [{"stringValue": "stop"}]})
        (entry,) = await self.entries()
        self.assertEqual((entry["trace_id"], entry["span_id"]), (TRACE, whole["spanId"]))
        text = self.collector.asked[0].raw.decode()
        self.assertNotIn("perfectly fine", text)
        self.assertNotIn('"hi"', text)

    async def test_what_is_no_model_request_says_no_method(self) -> None:
        """A stranger's GET is a trace too, and does not look like a POST."""
        self.environ["KEY"] = "k" * 24
        self.start(
            more=f'[otel]\nendpoint = "{self.url}"\n'
            '[[clients]]\nname = "ann"\nkey_env = "KEY"\nprofile = "default"'
        )
        await self.ask("GET", "/v1/models")
        await until(lambda: bool(self.collector.asked), 5)
        found = attributes(self.spans()[0])
        self.assertEqual(found["error.type"], "unauthenticated")
        self.assertNotIn("http.request.method", found)

    async def test_a_sample_keeps_what_went_wrong(self) -> None:
        """Of traces that are not recorded, only those of failures are exported."""
        self.backend.script = turns(lambda request, asked: completion(), status(500))
        self.start(
            more=f'[otel]\nendpoint = "{self.url}"\nsample = 0.0', profile="failover = false"
        )
        await self.chat()
        await self.chat()
        await until(lambda: bool(self.collector.asked), 5)
        whole = self.spans()[0]
        self.assertEqual(attributes(whole)["error.type"], "backend_failed")
        self.assertEqual(len({span["traceId"] for span in self.spans()}), 1)

    async def test_L9_3_a_collector_that_is_down_costs_nothing(self) -> None:
        """Requests are served as ever while the collector refuses; what is lost is counted."""
        self.collector.script = status(400)
        self.start(more=f'[otel]\nendpoint = "{self.url}"')
        self.assertEqual((await self.chat()).code, 200)
        await until(lambda: bool(self.collector.asked), 5)
        assert self.service is not None
        sink = self.service.resources.sinks["otel"].sink
        await until(lambda: sink.dropped == 1)
        self.assertEqual(await self.dropped("otel"), 1)
        self.assertEqual((await self.chat()).code, 200)


class ReceiverTests(ReportingCase):
    """Records at a receiver."""

    async def test_export_to_a_receiver(self) -> None:
        """Records go in batches of JSON lines; those of the end are sent at shutdown."""
        receiver, url = self.another(lambda request, asked: {})
        service = self.start(more=f'[export]\nurl = "{url}/in"\nheaders = {{ "x-team" = "a" }}')
        await self.chat()
        await until(lambda: bool(receiver.asked), 5)
        asked = receiver.asked[0]
        self.assertEqual(asked.path, "/in")
        self.assertEqual(asked.headers["x-team"], "a")
        self.assertEqual(asked.headers["content-type"], "application/x-ndjson")
        (record,) = [json.loads(line) for line in asked.raw.splitlines()]
        self.assertEqual((record["tier"], record["outcome"]), ("local:fast", "ok"))
        await self.chat()
        await service.drain()
        self.assertEqual(len(receiver.asked), 2)

    async def test_a_credential_that_is_missing(self) -> None:
        """A credential that resolves to nothing stops the start, and is named."""
        with self.assertRaises(ConfigError) as caught:
            self.start(more='[export]\nurl = "http://127.0.0.1:1"\nauth_env = "NONE"')
        self.assertIn("export: the credential", str(caught.exception))


def _later(request: Any) -> None:
    """Answer after a few milliseconds."""
    from twisted.internet import reactor as the_reactor

    reactor: Any = the_reactor
    body = json.dumps(completion()).encode()

    def answer() -> None:
        request.setHeader("content-type", "application/json")
        request.write(body)
        request.finish()

    reactor.callLater(0.02, answer)


def _is_busy(case: ReportingCase) -> bool:
    assert case.service is not None
    sink: Any = case.service.resources.sinks["export_file"].sink
    return bool(sink.lines.waiting or sink._file._busy is not None)
