"""
A gateway of several processes, as clients and operators see it: real ones, on loopback ports.

Whatever worker is asked, limits and budgets are kept to the last request, and what is shown is
the sum.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.working import key_of, rest_of, shared


class ServingTests(SynchronousTestCase):
    """Tests for what two workers do together."""

    def setUp(self) -> None:
        """Use one gateway for all of them; each asks as a client of its own."""
        self.gateway = shared()

    def test_a_limit_on_requests_holds_for_all_workers_together(self) -> None:
        """Of many requests on many connections exactly as many are let in as the limit says."""
        gateway = self.gateway
        statuses = Counter(gateway.many(50, lambda: gateway.ask(key_of("rate"))))
        self.assertEqual(statuses, {200: 17, 429: 33})

    def test_a_budget_holds_for_all_workers_together(self) -> None:
        """Exactly as many requests are let in as there is money for, and no nano-dollar more."""
        gateway = self.gateway
        statuses = Counter(gateway.many(40, lambda: gateway.ask(key_of("purse"), "dear")))
        self.assertEqual(statuses, {200: 23, 402: 17})
        self.assertEqual(gateway.ask(key_of("purse"), "dear"), 402)
        [sheet] = [
            each for each in gateway.call("GET", "/admin/clients")["clients"]
            if each["name"] == "purse"
        ]  # fmt: skip
        [budget] = sheet["budgets"]
        self.assertEqual((budget["spent_usd"], budget["reserved_usd"]), (0.23, 0.0))
        self.assertEqual(sheet["spend_usd"], 0.23)

    def test_requests_at_once_are_counted_together(self) -> None:
        """Of many that begin at once no more than the limit are under way, and then others may."""
        gateway = self.gateway

        def begin() -> tuple[int, Any]:
            response, connection = gateway.begin(key_of("busy"), "slow", stream=True)
            return response.status, connection

        begun = gateway.many(16, begin)
        self.assertEqual(Counter(status for status, _ in begun), {200: 5, 429: 11})
        for _, connection in begun:
            connection.close()
        gateway.wait(lambda: gateway.ask(key_of("busy")) == 200)

    def test_a_queue_is_one_for_all_workers(self) -> None:
        """Two are served, three wait, the next is turned away; and each gets its turn."""
        gateway = self.gateway
        statuses = gateway.many(9, lambda: gateway.ask(key_of("plain"), "queued"))
        self.assertEqual(Counter(statuses), {200: 5, 429: 4})
        [queue] = gateway.call("GET", "/admin/backends")["queues"]
        self.assertEqual((queue["in_flight"], queue["pending"]), (0, 0))

    def test_who_leaves_a_queue_gives_its_place_up(self) -> None:
        """A client that hangs up while it waits, or is answered, leaves no place taken."""
        gateway = self.gateway
        begun = []
        for _ in range(4):
            connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
            connection.request(
                "POST",
                "/v1/chat/completions",
                json.dumps({"model": "queued", "messages": [{"role": "user", "content": "hi"}]}),
                {"Authorization": f"Bearer {key_of('plain')}", "Content-Type": "application/json"},
            )
            begun.append(connection)

        def places() -> tuple[int, int]:
            [queue] = gateway.call("GET", "/admin/backends")["queues"]
            return queue["in_flight"], queue["pending"]

        gateway.wait(lambda: places() == (2, 2))
        for connection in begun:
            connection.close()
        gateway.wait(lambda: places() == (0, 0))

    def test_what_is_shown_is_the_sum(self) -> None:
        """Traffic, metrics, usage and status tell of requests to either worker."""
        gateway = self.gateway

        def served() -> tuple[float, float]:
            text = gateway.call("GET", "/metrics")
            lines = [line for line in text.splitlines() if not line.startswith("#")]
            total = [line for line in lines if line.startswith("lmg_http_requests_total")]
            each = [line for line in lines if line.startswith("lmg_worker_requests_total")]
            return (
                sum(float(line.rpartition(" ")[2]) for line in total),
                sum(float(line.rpartition(" ")[2]) for line in each),
            )

        before = served()
        used = sum(row["requests"] for row in gateway.call("GET", "/admin/usage")["rows"])
        statuses = gateway.many(20, lambda: gateway.ask(key_of("plain")))
        self.assertEqual(Counter(statuses), {200: 20})
        gateway.wait(lambda: served() == (before[0] + 20, before[1] + 20))
        rows = gateway.call("GET", "/admin/usage")["rows"]
        self.assertEqual(sum(row["requests"] for row in rows), used + 20)
        entries = gateway.call("GET", "/admin/traffic")["entries"]
        self.assertEqual(len([e for e in entries[:20] if e["client"] == "plain"]), 20)
        [backend] = [
            each for each in gateway.call("GET", "/admin/backends")["backends"]
            if each["backend"] == "mock"
        ]  # fmt: skip
        target = backend["targets"][0]
        self.assertEqual(target["samples"], sum(each["samples"] for each in target["workers"]))
        self.assertEqual(len(target["workers"]), 2)

    def test_every_series_of_a_worker(self) -> None:
        """Each series that the documentation lists of workers is there, once for each."""
        page = (Path(__file__).parents[2] / "docs" / "telemetry.md").read_text()
        told = set(re.findall(r"`(lmg_worker_\w+)`", page)) - {"lmg_worker_deaths_total"}
        self.assertEqual(self.gateway.ask(key_of("plain")), 200)
        text = self.gateway.call("GET", "/metrics")
        shown = re.findall(r'^(lmg_worker_\w+)\{worker="(\d+)"\} (\S+)$', text, re.MULTILINE)
        self.assertEqual(
            {(name, number) for name, number, _ in shown if name in told},
            {(name, number) for name in told for number in ("1", "2")},
        )
        still = {
            "lmg_worker_connections",
            "lmg_worker_in_flight_requests",
            "lmg_worker_loop_lag_seconds",
        }
        for name in told - still:
            self.assertTrue(any(float(value) > 0 for each, _, value in shown if each == name), name)

    def test_a_key_made_at_run_time_holds_and_ends_everywhere(self) -> None:
        """It is good with every worker once it is there, and with none once it is deleted."""
        gateway = self.gateway
        made = gateway.call("POST", "/admin/keys", {"name": "made", "profile": "default"})
        secret = made["secret"] if "secret" in made else made["key"]
        self.assertEqual(Counter(gateway.many(12, lambda: gateway.ask(secret))), {200: 12})
        identity = made["id"]
        connection = http.client.HTTPConnection("127.0.0.1", gateway.admin, timeout=60)
        connection.request("DELETE", f"/admin/keys/{identity}")
        self.assertLess(connection.getresponse().status, 300)
        connection.close()
        statuses = {*gateway.many(12, lambda: gateway.ask(secret))}
        self.assertEqual(statuses, {401, 429})  # from the sixth wrong key on, whoever sees it

    def test_an_operator_ends_an_exchange_wherever_it_is(self) -> None:
        """What is under way at any worker is listed, and can be ended by its id."""
        gateway = self.gateway
        response, connection = gateway.begin(key_of("plain"), "slow", stream=True)
        identity = response.headers["X-Request-ID"]
        document = gateway.call("GET", "/admin/inflight")
        self.assertIn(identity, [each["id"] for each in document["in_flight"]])
        ended = gateway.call("POST", f"/admin/inflight/{identity}/cancel", {})
        self.assertEqual(ended, {"cancelled": 1})
        self.assertIn(b"cancelled", rest_of(response))
        connection.close()

    def test_a_backend_is_drained_for_all_workers(self) -> None:
        """What an operator imposes on a backend holds in every worker at once."""
        gateway = self.gateway
        response, _ = gateway.begin(key_of("plain"), "slow")
        self.assertEqual(response.headers["X-LMG-Backend"], "slow")
        gateway.call("POST", "/admin/backends/slow/drain", {"seconds": 60})
        statuses = gateway.many(8, lambda: gateway.begin(key_of("plain"), "slow")[0])
        backends = {response.headers["X-LMG-Backend"] for response in statuses}
        gateway.call("POST", "/admin/backends/slow/undrain", {})
        self.assertNotIn("slow", backends)

    def test_a_config_that_cannot_be_used_changes_nothing(self) -> None:
        """A reload of it says why, and all workers go on with the one before."""
        gateway = self.gateway
        gateway.config.write_text(gateway.config.read_text() + "\n[nonsense]\n")
        with self.assertRaisesRegex(AssertionError, "nonsense"):
            gateway.call("POST", "/admin/reload", {})
        self.assertEqual(Counter(gateway.many(8, lambda: gateway.ask(key_of("plain")))), {200: 8})
        gateway.write()

    def test_a_reload_loses_no_request(self) -> None:
        """Under load all workers go over to another config, and every request is served."""
        gateway = self.gateway
        model = "m2"
        more = f'\n[[tiers]]\nname = "{model}"\nbackend = "mock"\nmodel = "{model}"\n'
        statuses: Counter[int] = Counter()
        done: list[bool] = []

        def load() -> None:
            while not done:
                statuses[gateway.ask(key_of("plain"))] += 1

        with ThreadPoolExecutor(4) as pool:
            for _ in range(4):
                pool.submit(load)
            gateway.write(more=more)
            try:
                gateway.call("POST", "/admin/reload", {})
            finally:
                done.append(True)
        self.assertEqual(set(statuses), {200})
        served = gateway.many(8, lambda: gateway.begin(key_of("plain"), model)[0])
        self.assertEqual({each.headers["X-LMG-Model"] for each in served}, {model})
        gateway.write()
        gateway.call("POST", "/admin/reload", {})

    def test_both_workers_get_connections(self) -> None:
        """The system spreads connections over the workers."""
        gateway = self.gateway
        connections = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(64)]

        def spread() -> list[int]:
            document = gateway.call("GET", "/admin/workers")
            return [each["connections"] for each in document["processes"] if each["worker"]]

        gateway.wait(lambda: sum(spread()) >= 64)
        self.assertGreater(min(spread()), 10)
        for connection in connections:
            connection.close()
