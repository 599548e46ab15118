"""
``make bench-peers``: what a request costs in other gateways, beside ours, in one run.

Installs the other gateways from their package indexes, in the versions that
stand in ``benchmarks/pinned/``, into ``build/peers/``, and nowhere else.
Each has one worker and the same mock backend, no keys, no limits, and no log of
requests as far as it can do without; ours has the default production config.
Only the CPU time that a request takes counts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.load import Load, compile_tools
from benchmarks.processes import BenchmarkError, Cores, free_port, raise_file_limit
from benchmarks.profiles import key
from benchmarks.report import markdown
from benchmarks.run import machine, missing
from benchmarks.subjects import HERE, NGINX, OURS, Bench, Command, Mock, Subject

LITELLM, PORTKEY = "litellm", "portkey"
PEERS = (LITELLM, PORTKEY)
GOAL = 60
"""How many times as much as ours a request shall cost with litellm."""

_PINNED = HERE / "pinned"
_BUILD = HERE.parent / "build" / "peers"
_CONNECTIONS = 64
_PATIENCE = 180.0
_INSTALL_SECONDS = 1800
_GOOD, _FAILED, _UNEQUIPPED = 0, 1, 2


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="make bench-peers", description=(__doc__ or "").strip())
    parser.add_argument("--repetitions", type=int, default=3, metavar="N")
    parser.add_argument("--seconds", type=int, default=3, help="of load at a time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all values here")
    parser.add_argument(
        "--twistd", type=Path, default=Path(sys.executable).parent / "twistd", metavar="PATH"
    )
    return parser.parse_args(given)


def installed(build: Path, say: Callable[[str], None]) -> list[str]:
    """
    Install what is not there yet; name what there is.

    Raises:
        BenchmarkError: If an index or its client fails.
    """
    names = [LITELLM]
    _once(build / LITELLM, [_PINNED / "litellm.txt"], _install_litellm, say)
    if shutil.which("node") and shutil.which("npm"):
        pins = [_PINNED / "package.json", _PINNED / "package-lock.json"]
        _once(build / PORTKEY, pins, _install_portkey, say)
        names.append(PORTKEY)
    else:
        say("There is no node with npm (apt-get install nodejs npm): portkey is left out.")
    return names


def _once(
    place: Path,
    pins: Sequence[Path],
    install: Callable[[Path], object],
    say: Callable[[str], None],
) -> None:
    """Install into a folder, unless that was done with the same pins; scripts name the folder."""
    wanted = "".join([f"{place}\n", *(pin.read_text() for pin in pins)])
    done = place / "installed"
    if done.exists() and done.read_text() == wanted:
        return
    say(f"installing {place.name}, which may take minutes")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    install(place)
    done.write_text(wanted)


def _install_litellm(place: Path) -> None:
    _command([sys.executable, "-m", "venv", str(place)])
    python, pins = str(place / "bin" / "python"), str(_PINNED / "litellm.txt")
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--requirement", pins]
    _command([python, "-m", "pip", "install", *options])


def _install_portkey(place: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_PINNED / name, place)
    _command(["npm", "ci", "--prefix", str(place), "--ignore-scripts", "--no-audit", "--no-fund"])


def _command(command: Sequence[str]) -> None:
    done = subprocess.run(command, check=False, timeout=_INSTALL_SECONDS, stdout=sys.stderr)
    if done.returncode:
        raise BenchmarkError(f"{' '.join(command[:4])} ... failed.")


def litellm(build: Path, folder: Path, mock: Mock) -> Command:
    """Say how litellm is started before the mock."""
    port, path = free_port(), folder / "litellm.yaml"
    model = {
        "model": "openai/mock",
        "api_base": f"http://127.0.0.1:{mock.port}/v1",
        "api_key": "sk-backend",
    }
    config = {"model_list": [{"model_name": "mock", "litellm_params": model}]}
    path.write_text(json.dumps(config))  # JSON is YAML
    arguments = [str(build / LITELLM / "bin" / "litellm"), "--config", str(path)]
    arguments += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    environ = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    environ |= {"LITELLM_TELEMETRY": "False", "LITELLM_MASTER_KEY": key(0)}
    return Command(arguments, port, environ, health="/health/liveliness", patience=_PATIENCE)


def portkey(build: Path, folder: Path, mock: Mock) -> Command:
    """Say how the gateway of Portkey is started before the mock."""
    port = free_port()
    server = build / PORTKEY / "node_modules" / "@portkey-ai" / "gateway" / "build"
    arguments = ["node", str(server / "start-server.js"), f"--port={port}", "--headless"]
    headers = {
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{mock.port}/v1",
    }
    environ = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    return Command(arguments, port, environ, headers, health="/", patience=_PATIENCE)


COMMANDS = {LITELLM: litellm, PORTKEY: portkey}


def compare(
    bench: Bench, build: Path, peers: Sequence[str], options: argparse.Namespace
) -> dict[str, list[float]]:
    """Give the microseconds of CPU that a request takes each, over some repetitions."""
    load = Load(bench)
    taken: dict[str, list[float]] = {}
    with ExitStack() as stack:
        mock = stack.enter_context(bench.mock())
        up = [stack.enter_context(bench.subject(name, mock)) for name in (NGINX, OURS)]
        for name in peers:
            command = COMMANDS[name](build, bench.folder, mock)
            up.append(stack.enter_context(bench.started(name, command)))
        for subject in up:
            load.post(subject, _CONNECTIONS, options.seconds)
        for _ in range(options.repetitions):
            for subject in up:
                value = _microseconds(load, subject, mock, options.seconds)
                taken.setdefault(subject.name, []).append(value)
    return taken


def _microseconds(load: Load, subject: Subject, mock: Mock, seconds: int) -> float:
    served, cpu = mock.stats()["requests"], subject.child.cpu_seconds()
    seen = load.post(subject, _CONNECTIONS, seconds)
    served, cpu = mock.stats()["requests"] - served, subject.child.cpu_seconds() - cpu
    if seen.errors or not served:
        raise BenchmarkError(f"{subject.name} failed {seen.errors} times.")
    return cpu / served * 1e6


def report(taken: Mapping[str, Sequence[float]]) -> str:
    """Write what each took as a table, with what that is of ours."""
    lines = [["CPU per request, 64 connections", "us", "over ours", "goal", ""]]
    ours = median(taken[OURS])
    for name, values in taken.items():
        times = median(values) / ours
        goal, verdict = "", ""
        if name == LITELLM:
            goal, verdict = f">= {GOAL}", "pass" if times >= GOAL else "FAIL"
        lines.append([name, f"{median(values):,.1f}", f"{times:,.2f}", goal, verdict])
    return markdown(lines)


def main(given: Sequence[str]) -> int:
    """Run; return 0 if measured, 1 if it could not be, 2 if packages are missing."""
    options = arguments(given)
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    packages = missing([NGINX, OURS], ["requests"])
    if packages:
        print(f"make bench-peers needs: apt-get install {' '.join(packages)}", file=sys.stderr)
        return _UNEQUIPPED
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="lmgateway-peers-") as folder:
            taken = _measured(options, Path(folder))
    except (BenchmarkError, subprocess.TimeoutExpired) as error:
        print(f"make bench-peers: {error}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        print("make bench-peers: interrupted", file=sys.stderr)
        return _FAILED
    facts = machine()
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": facts, "request_cpu_us": taken}) + "\n")
    print(f"\n{', '.join(f'{name} {value}' for name, value in facts.items())}\n")
    print(report(taken))
    return _GOOD


def _measured(options: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    tools = HERE / "build"
    peers = installed(_BUILD, _say)
    raise_file_limit()
    compile_tools(tools)
    cores = Cores.available()
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cores.load})
    _say(f"measuring {NGINX}, {OURS}, {', '.join(peers)}")
    try:
        bench = Bench(folder, tools, options.twistd, cores)
        return compare(bench, _BUILD, peers, options)
    finally:
        os.sched_setaffinity(0, before)


def _say(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
