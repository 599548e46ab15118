"""
From requests to routes, at the price of a dictionary look-up.

Nearly all of our routes are fixed paths, so those are looked up in a table of
``(method, path)``; the apps are asked for the others one after the other.  The
apps are ours (``wire.app``), or Klein's (``wire.klein_app``).

A handler answers through its request and returns nothing.  When the client
leaves, the handler's Deferred is cancelled, and that is the only signal.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from lmgateway.wire.app import App, Call
from lmgateway.wire.request import Request
from lmgateway.wire.running import Running

if TYPE_CHECKING:
    from klein import Klein

    from lmgateway.wire.klein_app import KleinApp

_log = Logger()


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
        apps: Apps, each bound to its instance; the first that matches answers.
        fallback: Answers everything else.

    Raises:
        ValueError: If a route names no methods, or two name the same path and method.
    """

    def __init__(self, apps: Sequence[App | Klein], fallback: Fallback) -> None:
        self._fallback = fallback
        self._fixed: dict[tuple[bytes, bytes], Call] = {}
        self._paths: dict[bytes, set[str]] = {}
        self._open: list[App | KleinApp] = []
        for app in apps:
            self._add(app if isinstance(app, App) else _klein(app))

    def _add(self, app: App | KleinApp) -> None:
        for rule, methods, call in app.fixed():
            path = rule.encode()
            for method in methods:
                key = (method.encode(), path)
                if key in self._fixed:
                    raise ValueError(f"Two routes answer {method} {rule}.")
                self._fixed[key] = call
            self._paths.setdefault(path, set()).update(methods)
        if app.is_variable:
            self._open.append(app)

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
        """Match the path against those with variable parts."""
        fallback = self._fallback
        path = decoded(request.path)
        if path is None:
            return fallback.not_found
        method = request.method.decode()
        allow = set(self._paths.get(request.path, ()))
        for app in self._open:
            call = app.find(path, method, allow)
            if call is not None:
                return call
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


def _klein(app: Klein) -> KleinApp:
    from lmgateway.wire.klein_app import KleinApp  # with Klein; the client port has no use for it

    return KleinApp(app)


def decoded(path: bytes) -> str | None:
    """Give the path as text, or ``None`` where it is none."""
    try:
        text = unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None
