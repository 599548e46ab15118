"""
Operational events: JSON lines for machines, plain lines for a terminal.

Every value is encoded, so that nobody can forge a line or a terminal command
through a name that they chose.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

import msgspec
from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
)

MAX_TEXT = 8192
MAX_FIELD = 1024
_LEGACY = frozenset({"format", "message", "time", "system", "isError", "failure", "why", "debug"})
"""What twisted's older logger puts into an event."""
_OLDER = "log_legacy"
_CORRELATED = ("request_id", "trace_id")
"""Fields that stand beside the message, where pipelines look for them."""


def line(event: LogEvent) -> str:
    """Give an event as one JSON object and a newline."""
    failure = event.get("log_failure")
    when = datetime.fromtimestamp(event["log_time"], UTC)
    document: dict[str, object] = {
        "timestamp": when.isoformat(timespec="milliseconds"),
        "level": event["log_level"].name,
        "namespace": event.get("log_namespace"),
        "message": _sound(formatEvent(event)[:MAX_TEXT]),
    }
    fields = _fields(event)
    document.update((name, fields.pop(name)) for name in _CORRELATED if name in fields)
    if fields:
        document["fields"] = fields
    if failure is not None:
        document["traceback"] = _sound(failure.getTraceback()[-MAX_TEXT:])
    return msgspec.json.encode(document).decode() + "\n"


def _sound(text: str) -> str:
    """Give text that can be encoded, whatever a name was made of."""
    return text.encode("utf-8", "backslashreplace").decode()


def _fields(event: LogEvent) -> dict[str, object]:
    """What an event is about, one by one: plain values that its author named."""
    found: dict[str, object] = {}
    for name, value in event.items():
        if name.startswith("log_") or name in _LEGACY:
            continue
        if isinstance(value, str):
            found[name] = _sound(value[:MAX_FIELD])
        elif value is None or isinstance(value, bool | int | float):
            found[name] = value
    return found


def text(event: LogEvent) -> str:
    """Give an event for a person at a terminal."""
    when = datetime.fromtimestamp(event["log_time"], UTC).astimezone().strftime("%H:%M:%S")
    failure = event.get("log_failure")
    message = formatEvent(event)[:MAX_TEXT]
    if failure is not None:
        message += "\n" + failure.getTraceback()
    clean = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in message)
    return f"{when} {event['log_level'].name:<5} {clean}\n"


def observer(file: TextIO, levels: LogLevelFilterPredicate) -> ILogObserver:
    """
    Make the observer of this process.

    Args:
        file: Where lines go; a terminal gets plain ones.
        levels: The least level that is written, for each namespace; may change at any time.
    """
    write = FileLogObserver(file, text if file.isatty() else line)
    return FilteringLogObserver(write, [levels])


def set_levels(levels: LogLevelFilterPredicate, wanted: Mapping[str, str]) -> None:
    """
    Set the least level of each namespace; the empty one is for all others.

    Twisted's older logger knows only one level for all that goes well: it is told where
    ``debug`` is, or where it is asked for by name.
    """
    levels.clearLogLevels()
    if wanted.get("", "info") == "info":
        levels.setLogLevelForNamespace(_OLDER, LogLevel.warn)
    for namespace, name in wanted.items():
        levels.setLogLevelForNamespace(namespace, LogLevel.levelWithName(name))
