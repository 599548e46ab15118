"""What must hold between budgets and those who list them, or whom they name."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from lmgateway.config.budget import BudgetSection
from lmgateway.config.merge import KeyPath
from lmgateway.config.report import Report, quoted, suggestion
from lmgateway.config.schema import Settings

_NAMED = ("profile", "tier", "model")
"""The scopes that a budget itself says whose it is of."""


def check_budgets(settings: Settings, report: Report) -> None:
    """Report what cannot be in the budgets of *settings*, and in the lists of them."""
    seen: dict[str, KeyPath] = {}
    for position, budget in enumerate(settings.budgets):
        path: KeyPath = ("budgets", position)
        first = seen.setdefault(budget.name, (*path, "name"))
        if first != (*path, "name"):
            text = f"there is a budget {quoted(budget.name)} already, at {report.where(first)}"
            report.problem((*path, "name"), text)
        _check_names(path, budget, settings, report)
        _check_downgrade(path, budget, settings, report)
    for group, section in settings.groups.items():
        who = f"group {quoted(group)}: "
        for number, name in enumerate(section.budgets):
            here: KeyPath = ("groups", group, "budgets", number)
            check_listed(here, who, name, ("client", "group", "global"), settings, report)


def check_listed(
    path: KeyPath,
    who: str,
    name: str,
    scopes: tuple[str, ...],
    settings: Settings,
    report: Report,
) -> None:
    """Report a budget in a list that is not there, or is of none of these *scopes*."""
    known = {budget.name: budget.scope for budget in settings.budgets}
    scope = known.get(name)
    if scope is None:
        report.problem(path, f"{who}there is no budget {quoted(name)}" + suggestion(name, known))
    elif scope == "group" and scope not in scopes:
        report.problem(path, f'budget {quoted(name)} is for groups: its scope is "group"')
    elif scope not in scopes:
        text = f"budget {quoted(name)} is of {scope}s, whoever asks: nobody lists it"
        report.problem(path, text)


def _check_names(path: KeyPath, budget: BudgetSection, settings: Settings, report: Report) -> None:
    if budget.scope not in _NAMED:
        if budget.names:
            text = f'is not for scope = "{budget.scope}": clients and groups list their budgets'
            report.problem((*path, "names"), text)
        return
    known = [*_known(budget.scope, settings)]
    for position, name in enumerate(budget.names):
        if not any(fnmatchcase(each, name) for each in known):
            text = f"there is no {budget.scope} {quoted(name)}"
            report.problem((*path, "names", position), text + suggestion(name, known))


def _known(scope: str, settings: Settings) -> Iterable[str]:
    if scope == "profile":
        return settings.profiles
    if scope == "tier":
        return [tier.name for tier in settings.tiers]
    return {target.model for tier in settings.tiers for target in tier.all_targets}


def _check_downgrade(
    path: KeyPath, budget: BudgetSection, settings: Settings, report: Report
) -> None:
    here = (*path, "downgrade_to")
    tiers = [tier.name for tier in settings.tiers]
    if budget.on_exceeded != "downgrade":
        if budget.downgrade_to is not None:
            report.problem(here, 'is only for on_exceeded = "downgrade"')
    elif budget.downgrade_to is None:
        report.problem(here, 'must be given for on_exceeded = "downgrade"')
    elif budget.downgrade_to not in (*tiers, *settings.aliases):
        text = f"there is no tier or alias {quoted(budget.downgrade_to)}"
        report.problem(here, text + suggestion(budget.downgrade_to, tiers))
