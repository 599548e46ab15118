"""What all workers add up to, from what each of them reports: see ``Worker``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lmgateway.telemetry.exposition import Family, Kind

Document = dict[str, Any]

_WORST = ("closed", "forced_closed", "half_open", "open", "forced_open")
_EACH = ("state", "errors", "samples", "in_flight", "retry_in_seconds")


def targets_of(reports: Sequence[Document], backend: str) -> list[Document]:
    """Give the targets of a backend, as the admin port shows them: the sum, and each worker's."""
    seen: dict[str, list[tuple[int, Document]]] = {}
    for report in reports:
        for target in report.get("targets", ()):
            if target["backend"] == backend:
                seen.setdefault(target["model"], []).append((report["worker"], target))
    return [_target(found) for found in seen.values()]


def _target(found: list[tuple[int, Document]]) -> Document:
    each = [target for _, target in found]
    worst = max(each, key=lambda target: _WORST.index(target["state"]))
    errors, samples = _sum(each, "errors"), _sum(each, "samples")
    return {
        **{name: worst[name] for name in ("model", "state", "cause", "against")},
        "errors": errors,
        "samples": samples,
        "error_rate": round(errors / samples, 4) if samples else None,
        "in_flight": _sum(each, "in_flight"),
        "retry_in_seconds": max(target["retry_in_seconds"] for target in each),
        "first_output_ms": _mean(each, "first_output_ms"),
        "whole_ms": _mean(each, "whole_ms"),
        "workers": [
            {"worker": number, **{name: target[name] for name in _EACH}} for number, target in found
        ],
    }


def retries_of(reports: Sequence[Document], backend: str) -> tuple[int, int]:
    """Give the attempts and the retries at a backend, of all workers."""
    found = [
        report["retries"][backend] for report in reports if backend in report.get("retries", ())
    ]
    return sum(attempts for attempts, _ in found), sum(retries for _, retries in found)


def _sum(documents: Sequence[Document], name: str) -> int:
    return sum(document.get(name, 0) for document in documents)


def _mean(documents: Sequence[Document], name: str) -> float | None:
    known = [document[name] for document in documents if document[name] is not None]
    return round(sum(known) / len(known), 3) if known else None


def families(reports: Sequence[Document], deaths: int) -> Iterator[Family]:
    """Give what ``/metrics`` shows of each worker."""
    reports = [each for each in reports if each["state"] == "serving"]  # one of each number
    text = "Workers that ended by themselves, and were started anew."
    yield Family("lmg_worker_deaths", "counter", text, (), [((), deaths)])
    for name, kind, key, text in _FAMILIES:
        scale = 1000 if key == "loop_lag_ms" else 1
        samples = [((str(each["worker"]),), each[key] / scale) for each in reports if key in each]
        yield Family(name, kind, text, ("worker",), samples)


_FAMILIES: tuple[tuple[str, Kind, str, str], ...] = (
    ("lmg_worker_cpu_seconds", "counter", "cpu_seconds", "CPU time of a worker."),
    ("lmg_worker_resident_bytes", "gauge", "resident_bytes", "Memory of a worker."),
    ("lmg_worker_connections", "gauge", "connections", "Client connections of a worker."),
    ("lmg_worker_in_flight_requests", "gauge", "in_flight", "Requests under way in a worker."),
    ("lmg_worker_requests", "counter", "served", "Requests that have ended in a worker."),
    (
        "lmg_worker_loop_lag_seconds",
        "gauge",
        "loop_lag_ms",
        "How late a worker's event loop was when it was due, on average.",
    ),
    ("lmg_worker_generation", "gauge", "generation", "The configuration that a worker serves."),
)
