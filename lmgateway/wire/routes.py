"""
From requests to Klein routes, at the price of a dictionary look-up.

Klein binds a werkzeug map and builds several objects for each request.  Nearly
all of our routes are fixed paths, so those are looked up in a table of
``(method, path)``; rules with variable parts go through werkzeug, one adapter
kept per app.  A fixed route's handler is found once, and called without the
wrapper that Klein puts round it.  Unlike Klein's resource this never redirects,
never writes HTML and never logs a client's mistake.

A handler answers through its request and returns nothing.  When the client
leaves, the handler's Deferred is cancelled, and that is the only signal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import CoroutineType
from typing import Protocol
from urllib.parse import unquote_to_bytes

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import MapAdapter, Rule

from lmgateway.wire.request import Request
from lmgateway.wire.running import Running

_log = Logger()

Call = Callable[[Request], object]


class Fallback(Protocol):
    """Answers what no route does."""

    def not_found(self, request: Request) -> object:
        """No route has this path."""

    def method_not_allowed(self, request: Request, allow: Sequence[str]) -> object:
        """Routes have this path, but only for the methods in *allow*."""

    def failed(self, request: Request) -> object:
        """
        A route failed before it wrote anything.

        ``request.interruption`` says why if it was the gateway that ended it.
        """


class Routes:
    """
    The routes of one port.

    Args:
        apps: Klein apps, each bound to its instance; the first that matches answers.
        fallback: Answers everything else.

    Raises:
        ValueError: If a route names no methods, or two name the same path and method.
    """

    def __init__(self, apps: Sequence[Klein], fallback: Fallback) -> None:
        self._fallback = fallback
        self._fixed: dict[tuple[bytes, bytes], Call] = {}
        self._paths: dict[bytes, set[str]] = {}
        self._open: list[tuple[Klein, MapAdapter]] = []
        for app in apps:
            self._add(app)

    def _add(self, app: Klein) -> None:
        variable = False
        for rule in app.url_map.iter_rules():
            if not rule.methods:
                raise ValueError(f"The route {rule.rule} names no methods.")
            if rule.arguments:
                variable = True
            else:
                self._add_fixed(app, rule, rule.methods)
        if variable:
            self._open.append((app, app.url_map.bind("localhost")))

    def _add_fixed(self, app: Klein, rule: Rule, methods: Iterable[str]) -> None:
        path = rule.rule.encode()
        call = _bound(app, rule.endpoint)
        for method in methods:
            key = (method.encode(), path)
            if key in self._fixed:
                raise ValueError(f"Two routes answer {method} {rule.rule}.")
            self._fixed[key] = call
        self._paths.setdefault(path, set()).update(methods)

    def dispatch(self, request: Request) -> None:
        """Have the matching route, or the fallback, answer."""
        call = self._fixed.get((request.method, request.path)) or self._find(request)
        try:
            route = call(request)
        except Exception:
            self._fail(Failure(), request)
            return
        if type(route) is CoroutineType:
            running = request.route = Running(route, request, self._check, self._fail)
            running.start()
        elif isinstance(route, Deferred):
            request.route = route
            route.addCallbacks(lambda _: self._check(request), self._fail, errbackArgs=(request,))
        else:
            self._check(request)

    def _find(self, request: Request) -> Call:
        """Match the path against the rules with variable parts."""
        fallback = self._fallback
        path = decoded(request.path)
        if path is None:
            return fallback.not_found
        method = request.method.decode()
        allow = set(self._paths.get(request.path, ()))
        for app, adapter in self._open:
            try:
                rule, values = adapter.match(path, method, return_rule=True)
            except MethodNotAllowed as error:
                allow.update(error.valid_methods or ())
            except HTTPException:
                continue
            else:
                if not rule.arguments:
                    continue  # another spelling of a fixed path, which has but one
                return partial(_execute, app, rule.endpoint, values)
        if allow:
            return partial(fallback.method_not_allowed, allow=tuple(sorted(allow)))
        return fallback.not_found

    def _check(self, request: Request) -> None:
        """See that a handler that is done has answered."""
        request.route = None  # which leads back to the request
        if request.gone:
            return
        _log.error("A route for {path!r} ended without an answer.", path=request.path)
        self._give_up(request)

    def _fail(self, failure: Failure, request: Request) -> None:
        """An exception escaped a handler."""
        request.route = None
        if failure.check(CancelledError) is None:
            _log.failure("A route for {path!r} failed.", failure, path=request.path)
        if not request.gone:
            self._give_up(request)

    def _give_up(self, request: Request) -> None:
        if request.startedWriting:
            request.abort()
            return
        try:
            self._fallback.failed(request)
        except Exception:
            _log.failure("The fallback failed.")
        if not request.gone:
            request.respond(500, (), b"")


def _bound(app: Klein, endpoint: str) -> Call:
    """The handler of *endpoint*, as ``app.execute_endpoint`` would find it each time."""
    function = getattr(app.endpoints[endpoint], "__original__", None)
    if function is None or app._instance is None:
        return partial(app.execute_endpoint, endpoint)
    return partial(function, app._instance)


def _execute(app: Klein, endpoint: str, values: Mapping[str, object], request: Request) -> object:
    return app.execute_endpoint(endpoint, request, **values)


def decoded(path: bytes) -> str | None:
    """Give the path as text, or ``None`` where it is none."""
    try:
        text = unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None
