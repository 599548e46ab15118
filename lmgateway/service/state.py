"""The files that a config keeps records in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct
from twisted.logger import Logger

from lmgateway.config.schema import Config
from lmgateway.config.state import Form, place_of
from lmgateway.errors import ConfigError
from lmgateway.governance.budgets import Budgets
from lmgateway.governance.ledger import History, Keeping
from lmgateway.service.resources import Resources
from lmgateway.stores.lines import check_place
from lmgateway.stores.usage import UsageLines

_log = Logger()


class Records(Struct, frozen=True):
    """Where records are kept, once this config is served."""

    resources: Resources
    usage: Keeping | None = None
    audit: Path | None = None

    @classmethod
    def of(cls, config: Config, resources: Resources) -> Records:
        """
        Look where records are to be kept; nothing is opened yet.

        Raises:
            ConfigError: If a file could not be used.
        """
        usage, audit = None, place_of(config.state.audit, config.source.parent)
        if audit is not None:
            _check("state.audit", *audit)
        place = place_of(config.state.usage, config.source.parent)
        if place is not None:
            form, path = place
            _check("state.usage", form, path)
            usage = Keeping(path=path, archive=_archive(form, path))
        return cls(resources, usage, None if audit is None else audit[1])

    def settle(self) -> None:
        """Keep them there from now on."""
        self.resources.ledger.keep(self.usage, _teller("ledger", self.resources))
        self.resources.audit.keep(self.audit, _teller("audit", self.resources))

    def restore(self, budgets: Budgets) -> None:
        """Make known what earlier runs spent, once in the life of the process; blocks."""
        if budgets.purses.restored:
            return
        spending = self.resources.tally.spending
        for key, total in self.resources.ledger.sums.items():
            for sums, amount in ((spending.clients, total.cost), (spending.saved, total.saved)):
                sums[key.client] = sums.get(key.client, 0) + amount
        with suppress(OSError):  # the ledger has told of it
            budgets.restore(self.resources.ledger.history(budgets.since()))


async def close(resources: Resources) -> None:
    """Write what is left, and let go of the files."""
    resources.issued.close()
    if resources.ledger.kept:
        await resources.in_thread(resources.ledger.close)
    if resources.audit.kept:
        await resources.in_thread(resources.audit.close)


def _archive(form: Form, path: Path) -> History:
    if form == "jsonl":
        return UsageLines(path)
    from lmgateway.stores.usage_table import UsageTable  # with all of SQLite

    return UsageTable(path)


def _check(key: str, form: Form, path: Path) -> None:
    try:
        if form == "sqlite":
            from lmgateway.stores import sqlite

            sqlite.check(path)
        else:
            check_place(path)
    except OSError as error:
        raise ConfigError([f'{key}: "{path}" cannot be used: {error.strerror}']) from None


def _teller(kind: str, resources: Resources) -> Callable[[OSError | None], None]:
    """Give what tells, from any thread, that a file takes no more, or takes it again."""

    def tell(error: OSError | None) -> None:
        if error is None:
            _log.info("The {kind} is written again.", kind=kind)
            resources.events.tell(kind, state="writing")
        else:
            _log.error("The {kind} cannot be written: {error}", kind=kind, error=error)
            resources.events.tell(kind, state="failing", error=error.strerror)

    return lambda error: resources.reactor.callFromThread(tell, error)
