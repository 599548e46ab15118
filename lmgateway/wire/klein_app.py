"""
Klein apps as ``wire.routes`` wants them.

Klein binds a werkzeug map and builds several objects for each request.  Here fixed paths are
read out of the map once; the rest goes through one adapter kept per app.  A fixed route's
method is found once, and called without the wrapper that Klein puts round it.  Unlike Klein's
resource this never redirects, never writes HTML and never logs a client's mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from klein import Klein
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from lmgateway.wire.app import Call
from lmgateway.wire.request import Request


class KleinApp:
    """
    One app, and what ``wire.routes`` asks of it.

    Args:
        app: Bound to its instance, if its routes are methods.

    Raises:
        ValueError: If a route names no methods.
    """

    def __init__(self, app: Klein) -> None:
        self._app = app
        self._rules = list(app.url_map.iter_rules())
        for rule in self._rules:
            if not rule.methods:
                raise ValueError(f"The route {rule.rule} names no methods.")
        self._adapter = app.url_map.bind("localhost")

    def fixed(self) -> Iterator[tuple[str, Iterable[str], Call]]:
        """Give path, methods and bound method of each route without a variable part."""
        for rule in self._rules:
            if not rule.arguments:
                yield rule.rule, rule.methods or (), _bound(self._app, rule.endpoint)

    @property
    def is_variable(self) -> bool:
        """Whether any route has a variable part."""
        return any(rule.arguments for rule in self._rules)

    def find(self, path: str, method: str, allow: set[str]) -> Call | None:
        """Find what answers a path with a variable part; add to *allow* the methods it has."""
        try:
            rule, values = self._adapter.match(path, method, return_rule=True)
        except MethodNotAllowed as error:
            allow.update(error.valid_methods or ())
        except HTTPException:
            pass
        else:
            if rule.arguments:  # else another spelling of a fixed path, which has but one
                return partial(_execute, self._app, rule.endpoint, values)
        return None


def _bound(app: Klein, endpoint: str) -> Call:
    """The method for *endpoint*, as ``app.execute_endpoint`` would find it each time."""
    function = getattr(app.endpoints[endpoint], "__original__", None)
    if function is None or app._instance is None:
        return partial(app.execute_endpoint, endpoint)
    return partial(function, app._instance)


def _execute(app: Klein, endpoint: str, values: Mapping[str, object], request: Request) -> object:
    return app.execute_endpoint(endpoint, request, **values)
