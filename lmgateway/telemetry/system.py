"""
What the system tells of this process: processor time, memory, open files.

``prometheus_client`` reads it, under the names that every process has.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from lmgateway.telemetry.exposition import Family, Kind


class System:
    """Reads ``/proc``; gives nothing where there is none."""

    def __init__(self) -> None:
        # Here, since it takes longer than most that is done before the first request.
        from prometheus_client.process_collector import ProcessCollector

        self._collector = ProcessCollector(registry=None)

    def families(self) -> Iterator[Family]:
        """Give what there is to know."""
        for metric in self._collector.collect():
            samples = [((), sample.value) for sample in metric.samples]
            kind = cast(Kind, metric.type)
            yield Family(metric.name, kind, metric.documentation, (), samples)
