"""Keeps secrets that are fetched from elsewhere fresh, and tells of those that are stale."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import ensureDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from lmgateway.config.environment import Environment
from lmgateway.config.schema import Config
from lmgateway.config.secrets import is_remote
from lmgateway.config.sources import complaints, sources_of
from lmgateway.service.resources import Resources


class Freshness:
    """
    Fetches secrets anew from time to time.

    Args:
        changed: Called when one is not what it was.
    """

    _log = Logger()

    def __init__(self, resources: Resources, changed: Callable[[], object]) -> None:
        self._resources = resources
        self._changed = changed
        self._config: Config | None = None
        self._running = False
        self._timer: IDelayedCall | None = None
        self._told: frozenset[str] = frozenset()

    def follow(self, config: Config) -> None:
        """Look after the secrets of *config* from now on."""
        self._config = config
        self._tell()
        self._wind()

    def start(self) -> None:
        """Begin to fetch them from time to time."""
        self._running = True
        self._wind()

    def stop(self) -> None:
        """Fetch them no more."""
        self._running = False
        self._wind()

    def _wind(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        config, environ = self._config, self._resources.environ
        if not self._running or config is None or not isinstance(environ, Environment):
            return
        seconds = config.secrets.refresh_seconds
        if seconds and any(is_remote(source) for _, source in sources_of(config)):
            self._timer = self._resources.reactor.callLater(seconds, self._due)

    def _due(self) -> None:
        self._timer = None
        ensureDeferred(self.refresh()).addErrback(
            lambda failure: self._log.failure("Secrets could not be refreshed.", failure)
        )

    async def refresh(self) -> None:
        """Fetch all secrets anew; tells if one is another now."""
        config, environ = self._config, self._resources.environ
        if config is None or not isinstance(environ, Environment):
            return
        remote = [*dict.fromkeys(s for _, s in sources_of(config) if is_remote(s))]
        before, folder = environ.changes, config.source.parent
        try:
            await self._resources.in_thread(lambda: environ.fetch(config.secrets, remote, folder))
        finally:
            self._wind()
        self._tell()
        if environ.changes != before:
            self._log.info("A secret has changed where it is kept.")
            self._changed()

    def _tell(self) -> None:
        """Tell of each secret that is stale since the last time, and when all are fresh."""
        assert self._config is not None, "follows one"
        now = frozenset(complaints(self._config, self._resources.environ))
        before, self._told = self._told, now
        for text in sorted(now - before):
            self._log.warn("{complaint}", complaint=text)
            self._resources.events.tell("secret", state="stale", text=text)
        if before and not now:
            self._log.info("All secrets are fresh again.")
            self._resources.events.tell("secret", state="fresh")
