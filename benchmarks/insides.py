"""
The gateway's own objects, for what is measured inside this process.

They are wired by the composition root from a config, as the service has them;
only sockets are missing, and nothing ever waits.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, cast

from twisted.internet.task import Clock

from lmgateway.chat import ChatRequest
from lmgateway.config.load import load
from lmgateway.config.schema import Config
from lmgateway.dialects.openai import OPENAI
from lmgateway.exchange import Exchange
from lmgateway.principal import Principal
from lmgateway.service.graph import Graph, assemble
from lmgateway.service.resources import Resources

BACKEND = '[gateway]\n\n[backends.only]\nprovider = "openai"\nbase_url = "http://127.0.0.1:9"\n\n'
_PROMPT = "All work and no play makes Jack a dull boy. " * 20


class _Now(Clock):
    """Tells the time, and calls nobody."""

    def seconds(self) -> float:
        return time.monotonic()


def resources() -> Resources:
    """Make what a process needs; the access log goes nowhere."""
    return Resources.of(cast("Any", _Now()), {}, write=lambda block: None)


def config_of(text: str, folder: Path) -> Config:
    """Read a config that is written to *folder* first."""
    path = folder / "micro.toml"
    path.write_text(text)
    return load(path, {})


def graph_of(config: Config, shared: Resources) -> Graph:
    """Wire a config."""
    return assemble(config, shared)


def chat(model: str, **members: Any) -> ChatRequest:
    """Parse a chat completion request of about 1 KB."""
    document = {
        "model": model,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": _PROMPT},
        ],
        "stream": True,
        "max_tokens": 256,
        **members,
    }
    return OPENAI.parse(json.dumps(document).encode(), "chat")


def exchange_of(request: ChatRequest, principal: Principal | None, **known: Any) -> Exchange:
    """Open the ledger of a request."""
    return Exchange(
        id="0123456789abcdef",
        surface="openai",
        path="/v1/chat/completions",
        started=0.0,
        wall=0.0,
        principal=principal,
        request=request,
        **{"peer": "10.0.0.1", **known},
    )
