"""
``make check-bench``: whether a request costs more than it did, on any machine.

Calls are counted instead of seconds (see ``benchmarks.whole``), or instructions
(``benchmarks.instructions``), and compared with those written down in
``budgets.toml``.  Fails where one is exceeded by more than the margin.
"""

from __future__ import annotations

import argparse
import platform
import signal
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import instructions
from benchmarks.processes import BenchmarkError
from benchmarks.profiles import DEFAULT
from benchmarks.report import markdown
from benchmarks.whole import SCENARIOS, Scenario, Slices, calls, gateway_of, top

BUDGETS = Path(__file__).parent / "budgets.toml"
CALLS, INSTRUCTIONS = "calls", "instructions"
MARGINS = {CALLS: 0.05, INSTRUCTIONS: 0.10}
"""What is allowed over a budget: far more than what differs from run to run."""

_GOOD, _EXCEEDED, _FAILED = 0, 1, 2
_SHOWN = 60

Counts = Mapping[str, float]
"""Scenario by name, what was counted."""


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="make check-bench", description=(__doc__ or "").strip())
    parser.add_argument("--record", action="store_true", help="write what is measured as budgets")
    parser.add_argument("--only", metavar="TEXT", default="", help="scenarios with this in a name")
    parser.add_argument(
        "--top", action="store_true", help="show the functions that are called most instead"
    )
    parser.add_argument(
        "--instructions",
        dest="what",
        action="store_const",
        const=INSTRUCTIONS,
        default=CALLS,
        help="count instructions instead of calls, by valgrind: minutes",
    )
    parser.add_argument("--budgets", type=Path, default=BUDGETS, metavar="FILE")
    return parser.parse_args(given)


def version() -> str:
    """Name the interpreter: another one makes other calls."""
    return ".".join(platform.python_version_tuple()[:2])


def budgets_of(text: str, what: str, python: str) -> dict[str, float]:
    """Read the budgets that were recorded with an interpreter; none if none were."""
    return dict(tomllib.loads(text).get(what, {}).get(python, {}))


def recorded(text: str, what: str, python: str, counts: Counts) -> str:
    """Write counts as budgets, besides what else there was counted, and by other interpreters."""
    known: dict[str, dict[str, dict[str, float]]] = tomllib.loads(text)
    mine = known.setdefault(what, {})
    mine[python] = {**mine.get(python, {}), **counts}
    lines = [_HEAD]
    for kind, versions in sorted(known.items()):
        for name, budgets in sorted(versions.items()):
            lines.append(f'\n[{kind}."{name}"]\n')
            lines += [f'"{scenario}" = {count:.2f}\n' for scenario, count in budgets.items()]
    return "".join(lines)


_HEAD = """\
# What each scenario may take, by version of Python: see the page next to this file.
# Calls may be 5 % more.  Instructions, in turns of a loop that calibrates, may be 10 % more.
# Written by: make check-bench CHECK="--record", and CHECK="--record --instructions"
"""


def is_exceeded(count: float, budget: float | None, margin: float) -> bool:
    """Whether a count is over a budget by more than the margin."""
    return budget is not None and count > budget * (1 + margin)


def scenarios_of(what: str) -> Sequence[Scenario]:
    """Give what is counted so: of instructions only the default config's, since that is slow."""
    if what == CALLS:
        return SCENARIOS
    return [scenario for scenario in SCENARIOS if scenario.profile == DEFAULT]


def report(counts: Counts, budgets: Counts, what: str) -> str:
    """Write what was counted, beside what was allowed."""
    lines = [[f"{what} per", "counted", "budget", "change", ""]]
    for name, count in counts.items():
        budget = budgets.get(name)
        change = f"{(count / budget - 1) * 100:+.1f}%" if budget else ""
        shown = "" if budget is None else f"{budget:,.2f}"
        verdict = _verdict(count, budget, MARGINS[what])
        lines.append([name, f"{count:,.2f}", shown, change, verdict])
    return markdown(lines)


def _verdict(count: float, budget: float | None, margin: float) -> str:
    if budget is None:
        return "no budget"
    if is_exceeded(count, budget, margin):
        return "EXCEEDED"
    return "can be lowered" if count < budget * (1 - margin) else "ok"


def counted(scenarios: Sequence[Scenario], folder: Path, slices: Slices) -> dict[str, float]:
    """Run scenarios; give their calls by name."""
    found = {}
    for profile in dict.fromkeys(scenario.profile for scenario in scenarios):
        with gateway_of(profile, folder) as gateway:
            for scenario in scenarios:
                if scenario.profile == profile:
                    found[scenario.name] = calls(gateway, scenario, slices)
    return found


def show_top(scenarios: Sequence[Scenario], folder: Path, slices: Slices) -> None:
    """Print who is called, for each scenario."""
    for number, scenario in enumerate(scenarios):
        place = folder / str(number)
        place.mkdir()
        with gateway_of(scenario.profile, place) as gateway:
            found = top(gateway, scenario, slices)
        print(f"\n{scenario.name}: {sum(found.values()):,.1f} calls\n")
        for name, calls_ in list(found.items())[:_SHOWN]:
            print(f"{calls_:10.1f}  {name}")


def main(given: Sequence[str]) -> int:
    """Run; return 0 if nothing is exceeded, 1 if something is, 2 if it could not be measured."""
    options = arguments(given)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    scenarios = [each for each in scenarios_of(options.what) if options.only in each.name]
    try:
        with tempfile.TemporaryDirectory(prefix="lmgateway-check-") as folder:
            if options.top:
                show_top(scenarios, Path(folder), Slices())
                return _GOOD
            if options.what == INSTRUCTIONS:
                counts = instructions.counted(scenarios, Path(folder))
            else:
                counts = counted(scenarios, Path(folder), Slices())
    except BenchmarkError as error:
        print(f"make check-bench: {error}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        print("make check-bench: interrupted", file=sys.stderr)
        return _FAILED
    return judged(counts, options)


def judged(counts: Counts, options: argparse.Namespace) -> int:
    """Print the report; write the budgets, if that is asked for; give the exit status."""
    what, python = options.what, version()
    text = options.budgets.read_text() if options.budgets.exists() else ""
    budgets = budgets_of(text, what, python)
    print(report(counts, budgets, what))
    if options.record:
        options.budgets.write_text(recorded(text, what, python, counts))
        return _GOOD
    if not budgets:
        print(f"There are no budgets for Python {python}; --record writes them.")
    margin = MARGINS[what]
    exceeded = any(is_exceeded(count, budgets.get(name), margin) for name, count in counts.items())
    return _EXCEEDED if exceeded else _GOOD


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
