"""
The routes of a class, declared on its methods as Klein has them declared.

    class Models:
        app: ClassVar[App] = App()

        @app.route("/v1/models/<path:name>", methods=["GET"])
        def show(self, request: Request, name: str) -> None: ...

A path is fixed, or ends in one variable part, ``<path:name>``, which takes all that is left of
it.  That is all the client port needs; the admin port, which has more kinds, is made of Klein
apps (``wire.klein_app``).  Importing Klein, with the werkzeug that it brings along, and having
it compile these few rules was an eighth of the time to start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from lmgateway.classes import frozen

if TYPE_CHECKING:
    from lmgateway.wire.request import Request

Call: TypeAlias = "Callable[[Request], object]"
Function = TypeVar("Function", bound=Callable[..., Any])

_VARIABLE = re.compile(r"(?P<prefix>/[^<>]*/)<path:(?P<name>\w+)>")


@frozen(kw_only=True, eq=False)
class Route:
    """
    One declared route.

    Attributes:
        path: The path, perhaps with a variable part at its end.
        methods: Those that it answers; HEAD wherever GET is.
        function: What answers, not bound to an instance yet.
        prefix: What comes before the variable part; empty if there is none.
        name: What the variable part is called.
    """

    path: str
    methods: frozenset[str]
    function: Callable[..., object]
    prefix: str = ""
    name: str = ""

    @classmethod
    def declared(cls, path: str, methods: Iterable[str], function: Callable[..., object]) -> Route:
        """
        Make one of what was declared.

        Raises:
            ValueError: If the path is of no kind that is known here.
        """
        given = frozenset(methods)
        whole = given | {"HEAD"} if "GET" in given else given
        if "<" not in path:
            return cls(path=path, methods=whole, function=function)
        found = _VARIABLE.fullmatch(path)
        if found is None:
            raise ValueError(
                f"The route {path} has a variable part that is not <path:...> at its end."
            )
        return cls(path=path, methods=whole, function=function, **found.groupdict())

    def rest(self, path: str) -> str:
        """Give what the variable part would be of a path; nothing if it does not fit."""
        rest = path.removeprefix(self.prefix)
        return "" if rest == path or rest.startswith("/") else rest


class App:
    """
    Routes, bound to an instance of their class where they are taken from one.

    Attributes:
        routes: What was declared, in that order.
    """

    def __init__(self) -> None:
        self.routes: list[Route] = []
        self._instance: object = None

    def __get__(self, instance: object, owner: type) -> App:
        """Bind them to the instance that they are taken from."""
        if instance is None:
            return self
        bound = App()
        bound.routes, bound._instance = self.routes, instance
        return bound

    def route(self, path: str, *, methods: Iterable[str]) -> Callable[[Function], Function]:
        """Declare what the decorated method answers."""

        def declare(function: Function) -> Function:
            self.routes.append(Route.declared(path, methods, function))
            return function

        return declare

    # What ``wire.routes`` asks ---------------------------------------------------
    def fixed(self) -> Iterator[tuple[str, Iterable[str], Call]]:
        """Give path, methods and bound method of each route without a variable part."""
        for route in self.routes:
            if not route.name:
                yield route.path, route.methods, partial(route.function, self._instance)

    @property
    def is_variable(self) -> bool:
        """Whether any route has a variable part."""
        return any(route.name for route in self.routes)

    def find(self, path: str, method: str, allow: set[str]) -> Call | None:
        """Find what answers a path with a variable part; add to *allow* the methods it has."""
        for route in self.routes:
            if route.name and (rest := route.rest(path)):
                if method in route.methods:
                    return partial(route.function, self._instance, **{route.name: rest})
                allow |= route.methods
        return None
