"""What is counted of exchanges: once each, by names of ours, and cheaply."""

from __future__ import annotations

from msgspec import structs
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.chat import Usage
from lmgateway.errors import RateLimited
from lmgateway.exchange import Climb
from lmgateway.principal import Standing
from lmgateway.telemetry.families import families
from lmgateway.telemetry.meters import BATCH, MAX_CELLS, Meters
from lmgateway.telemetry.traffic import Entry
from tests.telemetry.entries import attempt, entry
from tests.telemetry.scraping import Found, scraped, value


class MetersTests(SynchronousTestCase):
    """See ``lmgateway.telemetry.meters`` and ``lmgateway.telemetry.families``."""

    def setUp(self) -> None:
        """Begin with nothing."""
        self.now = 0.0
        self.meters = Meters(lambda: self.now, lambda: 1e9 + self.now)

    def found(self) -> Found:
        """Scrape."""
        return scraped(families(self.meters))

    def test_L1_3_every_request_counts_once(self) -> None:
        """Requests that ended well, badly, or were cut each give one count and one duration."""
        self.meters(entry())
        self.meters(entry("rate_limited", status=429, attempts=()))
        self.meters(entry("backend_timeout", status=504, attempts=(attempt("backend_timeout"),)))
        self.meters(entry("client_closed", status=499))
        found = self.found()
        self.assertEqual(value(found, "lmg_http_requests_total"), 4)
        self.assertEqual(value(found, "lmg_http_request_duration_seconds_count"), 4)
        self.assertEqual(value(found, "lmg_http_requests_total", status="429", tier="none"), 1)
        failed = {"status": "504", "outcome": "backend_timeout", "backend": "gpu", "model": "m"}
        self.assertEqual(value(found, "lmg_http_requests_total", **failed), 1)
        for result in ("ok", "refused", "failed", "closed"):
            count = value(found, "lmg_http_request_duration_seconds_count", result=result)
            self.assertEqual(count, 1, result)
        self.assertEqual(value(found, "lmg_http_request_duration_seconds_bucket", le="300.0"), 4)

    def test_L1_1_first_output_of_streams_only(self) -> None:
        """A stream gives one sample of its time to the first output; a whole answer none."""
        self.meters(entry(first_output=0.2, last_output=1.2))
        self.meters(entry())
        found = self.found()
        self.assertEqual(value(found, "lmg_ttft_seconds_count"), 1)
        self.assertAlmostEqual(value(found, "lmg_ttft_seconds_sum"), 0.2)

    def test_L1_2_pace(self) -> None:
        """51 tokens, the last a second after the first, are 50 a second and 20 ms apart."""
        usage = Usage(input_tokens=1, output_tokens=51)
        self.meters(entry(first_output=0.2, last_output=1.2, usage=usage))
        found = self.found()
        self.assertAlmostEqual(value(found, "lmg_output_tokens_per_second_sum"), 50)
        self.assertAlmostEqual(value(found, "lmg_inter_token_seconds_sum"), 0.02)

    def test_L1_2_no_pace_of_what_came_at_once(self) -> None:
        """One token, or all in one piece, have no pace."""
        one = Usage(input_tokens=1, output_tokens=1)
        self.meters(entry(first_output=0.2, last_output=1.2, usage=one))
        self.meters(entry(first_output=0.2))
        self.assertEqual(value(self.found(), "lmg_inter_token_seconds_count"), 0)

    def test_overhead(self) -> None:
        """What is neither a backend's time nor waiting is ours; it is never less than nothing."""
        self.meters(entry(seconds=1.5, waited=0.4))
        self.meters(entry(seconds=0.5))
        found = self.found()
        self.assertAlmostEqual(value(found, "lmg_overhead_seconds_sum"), 0.1)
        self.assertEqual(value(found, "lmg_overhead_seconds_count"), 2)

    def test_tokens_and_money(self) -> None:
        """Tokens add up by kind; cost is what was charged, or unknown."""
        usage = Usage(input_tokens=10, output_tokens=5, cached_read=4, reasoning=2)
        self.meters(entry(usage=usage, attempts=(attempt(cost=60_000_000),)))
        told_none = Usage(input_tokens=1, output_tokens=1, estimated=True)
        self.meters(entry(usage=told_none, attempts=(attempt(cost=None),)))
        found = self.found()
        self.assertEqual(value(found, "lmg_tokens_total", direction="input"), 11)
        self.assertEqual(value(found, "lmg_tokens_total", kind="cached"), 4)
        self.assertEqual(value(found, "lmg_tokens_total", direction="output"), 6)
        self.assertEqual(value(found, "lmg_tokens_total", kind="reasoning"), 2)
        self.assertEqual(value(found, "lmg_cost_usd_total", profile="home"), 0.06)
        self.assertEqual(value(found, "lmg_unpriced_requests_total"), 1)
        self.assertEqual(value(found, "lmg_usage_estimated_requests_total"), 1)

    def test_attempts_retries_and_fallbacks(self) -> None:
        """Each attempt counts; trying again is a retry, trying another a fallback."""
        other = ("fast", "cloud", "m")
        tries = (
            attempt("ok", purpose="classify"),
            attempt("backend_failed"),
            attempt("backend_failed"),
            attempt("ok", target=other),
        )
        self.meters(entry(attempts=tries))
        found = self.found()
        self.assertEqual(value(found, "lmg_backend_requests_total"), 4)
        self.assertEqual(value(found, "lmg_backend_requests_total", purpose="classify"), 1)
        self.assertEqual(value(found, "lmg_backend_requests_total", outcome="backend_failed"), 2)
        self.assertEqual(value(found, "lmg_backend_duration_seconds_count", backend="gpu"), 3)
        self.assertEqual(value(found, "lmg_retries_total", backend="gpu"), 1)
        self.assertEqual(value(found, "lmg_fallbacks_total", backend="cloud"), 1)

    def test_climbs_for_want_of_quality(self) -> None:
        """A climb is told with its reason, and is no fallback."""
        dear = ("dear", "cloud", "m")
        tries = (attempt("insufficient:length"), attempt("ok", target=dear))
        climbs = [Climb("fast", "dear", "insufficient:length")]
        self.meters(entry(attempts=tries, climbs=climbs, overflowed=True))
        found = self.found()
        step = {"from_tier": "fast", "to_tier": "dear", "reason": "insufficient:length"}
        self.assertEqual(value(found, "lmg_climbs_total", **step), 1)
        self.assertEqual(value(found, "lmg_fallbacks_total"), 0)
        self.assertEqual(value(found, "lmg_overflowed_total"), 1)

    def test_limits(self) -> None:
        """A refusal is told by the limit that was reached."""
        error = RateLimited()
        error.standings = (Standing("tokens", "client", 10, 0, 3.0),)
        self.meters(entry("rate_limited", status=429, attempts=(), error=error))
        reached = {"scope": "client", "limit": "tokens"}
        self.assertEqual(value(self.found(), "lmg_limit_refused_total", **reached), 1)

    def test_limits_that_are_not_enforced(self) -> None:
        """Whom they would have refused is told apart."""
        self.meters(structs.replace(entry(), over_limits=("client:tokens", "global:requests")))
        found = self.found()
        for scope, limit in (("client", "tokens"), ("global", "requests")):
            told = value(found, "lmg_limit_shadowed_total", scope=scope, limit=limit)
            self.assertEqual(told, 1)
        self.assertEqual(value(found, "lmg_limit_refused_total"), 0)

    def test_streams_that_were_cut(self) -> None:
        """A stream that broke is told by who broke it; one that never began is not."""
        for outcome in ("client_closed", "stream_interrupted", "client_closed"):
            self.meters(_streamed(outcome, 200))
        self.meters(_streamed("client_closed", 499))
        found = self.found()
        self.assertEqual(value(found, "lmg_streams_aborted_total", by="client"), 2)
        self.assertEqual(value(found, "lmg_streams_aborted_total", by="backend"), 1)

    def test_L1_4_the_number_of_series_is_bounded(self) -> None:
        """Even if names came from clients, further ones would fall into one series."""
        for number in range(MAX_CELLS + 500):
            self.now += 0.001
            self.meters(entry(profile_chain=(f"p{number}",)))
        self.meters.fold()
        self.assertLessEqual(len(self.meters.exchanges), MAX_CELLS + 8)
        found = self.found()
        self.assertEqual(value(found, "lmg_http_requests_total"), MAX_CELLS + 500)
        self.assertEqual(value(found, "lmg_http_requests_total", profile="other"), 500)

    def test_many_add_up_as_one_by_one(self) -> None:
        """However many come before somebody asks, the sums are those of asking every time."""
        tries = (attempt("backend_failed"), attempt("ok"))
        kinds = [
            entry(attempts=tries, saved=5),
            entry(first_output=0.2, last_output=1.2),
            entry("backend_timeout", status=504, attempts=(attempt("backend_timeout"),)),
        ]
        patient = Meters(lambda: self.now, lambda: 1e9 + self.now)
        for number in range(2 * BATCH + 1):
            patient(kinds[number % 3])
            self.meters(kinds[number % 3])
            self.meters.fold()
        ours, theirs = self.found(), scraped(families(patient))
        self.assertEqual(ours.keys(), theirs.keys())
        for name, found in ours.items():
            self.assertAlmostEqual(found, theirs[name], msg=str(name))

    def test_nothing_is_lost_between_scrapes(self) -> None:
        """Counters only grow, whenever they are looked at."""
        for number in range(1, 4):
            self.meters(entry())
            self.assertEqual(value(self.found(), "lmg_http_requests_total"), number)
            self.now += 61


def _streamed(outcome: str, status: int) -> Entry:
    return structs.replace(entry(outcome, status=status), stream=True)
