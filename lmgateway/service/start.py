"""
The first that is imported to serve; it imports little, and the rest with the collector off.

The config is read before most of the rest is imported: one that cannot be used
is told of at once.

Half a million objects are made between here and the first request, and nearly
all of them stay: looking for garbage among them is a quarter of the time to
start.  The service turns the collector on again once it runs.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from msgspec import Struct
from twisted.application.service import IService
from twisted.python import usage

from lmgateway.errors import ConfigError
from lmgateway.service.systemd import Handed, taken

if TYPE_CHECKING:
    from lmgateway.config.schema import Config

DEFAULT_CONFIG = "/etc/lm-gateway/config.toml"
EX_CONFIG = 78
EX_STARTUP = 1


class Beginning(Struct, frozen=True):
    """
    What is known before anything is built.

    Attributes:
        environ: Where secrets are looked up.
        handed: What a service manager handed over.
    """

    config: Config
    environ: Mapping[str, str]
    handed: Handed


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
    beginning = _begun(options["config"])
    from lmgateway.service import tap

    return tap.make_started(beginning)


def run(config: str | None) -> None:
    """Serve until told to stop: ``lmgateway serve``."""
    gc.disable()
    beginning = _begun(config)
    from lmgateway.service import tap

    tap.run(beginning)


def _begun(given: str | None) -> Beginning:
    # Before Twisted's endpoints, which take the same, are imported.
    handed = taken(os.environ, os.getpid())
    from lmgateway.config.load import load
    from lmgateway.stores.courier import surroundings

    environ = surroundings(os.environ)
    try:
        config = load(config_path(given, os.environ), environ)
    except ConfigError as error:
        end(error, EX_STARTUP if error.transient else EX_CONFIG)
    return Beginning(config, environ, handed)


def config_path(given: str | None, environ: Mapping[str, str]) -> Path:
    """Say which config file to read."""
    return Path(given or environ.get("LMG_CONFIG") or DEFAULT_CONFIG).absolute()


def end(error: ConfigError, status: int) -> NoReturn:
    """End the process, with a message."""
    sys.stderr.write(f"lmgateway: {error}\n")
    sys.stderr.flush()
    raise SystemExit(status)
