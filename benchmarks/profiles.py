"""
The three configs that the gateway is measured with: bare, default, everything.

*bare* has one backend and what cannot be left out.  *default* has what a
production config has: clients with keys, limits, budgets, prices, breakers,
metrics, the traffic ring and the access log.  *everything* turns on all else
that a request can meet: routing rules, gates that judge the answer, traces,
the usage ledger and the audit log on disk, an export, captured bodies,
webhooks, limits of every scope, queues.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

HERE = Path(__file__).parent
BARE, DEFAULT, EVERYTHING = "bare", "default", "everything"
PROFILES = (BARE, DEFAULT, EVERYTHING)

CLIENTS = 10
_LOTS = 10**9


@frozen
class Ports:
    """On loopback: the gateway's two ports, its backend, and who takes spans and webhooks."""

    client: int
    admin: int
    backend: int
    sink: int


def models() -> list[str]:
    """List the model names that the bodies ask for; each tells the mock what to do."""
    bodies = sorted((HERE / "bodies").glob("*.json"))
    return sorted({json.loads(body.read_bytes())["model"] for body in bodies})


def key(number: int) -> str:
    """Give a client's key; the load tools are the first client, the others are only there."""
    return f"sk-bench-0123456789-{number}"


def environment(profile: str) -> Mapping[str, str]:
    """Give the variables in which a profile's config finds its secrets."""
    if profile == BARE:
        return {}
    keys = {_variable(number): key(number) for number in range(CLIENTS)}
    return keys | {
        "BENCH_BACKEND_KEY": "sk-backend-0123456789",
        "BENCH_HOOK_KEY": "sk-hook-0123456789",
    }


def config(profile: str, ports: Ports) -> str:
    """Write the config of a profile: one backend, and a tier for each model that is asked for."""
    write = {BARE: _bare, DEFAULT: _default, EVERYTHING: _everything}[profile]
    return write(ports)


def _gateway(ports: Ports, more: str = "") -> str:
    return f"[gateway]\nclient_port = {ports.client}\nadmin_port = {ports.admin}\n{more}\n"


def _backend(ports: Ports, more: str = "") -> str:
    url = f"http://127.0.0.1:{ports.backend}"
    return f'[backends.mock]\nprovider = "openai"\nbase_url = "{url}"\n{more}\n'


def _tiers(more: str = "") -> str:
    return "".join(
        f'[[tiers]]\nname = "{model}"\nbackend = "mock"\nmodel = "{model}"\n{more}\n'
        for model in models()
    )


def _bare(ports: Ports) -> str:
    profile = '[profiles.default]\nmode = "dispatch"\nclassifier = "mock"\n'
    return _gateway(ports) + _backend(ports) + _tiers() + profile


PRICED = """\
max_context_tokens = 128000
max_output_tokens = 16384
price = { input = 0.15, output = 0.60, cached_read = 0.075 }
"""
"""What a tier of these configs says of itself."""

_LIMITED = f"rate_limit_rpm = {_LOTS}\nrate_limit_tpm = {_LOTS}\n"

_BUDGETS = "".join(
    f'[[budgets]]\nname = "{name}"\nscope = "{scope}"\nperiod = "month"\nlimit_usd = 1000000\n\n'
    for name, scope in (("each", "client"), ("team", "group"))
)


def _clients(more: str = "") -> str:
    group = f'[groups.team]\n{_LIMITED}budgets = ["team"]\n\n'
    return group + "".join(
        f'[[clients]]\nname = "client{number}"\nkey_env = "{_variable(number)}"\n'
        f'profile = "default"\ngroup = "team"\nbudgets = ["each"]\n{_LIMITED}{more}\n'
        for number in range(CLIENTS)
    )


def _variable(number: int) -> str:
    return f"BENCH_KEY_{number}"


def _default(ports: Ports) -> str:
    profile = f'[profiles.default]\nmode = "dispatch"\nclassifier = "mock"\n{_LIMITED}\n'
    backend = _backend(ports, 'api_key_env = "BENCH_BACKEND_KEY"\n')
    return _gateway(ports) + backend + _tiers(PRICED) + profile + _clients() + _BUDGETS


_BUSY_GATEWAY = f"""\
rate_limit_rpm = {_LOTS}
admin_token_env = "BENCH_HOOK_KEY"
cors_origins = ["https://app.example.com"]
trusted_proxies = ["10.0.0.0/8"]
max_retries = 1
baseline = "mock"
"""

_BUSY_PROFILE = f"""\
[profiles.default]
mode = "escalate"
classifier = "mock"
max_auto_tier = "mock"
gates = {{ truncated = true, repetition = {{ times = 900 }}, language = true }}
system_prompt = "Be brief."
max_concurrent = 10000
hold_tokens = 8
hold_ms = 20
slo = {{ latency_ms = 500 }}
{_LIMITED}rate_limit_usd_per_minute = 1000000

[[profiles.default.rules]]
when = {{ "@header.X-Team" = "research", "@tokens" = ">8000" }}
route_to = "mock"
priority = 10

[[profiles.default.rules]]
when = {{ "@text" = "~(?i)refund.{{0,80}}order" }}
route_to = "mock"

"""

_TOLD = """\
[logs]
access_file = "access.log"

[state]
usage = "sqlite:usage.db"
audit = "jsonl:audit.jsonl"

[otel]
endpoint = "http://127.0.0.1:{sink}"
auth_env = "BENCH_HOOK_KEY"

[export]
file = "export.jsonl"
url = "http://127.0.0.1:{sink}/export"

[capture]
file = "capture.jsonl"

[[webhooks]]
name = "hook"
url = "http://127.0.0.1:{sink}/hook"
events = ["budget", "breaker", "limit", "denied", "alarm", "mid_stream"]
key_env = "BENCH_HOOK_KEY"

"""

_LIMITS = f"""\
[limits]
{_LIMITED}rate_limit_usd_per_minute = 1000000
max_concurrent = 10000
ip = {{ rate_limit_tpm = {_LOTS}, max_concurrent = 10000 }}
overrides = [{{ model = "gpt-*", rate_limit_rpm = 10 }}]

"""


def _everything(ports: Ports) -> str:
    place = f"max_concurrent = 10000\n{_LIMITED}"
    # Escalation begins at the tier that a rule leads to: the one that is asked for by name.
    ruled = "".join(
        f'[[profiles.default.rules]]\nwhen = {{ "@model" = "{model}" }}\nroute_to = "{model}"\n\n'
        for model in models()
        if model != "mock"
    )
    return "".join(
        [
            _gateway(ports, _BUSY_GATEWAY),
            _backend(ports, f'api_key_env = "BENCH_BACKEND_KEY"\n{place}'),
            _tiers(f'{PRICED}{place}capabilities = ["tools", "vision"]\n'),
            _BUSY_PROFILE,
            ruled,
            _clients('tags = ["bench"]\nallow_models = ["mock*"]\ndefault_priority = 1\n'),
            _BUDGETS,
            _LIMITS,
            _TOLD.replace("{sink}", str(ports.sink)),
        ]
    )
