"""
Families of series as Prometheus reads them: text format 0.0.4, or OpenMetrics 1.0.

``prometheus_client`` writes 13 us a line, which would hold up the loop for 27 ms where there
are 2,000 series; here a line is one format of texts made before.  Its parsers are the judges
of this module in the tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from lmgateway.telemetry.spread import Buckets, Spread

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"

Kind = Literal["counter", "gauge", "histogram", "info"]
Sample = tuple[Sequence[str], float]


class Family(NamedTuple):
    """
    All series of one name.

    Attributes:
        name: Without the ending (``_total``, ``_info``) that samples of its kind have.
        text: What it tells, in a sentence.
        labels: The names of its labels.
        samples: The values of the labels, and the value; of a histogram there are ``spreads``.
        buckets: What is shown of the spreads.
        plain_only: Whether it is left out of OpenMetrics.
    """

    name: str
    kind: Kind
    text: str
    labels: Sequence[str] = ()
    samples: Sequence[Sample] = ()
    spreads: Sequence[tuple[Sequence[str], Spread]] = ()
    buckets: Buckets | None = None
    plain_only: bool = False


def written(families: Iterable[Family], *, openmetrics: bool, last: bool = True) -> bytes:
    """
    Write families down.

    Args:
        last: Whether no others follow.
    """
    lines: list[str] = []
    for family in families:
        if openmetrics and family.plain_only:
            continue
        lines += _head(family, openmetrics=openmetrics)
        lines += _histogram(family) if family.buckets is not None else _lines(family)
    if openmetrics and last:
        lines.append("# EOF\n")
    return "".join(lines).encode("utf-8", "replace")


def wants_openmetrics(accept: bytes | None) -> bool:
    """Tell whether a scraper that accepts this is given OpenMetrics."""
    for choice in (accept or b"").split(b","):
        kind, _, rest = choice.partition(b";")
        if kind.strip().lower() == b"application/openmetrics-text":
            return b"q=0" not in {part.strip() for part in rest.split(b";")}
    return False


_ENDINGS = {"counter": "_total", "info": "_info"}


def _head(family: Family, *, openmetrics: bool) -> Iterator[str]:
    name, kind = family.name, str(family.kind)
    if not openmetrics:
        name += _ENDINGS.get(kind, "")
        kind = "gauge" if kind == "info" else kind
    yield f"# HELP {name} {family.text}\n# TYPE {name} {kind}\n"


def _lines(family: Family) -> Iterator[str]:
    name = family.name + _ENDINGS.get(family.kind, "")
    for values, number in family.samples:
        yield f"{name}{labelled(family.labels, values)} {number_text(number)}\n"


def _histogram(family: Family) -> Iterator[str]:
    name, buckets = family.name, family.buckets
    assert buckets is not None, "a histogram has buckets"
    bucket = f"{name}_bucket"
    for values, spread in family.spreads:
        own = labelled(family.labels, values)
        begin = own[:-1] + "," if own else "{"
        counts = buckets.of(spread)
        for label, count in zip(buckets.labels, counts, strict=True):
            yield f'{bucket}{begin}le="{label}"}} {count}\n'
        yield f"{name}_sum{own} {number_text(spread.total / buckets.scale)}\n"
        yield f"{name}_count{own} {counts[-1]}\n"


def labelled(names: Sequence[str], values: Sequence[str]) -> str:
    """Give labels as they stand after a name; nothing if there are none."""
    if not names:
        return ""
    pairs = [f'{name}="{_escaped(v)}"' for name, v in zip(names, values, strict=True)]
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    if '"' in value or "\\" in value or "\n" in value:
        return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return value


def number_text(number: float) -> str:
    """Give a number as a sample has it."""
    if number.__class__ is int:
        return str(number)
    if number != number:
        return "NaN"
    if number in (float("inf"), float("-inf")):
        return "+Inf" if number > 0 else "-Inf"
    return repr(float(number))
