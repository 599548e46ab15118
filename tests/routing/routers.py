"""Routers over backends that answer from memory, for tests of routing alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from attrs import define, field
from twisted.internet.task import Clock

from lmgateway.backend_errors import BackendOverloaded
from lmgateway.backends.base import Call, Reply
from lmgateway.dialects.base import Dialect
from lmgateway.dialects.document import encode
from lmgateway.dialects.openai import OPENAI
from lmgateway.exchange import Exchange
from lmgateway.principal import Principal
from lmgateway.routing.cascade import Cascade
from lmgateway.routing.classify import Classifier
from lmgateway.routing.explain import Explaining
from lmgateway.routing.ladder import Climber, Ladder, Tier
from lmgateway.routing.policy import Directory, Policy
from lmgateway.routing.router import Router
from lmgateway.routing.tokens import Counter
from lmgateway.wire.timers import Wheel
from tests.fakes import LONG, completion


@define(eq=False)
class Memory:
    """
    A backend that answers at once.

    Attributes:
        down: The models that fail.
        label: What classifiers say.
    """

    name: str = "memory"
    dialect: str = "openai"
    down: set[str] = field(factory=set)
    label: str = "fast"
    calls: list[Call] = field(factory=list)

    @asynccontextmanager
    async def open(self, call: Call) -> AsyncIterator[Reply]:
        """Answer, or fail."""
        self.calls.append(call)
        asked = call.request.document
        classifying = asked.get("max_tokens") == 10 and asked.get("temperature") == 0
        if call.overrides.model in self.down and not classifying:
            raise BackendOverloaded()
        body = encode(completion(self.label if classifying else LONG, call.overrides.model))
        yield Reply(dialect="openai", body=body, answer=OPENAI.read_answer(body))

    async def probe(self) -> int:
        """Be well."""
        return 200


DIALECTS: Mapping[str, Dialect] = {"openai": OPENAI}


def ladder_of(backend: Memory, *tiers: Mapping[str, Any]) -> Ladder:
    """Make a ladder; each mapping is what a tier has beyond its backend and model."""
    made = [
        Tier(index=index, backend=backend, model=f"m{index}", **{"name": f"t:{index}", **tier})
        for index, tier in enumerate(tiers)
    ]
    return Ladder.of(made, {})


def policy_of(ladder: Ladder, **values: Any) -> Policy:
    """Make a profile whose own tier is the cheapest and whose ceiling is the dearest."""
    own = {
        "name": "default",
        "mode": "dispatch",
        "fallback": ladder.tiers[0],
        "ceiling": ladder.tiers[-1],
    }
    return Policy(**{**own, **values})


def router_of(
    ladder: Ladder, *policies: Policy, counter: Counter | None = None, clock: Clock | None = None
) -> Router:
    """Make a router for whoever asks; without policies there is a plain one."""
    climber = Climber(wheel=Wheel(clock or Clock()), random=Random(1))
    counter = counter or Counter()
    directory = Directory(
        ladder=ladder,
        policies={policy.name: policy for policy in policies or (policy_of(ladder),)},
        open=True,
    )
    return Router(
        directory=directory,
        climber=climber,
        dialects=DIALECTS,
        cascade=Cascade.of(
            directory, Classifier(climber=climber, dialects=DIALECTS), counter, tries=1
        ),
        explaining=Explaining(counter=counter),
    )


def exchange_of(body: Mapping[str, Any] | None = None, **values: Any) -> Exchange:
    """Make an exchange of one chat request."""
    document = {"messages": [{"role": "user", "content": "hi"}], **(body or {})}
    own: dict[str, Any] = {
        "id": "x",
        "surface": "openai",
        "path": "/v1/chat/completions",
        "peer": "127.0.0.1",
        "started": 0.0,
        "wall": 0.0,
        "principal": Principal(name="", profile="default", anonymous=True),
        "request": OPENAI.parse(encode(document), "chat"),
    }
    return Exchange(**{**own, **values})
