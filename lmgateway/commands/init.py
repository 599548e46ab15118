"""``lmgateway init``: a config to start from.  It is the one in ``etc/config.toml``."""

from __future__ import annotations

from pathlib import Path

STARTER = """\
# lm-gateway: one file, served at once, with no key and no network.
# `lmgateway check --config FILE` tells what a file would serve, or all that is wrong with it.

[gateway]
client_port = 8080            # for your programs: http://127.0.0.1:8080/v1
admin_port  = 8081            # for you: /admin/traffic, /admin/config, /metrics
# client_host = "0.0.0.0"     # let others in; needs [[clients]], or allow_anonymous = true

# A backend is one upstream. This one is built in, and answers like a model.
[backends.mock]
provider = "mock"
mock = { first_token_ms = 100, tokens_per_second = 40 }

# Real ones: ollama, openai, anthropic, openrouter, groq, mistral, vllm, ...
# [backends.openai]
# provider    = "openai"
# api_key_env = "OPENAI_API_KEY"   # the name of the variable, never the key itself

# The ladder, cheapest first: each tier is one model of one backend.
[[tiers]]
name = "local:fast"
backend = "mock"
model = "mock-small"
[[tiers]]
name = "local:deep"
backend = "mock"
model = "mock-large"

# Clients may ask for a tier, for an alias, for a profile, or for "auto".
[aliases]
"hint:instant" = "local:fast"
"hint:fast"    = "local:fast"
"hint:moderate" = "local:fast"
"hint:deep"    = "local:deep"
"hint:max"     = "local:deep"
"hint:expert"  = "local:deep"

# A profile is a routing policy. "default" is that of everyone without a key.
[profiles.default]
mode = "dispatch"             # go where the model name says
classifier = "local:fast"     # where unknown model names go
max_auto_tier = "local:deep"  # no dearer tier unless it is asked for by name

# [[clients]]                 # with at least one of these, a key is needed
# key_env = "ALICE_KEY"
# profile = "default"
"""


def write_starter(path: Path) -> None:
    """
    Write the starter config.

    Raises:
        FileExistsError: If there is something at *path* already.
        OSError: If it cannot be written.
    """
    with path.open("x", encoding="utf-8") as file:
        file.write(STARTER)
