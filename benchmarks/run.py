"""
``make bench``: the gateway beside nginx and a direct call, in one run.

The gateway runs with three configs: bare, default ("ours" in the table) and
everything.  Needs gcc, wrk and nginx, and names the Debian packages where they
are missing.  All of it is on loopback; the gateways and nginx have one core,
the load and the mock backend another.  See ``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import cores as workers
from benchmarks.load import compile_tools
from benchmarks.measure import GROUPS, IN_PROCESS, SOAK, Measuring, Plan, Record
from benchmarks.micro import rows
from benchmarks.processes import BenchmarkError, Cores, raise_file_limit
from benchmarks.report import ROWS, comparison, medians_of, own_table, table
from benchmarks.subjects import HERE, OURS, SUBJECTS, Bench

PACKAGES = {"gcc": "gcc libc6-dev", "wrk": "wrk", "nginx": "nginx-light"}
_MEASURED, _FAILED, _UNEQUIPPED = 0, 1, 2
_FILES = 8192
_BUSY = 0.5


def names_of(allowed: Sequence[str]) -> Any:
    """Make a parser of comma-separated names that are all among *allowed*."""

    def parse(text: str) -> list[str]:
        names = text.split(",")
        unknown = [name for name in names if name not in allowed]
        if unknown:
            expected = ", ".join(allowed)
            raise argparse.ArgumentTypeError(f"no {unknown[0]!r} among {expected}")
        return [name for name in allowed if name in names]

    return parse


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").strip())
    parser.add_argument("--quick", action="store_true", help="measure once and shortly")
    parser.add_argument(
        "--only",
        type=names_of(list(GROUPS)),
        default=list(GROUPS),
        metavar="GROUPS",
        help=f"some of {','.join(GROUPS)}",
    )
    parser.add_argument(
        "--subjects",
        type=names_of(SUBJECTS),
        default=list(SUBJECTS),
        metavar="NAMES",
        help=f"some of {','.join(SUBJECTS)}",
    )
    parser.add_argument(
        "--soak", action="store_true", help="only see whether memory grows with requests: 3 minutes"
    )
    parser.add_argument("--workers", action="store_true", help="only compare workers: 1 minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all values here")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="an earlier --json file")
    parser.add_argument("--limit", type=float, default=300, metavar="SECONDS", help="for all")
    parser.add_argument(
        "--twistd",
        type=Path,
        default=Path(sys.executable).parent / "twistd",
        metavar="PATH",
        help="of the environment that has the gateway; default: this one's",
    )
    options = parser.parse_args(given)
    if options.soak:
        options.only, options.subjects = [SOAK], [OURS]
    return options


def missing(subjects: Sequence[str], groups: Sequence[str]) -> list[str]:
    """Name the Debian packages without which these subjects cannot be measured."""
    if IN_PROCESS.issuperset(groups):
        return []
    wanted = {tool: PACKAGES[tool] for tool in PACKAGES if tool != "nginx" or "nginx" in subjects}
    return [package for tool, package in wanted.items() if shutil.which(tool) is None]


def machine() -> dict[str, str]:
    """Say on what it was measured."""
    cpu = Path("/proc/cpuinfo").read_text()
    model = next((line for line in cpu.splitlines() if line.startswith("model name")), ": unknown")
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpu": model.partition(":")[2].strip(),
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip() or "unknown",
    }


def measure(options: argparse.Namespace, folder: Path) -> Record:
    """
    Measure what the command line asks for.

    Raises:
        BenchmarkError: If that cannot be done.
    """
    if OURS in options.subjects and not options.twistd.exists():
        raise BenchmarkError(f"There is no {options.twistd}; `make bench` makes one.")
    record = Record(time.perf_counter() + options.limit)
    cores = Cores.available()
    busy = os.getloadavg()[0]
    if busy > _BUSY:
        record.remark(f"Other work ran beside this (load average {busy:.1f}): trust the ratios.")
    if not cores.apart:
        record.remark("There is one core only: the load is in the way of what is measured.")
    if raise_file_limit() < _FILES:
        raise BenchmarkError(f"Needs {_FILES} open files (ulimit -Hn).")
    tools = HERE / "build"
    if not IN_PROCESS.issuperset(options.only):
        compile_tools(tools)
    plan = Plan.quick() if options.quick else Plan()
    bench = Bench(folder, tools, options.twistd, cores)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cores.load})
    try:
        if options.workers:
            print(workers.compare(bench))
            return record
        Measuring(bench, plan, options.subjects, record, _say).run(options.only)
    finally:
        os.sched_setaffinity(0, before)
    return record


def show(record: Record, options: argparse.Namespace) -> None:
    """Print the table, and write the files."""
    medians = medians_of(record.samples)
    facts = machine()
    document = {"machine": facts, "remarks": record.remarks, "medians": medians}
    text = json.dumps(document | {"samples": record.samples}, indent=1) + "\n"
    last = HERE / "results" / "last.json"
    before = json.loads(options.compare.read_text())["medians"] if options.compare else None
    last.parent.mkdir(exist_ok=True)
    for path in (last, options.json):
        if path is not None:
            path.write_text(text)
    print(f"\n{', '.join(f'{name} {value}' for name, value in facts.items())}\n")
    tables = (table(medians), own_table(medians, rows()))
    print("\n\n".join(text for text in tables if text))
    for remark in record.remarks:
        print(f"\nNote: {remark}")
    if before is not None:
        print(f"\n{comparison(before, medians, (*ROWS, *rows()))}")


def main(given: Sequence[str]) -> int:
    """Run; return 0 if measured, 1 if it could not be, 2 if packages are missing."""
    options = arguments(given)
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    packages = missing(options.subjects, options.only)
    if packages:
        print(f"make bench needs: apt-get install {' '.join(packages)}", file=sys.stderr)
        return _UNEQUIPPED
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="lmgateway-bench-") as folder:
            record = measure(options, Path(folder))
        if record.samples:
            show(record, options)
    except BenchmarkError as error:
        print(f"make bench: {error}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        print("make bench: interrupted", file=sys.stderr)
        return _FAILED
    return _MEASURED


def _say(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
