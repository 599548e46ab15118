"""
Liveness, readiness and public status: no key, no limit, no names.

``/healthz`` says that the process answers; ``/readyz`` that it wants traffic;
``/status`` sums up without telling a tier, a backend, a model or a URL.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from klein import Klein
from msgspec import Struct

from lmgateway.dialects.document import encode
from lmgateway.surfaces.answers import Answers
from lmgateway.telemetry.traffic import Stats, Traffic
from lmgateway.wire.request import Request

SETUP_URL = "https://github.com/lmgateway/lmgateway#readme"


class HealthSurface(Struct, frozen=True, eq=False):
    """
    The routes.

    Attributes:
        uptime: Seconds since the start.
        missing_keys: How many backends name a key that is not there.
        leaving: Whether the gateway is about to stop.
        refusing: Whether it serves nobody, since usage cannot be recorded.
        stats: Sums up what several processes have served; ``None``: this one serves all.
    """

    answers: Answers
    traffic: Traffic
    uptime: Callable[[], float]
    missing_keys: Callable[[], int]
    leaving: Callable[[], bool]
    refusing: Callable[[], bool]
    stats: Callable[[], Awaitable[Stats]] | None = None
    app: ClassVar[Klein] = Klein()

    @app.route("/healthz", methods=["GET"])
    @app.route("/livez", methods=["GET"])
    @app.route("/health", methods=["GET"])
    @app.route("/health/live", methods=["GET"])
    @app.route("/health/liveness", methods=["GET"])
    @app.route("/health/liveliness", methods=["GET"])
    async def healthz(self, request: Request) -> None:
        """Say that the process answers."""
        self.answers.json(request, 200, b'{"status":"ok"}')

    @app.route("/readyz", methods=["GET"])
    @app.route("/health/ready", methods=["GET"])
    @app.route("/health/readiness", methods=["GET"])
    async def readyz(self, request: Request) -> None:
        """Say whether traffic is wanted."""
        if self.leaving():
            self.answers.json(request, 503, b'{"status":"draining"}')
        elif self.refusing():
            self.answers.json(request, 503, b'{"status":"unrecordable"}')
        else:
            self.answers.json(request, 200, b'{"status":"ready"}')

    @app.route("/", methods=["GET"])
    async def root(self, request: Request) -> None:
        """Greet: some clients ask whether anybody is there."""
        self.answers.json(request, 200, b'{"status":"ok","service":"lmgateway"}')

    @app.route("/status", methods=["GET"])
    async def status(self, request: Request) -> None:
        """Sum up."""
        stats = self.traffic.stats() if self.stats is None else await self.stats()
        total = stats.total_requests
        missing = self.missing_keys()
        document: dict[str, Any] = {
            "status": "ok",
            "ready": not missing,
            "uptime_secs": int(self.uptime()),
            "requests": {
                "total": total,
                "errors": stats.error_count,
                "error_rate": stats.error_count / total if total else 0.0,
                "escalations": stats.escalation_count,
                "avg_latency_ms": stats.avg_latency_ms,
            },
        }
        if missing:
            document["setup_url"] = SETUP_URL
        self.answers.json(request, 200, encode(document))
