"""What a scraper makes of our text: read by the parsers of ``prometheus_client``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families as read_plain

from lmgateway.telemetry.exposition import Family, written

Found = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""The values by name of the sample and its labels, in their order."""


def read(text: bytes, *, openmetrics: bool = False) -> Found:
    """Read what was scraped."""
    parse = read_open if openmetrics else read_plain
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): float(sample.value)
        for metric in parse(text.decode())
        for sample in metric.samples
    }


def scraped(families: Iterable[Family]) -> Found:
    """Write families in both formats; give what both parsers find in them."""
    every = [*families]
    plain = read(written(every, openmetrics=False))
    shared = [family for family in every if not family.plain_only]
    both = read(written(every, openmetrics=True), openmetrics=True)
    expected = read(written(shared, openmetrics=False))
    assert both == expected, "the formats tell the same"
    return plain


def value(found: Found, name: str, **labels: str) -> float:
    """Add up the samples of a name that have these labels, whatever others they have."""
    wanted = {*labels.items()}
    return sum(v for (n, own), v in found.items() if n == name and wanted <= {*own})


def names(found: Found) -> Iterator[str]:
    """Give the names of all samples."""
    yield from {name for name, _ in found}
