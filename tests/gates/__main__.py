"""``python -m tests.gates NAME [--option value ...]``: run one release gate, or ``all``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from tests.gates import cancel, slow, soak
from tests.gates.api import api
from tests.gates.restart import Plan, restart
from tests.gates.starts import starts


def _restart(options: argparse.Namespace) -> bool:
    return restart(Plan(restarts=options.restarts, reloads=options.reloads))


def _starts(options: argparse.Namespace) -> bool:
    return starts()


def _api(options: argparse.Namespace) -> bool:
    return api(options.examples)


def _slow(options: argparse.Namespace) -> bool:
    return slow.slow(slow.Plan(clients=options.clients, rounds=options.rounds))


def _cancel(options: argparse.Namespace) -> bool:
    return cancel.cancel(cancel.Plan(cancels=options.cancels))


def _soak(options: argparse.Namespace) -> bool:
    return soak.soak(soak.Plan(seconds=options.seconds, rate=options.rate))


GATES: dict[str, Callable[[argparse.Namespace], bool]] = {
    "api": _api,
    "cancel": _cancel,
    "restart": _restart,
    "slow": _slow,
    "soak": _soak,
    "starts": _starts,
}
ALL = ("slow", "cancel", "soak", "restart", "starts")
"""What ``all`` runs; ``api`` needs packages of its own."""


def main() -> int:
    """Run the gate that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.gates", description=__doc__)
    parser.add_argument("gate", choices=[*sorted(GATES), "all"])
    parser.add_argument("--restarts", type=int, default=10, help="of the gate restart")
    parser.add_argument("--reloads", type=int, default=100, help="of the gate restart")
    parser.add_argument("--examples", type=int, default=50, help="of each route of the gate api")
    parser.add_argument("--clients", type=int, default=1000, help="of the gate slow, of each kind")
    parser.add_argument("--rounds", type=int, default=3, help="of the gate slow, of each kind")
    parser.add_argument("--cancels", type=int, default=1000, help="of the gate cancel, in all")
    parser.add_argument("--seconds", type=float, default=300, help="of the gate soak")
    parser.add_argument("--rate", type=float, default=150, help="requests/s of the gate soak")
    options = parser.parse_args()
    names = ALL if options.gate == "all" else (options.gate,)
    passed = {name: _run(name, options) for name in names}
    for name, well in passed.items():
        _say(f"gate {name}: {'passed' if well else 'FAILED'}")
    return 0 if all(passed.values()) else 1


def _run(name: str, options: argparse.Namespace) -> bool:
    if options.gate == "all":
        _say(f"== {name}")
    try:
        return GATES[name](options)
    except (AssertionError, OSError) as error:  # what was started is stopped by then
        if options.gate != "all":
            raise
        _say(f"FAIL {type(error).__name__}: {error}")
        return False


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
