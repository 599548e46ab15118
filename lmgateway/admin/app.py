"""
The admin port: what the operator sees, and the one place that changes anything.

``GET /admin/health``, ``GET /admin/traffic``, ``GET /admin/config``, ``GET /admin/backends``,
``GET /admin/backends/health``, ``POST /admin/reload``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from attrs import frozen
from klein import Klein

from lmgateway.admin.answers import answer, refuse
from lmgateway.errors import ConfigError, MalformedRequest
from lmgateway.telemetry.traffic import Traffic, as_document
from lmgateway.wire.request import Request

DEFAULT_LIMIT = 100


@frozen(eq=False)
class AdminPort:
    """
    The routes.

    Attributes:
        health: Gives the document of ``/admin/health``.
        config: Gives the effective configuration, without secrets.
        reload: Applies the file anew; raises ``ConfigError`` and changes nothing if it is bad.
        observed: Gives the document of ``/admin/backends``.
        probed: Gives the document of ``/admin/backends/health``, once all were asked.
    """

    traffic: Traffic
    health: Callable[[], dict[str, Any]]
    config: Callable[[], dict[str, Any]]
    reload: Callable[[], None]
    observed: Callable[[], dict[str, Any]]
    probed: Callable[[], Awaitable[dict[str, Any]]]
    app: ClassVar[Klein] = Klein()

    @app.route("/healthz", methods=["GET"])
    async def healthz(self, request: Request) -> None:
        """Say that the process answers; needs no token."""
        answer(request, 200, {"status": "ok"})

    @app.route("/admin/health", methods=["GET"])
    async def show_health(self, request: Request) -> None:
        """Show readiness and counts."""
        answer(request, 200, self.health())

    @app.route("/admin/traffic", methods=["GET"])
    async def show_traffic(self, request: Request) -> None:
        """Show the newest entries, and what the whole ring says in sum."""
        try:
            limit = _limit(request)
        except MalformedRequest as error:
            refuse(request, error)
            return
        document = {
            "stats": as_document(self.traffic.stats()),
            "entries": as_document(self.traffic.newest(limit)),
        }
        answer(request, 200, document)

    @app.route("/admin/config", methods=["GET"])
    async def show_config(self, request: Request) -> None:
        """Show the effective configuration."""
        answer(request, 200, self.config())

    @app.route("/admin/backends", methods=["GET"])
    async def show_backends(self, request: Request) -> None:
        """Show breakers, places and queues."""
        answer(request, 200, self.observed())

    @app.route("/admin/backends/health", methods=["GET"])
    async def show_backends_health(self, request: Request) -> None:
        """Ask every backend whether it is well; 207 if one is not."""
        document = await self.probed()
        well = all(backend["status"] == "ok" for backend in document["backends"])
        answer(request, 200 if well else 207, document)

    @app.route("/admin/reload", methods=["POST"])
    async def do_reload(self, request: Request) -> None:
        """Apply the file anew, or say exactly why not."""
        try:
            self.reload()
        except ConfigError as error:
            answer(request, 422, {"error": str(error), "problems": list(error.problems)})
        else:
            answer(request, 200, {"status": "reloaded"})


def _limit(request: Request) -> int:
    values = request.args.get(b"limit")
    if not values:
        return DEFAULT_LIMIT
    text = values[-1]
    if not text.isdigit() or len(text) > 9:
        raise MalformedRequest("The parameter 'limit' must be a whole number.", param="limit")
    return int(text)
