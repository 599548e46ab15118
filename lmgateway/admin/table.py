"""All routes of the admin port in one table: what the door asks, and what is documented."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from klein import Klein
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, MapAdapter, Rule

from lmgateway.admin.declared import Declared, Topic
from lmgateway.wire.door import Head
from lmgateway.wire.routes import decoded


class Routed(Protocol):
    """An object with the routes of one topic."""

    topic: ClassVar[Topic]


class RouteTable:
    """
    The declared routes.

    Args:
        routed: Objects with routes; of two that fit a path, the first answers.

    Attributes:
        apps: What is to be served.
        declared: Every route.

    Raises:
        ValueError: If an app has a route that is not declared.
    """

    def __init__(self, routed: Sequence[Routed]) -> None:
        self.apps: list[Klein] = [each.topic.bound(each) for each in routed]
        self.declared = [one for each in routed for one in each.topic.declared]
        self._fixed: dict[tuple[bytes, bytes], Declared] = {}
        self._open: list[MapAdapter] = []
        for each, app in zip(routed, self.apps, strict=True):
            self._add(each.topic, app)

    def _add(self, topic: Topic, app: Klein) -> None:
        declared = {f"{one.method} {one.path}": one for one in topic.declared}
        if {rule.endpoint for rule in app.url_map.iter_rules()} != set(declared):
            raise ValueError(f"The topic {topic.name!r} has a route that is not declared.")
        rules = [
            Rule(rule.rule, methods=rule.methods, endpoint=declared[rule.endpoint])
            for rule in app.url_map.iter_rules()
        ]
        for rule in rules:
            for method in () if "<" in rule.rule else rule.methods or ():
                self._fixed[method.encode(), rule.rule.encode()] = declared[
                    f"{'GET' if method == 'HEAD' else method} {rule.rule}"
                ]
        if any("<" in rule.rule for rule in rules):
            self._open.append(Map(rules).bind("localhost"))  # as ``wire.routes`` does

    def find(self, head: Head) -> Declared | None:
        """Say which route a request goes to."""
        fixed = self._fixed.get((head.method, head.path))
        if fixed is not None:
            return fixed
        path = decoded(head.path)
        for adapter in self._open if path is not None else ():
            try:
                found: Declared = adapter.match(path, head.method.decode("latin-1"))[0]
            except HTTPException:
                continue
            return found
        return None
