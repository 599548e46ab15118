"""
Gate G6: restarts and reloads under load, without one failed request.

This process holds the sockets as systemd does, and restarts the gateway on them as systemd does:
SIGTERM, wait for the end, start the next.  Meanwhile clients ask, on connections that they keep,
on new ones, and for streams.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from attrs import define, field, frozen

from tests.gates.load import Load
from tests.processes import CONFIG, Telling, ended, listening, spawn

DRAIN_SECONDS = 3
LISTEN = f"""
client_listen = "systemd:domain=INET:name=client"
admin_listen = "systemd:domain=INET:name=admin"
drain_timeout_ms = {DRAIN_SECONDS * 1000}
"""


@frozen
class Plan:
    """How much is done."""

    restarts: int = 10
    reloads: int = 100


@define
class _Supervised:
    """A gateway under a parent that restarts it."""

    config: Path
    telling: Telling
    client: object
    admin: object
    ends: list[float] = field(factory=list)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self.process = spawn(
            ["lmgateway", "serve", "--config", str(self.config)],
            [(self.client, "client"), (self.admin, "admin")],  # type: ignore[list-item]
            {"NOTIFY_SOCKET": self.telling.address},
            stderr=subprocess.DEVNULL,
        )
        self.telling.wait_for("READY")

    def stop(self) -> None:
        """End it, and note how long that takes."""
        assert self.process is not None, "started first"
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(DRAIN_SECONDS + 30)
        self.ends.append(time.monotonic() - begun)

    def reload(self) -> None:
        """Have it read its config again, and wait until it has."""
        assert self.process is not None, "started first"
        self.process.send_signal(signal.SIGHUP)
        self.telling.wait_for("RELOADING")
        self.telling.wait_for("READY")

    def descriptors(self) -> int:
        """Count its open files."""
        assert self.process is not None, "started first"
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def restart(plan: Plan) -> bool:
    """Run the gate, print its figures, and tell whether it is passed."""
    telling = Telling(f"@lmgateway-gate-{os.getpid()}")
    with tempfile.TemporaryDirectory() as folder, listening() as client, listening() as admin:
        config = Path(folder) / "config.toml"
        mock = "first_token_ms = 5, tokens_per_second = 1000"
        config.write_text(CONFIG.format(gateway=LISTEN, mock=mock))
        subject = _Supervised(config, telling, client, admin)
        load = Load(*client.getsockname())
        try:
            grown = _under_load(subject, load, plan)
            late = _with_an_endless_stream(subject, config, client.getsockname())
        finally:
            telling.close()
            if subject.process is not None:
                with ended(subject.process):
                    pass
    return _told(plan, load, subject.ends, grown, late)


def _under_load(subject: _Supervised, load: Load, plan: Plan) -> int:
    """Restart and reload while clients ask; give the growth in open files of the reloads."""
    subject.start()
    load.start()
    time.sleep(0.5)
    for _ in range(plan.restarts):
        subject.stop()
        subject.start()
        time.sleep(0.3)
    before = subject.descriptors()
    for _ in range(plan.reloads):
        subject.reload()
        time.sleep(0.02)
    time.sleep(0.3)
    load.stop()
    return subject.descriptors() - before


def _with_an_endless_stream(subject: _Supervised, config: Path, address: tuple[str, int]) -> float:
    """Stop it while a stream goes on for ever; give the seconds beyond the drain deadline."""
    config.write_text(CONFIG.format(gateway=LISTEN, mock="tokens_per_second = 1"))
    subject.reload()
    connection = http.client.HTTPConnection(*address, timeout=30)
    body = {"model": "t", "stream": True, "messages": [{"role": "user", "content": "hi " * 50}]}
    headers = {"content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    connection.getresponse().readline()
    subject.stop()
    connection.close()
    return subject.ends.pop() - DRAIN_SECONDS


def _told(plan: Plan, load: Load, ends: list[float], grown: int, late: float) -> bool:
    served = ", ".join(f"{count} {name}" for name, count in sorted(load.served.items()))
    failed = sum(load.failed.values())
    say = sys.stdout.write
    say(f"{plan.restarts} restarts, {plan.reloads} reloads\n")
    say(f"answers: {sum(load.served.values())} whole ({served}), {failed} failed\n")
    for why, count in load.failed.most_common(10):
        say(f"  {count} x {why}\n")
    say(f"slowest answer: {load.longest:.2f} s\n")
    say(f"slowest end under load: {max(ends, default=0):.2f} s (drain {DRAIN_SECONDS} s)\n")
    say(f"end with an endless stream: {late:.2f} s after the drain deadline\n")
    say(f"open files after the reloads: {grown:+d}\n")
    in_time = max(ends, default=0) <= DRAIN_SECONDS + 1 and late <= 1
    every_sort = len(load.served) == 4
    return not failed and in_time and every_sort and grown <= 8
