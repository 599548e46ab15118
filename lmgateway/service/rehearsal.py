"""A start without ports: what a config says is built, and thrown away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmgateway.config.schema import Config
from lmgateway.service.graph import assemble
from lmgateway.service.listener import certificate_of
from lmgateway.service.resources import Resources


def rehearse(config: Config, environ: Mapping[str, str], reactor: Any) -> None:
    """
    Build all that a config would serve with, but listen on nothing.

    Raises:
        ConfigError: If the gateway would not start.
    """
    graph = assemble(config, Resources.of(reactor, environ))
    for port in (graph.client, graph.admin):
        if port.tls is not None:
            certificate_of(port.tls, config.source.parent)
