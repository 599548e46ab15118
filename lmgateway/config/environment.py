"""
What a config is filled from besides its files: variables, and secrets from further away.

Secrets of servers and commands are fetched before a config is checked, all at
once and within a bounded time, and again at each reload and from time to time.
A secret that was had once and cannot be had now goes on being used, and it is
said which one that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from lmgateway.config.backend import SecretSource
from lmgateway.config.secrets import Secret, is_remote, is_sendable, resolve
from lmgateway.config.stores import SecretsSection

NOT_PRINTABLE = "it is empty, or not printable ASCII"

Read = Callable[[SecretSource], Secret | None]
"""Reads a secret of this machine."""


class Courier(Protocol):
    """Fetches secrets; blocks for a bounded time.  Kept as long as the process lives."""

    def __call__(
        self,
        section: SecretsSection,
        sources: Sequence[SecretSource],
        read: Read,
        environ: Mapping[str, str],
    ) -> Mapping[SecretSource, Secret | str]:
        """
        Fetch all of *sources*.

        Args:
            section: Where the servers are.
            read: Reads what is needed to log in.
            environ: Where commands take their variables from.

        Returns:
            Each secret, or why it could not be had, in words without any secret.
        """


class Environment(Mapping[str, str]):
    """
    The variables of the process, and what was fetched.

    Args:
        variables: The variables.
        courier: Fetches from servers and commands.

    Attributes:
        stale: Sources that give nothing now, and why; their last secret is used.
        changes: How often something else was fetched than the last time.
    """

    def __init__(self, variables: Mapping[str, str], courier: Courier) -> None:
        self._variables = variables
        self._courier = courier
        self._fetched: dict[SecretSource, Secret] = {}
        self._good: dict[SecretSource, Secret] = {}
        self.stale: dict[SecretSource, str] = {}
        self.changes = 0

    def __getitem__(self, name: str) -> str:
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def known(self) -> list[tuple[SecretSource, str]]:
        """Give all secrets that were had, for another process of ours: see ``learn``."""
        had = {**self._good, **self._fetched}
        return [(source, secret.reveal()) for source, secret in had.items()]

    def learn(self, known: Iterable[tuple[SecretSource, str]]) -> None:
        """Take over the secrets that another process has had."""
        for source, text in known:
            kept = self._fetched if is_remote(source) else self._good
            kept[source] = Secret(text)

    def fetched(self, source: SecretSource) -> Secret | None:
        """Give what was fetched of a source last."""
        return self._fetched.get(source)

    def fetch(
        self, section: SecretsSection, sources: Sequence[SecretSource], base_dir: Path
    ) -> Mapping[SecretSource, str]:
        """
        Fetch secrets anew; blocks.

        Returns:
            Why some never could be had; what was had before is kept, and told as stale.
        """
        faults: dict[SecretSource, str] = {}
        if not sources:
            return faults
        found = self._courier(
            section, sources, lambda source: resolve(source, self, base_dir), self._variables
        )
        for source in sources:
            given = found.get(source, "it did not come in time")
            if isinstance(given, Secret) and not is_sendable(given.reveal()):
                given = NOT_PRINTABLE
            if isinstance(given, Secret):
                self.changes += self._fetched.get(source) != given
                self._fetched[source] = given
                self.stale.pop(source, None)
            elif source in self._fetched:
                self.stale[source] = given
            else:
                faults[source] = given
        return faults

    def last_good(self, source: SecretSource, found: Secret | None) -> Secret | None:
        """Remember a secret that was found, or give the one that was found before."""
        if found is not None:
            if not is_remote(source):
                self._good[source] = found
                self.stale.pop(source, None)
            return found
        before = self._good.get(source)
        if before is not None:
            self.stale[source] = "it is missing, empty, unreadable or not printable ASCII"
        return before
