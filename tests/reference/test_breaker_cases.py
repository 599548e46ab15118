"""Breakers, probes and the operator's hand on both, over real sockets."""

from __future__ import annotations

from email.utils import formatdate
from time import time
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.web.server import Site

from tests.fakes import completion, hang, status, until
from tests.reference.test_attempt_cases import AttemptCase, well


class AdminCase(AttemptCase):
    """Asks the admin port about backends."""

    async def backend_document(self, name: str = "mock") -> dict[str, Any]:
        """Give what the admin port shows of a backend."""
        got = await self.ask("GET", "/admin/backends", admin=True)
        (found,) = [one for one in got.json["backends"] if one["backend"] == name]
        return dict(found)

    async def impose(self, what: str, name: str = "mock", **body: Any) -> Any:
        """Impose something."""
        return await self.ask("POST", f"/admin/backends/{name}/{what}", body, admin=True)

    async def overrides(self) -> list[tuple[str, str, str]]:
        """Give what is imposed."""
        got = await self.ask("GET", "/admin/overrides", admin=True)
        now = time()
        for one in got.json["overrides"]:
            self.assertLess(abs(one["expires"] - now - one["seconds_left"]), 5)
        return [(one["kind"], one["target"], one["value"]) for one in got.json["overrides"]]

    def hear(self) -> list[tuple[str, dict[str, Any]]]:
        """Listen to what is told from now on."""
        told: list[tuple[str, dict[str, Any]]] = []
        assert self.service is not None
        self.service.resources.events.listen(lambda event: told.append((event.kind, event.facts)))
        return told


class BreakerCases(AdminCase):
    """Tests for breakers under traffic."""

    async def test_row_17_burst(self) -> None:
        """Row 17: the breaker opens within five failures; one request is the trial, then all."""
        self.start(
            gateway="max_retries = 2\nretry_delay_ms = 1\nfailover = false",
            backends="probe_interval_ms = 0\nbreaker = { open_ms = 3000 }",
        )
        told = self.hear()
        self.backend.script = status(500)
        codes = [(await self.chat()).code for _ in range(20)]
        self.assertLessEqual(len(self.backend.asked), 5)
        self.assertEqual((codes[0], codes[-1]), (502, 503))
        got = await self.chat()
        self.assertEqual(got.headers["x-lmg-error"], "no_target")
        self.assertIn(int(got.headers["retry-after"]), range(1, 4))
        shown = (await self.backend_document())["targets"][0]
        self.assertEqual((shown["state"], shown["cause"]), ("open", "ratio"))
        document = await self.backend_document()
        self.assertEqual((document["state"], document["error_rate"]), ("partial", 1.0))
        assert self.service is not None
        target = self.service.resources.health.target("mock", "fast-model")
        await until(lambda: not target.blocked_for(), 5)
        asked = len(self.backend.asked)
        self.backend.script = hang
        trial = ensureDeferred(self.chat())
        await until(lambda: len(self.backend.asked) == asked + 1)
        self.assertEqual((await self.chat()).code, 503)
        self.assertEqual(len(self.backend.asked), asked + 1)
        self.answer(-1)
        self.assertEqual((await trial).code, 200)
        self.backend.script = well
        self.assertEqual((await self.chat()).code, 200)
        changes = [(f["from"], f["to"], f["reason"]) for kind, f in told if kind == "breaker"]
        self.assertEqual(
            changes,
            [
                ("closed", "open", "ratio"),
                ("open", "half_open", "trial"),
                ("half_open", "closed", "recovered"),
            ],
        )

    async def limited(self, told: str, longest: float, times: int = 1) -> None:
        """Be limited with a wait; look for how long requests go elsewhere."""
        self.begin_two()
        self.backend.script = status(429, retry_after=told)
        for _ in range(3):
            self.assertEqual((await self.chat()).code, 200)
        self.assertEqual(len(self.backend.asked), times)
        targets = (await self.backend_document())["targets"]
        (wait,) = [each["retry_in_seconds"] for each in targets if each["model"] == "a"]
        self.assertLessEqual(wait, longest)
        self.assertEqual(wait > 0, longest > 0)

    async def test_row_16_seconds(self) -> None:
        """Row 16: other requests go elsewhere for as long as was asked."""
        await self.limited("5", 5)

    async def test_row_16_date(self) -> None:
        """Row 16: likewise for a date."""
        await self.limited(formatdate(time() + 6, usegmt=True), 7)

    async def test_row_16_for_ever(self) -> None:
        """Row 16: but for a minute at most."""
        await self.limited("1e9", 60)

    async def test_row_16_negative(self) -> None:
        """Row 16: a wait that is none is not waited for."""
        await self.limited("-1", 0, times=3)

    async def test_row_16_nan(self) -> None:
        """Row 16: nor one that is no number."""
        await self.limited("NaN", 0, times=3)

    async def test_row_16_all_cool_down(self) -> None:
        """Row 16: when all are limited, the client gets a 429 with the shortest wait."""
        self.begin_two(profile="failover = false")
        self.backend.script = status(429, retry_after="8")
        self.other.script = status(429, retry_after="4")
        self.assertEqual((await self.chat()).headers["retry-after"], "4")
        asked = len(self.backend.asked), len(self.other.asked)
        got = await self.chat()
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (429, "backend_rate_limited"))
        self.assertIn(int(got.headers["retry-after"]), range(1, 5))
        self.assertEqual((len(self.backend.asked), len(self.other.asked)), asked)

    async def test_own_thresholds(self) -> None:
        """A backend may have its own: one failure in a row is enough here."""
        self.begin_two(
            backends="breaker = { consecutive_failures = 1, open_ms = 60000 }",
            profile="failover = false",
        )
        self.backend.script = status(500)
        for _ in range(3):
            self.assertEqual((await self.chat()).code, 200)
        self.assertEqual((len(self.backend.asked), len(self.other.asked)), (1, 3))


class ProbeCases(AdminCase):
    """Tests for probes on the wire."""

    def answering(self, code: int) -> None:
        """Have the backend answer its listing with a status."""
        self.backend.script = status(code)

    async def test_L5_2_free_questions(self) -> None:
        """L5.2: the listing is asked for, never an answer; no traffic entry is made."""
        self.begin_two(backends="probe_interval_ms = 20")
        self.backend.script = lambda request, asked: {"object": "list", "data": []}
        await until(lambda: len(self.backend.asked) >= 3)
        self.assertEqual(
            {(asked.method, asked.path, asked.raw) for asked in self.backend.asked},
            {("GET", "/v1/models", b"")},
        )
        self.assertEqual((self.other.asked, await self.entries()), ([], []))
        probe = (await self.backend_document())["probe"]
        self.assertEqual((probe["well"], probe["status"], probe["error"]), (True, 200, None))
        self.assertLess(abs(probe["at"] - time()), 20)

    async def test_refusals_are_answers(self) -> None:
        """A backend that refuses to list is alive, one that answers 500 is not."""
        self.begin_two()
        for code, alive in ((401, True), (403, True), (404, True), (500, False), (200, True)):
            self.answering(code)
            got = await self.impose("check")
            self.assertEqual((got.code, got.json["well"], got.json["status"]), (200, alive, code))
        self.assertEqual((await self.impose("check", "nobody")).code, 404)

    async def test_asked_by_the_operator_meanwhile(self) -> None:
        """Whoever asks how backends are waits for the probe that is under way."""
        self.begin_two()
        self.backend.script = hang
        asking = [
            ensureDeferred(self.ask("GET", "/admin/backends/health", admin=True)) for _ in range(3)
        ]
        checked = ensureDeferred(self.impose("check"))
        await self.until_asked(1)
        await self.later(0.2)
        self.assertEqual(len(self.backend.asked), 1)
        self.answer(0)
        self.assertEqual([(await one).code for one in asking], [200, 200, 200])
        self.assertTrue((await checked).json["well"])

    async def test_a_hanging_listing(self) -> None:
        """A probe has a short time of its own, and there is one at a time."""
        self.begin_two(backends="probe_interval_ms = 20\nprobe_timeout_ms = 300")
        self.backend.script = hang
        await until(lambda: len(self.backend.asked) == 1)
        checked = ensureDeferred(self.impose("check"))
        got = await checked
        self.assertEqual((got.json["well"], got.json["error"]), (False, "backend_timeout"))
        await until(lambda: self.backend.lost[:1] == [0])
        self.assertLessEqual(len(self.backend.asked) - len(self.backend.lost), 1)

    async def test_recovery_without_traffic(self) -> None:
        """A backend that was down is used again once a probe has found it, without a trial."""
        self.begin_two(backends="probe_interval_ms = 30\nbreaker = { open_ms = 200 }")
        told = self.hear()
        port = self.backend.port
        assert port is not None
        number = port.getHost().port  # type: ignore[attr-defined]  # of IPv4
        await self.backend.close()
        await until(lambda: ("probe", False) in [(k, f.get("well")) for k, f in told])
        await until(lambda: "open" in [f.get("to") for k, f in told if k == "breaker"])
        self.assertEqual((await self.chat()).headers["x-lmg-backend"], "other")
        self.backend.script = lambda request, asked: completion() if asked.raw else {"data": []}
        self.backend.port = cast(Any, reactor).listenTCP(
            number, Site(self.backend), interface="127.0.0.1"
        )
        await until(lambda: "probe" in [f.get("reason") for _, f in told], 10)
        self.assertTrue(all(asked.method == "GET" for asked in self.backend.asked))
        self.assertEqual((await self.chat()).headers["x-lmg-backend"], "mock")

    async def test_stopped_by_reload(self) -> None:
        """A backend that is removed, or whose probes are switched off, is not asked any more."""
        self.begin_two(backends="probe_interval_ms = 20")
        self.backend.script = lambda request, asked: {"data": []}
        await until(lambda: len(self.backend.asked) >= 2)
        self.write_two(backends="probe_interval_ms = 0")
        assert self.service is not None
        self.service.reload()
        asked = len(self.backend.asked)
        await self.later(0.2)
        self.assertLessEqual(len(self.backend.asked), asked)


class OperatorCases(AdminCase):
    """Tests for what the operator imposes."""

    async def test_L13_6_breaker(self) -> None:
        """L13.6: forced open from the next request on; set free again; listed meanwhile."""
        self.begin_two()
        got = await self.impose("breaker", state="forced_open", seconds=60)
        self.assertEqual((got.code, got.json["state"]), (200, "forced_open"))
        self.assertEqual((await self.chat()).headers["x-lmg-backend"], "other")
        self.assertEqual(self.backend.asked, [])
        self.assertEqual(await self.overrides(), [("breaker", "mock", "forced_open")])
        self.assertEqual((await self.impose("breaker", state="auto")).json["state"], "closed")
        self.assertEqual((await self.chat()).headers["x-lmg-backend"], "mock")
        self.assertEqual(await self.overrides(), [])

    async def test_forced_closed(self) -> None:
        """Forced closed, a failing target is still asked."""
        self.begin_two()
        await self.impose("breaker", state="forced_closed", model="a")
        self.backend.script = status(500)
        for _ in range(8):
            self.assertEqual((await self.chat()).code, 200)
        self.assertEqual(len(self.backend.asked), 8)
        self.assertEqual(await self.overrides(), [("breaker", "mock/a", "forced_closed")])

    async def test_expiry(self) -> None:
        """Nothing is imposed for ever."""
        self.begin_two()
        await self.impose("drain", seconds=0.2)
        self.assertEqual((await self.chat()).headers["x-lmg-backend"], "other")
        await self.later(0.25)
        self.assertEqual((await self.chat()).headers["x-lmg-backend"], "mock")

    async def test_drain(self) -> None:
        """What is in flight ends; what comes goes elsewhere, or is told that nobody is left."""
        self.begin_two()
        self.backend.script = hang
        first = ensureDeferred(self.chat())
        await until(lambda: len(self.backend.asked) == 1)
        got = await self.impose("drain")
        self.assertEqual((got.json["drained"], got.json["in_flight"]), (True, 1))
        self.assertEqual((await self.chat()).headers["x-lmg-backend"], "other")
        self.answer(0)
        self.assertEqual((await first).headers["x-lmg-backend"], "mock")
        await self.impose("drain", "other")
        got = await self.chat()
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (503, "no_target"))
        self.assertIn(int(got.headers["retry-after"]), range(1, 61))
        self.assertEqual(len(await self.overrides()), 2)
        for name in ("mock", "other"):
            self.assertFalse((await self.impose("undrain", name)).json["drained"])
        self.backend.script = well
        self.assertEqual((await self.chat()).headers["x-lmg-backend"], "mock")

    async def test_metrics(self) -> None:
        """States by force, and each change, are in the metrics."""
        self.begin_two()
        await self.impose("breaker", state="forced_open")
        got = await self.ask("GET", "/metrics", admin=True)
        labels = b'backend="mock",model="a"'
        self.assertIn(b"lmg_breaker_state{%b} 4" % labels, got.body)
        self.assertIn(b'lmg_breaker_transitions_total{%b,to="forced_open"} 1' % labels, got.body)

    async def test_through_a_reload(self) -> None:
        """A reload changes nothing of it."""
        self.begin_two()
        await self.impose("drain")
        assert self.service is not None
        self.service.reload()
        self.assertEqual((await self.chat()).headers["x-lmg-backend"], "other")

    async def test_explained(self) -> None:
        """An explanation says why a target is not tried."""
        self.begin_two()
        for imposed, body, reason in (
            ("drain", {}, "drained"),
            ("undrain", {}, None),
            ("breaker", {"state": "forced_open"}, "breaker forced open"),
        ):
            await self.impose(imposed, **body)
            messages = [{"role": "user", "content": "x"}]
            asked = {"model": "cloud:economy", "messages": messages}
            got = await self.ask("POST", "/v1/route/explain", asked)
            candidate = got.json["candidates"][1]
            self.assertEqual(candidate["accepted"], reason is None)
            self.assertEqual(candidate["reasons"], [reason] if reason else [])

    async def test_mistakes(self) -> None:
        """Unknown backends, models and states, and times without end, are refused."""
        self.begin_two()
        for what, name, body, code in (
            ("drain", "nobody", {}, 404),
            ("undrain", "nobody", {}, 404),
            ("breaker", "nobody", {"state": "auto"}, 404),
            ("breaker", "mock", {"state": "auto", "model": "nobody"}, 404),
            ("breaker", "mock", {"state": "ajar"}, 400),
            ("breaker", "mock", {}, 400),
            ("drain", "mock", {"seconds": 0}, 400),
            ("drain", "mock", {"seconds": 1e9}, 400),
            ("drain", "mock", {"for": 5}, 400),
        ):
            self.assertEqual((await self.impose(what, name, **body)).code, code, (what, body))
        self.assertEqual(await self.overrides(), [])

    async def test_classifiers(self) -> None:
        """A classifier on a drained backend is passed over, like any target."""
        self.begin_two(mode="classify", tier='backend = "other"\nmodel = "b"')
        await self.impose("drain", "other")
        got = await self.chat()
        self.assertEqual((got.code, got.headers["x-lmg-backend"]), (200, "mock"))
        self.assertEqual((self.other.asked, got.headers["x-lmg-attempts"]), ([], "1"))
        await self.impose("undrain", "other")
        await self.chat()
        self.assertEqual([asked.body["max_tokens"] for asked in self.other.asked[:1]], [10])
