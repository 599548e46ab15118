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


def line(event: LogEvent) -> str:
    """Give an event as one JSON object and a newline."""
    failure = event.get("log_failure")
    document = {
        "time": datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds"),
        "level": event["log_level"].name,
        "namespace": event.get("log_namespace"),
        "message": formatEvent(event)[:MAX_TEXT],
    }
    if failure is not None:
        document["traceback"] = failure.getTraceback()[-MAX_TEXT:]
    return msgspec.json.encode(document).decode() + "\n"


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
    """Set the least level of each namespace; the empty one is for all others."""
    levels.clearLogLevels()
    for namespace, name in wanted.items():
        levels.setLogLevelForNamespace(namespace, LogLevel.levelWithName(name))
