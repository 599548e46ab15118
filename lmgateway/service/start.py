"""
The first that is imported to serve; it imports little, and the rest with the collector off.

Half a million objects are made between here and the first request, and nearly
all of them stay: looking for garbage among them is a quarter of the time to
start.  The service turns the collector on again once it runs.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from typing import Any

from twisted.application.service import IService
from twisted.python import usage

from lmgateway.service.systemd import Handed, taken

DEFAULT_CONFIG = "/etc/lm-gateway/config.toml"


class Options(usage.Options):
    """The command line of the twistd plugin."""

    longdesc = "A self-hosted LLM routing gateway."
    optParameters = [  # noqa: RUF012  # twisted's own form
        ["config", "c", None, f"The config file; default $LMG_CONFIG, then {DEFAULT_CONFIG}."],
    ]

    def postOptions(self) -> None:
        """Write no pid file, unless ``--pidfile`` asks for one."""
        twistd = self.parent
        if twistd is not None and twistd.get("pidfile") == "twistd.pid":
            twistd["pidfile"] = ""


def makeService(options: Mapping[str, Any]) -> IService:
    """Make the service for twistd."""
    gc.disable()
    handed = _handed()
    from lmgateway.service import tap

    return tap.make_started(options["config"], handed)


def run(config: str | None) -> None:
    """Serve until told to stop: ``lmgateway serve``."""
    gc.disable()
    handed = _handed()
    from lmgateway.service import tap

    tap.run(config, handed)


def _handed() -> Handed:
    """Take what is meant for us; before Twisted's endpoints, which take the same, are imported."""
    return taken(os.environ, os.getpid())
