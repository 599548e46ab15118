"""
Fetches secrets from servers and programs: all at once, each kind in a thread of its own.

It blocks its caller until all are there or the time is over; a thread that hangs
longer than that is left behind, and harms nobody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, TypeVar

from lmgateway.config.backend import SecretSource
from lmgateway.config.environment import Environment, Read
from lmgateway.config.secrets import Secret, mount_of
from lmgateway.config.stores import InfisicalSection, SecretsSection, VaultSection
from lmgateway.stores.deadline import Deadline, Refused

if TYPE_CHECKING:  # what no config names is not loaded
    from lmgateway.stores.infisical import Infisical
    from lmgateway.stores.vault import Vault

MAX_PROGRAMS = 8
"""Programs that run at once."""

Key = TypeVar("Key")
Client = TypeVar("Client")
Given = dict[SecretSource, Secret | str]


class Fetching:
    """
    One round: see ``config.environment.Courier``.

    Attributes:
        given: What came so far.
    """

    def __init__(
        self, section: SecretsSection, read: Read, environ: Mapping[str, str], deadline: Deadline
    ) -> None:
        self._section = section
        self._read = read
        self._environ = environ
        self._deadline = deadline
        self.given: Given = {}

    def vault(self, vault: Vault, sources: Sequence[SecretSource]) -> None:
        """Read from Vault, each secret once, whatever is wanted of it."""
        section = self._section.vault
        assert section is not None, "checked"
        secrets: dict[tuple[str, str], dict[str, Any] | Refused] = {}

        def value(source: SecretSource) -> str:
            place = (mount_of(source), source.name or "")
            if place not in secrets:
                try:
                    login = self._credential(section)
                    secrets[place] = vault.read(*place, login, self._deadline)
                except Refused as error:
                    secrets[place] = error
            found, field = secrets[place], source.field or "value"
            if isinstance(found, Refused):
                raise found
            if not isinstance(found.get(field), str):
                raise Refused(f"it has no text called {field!r}")
            return str(found[field])

        self._all(sources, value)
        vault.close()

    def infisical(self, infisical: Infisical, sources: Sequence[SecretSource]) -> None:
        """Read from Infisical."""
        section = self._section.infisical
        assert section is not None, "checked"
        login = self._credential(section)
        self._all(
            sources,
            lambda s: infisical.read(s.folder or "/", s.name or "", login, self._deadline),
        )
        infisical.close()

    def programs(self, sources: Sequence[SecretSource]) -> None:
        """Run programs, one after the other."""
        from lmgateway.stores.program import first_line

        more = self._section.command_env
        self._all(
            sources, lambda s: first_line(s.command or (), self._environ, more, self._deadline)
        )

    def _credential(self, section: VaultSection | InfisicalSection) -> Callable[[], Secret | None]:
        source = section.credential
        return lambda: None if source is None else self._read(source)

    def _all(self, sources: Sequence[SecretSource], value: Callable[[SecretSource], str]) -> None:
        for source in sources:
            try:
                self.given[source] = Secret(value(source).rstrip("\r\n"))
            except Refused as error:
                self.given[source] = str(error)


class Courier:
    """Fetches; keeps the tokens of the servers from one round to the next."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._vaults: dict[VaultSection, Vault] = {}
        self._infisicals: dict[InfisicalSection, Infisical] = {}

    def __call__(
        self,
        section: SecretsSection,
        sources: Sequence[SecretSource],
        read: Read,
        environ: Mapping[str, str],
    ) -> Given:
        """Fetch all of *sources*."""
        seconds = section.timeout_ms / 1000
        deadline = Deadline(seconds)
        fetching = Fetching(section, read, environ, deadline)
        if not self._lock.acquire(timeout=seconds):
            return {}
        try:
            threads = [
                Thread(target=errand, name="secrets", daemon=True)
                for errand in self._errands(section, sources, fetching)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                _join(thread, deadline)
        finally:
            self._lock.release()
        return dict(fetching.given)

    def _errands(
        self, section: SecretsSection, sources: Sequence[SecretSource], fetching: Fetching
    ) -> Iterator[Callable[[], None]]:
        kinds: dict[str, list[SecretSource]] = defaultdict(list)
        for source in sources:
            kinds[source.source].append(source)
        if kinds["vault"] and section.vault is not None:
            from lmgateway.stores.vault import Vault

            vault = _kept(self._vaults, section.vault, Vault)
            yield partial(fetching.vault, vault, kinds["vault"])
        if kinds["infisical"] and section.infisical is not None:
            from lmgateway.stores.infisical import Infisical

            infisical = _kept(self._infisicals, section.infisical, Infisical)
            yield partial(fetching.infisical, infisical, kinds["infisical"])
        for number in range(min(MAX_PROGRAMS, len(kinds["command"]))):
            yield partial(fetching.programs, kinds["command"][number::MAX_PROGRAMS])


def surroundings(variables: Mapping[str, str]) -> Environment:
    """Give the environment of a process that fetches what its config names."""
    return Environment(variables, Courier())


def _kept(known: dict[Key, Client], section: Key, make: Callable[[Key], Client]) -> Client:
    """Give the client of a server; of others than the present one nothing is kept."""
    if section not in known:
        known.clear()
        known[section] = make(section)
    return known[section]


def _join(thread: Thread, deadline: Deadline) -> None:
    try:
        thread.join(deadline.left())
    except Refused:
        return
