"""``python -m tests.gates NAME [--option value ...]``: run one release gate."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from tests.gates.api import api
from tests.gates.restart import Plan, restart
from tests.gates.starts import starts


def _restart(options: argparse.Namespace) -> bool:
    return restart(Plan(restarts=options.restarts, reloads=options.reloads))


def _starts(options: argparse.Namespace) -> bool:
    return starts()


def _api(options: argparse.Namespace) -> bool:
    return api(options.examples)


GATES: dict[str, Callable[[argparse.Namespace], bool]] = {
    "api": _api,
    "restart": _restart,
    "starts": _starts,
}


def main() -> int:
    """Run the gate that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.gates", description=__doc__)
    parser.add_argument("gate", choices=sorted(GATES))
    parser.add_argument("--restarts", type=int, default=10, help="of the gate restart")
    parser.add_argument("--reloads", type=int, default=100, help="of the gate restart")
    parser.add_argument("--examples", type=int, default=50, help="of each route of the gate api")
    options = parser.parse_args()
    passed = GATES[options.gate](options)
    sys.stdout.write(f"gate {options.gate}: {'passed' if passed else 'FAILED'}\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
