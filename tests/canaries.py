"""A whole process with a fake secret in every slot, and a hostile backend that repeats them."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.web.server import Request

from tests.fakes import DONE, Asked, chunk, completion

CHECKOUT = Path(__file__).parent.parent

CONFIG = """
[gateway]
client_port = {client}
admin_port = {admin}
admin_token_secret = {{ source = "file", path = "admin-token" }}
log_level = "debug"
request_timeout_ms = 4000
drain_timeout_ms = 2000
max_retries = 1
retry_delay_ms = 1
health_window = 0

[secrets]
refresh_seconds = 1
command_env = ["HELPER_KEY"]
[secrets.vault]
address = "{vault}"
token_env = "VAULT_TOKEN"
[secrets.infisical]
address = "{infisical}"
client_id = "gateway"
client_secret_secret = {{ source = "file", path = "infisical-secret" }}
project = "p"

[state]
usage = "jsonl:usage.jsonl"
audit = "jsonl:audit.jsonl"
keys = "sqlite:keys.db"

[logs]
access_file = "access.log"
[export]
file = "export.jsonl"
url = "{backend}/export"
headers = {{ X-Export = "{canary[export-header]}" }}
auth_secret = {{ source = "file", path = "export-auth" }}
[otel]
endpoint = "{backend}"
headers = {{ X-Otel = "{canary[otel-header]}" }}
auth_secret = {{ source = "file", path = "otel-auth" }}
[[webhooks]]
name = "hook"
url = "{backend}/hook/{canary[hook-url]}"
events = ["reload", "audit", "alarm", "breaker", "limit", "secret", "key"]
key_secret = {{ source = "file", path = "hook-key" }}

[backends.file]
base_url = "{backend}"
timeout_ms = 2000
first_byte_timeout_ms = 2000
idle_timeout_ms = 1000
api_key_secret = {{ source = "file", path = "key-in-file" }}
headers = {{ X-Fixed = "{canary[fixed-header]}" }}
[backends.vault]
base_url = "{backend}"
api_key_secret = {{ source = "vault", name = "llm", field = "key" }}
[backends.infisical]
base_url = "{backend}"
provider = "anthropic"
api_key_secret = {{ source = "infisical", name = "KEY" }}
[backends.command]
base_url = "{backend}"
provider = "ollama"
api_key_secret = {{ source = "command", command = ["{python}", "-c", "{command}"] }}
[backends.env]
base_url = "{backend}"
api_key_env = "UPSTREAM_KEY"
[backends.tls]
base_url = "{tls}"
connect_timeout_ms = 300
api_key_env = "UPSTREAM_KEY"
[backends.dead]
base_url = "http://127.0.0.1:1"
api_key_env = "UPSTREAM_KEY"
{tiers}
[profiles.default]
classifier = "file"
failover = false
[profiles.sorted]
mode = "classify"
classifier = "file"

[[clients]]
name = "ann"
profile = "default"
key_secret = {{ source = "file", path = "key-of-ann" }}
allow_profiles = ["*"]
[[clients]]
name = "bob"
profile = "default"
key_env = "KEY_OF_BOB"
rate_limit_rpm = 1
upstream_keys = {{ file = {{ source = "file", path = "key-of-bobs-own" }} }}
[[admin_tokens]]
name = "viewer"
token_secret = {{ source = "file", path = "viewer-token" }}
"""
BACKENDS = ("file", "vault", "infisical", "command", "env", "tls", "dead")
TIER = '[[tiers]]\nname = "{0}"\nbackend = "{0}"\nmodel = "{0}"\n'
FILES = (
    "admin-token", "viewer-token", "infisical-secret", "export-auth", "otel-auth", "hook-key",
    "key-in-file", "key-of-ann", "key-of-bobs-own",
)  # fmt: skip
VARIABLES = {
    "VAULT_TOKEN": "vault-token",
    "HELPER_KEY": "helper-key",
    "UPSTREAM_KEY": "key-in-env",
    "KEY_OF_BOB": "key-of-bob",
}
OTHERS = (
    "key-in-vault", "key-in-infisical", "key-of-command", "fixed-header", "hook-url",
    "export-header", "otel-header", "pasted-key", "wrong-key", "prompt", "answer",
)  # fmt: skip


def make() -> dict[str, str]:
    """Make a canary for every slot."""
    slots = (*FILES, *VARIABLES.values(), *OTHERS)
    return {slot: f"canary-{slot}-{secrets.token_hex(12)}" for slot in slots}


@define
class Hostile:
    """
    A backend that repeats whatever it was shown, in every place that there is.

    Attributes:
        canary: The canaries, by slot.
        wanted: How it behaves next.
    """

    canary: dict[str, str]
    wanted: str = "ok"
    shown: set[str] = field(factory=set)

    def __call__(self, request: Request, asked: Asked) -> Any:
        """Answer one request."""
        if asked.path in ("/export", "/v1/traces") or asked.path.startswith("/hook/"):
            return {}
        self.shown |= {value for value in asked.headers.values() if "canary" in value}
        every = json.dumps(asked.headers)
        request.setHeader("x-echo", "".join(c for c in every if c.isprintable()))
        request.setHeader("openai-version", asked.headers.get("authorization", ""))
        request.setHeader("set-cookie", f"key={asked.headers.get('authorization', '')}")
        return getattr(self, f"_{self.wanted}")(request, every, asked)

    def _ok(self, request: Request, every: str, asked: Asked) -> Any:
        return completion()

    def _error(self, request: Request, every: str, asked: Asked, status: int = 500) -> None:
        request.setResponseCode(status, every.encode())
        request.setHeader("content-type", "application/json")
        error = {"message": every + asked.raw.decode(), "type": every, "code": every}
        request.write(json.dumps({"error": error}).encode())
        request.finish()

    def _rejected(self, request: Request, every: str, asked: Asked) -> None:
        self._error(request, every, asked, 400)

    def _refused(self, request: Request, every: str, asked: Asked) -> None:
        self._error(request, every, asked, 401)

    def _limited(self, request: Request, every: str, asked: Asked) -> None:
        request.setHeader("retry-after", every)
        self._error(request, every, asked, 429)

    def _moved(self, request: Request, every: str, asked: Asked) -> None:
        request.setHeader("location", f"http://127.0.0.1:1/{every}")
        self._error(request, every, asked, 307)

    def _garbage(self, request: Request, every: str, asked: Asked) -> None:
        request.setHeader("content-type", "application/json")
        request.write(b'{"choices": [' + every.encode())
        request.finish()

    def _page(self, request: Request, every: str, asked: Asked) -> None:
        request.setHeader("content-type", f"text/html; x={asked.headers.get('authorization')}")
        request.write(f"<html>{every}".encode())
        request.finish()

    def _cut(self, request: Request, every: str, asked: Asked) -> None:
        request.setHeader("content-type", "text/event-stream")
        request.write(chunk({"role": "assistant", "content": "Hello"}))
        request.write(b"event: " + every.encode() + b"\ndata: {" + every.encode())
        transport: Any = request.transport
        transport.loseConnection()

    def _in_stream(self, request: Request, every: str, asked: Asked) -> Any:
        error = json.dumps({"error": {"message": every, "type": every, "code": every}})
        return (chunk({"role": "assistant", "content": "Hi"}), f"data: {error}\n\n".encode(), DONE)

    def _silent(self, request: Request, every: str, asked: Asked) -> None:
        """Never answer."""


MOODS = (
    "ok", "error", "rejected", "refused", "limited", "moved", "garbage", "page", "cut",
    "in_stream", "silent",
)  # fmt: skip
OUT_OF_REACH = ("tls", "dead")


@define
class Running:
    """The process, in a folder of its own."""

    folder: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, folder: Path, environ: dict[str, str]) -> Running:
        """Start it; what it writes goes to files."""
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "lmgateway", "serve", "--config", "config.toml"],
                cwd=folder,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), **environ},
                stdout=out,
                stderr=err,
            )
        return cls(folder, process)

    def command_line(self) -> str:
        """What everyone on this machine sees of it."""
        return Path(f"/proc/{self.process.pid}/cmdline").read_text()

    def stop(self, seconds: float = 20.0) -> int | None:
        """Ask it to stop, and wait."""
        self.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        return self.process.poll()

    def kill(self) -> None:
        """Make sure that it is gone."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def written(self) -> Iterator[tuple[str, str]]:
        """Go through all that it wrote: its output, and its files."""
        known = {*FILES, "config.toml"}
        for path in sorted(self.folder.iterdir()):
            if path.is_file() and path.name not in known:
                yield path.name, path.read_bytes().decode("latin-1")
