"""
Notices that config files changed, by looking at them twice a second.

Looking works on every file system, and for every way of changing a file: in
place, by renaming a new one over it, and by swapping a symbolic link, as
Kubernetes does with a ConfigMap.  A change is told once the files have kept
still between two looks, so that a half-written file is not read; but no later
than a second and a half after it was first seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from lmgateway.config.files import overlay_dir, profile_dir, toml_files
from lmgateway.config.schema import Config

Stamp: TypeAlias = tuple[int, int, int, int]
"""Device, inode, size and time of change of a file."""

Look: TypeAlias = dict[Path, Stamp]

_INTERVAL = 0.5
_PATIENCE = 3
"""How many looks a change may go on before it is told all the same."""


def watched(config: Config) -> tuple[Path, ...]:
    """Give what to watch for *config*: its main file, and the folders that are read with it."""
    source = config.source
    return (source, overlay_dir(source), profile_dir(source, config.gateway.profile_dir))


class Watcher(Service):
    """
    Calls a function some time after files changed, while it runs.

    Args:
        clock: Whose time counts.
        paths: Files, and folders whose TOML files count.
        changed: Called without arguments, once per change.  If it raises, that is logged.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, paths: Iterable[Path], changed: Callable[[], object]
    ) -> None:
        self._changed = changed
        self._loop = LoopingCall(self._compare)
        self._loop.clock = clock
        self._paths: tuple[Path, ...] = ()
        self._told: Look = {}
        self._last: Look = {}
        self._patience = _PATIENCE
        self.watch(paths)

    def watch(self, paths: Iterable[Path]) -> None:
        """
        Watch *paths* from now on, instead of those before.

        What they are now is not a change; the same paths as before change
        nothing, so that what happened while they were read is still seen.
        """
        if self._paths == tuple(paths):
            return
        self._paths = tuple(paths)
        self._told = self._last = self._look()
        self._patience = _PATIENCE

    def startService(self) -> None:
        """Begin to look."""
        Service.startService(self)
        self._loop.start(_INTERVAL, now=False)

    def stopService(self) -> None:
        """Look no more."""
        Service.stopService(self)
        if self._loop.running:
            self._loop.stop()

    def _compare(self) -> None:
        seen, self._last = self._last, self._look()
        if self._last == self._told:
            self._patience = _PATIENCE
            return
        self._patience -= 1
        if self._last == seen or self._patience == 0:
            self._told = self._last
            self._patience = _PATIENCE
            self._tell()

    def _tell(self) -> None:
        try:
            self._changed()
        except Exception:
            self._log.failure("A change of the config files could not be handled.")

    def _look(self) -> Look:
        stamps = ((file, _stamp(file)) for path in self._paths for file in _files(path))
        return {file: stamp for file, stamp in stamps if stamp is not None}


def _files(path: Path) -> Iterable[Path]:
    try:
        return [*toml_files(path)] if path.is_dir() else [path]
    except OSError:
        return [path]


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
