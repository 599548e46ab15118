"""The load tools, as functions: run one for a time, read what it says."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import BenchmarkError, start
from benchmarks.subjects import HERE, Bench, Subject

_SPARE_SECONDS = 15.0
_PATH = "/v1/chat/completions"
_OPEN_CONNECTIONS = 256


@dataclass(frozen=True)
class Requests:
    """What wrk or openloop saw of whole answers."""

    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int = 0
    longest_ms: float = 0.0


@dataclass(frozen=True)
class Streams:
    """What sseload saw of streams."""

    events: int
    first_p50_ms: float
    first_p99_ms: float
    errors: int


def read_requests(output: str) -> Requests:
    """
    Read the line that post.lua lets wrk print.

    Raises:
        BenchmarkError: If there is none.
    """
    for line in output.splitlines():
        if line.startswith("JSON "):
            found = _json(line.removeprefix("JSON "))
            errors = found["err"] + found["non2xx"]
            longest = found["max_ms"]
            return Requests(found["rps"], found["p50_ms"], found["p99_ms"], errors, longest)
    raise BenchmarkError(f"wrk said nothing to be counted:\n{output[-500:]}")


def read_streams(output: str) -> Streams:
    """
    Read the line that sseload prints last.

    Raises:
        BenchmarkError: If there is none.
    """
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise BenchmarkError(f"sseload said nothing to be counted:\n{output[-500:]}")
    found = _json(lines[-1])
    return Streams(found["events"], found["ttfb_p50_ms"], found["ttfb_p99_ms"], found["errors"])


def read_open_loop(output: str) -> Requests:
    """
    Read the line that openloop prints.

    Raises:
        BenchmarkError: If there is none.
    """
    if not output.startswith("{"):
        raise BenchmarkError(f"openloop said nothing to be counted:\n{output[-500:]}")
    found = _json(output)
    rate = found["requests"] / found["seconds"]
    return Requests(rate, found["p50_ms"], found["p99_ms"], found["errors"], found["max_ms"])


def read_all_open(line: str) -> tuple[int, int]:
    """
    Read how many held streams opened, and how many failed.

    Raises:
        BenchmarkError: If the line is another one.
    """
    words = line.split()
    if len(words) != 4 or words[0] != "ALLOPEN" or words[2] != "errs":
        raise BenchmarkError(f"sseload could not open its streams: {line.strip()!r}")
    return int(words[1]), int(words[3])


class Load:
    """Runs the tools on the load's core."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def post(self, subject: Subject, connections: int, seconds: int, **variables: str) -> Requests:
        """
        POST as fast as *connections* get answers.

        Args:
            variables: More of what post.lua reads from its environment.
        """
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
        command += ["-s", str(HERE / "post.lua")]
        command.append(f"http://127.0.0.1:{subject.port}/v1/chat/completions")
        headers = ";".join(f"{name}: {value}" for name, value in subject.headers.items())
        return read_requests(self._run(command, seconds, HDRS=headers, **variables))

    def open_loop(self, port: int, rate: float, seconds: float) -> Requests:
        """POST so many times a second, whether answers come or not."""
        tool, body = self._bench.tools / "openloop", HERE / "bodies" / "chat.json"
        numbers = [str(port), str(_OPEN_CONNECTIONS), f"{rate:.1f}", f"{seconds:g}"]
        return read_open_loop(self._run([str(tool), *numbers, str(body)], seconds))

    def open_one_by_one(self, port: int, streams: int, seconds: float) -> Streams:
        """Open streams of one event, each when the last has ended."""
        command = self._sseload(port, 1, streams, "sse_one", 0, seconds)
        return read_streams(self._run(command, seconds))

    @contextmanager
    def paced(
        self, port: int, body: str, streams: int, seconds: float, path: str = _PATH
    ) -> Iterator[list[Streams]]:
        """Keep *streams* going while the block lasts; what was seen is in the list after it."""
        seen: list[Streams] = []
        command = self._sseload(port, streams, 1_000_000, body, 0, seconds)
        process = self._start([*command, path])
        with _ended(process):
            yield seen
            output, _ = process.communicate(timeout=seconds + _SPARE_SECONDS)
            seen.append(read_streams(output.decode()))

    @contextmanager
    def held(self, port: int, streams: int, seconds: float) -> Iterator[int]:
        """Hold *streams* open while the block lasts; gives how many there are."""
        process = self._start(self._sseload(port, streams, streams, "sse_hold", seconds, 30))
        with _ended(process):
            assert process.stdout is not None
            opened, failed = read_all_open(process.stdout.readline().decode())
            if failed:
                raise BenchmarkError(f"{failed} of {opened + failed} streams failed.")
            yield opened

    def _sseload(
        self, port: int, concurrency: int, total: int, body: str, hold: float, limit: float
    ) -> list[str]:
        tool, path = self._bench.tools / "sseload", HERE / "bodies" / f"{body}.json"
        numbers = [str(port), str(concurrency), str(total), str(path), f"{hold:g}", f"{limit:g}"]
        return [str(tool), *numbers]

    def _start(self, command: list[str], **variables: str) -> subprocess.Popen[bytes]:
        core, environ = self._bench.cores.load, {**self._bench.environ, **variables}
        return start(command, core=core, output=subprocess.PIPE, environ=environ)

    def _run(self, command: list[str], seconds: float, **variables: str) -> str:
        process = self._start(command, **variables)
        with _ended(process):
            output, _ = process.communicate(timeout=seconds + _SPARE_SECONDS)
            return output.decode()


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Make sure that *process* is gone after the block."""
    try:
        yield
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"{process.args!r} did not end in time.") from None
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def compile_tools(folder: Path) -> None:
    """
    Compile what is not there yet, or older than its source.

    Raises:
        BenchmarkError: If the compiler refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for source in HERE.glob("*.c"):
        tool = folder / source.stem
        if tool.exists() and tool.stat().st_mtime > source.stat().st_mtime:
            continue
        command = ["gcc", "-O2", "-o", str(tool), str(source), "-lm"]
        if subprocess.run(command, check=False, timeout=60).returncode:
            raise BenchmarkError(f"gcc could not compile {source.name}.")


def sleep_until(when: float) -> None:
    """Sleep until a time of ``perf_counter``; not at all if that has passed."""
    time.sleep(max(0.0, when - time.perf_counter()))


def _json(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found
