"""Backends, from their sections of the config."""

from __future__ import annotations

from collections.abc import Mapping

from lmgateway.backends import quirks
from lmgateway.backends.base import Backend
from lmgateway.backends.http import HTTPBackend, Patience
from lmgateway.backends.mock import MockBackend, MockSettings
from lmgateway.config.providers import PROVIDERS
from lmgateway.config.schema import BackendSection, Config
from lmgateway.config.secrets import Secret, resolve
from lmgateway.dialects.openai import OPENAI
from lmgateway.service.resources import Resources
from lmgateway.surfaces.grammars import BACKEND_DIALECTS
from lmgateway.wire.client import Origin, Target, WireClient


class Backends:
    """
    All backends of a config.

    Attributes:
        by_name: The backends.
    """

    def __init__(self, config: Config, resources: Resources) -> None:
        self._config = config
        self._resources = resources
        self._clients: set[WireClient] = set()
        self.by_name: Mapping[str, Backend] = {
            name: self._backend(name, section) for name, section in config.backends.items()
        }
        resources.keep_only(self._clients)

    def missing_keys(self) -> int:
        """Say how many backends name a key that is not there now."""
        sections = self._config.backends.values()
        return sum(s.key_source is not None and self._key(s) is None for s in sections)

    def _key(self, section: BackendSection) -> Secret | None:
        source = section.key_source
        if source is None:
            return None
        return resolve(source, self._resources.environ, self._config.source.parent)
