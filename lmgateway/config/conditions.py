"""What a rule may ask for, in ``when``, and what is wrong with what it asks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from lmgateway.classes import frozen
from lmgateway.config.merge import KeyPath
from lmgateway.config.patterns import test_of
from lmgateway.config.report import Report, quoted, suggestion
from lmgateway.config.schema import Capability, ProfileSection, RuleSection, Settings

HEADER = "@header."
FACTS = ("@client", "@model", "@needs", "@profile", "@text", "@tokens")

PRIVATE_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})

_SIZE = re.compile(r"\s*(<=|>=|<|>)\s*(\d{1,9})\s*")
_COMPARE: Mapping[str, Callable[[int, int], bool]] = {
    "<": int.__lt__,
    "<=": int.__le__,
    ">": int.__gt__,
    ">=": int.__ge__,
}
_NEEDS: tuple[str, ...] = Capability.__args__  # type: ignore[attr-defined]  # of a Literal


@frozen
class Comparison:
    """A comparison with a number, as ``@tokens`` has it."""

    holds: Callable[[int, int], bool]
    limit: int


def comparison(value: str) -> Comparison:
    """
    Read ``">8000"``.

    Raises:
        ValueError: If it is no comparison.
    """
    match = _SIZE.fullmatch(value)
    if match is None:
        raise ValueError("must be a comparison with a number, as in '>8000'")
    return Comparison(_COMPARE[match[1]], int(match[2]))


def needs_named(value: str) -> frozenset[str]:
    """Read ``"vision, tools"``."""
    return frozenset(need.strip().casefold() for need in value.split(","))


def targets(profile: ProfileSection) -> Iterator[tuple[int, str]]:
    """Give every name that a profile's rules lead to, with the rule's position."""
    for position, rule in enumerate(profile.rules):
        for destination in rule.destinations:
            yield position, destination.to


def check_rule(
    path: KeyPath, who: str, rule: RuleSection, settings: Settings, report: Report
) -> None:
    """Report what is wrong with one rule."""
    known = sorted({*settings.profiles, *settings.aliases, *(t.name for t in settings.tiers)})
    here: KeyPath = (*path, "route_to")
    if not rule.destinations:
        report.problem(here, f"{who}must name at least one profile, tier or alias")
    for destination in rule.destinations:
        if destination.to not in known:
            text = f"{who}there is no profile, tier or alias {quoted(destination.to)}"
            report.problem(here, text + suggestion(destination.to, known))
    for key, value in rule.when.items():
        fault = _fault(key.casefold(), value)
        if fault is not None:
            report.problem((*path, "when", key), fault)


def _fault(key: str, value: str) -> str | None:
    if not key:
        return "is not the name of a tag"
    if key.startswith("@") and key not in FACTS and not key.startswith(HEADER):
        return "is no fact" + suggestion(key, [*FACTS, f"{HEADER}NAME"], "allowed here")
    if key.startswith(HEADER) and key.removeprefix(HEADER) in PRIVATE_HEADERS:
        return "is a header that carries a credential"
    if key == "@needs":
        unknown = sorted(needs_named(value).difference(_NEEDS))
        return f"names {unknown[0]!r}" + suggestion(unknown[0], _NEEDS) if unknown else None
    try:
        comparison(value) if key == "@tokens" else test_of(value)
    except ValueError as error:
        return str(error)
    return None
