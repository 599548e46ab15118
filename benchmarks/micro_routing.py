"""What it costs to decide where a request goes, up to the first step of its plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.insides import BACKEND, chat, config_of, exchange_of, graph_of, resources
from benchmarks.timing import Run, finish
from lmgateway.exchange import Exchange
from lmgateway.principal import Principal
from lmgateway.routing.ladder import Step
from lmgateway.routing.router import Router

TIERS = (10, 100, 1000)
RULES = (10, 1000)

_SOMEBODY = Principal(name="", profile="default", anonymous=True)
_TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
_FORM = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}


def routing_runs(folder: Path) -> dict[str, Run]:
    """Give what is to be timed, by measure."""
    runs = {}
    for count in TIERS:
        plain, able = (
            router(folder, tiers_text(count)),
            router(folder, tiers_text(count, able=True)),
        )
        runs[f"route_plain_{count}_us"] = deciding(plain, asked("t0"))
        runs[f"route_needs_{count}_us"] = deciding(able, asked("t0", tools=[_TOOL]))
        last = asked("t0", tools=[_TOOL], response_format=_FORM)
        runs[f"route_last_{count}_us"] = deciding(able, last)
    for count in RULES:
        ruled = router(folder, tiers_text(10) + rules_text(count))
        runs[f"route_rules_{count}_us"] = deciding(ruled, asked("t0", team=f"team{count - 1}"))
    return runs


def tiers_text(count: int, *, able: bool = False) -> str:
    """
    Write a config of so many tiers.

    Args:
        able: Whether each says what it can do, and how large its window is: all can use
            tools, and only the last can keep to a schema.
    """
    tiers = []
    for number in range(count):
        tier = f'[[tiers]]\nname = "t{number}"\nbackend = "only"\nmodel = "m{number}"\n'
        if able:
            also = ', "json_schema"' if number == count - 1 else ""
            tier += f'max_context_tokens = {8192 + number}\ncapabilities = ["tools"{also}]\n'
        tiers.append(tier)
    profile = '[profiles.default]\nmode = "dispatch"\nclassifier = "t0"\n'
    return BACKEND + "".join(tiers) + profile


def rules_text(count: int) -> str:
    """Write so many rules of the profile that the text before them ends with."""
    return "".join(
        "[[profiles.default.rules]]\n"
        f'when = {{ "@header.X-Team" = "team{number}" }}\nroute_to = "t{number % 10}"\n'
        for number in range(count)
    )


def router(folder: Path, text: str) -> Router:
    """Wire a config; give its router."""
    return graph_of(config_of(text, folder), resources()).router


def asked(model: str, team: str | None = None, **members: Any) -> Exchange:
    """Open an exchange that asks for a model."""
    headers = {} if team is None else {"x-team": team}
    return exchange_of(chat(model, **members), _SOMEBODY, headers=headers)


async def first_step(router: Router, exchange: Exchange) -> Step:
    """Decide, and look at what is tried first."""
    decision = await router.decide(exchange)
    assert decision.plan is not None, "some backend is asked"
    return next(iter(decision.plan))


def deciding(router: Router, exchange: Exchange) -> Run:
    """Make the loop to be timed."""

    async def decide(count: int) -> None:
        for _ in range(count):
            await first_step(router, exchange)

    return lambda count: finish(decide(count))
