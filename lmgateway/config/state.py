"""Where state is kept: the ``[state]`` table.  Without it no file is written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from lmgateway.classes import frozen
from lmgateway.config.values import Pattern

Form: TypeAlias = Literal["jsonl", "sqlite"]

_LOG_PLACE = Pattern(
    r"memory|(?:jsonl|sqlite):.*[^/]", '"memory", or "jsonl:" or "sqlite:" and the name of a file'
)

LogPlace: TypeAlias = Annotated[str, _LOG_PLACE]

_LINES_PLACE = Pattern(r"memory|jsonl:.*[^/]", '"memory", or "jsonl:" and the name of a file')

LinesPlace: TypeAlias = Annotated[str, _LINES_PLACE]

_KEY_PLACE = Pattern(r"memory|sqlite:.*[^/]", '"memory", or "sqlite:" and the name of a file')

KeyPlace: TypeAlias = Annotated[str, _KEY_PLACE]


@frozen(kw_only=True)
class StateSection:
    """
    Where state is kept.

    Attributes:
        keys: Of keys made through the admin API: ``memory``, or ``sqlite:`` and a file, relative
            to the main config file's folder.  Once given, the client port needs a key even if
            there are no ``[[clients]]``.
        usage: Of the usage ledger: ``memory``, or ``jsonl:`` or ``sqlite:`` and a file, relative
            to the main config file's folder.
        audit: Of the audit log: ``memory``, or ``jsonl:`` and a file, relative to the main config
            file's folder.
        fail_closed: Whether new requests are refused while the usage ledger cannot be written.
    """

    keys: KeyPlace | None = None
    usage: LogPlace | None = None
    audit: LinesPlace | None = None
    fail_closed: bool = False


def place_of(place: str | None, folder: Path) -> tuple[Form, Path] | None:
    """Give the form and the file that a place names; ``None`` for memory."""
    form, _, name = (place or "").partition(":")
    match form:
        case "jsonl" | "sqlite":
            return form, folder / name
    return None
