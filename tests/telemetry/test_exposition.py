"""The text that a scraper gets: both formats, judged by the parsers of ``prometheus_client``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.telemetry.exposition import Family, number_text, wants_openmetrics, written
from lmgateway.telemetry.spread import Buckets, Spread
from tests.telemetry.scraping import read, scraped, value


class ExpositionTests(SynchronousTestCase):
    """See ``lmgateway.telemetry.exposition``."""

    def test_every_kind(self) -> None:
        """Counters, gauges, information and histograms are read as they were meant."""
        spread = Spread()
        for number in (5.0, 700.0):
            spread.add(number)
        found = scraped(
            [
                Family("lmg_a", "counter", "A.", ("x",), [(("1",), 3), (("2",), 4.5)]),
                Family("lmg_b", "gauge", "B.", (), [((), -1)]),
                Family("lmg_c", "info", "C.", ("v",), [(("9",), 1)]),
                Family(
                    "lmg_d_seconds",
                    "histogram",
                    "D.",
                    ("x",),
                    spreads=[(("1",), spread)],
                    buckets=Buckets((10, 1000)),
                ),
                Family("lmg_e", "histogram", "E.", spreads=[((), spread)], buckets=Buckets((10,))),
            ]
        )
        self.assertEqual(value(found, "lmg_a_total"), 7.5)
        self.assertEqual(value(found, "lmg_b"), -1)
        self.assertEqual(value(found, "lmg_c_info", v="9"), 1)
        self.assertEqual(value(found, "lmg_d_seconds_bucket", x="1", le="0.01"), 1)
        self.assertEqual(value(found, "lmg_d_seconds_bucket", le="+Inf"), 2)
        self.assertAlmostEqual(value(found, "lmg_d_seconds_sum"), 0.705)
        self.assertEqual(value(found, "lmg_e_count"), 2)

    def test_hostile_labels(self) -> None:
        """Whatever stands in a name, it ends neither its label nor its line."""
        name = 'a"b\\c\nd}e{f, ü'
        found = scraped([Family("lmg_a", "gauge", "A.", ("x",), [((name,), 1)])])
        self.assertEqual(value(found, "lmg_a", x=name), 1)
        written([Family("lmg_a", "gauge", "A.", ("x",), [(("\ud800",), 1)])], openmetrics=False)

    def test_what_is_for_the_plain_format_only(self) -> None:
        """A family that OpenMetrics could not name is left out of it."""
        family = Family("lmg_errors_total", "gauge", "E.", (), [((), 2)], plain_only=True)
        self.assertEqual(value(scraped([family]), "lmg_errors_total"), 2)
        self.assertEqual(read(written([family], openmetrics=True), openmetrics=True), {})

    def test_numbers(self) -> None:
        """Numbers that are none have the names that scrapers know."""
        texts = [number_text(n) for n in (1, 0.5, float("inf"), float("-inf"), float("nan"))]
        self.assertEqual(texts, ["1", "0.5", "+Inf", "-Inf", "NaN"])

    def test_accept(self) -> None:
        """OpenMetrics is for those who ask for it."""
        asked = b"application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5"
        self.assertTrue(wants_openmetrics(asked))
        for accept in (None, b"", b"*/*", b"text/plain", b"application/openmetrics-text; q=0"):
            self.assertFalse(wants_openmetrics(accept))
