"""
Gate API: both ports are called as their OpenAPI documents say, and as they do not say.

schemathesis makes the calls up. No answer may be a server error, of a status or a kind that is
not documented, or of another shape; and the admin port must refuse what is not as documented.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tests.processes import CONFIG, ended, free_port, spawn

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
STRICT = "negative_data_rejection"
"""Only of the admin port: the client port passes on what it does not know."""
ENDLESS = "/admin/events"
READY_SECONDS = 20.0


def api(examples: int) -> bool:
    """Run the gate, print what was found, and tell whether it is passed."""
    client, admin = free_port(), free_port()
    ports = f"client_port = {client}\nadmin_port = {admin}\n"
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.toml"
        config.write_text(CONFIG.format(gateway=ports, mock=""))
        command = ["tests.twistd", "-n", "--pidfile=", "lmgateway", "--config", str(config)]
        with ended(spawn(command, stderr=subprocess.DEVNULL)):
            _wait(admin)
            return False not in [
                _judged(client, CHECKS, examples, folder),
                _judged(admin, (*CHECKS, STRICT), examples, folder),
            ]


def _wait(port: int) -> None:
    end = time.monotonic() + READY_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


def _judged(port: int, checks: Sequence[str], examples: int, folder: str) -> bool:
    base = f"http://127.0.0.1:{port}"
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{base}/openapi.json",
        "--url", base, "--checks", ",".join(checks), "--phases", "coverage,fuzzing",
        "--max-examples", str(examples), "--exclude-path", ENDLESS, "--request-timeout", "20",
    ]  # fmt: skip
    return subprocess.run(command, check=False, cwd=folder).returncode == 0
