"""
Every series that ``/metrics`` declares is moved here, by what it is meant to tell.

Also the judge of what is shipped for Prometheus and Grafana: every name and label in it is
one of a live scrape.
"""

from __future__ import annotations

import gc
import json
import re
from pathlib import Path
from typing import Any

import yaml
from treq.content import collect
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger

from lmgateway.errors import ConfigError
from tests.fakes import DONE, LONG, Asked, chunk, completion, status, until
from tests.harness import GatewayCase, Got, free_port
from tests.telemetry.scraping import Found, read
from tests.wire.sockets import Authority

reactor: Any = the_reactor
ETC = Path(__file__).parents[2] / "etc"

CONFIG = """
    [gateway]
    client_port = {client}
    admin_port = {admin}
    max_retries = 1
    retry_delay_ms = 1
    retry_budget = 1.0
    unknown_model = "reject"
    [backends.mock]
    base_url = "{backend}"
    local = false
    max_concurrent = 50
    probe_interval_ms = 100
    [backends.free]
    base_url = "{backend}"
    local = false
    [[tiers]]
    name = "cheap"
    backend = "mock"
    model = "cheap-model"
    max_output_tokens = 10
    price = {{ input = 10000, output = 10000 }}
    [[tiers]]
    name = "dear"
    backend = "mock"
    model = "dear-model"
    max_output_tokens = 10
    price = {{ input = 20000, output = 20000 }}
    [[tiers]]
    name = "broken"
    backend = "free"
    model = "broken-model"
    [[tiers]]
    name = "narrow"
    backend = "mock"
    model = "held-model"
    max_output_tokens = 10
    price = {{ input = 10000, output = 10000 }}
    max_concurrent = 1
    queue_depth = 1
    queue_timeout_ms = 300
    [[tiers]]
    name = "overflowing"
    backend = "free"
    model = "held-model"
    max_concurrent = 1
    overflow_tier = "cheap"
    overflow_depth = 0
    [profiles.default]
    classifier = "cheap"
    max_auto_tier = "overflowing"
    baseline = "dear"
    slo = {{ latency_ms = 1 }}
    [profiles.climbing]
    mode = "escalate"
    classifier = "cheap"
    max_auto_tier = "dear"
    [profiles.failing]
    classifier = "broken"
    fallback = ["cheap"]
    slo = {{ latency_ms = 1000 }}
    [profiles.lost]
    classifier = "broken"
    failover = false
    slo = {{ latency_ms = 1000 }}
    [profiles.mending]
    classifier = "dear"
    fallback = ["cheap"]
    mid_stream = "resume"
    [[clients]]
    name = "one"
    key_env = "ONE"
    profile = "default"
    allow_profiles = ["*"]
    budgets = ["all"]
    rate_limit_rpm = 1
    enforce = false
    [[clients]]
    name = "two"
    key_env = "TWO"
    profile = "default"
    rate_limit_rpm = 1
    burst = 1
    [[budgets]]
    name = "all"
    limit_usd = 100
    thresholds = [0.001]
    [logs]
    access_sample = 0.0
    [otel]
    endpoint = "{collector}"
    [[webhooks]]
    name = "ops"
    url = "{collector}/events"
    events = ["reload"]
    {more}
"""

SECURE = """
    [gateway]
    client_port = {client}
    admin_port = {admin}
    client_tls = {{ cert = "{cert}", key = "{key}" }}
    admin_token_env = "TOKEN"
    [backends.mock]
    base_url = "{backend}"
    [[tiers]]
    name = "cheap"
    backend = "mock"
    model = "cheap-model"
    [profiles.default]
    classifier = "cheap"
"""

USED = {
    "prompt_tokens": 4,
    "completion_tokens": 6,
    "total_tokens": 10,
    "prompt_tokens_details": {"cached_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
SENT = {"/v1/traces", "/events"}
TOLD = b"data: " + json.dumps({"id": "1", "choices": [], "usage": USED}).encode() + b"\n\n"


class SeriesCase(GatewayCase):
    """A gateway to which everything happens that its metrics tell of."""

    timeout = 60

    def setUp(self) -> None:
        """Have a backend that does as its models are called."""
        super().setUp()
        self.environ = {"ONE": "sk-one", "TWO": "sk-two", "TOKEN": "admin-token-0123456789"}
        self.held: list[Any] = []
        self.backend.script = self.script
        self.kinds: dict[str, str] = {}
        self.labels: dict[str, set[str]] = {}
        self.seen: set[str] = set()

    def script(self, request: Any, asked: Asked) -> Any:
        """Answer as the model's name says, or the question."""
        if asked.method == "GET":
            return {"object": "list", "data": []}
        model, said = asked.body["model"], asked.body["messages"][-1]["content"]
        if model == "broken-model":
            return status(500)(request, asked)
        if model == "held-model":
            self.held.append(request)
            return None
        if asked.body.get("stream"):
            return self.stream(request, said, breaks=model == "dear-model" or said == "cut")
        if said == "short" and model == "cheap-model":
            return completion("no")
        answer = completion(LONG)
        answer["usage"] = USED
        return {k: v for k, v in answer.items() if k != "usage" or said != "untold"}

    def stream(self, request: Any, said: str, *, breaks: bool) -> None:
        """Stream in two pieces with a pause between, and end as it is meant to end."""
        request.setHeader("content-type", "text/event-stream")
        request.write(chunk({"role": "assistant", "content": "Hello"}))
        if said == "endless":
            return

        def go_on() -> None:
            if breaks:
                request.transport.abortConnection()
                return
            for part in (chunk({"content": " world"}), chunk({}, "stop"), TOLD, DONE):
                request.write(part)
            request.finish()

        reactor.callLater(0.05, go_on)

    def let_go(self) -> None:
        """Answer what is held."""
        held, self.held = self.held, []
        for request in held:
            request.setHeader("content-type", "application/json")
            request.write(json.dumps(completion(LONG)).encode())
            request.finish()

    async def say(self, said: str = "hi", model: str = "cheap", **more: Any) -> Got:
        """Ask as the first client."""
        headers = {name: more.pop(name) for name in [*more] if name[0].isupper()}
        headers.setdefault("Authorization", "Bearer sk-one")
        body = {"model": model, "messages": [{"role": "user", "content": said}], **more}
        return await self.ask("POST", "/v1/chat/completions", body, **headers)

    def saying(self, *args: Any, **more: Any) -> Deferred[Got]:
        """Ask, and do not wait."""
        return ensureDeferred(self.say(*args, **more))

    async def scrape(self, **headers: str) -> Found:
        """Scrape; note what is declared, and what has a value."""
        got = await self.ask("GET", "/metrics", admin=True, **headers)
        declared = re.findall(r"^# TYPE (\S+) (\S+)$", got.body.decode(), re.MULTILINE)
        self.kinds.update(declared)
        found = read(got.body)
        for (name, labels), number in found.items():
            family = re.sub(r"_(bucket|sum|count)$", "", name)
            family = family if self.kinds.get(family) == "histogram" else name
            self.labels.setdefault(name, set()).update(label for label, _ in labels)
            if number:
                self.seen.add(family)
        return found

    async def live(self) -> None:
        """Have everything happen."""
        collector, url = self.another(status(400))
        template = CONFIG.replace("{collector}", url)
        service = self.start(template)
        service.resources.vitals.start()
        Logger().info("An event.")
        await self.scrape()  # the first to ask there waits until all of that is imported
        await self.answers()
        await self.failures()
        await self.queues()
        await self.configuration(template)
        await until(lambda: {asked.path for asked in collector.asked} >= SENT, 5)
        gc.collect()
        await self.ask("GET", "/admin/backends/health", admin=True)
        lag = service.resources.vitals.lag.spread
        await until(lambda: lag.count > 0 and lag.total > 0, 10)
        await self.scrape()
        await self.secure()

    async def answers(self) -> None:
        """Have all kinds of good answers."""
        for said in ("hi", "untold"):
            self.assertEqual((await self.say(said)).code, 200)
        await self.say(stream=True)
        climbed = await self.say("short", "climbing")
        self.assertEqual(climbed.headers["x-lmg-tier"], "dear")
        for _ in range(2):
            await self.say(Idempotency_Key="once")

    async def failures(self) -> None:
        """Have backends fail, streams break, clients leave and limits refuse."""
        for _ in range(4):
            self.assertEqual((await self.say(model="failing")).code, 200)
        await self.say(model="lost")
        for said, model in (("hi", "mending"), ("cut", "cheap"), ("endless", "cheap")):
            await self.cut_off(said, model)
        for _ in range(2):
            refused = await self.say(Authorization="Bearer sk-two")
        self.assertEqual(refused.code, 429)

    async def cut_off(self, said: str, model: str) -> None:
        """Begin a stream that breaks, or that nobody reads to its end."""
        assert self.service is not None
        traffic = self.service.resources.traffic
        before = traffic.total
        body = {"model": model, "messages": [{"role": "user", "content": said}], "stream": True}
        response = await self.begin(
            "POST", "/v1/chat/completions", body, Authorization="Bearer sk-one"
        )
        collect(response, lambda data: None).addErrback(lambda failure: None)
        if said == "endless":
            response.original._transport.loseConnection()
        await until(lambda: traffic.total > before)

    async def queues(self) -> None:
        """Have requests wait for a place: with success, in vain, too many, and elsewhere."""
        first = self.saying(model="narrow")
        await until(lambda: len(self.held) == 1)
        second = self.saying(model="narrow")
        other = self.saying(model="overflowing")
        await until(lambda: len(self.held) == 2)
        overflown = await self.say(model="overflowing")
        self.assertEqual(overflown.headers.get("x-lmg-tier"), "cheap", overflown)
        await self.scrape()
        self.let_go()
        await until(lambda: len(self.held) == 1)
        third, fourth = self.saying(model="narrow"), await self.say(model="narrow")
        self.assertEqual((fourth.code, (await third).code), (429, 429))
        self.let_go()
        self.assertEqual([(await each).code for each in (first, second, other)], [200] * 3)

    async def configuration(self, template: str) -> None:
        """Reload well and badly, make a key, impose something."""
        assert self.service is not None
        self.service.reload()
        self.write(template, more="nonsense = 1")
        with self.assertRaises(ConfigError):
            self.service.reload()
        self.service.resources.health.force("free", None, "forced_closed", 60)
        self.write(template, more='[state]\nkeys = "memory"')
        self.service.reload()
        made = await self.ask(
            "POST", "/admin/keys", {"name": "three", "profile": "default"}, admin=True
        )
        self.assertIn(made.code, (200, 201), made.body)

    async def secure(self) -> None:
        """Serve with a certificate and a token, at which somebody guesses."""
        assert self.service is not None
        await self.service.drain()
        self.service.resources.keep_only(set())
        self.service.resources.wheel.stop()
        self.client_port, self.admin_port = free_port(), free_port()
        authority = Authority(self.folder.absolute())
        cert, key = authority.issue("gateway", "localhost")
        self.backend.script = self.script
        self.start(SECURE.replace("{cert}", str(cert)).replace("{key}", str(key)))
        for _ in range(6):
            await self.ask("GET", "/metrics", admin=True, Authorization="Bearer wrong")
        assert self.service is not None
        guesses = self.service.resources.guesses
        guesses.now = lambda: reactor.seconds() + 3600
        token = self.environ["TOKEN"]
        await self.scrape(Authorization=f"Bearer {token}")


class EverySeriesTests(SeriesCase):
    """See ``lmgateway.service.metrics``, ``etc/prometheus`` and ``etc/grafana``."""

    async def test_L1_6_every_series_is_moved(self) -> None:
        """Whatever is declared has a value once what it tells of happened, and is documented."""
        await self.live()
        unmoved = sorted(set(self.kinds) - self.seen)
        self.assertEqual(unmoved, [], "have what they tell of happen in live()")
        page = (ETC.parent / "docs" / "telemetry.md").read_text()
        told = set(re.findall(r"`((?:lmg|process)_\w+)`", page))
        # Those of several processes are moved where there are several: ``test_workers``.
        told = {name for name in told if not name.startswith("lmg_worker_")}
        ours = {name for name in self.kinds if name.startswith("lmg_")}
        differing = (ours - told, told - set(self.kinds))
        self.assertEqual(differing, (set(), set()), "docs/telemetry.md lists every series")
        self.shipped()

    def shipped(self) -> None:
        """All that is shipped asks for names and labels that there are."""
        groups = yaml.safe_load((ETC / "prometheus" / "lmgateway.rules.yml").read_text())["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        self.assertGreater(len(rules), 10)
        scrape = yaml.safe_load((ETC / "prometheus" / "prometheus.yml").read_text())
        self.assertEqual(scrape["scrape_configs"][0]["metrics_path"], "/metrics")
        self.assertTrue((ETC / "prometheus" / scrape["rule_files"][0]).exists())
        dashboard = json.loads((ETC / "grafana" / "lmgateway.json").read_text())
        targets = [t for panel in dashboard["panels"] for t in panel.get("targets", ())]
        self.assertGreater(len(targets), 30)
        for rule in rules:
            self.judge(rule["expr"], rule["annotations"]["summary"].replace("$labels.", ""))
            self.assertIn(rule["labels"]["severity"], ("critical", "warning"))
        for target in targets:
            self.judge(target["expr"], target["legendFormat"])
        for annotation in dashboard["annotations"]["list"]:
            self.judge(annotation["expr"], "")

    def judge(self, expression: str, legend: str) -> None:
        """See whether an expression could ever give anything."""
        selectors = re.findall(r"\b((?:lmg|process)_\w+)(?:\{([^}]*)\})?", expression)
        self.assertTrue(selectors or expression.startswith("up"), expression)
        known: set[str] = {"instance", "job"}
        for name, inside in selectors:
            self.assertIn(name, self.labels, expression)
            known |= self.labels[name]
            wanted = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside))
            self.assertLessEqual(wanted - {"instance", "job"}, self.labels[name], expression)
        grouped = {
            label.strip()
            for labels in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression)
            for label in labels.split(",")
        }
        shown = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", legend)) - {"instance"}
        self.assertLessEqual(grouped | shown, known, expression)
