"""
A gateway process for the clients, whose backends speak every grammar.

Two gateways in a row: the first answers from the mock in all grammars, the
second reaches it once in each.  So every surface meets every backend.
"""

from __future__ import annotations

import atexit
import http.client
import os
import subprocess
import sys
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.harness import free_port

CHECKOUT = Path(__file__).parent.parent.parent
DIALECTS = ("openai", "anthropic", "ollama")

INNER = """
[gateway]
client_port = {inner}
admin_port = {inner_admin}
unknown_model = "reject"
health_window = 0

[backends.mock]
provider = "mock"
mock = {{ allow_model_faults = true, style = "plain" }}

[[tiers]]
name = "plain"
backend = "mock"
model = "plain"
[[tiers]]
name = "cut"
backend = "mock"
model = "mock-x3"
[[tiers]]
name = "limited"
backend = "mock"
model = "mock-r429:7"
[[tiers]]
name = "failing"
backend = "mock"
model = "mock-e500"

[profiles.default]
classifier = "plain"
failover = false
"""

OUTER = """
[gateway]
client_port = {outer}
admin_port = {outer_admin}
unknown_model = "reject"
health_window = 0

[backends.openai]
base_url = "http://127.0.0.1:{inner}"
[backends.anthropic]
provider = "anthropic"
base_url = "http://127.0.0.1:{inner}"
[backends.ollama]
provider = "ollama"
base_url = "http://127.0.0.1:{inner}"

{tiers}

[profiles.default]
classifier = "openai"
failover = false

[[clients]]
name = "tester"
key_env = "LMG_TEST_KEY"
profile = "default"
"""

TIER = '[[tiers]]\nname = "{name}"\nbackend = "{backend}"\nmodel = "{model}"\n'
KEY = "sk-lmg-test"


def _tiers() -> str:
    tiers = [TIER.format(name=name, backend=name, model="plain") for name in DIALECTS]
    for fault in ("cut", "limited", "failing"):
        tiers += [TIER.format(name=f"{n}-{fault}", backend=n, model=fault) for n in DIALECTS]
    return "\n".join(tiers)


class Running:
    """Both gateways, started once for the whole run and ended with it."""

    def __init__(self) -> None:
        folder = Path(f"clients-{os.getpid()}").absolute()
        folder.mkdir(exist_ok=True)
        ports = {name: free_port() for name in ("inner", "inner_admin", "outer", "outer_admin")}
        self.port = ports["outer"]
        for name, template in (("inner", INNER), ("outer", OUTER)):
            path = folder / f"{name}.toml"
            path.write_text(template.format(**ports, tiers=_tiers()))
            with (folder / f"{name}.log").open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "lmgateway", "serve", "--config", str(path)],
                    env={**os.environ, "PYTHONPATH": str(CHECKOUT), "LMG_TEST_KEY": KEY},
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                )
            atexit.register(_end, process)
            _wait(ports[name], process)


_running: list[Running] = []


class RunningCase(SynchronousTestCase):
    """A test that needs both gateways."""

    @property
    def port(self) -> int:
        """The client port of the outer one."""
        if not _running:
            _running.append(Running())
        return _running[0].port


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(timeout=10)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 15
    while time.monotonic() < end and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise AssertionError("the gateway did not start")
