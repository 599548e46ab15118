"""How a process does, as the admin port shows it."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from time import process_time
from typing import Any

from lmgateway.service.resources import Resources

Document = dict[str, Any]


def own_report(resources: Resources, *, serves: bool) -> Document:
    """
    Say how the process does that was started.

    Args:
        serves: Whether it serves clients itself.
    """
    return {
        "worker": 0,
        "state": "draining" if resources.leaving else "serving",
        **process_report(resources),
        "generation": resources.served.generation,
        "in_flight": resources.traffic.in_flight if serves else 0,
        "served": resources.traffic.total if serves else 0,
    }


def process_report(resources: Resources) -> Document:
    """Say how this process does, whatever it is."""
    lag = resources.vitals.lag.spread
    return {
        "pid": os.getpid(),
        "uptime_seconds": round(resources.uptime(), 3),
        "cpu_seconds": round(process_time(), 3),
        "resident_bytes": _resident(),
        "loop_lag_ms": round(lag.total / lag.count, 3) if lag.count else 0.0,
    }


def _resident() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * resource.getpagesize()
