"""
The fault matrix as a table: what each row is, where it is tried, or why it is not.

Rows that only the wire sees are tried with the wire's own tests.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

_HERE = Path(__file__).parent


@frozen
class Row:
    """
    One row.

    Attributes:
        what: The fault or abuse.
        elsewhere: Tests outside this package that try it, too.
        skipped: Why it is not tried here; empty if it is.
    """

    what: str
    elsewhere: tuple[str, ...] = ()
    skipped: str = ""


_W = "tests.wire."
_ENDS, _SOCKETS = f"{_W}test_server_ends", f"{_W}test_server_sockets"
_PROCESS = "tests.service.test_process.ProcessTests."

ROWS = {
    1: Row("backend refuses connections"),
    2: Row("backend's SYN queue is full"),
    3: Row("backend accepts and never reads"),
    4: Row("reset before headers, fresh connection"),
    5: Row("reset on a reused idle connection"),
    6: Row("reset in a JSON body"),
    7: Row("reset in mid-stream"),
    8: Row("end of connection in mid-stream"),
    9: Row("end of connection ends the body"),
    10: Row("stall before headers"),
    11: Row("stall in mid-stream"),
    12: Row("a byte now and then for ever"),
    13: Row("invalid JSON with status 200"),
    14: Row("wrong content type"),
    15: Row("a stream for JSON, JSON for a stream"),
    16: Row("429 with every Retry-After"),
    17: Row("burst of 500"),
    18: Row("401 and 403 of a backend"),
    19: Row("redirects"),
    20: Row("interim answers without end"),
    21: Row("JSON of a gigabyte"),
    22: Row("an event of 64 MB"),
    23: Row("invalid UTF-8"),
    24: Row("compressed answers and bombs"),
    25: Row("events cut at every byte, all line ends", (f"{_W}test_sse",)),
    26: Row("large, forged and hop-by-hop headers", (f"{_W}test_client_guard",)),
    27: Row("ambiguous framing and stray bytes", (f"{_W}test_client_guard",)),
    28: Row("names that do not resolve", (f"{_W}test_resolver",)),
    29: Row("bad certificates of a backend", (f"{_W}test_client_tls",)),
    30: Row("client leaves before all is sent"),
    31: Row("client leaves while waiting"),
    32: Row("client leaves in mid-stream", (f"{_W}test_tls",)),
    33: Row("client leaves behind 40 kB of junk"),
    34: Row("client reads nothing", (_SOCKETS,)),
    35: Row("slow headers, bodies and handshakes", (_ENDS,)),
    36: Row("bodies that are too large"),
    37: Row("long header line over TLS, then a flood", (f"{_W}test_tls",)),
    38: Row("malformed JSON", ("tests.dialects.test_document",)),
    39: Row("members of the wrong type"),
    40: Row("unknown models, and those of others"),
    41: Row("forged lines of headers and logs", (f"{_W}test_outlet",)),
    42: Row("request smuggling corpus", (f"{_W}test_framing",)),
    43: Row("guesses at the admin port"),
    44: Row("guesses at the client port", (f"{_W}test_server",)),
    45: Row("bad files at a reload", ("tests.service.test_reload",)),
    46: Row("secrets that cannot be read", ("tests.config.test_secrets",)),
    47: Row("memory pressure", skipped="needs a control group of its own"),
    48: Row("no file descriptors left", ("tests.service.test_descriptors",)),
    49: Row("clock steps of an hour", (f"{_PROCESS}test_O1_wall_clock_moves_no_timer",)),
    50: Row(
        "SIGTERM under streams",
        (f"{_PROCESS}test_O4_sigterm_drains", f"{_PROCESS}test_O4_drain_deadline"),
    ),
    51: Row("SIGHUP again and again under load", ("tests.gates.test_gates",)),
    52: Row("killed while the ledger is written", ("tests.stores.test_usage",)),
    53: Row("disk full, failing, slow", ("tests.stores.test_spool", "tests.stores.test_lines")),
    54: Row("log moved away or deleted", ("tests.telemetry.test_line_file",)),
    55: Row("Redis or PostgreSQL down", skipped="neither is a store of this version"),
    56: Row("config file half written"),
    57: Row("reactor blocked", ("tests.service.test_notify",)),
    58: Row(
        "a thousand handshakes a second", skipped="a load test of minutes, on cores of its own"
    ),
    59: Row("idle clients without end", (_ENDS,)),
    60: Row("segments of one byte"),
    61: Row("restarts under load", ("tests.gates.test_gates",)),
}


def here() -> dict[int, list[str]]:
    """Find the tests of each row in this package, by their names."""
    found: dict[int, list[str]] = {}
    for file in sorted(_HERE.glob("test_rows_*.py")):
        case = ""
        for line in file.read_text().splitlines():
            if match := re.match(r"class (\w+)\(", line):
                case = match[1]
            elif match := re.match(r"    (?:async )?def (test_row_(\d\d)_\w+)\(", line):
                name = f"tests.faults.{file.stem}.{case}.{match[1]}"
                found.setdefault(int(match[2]), []).append(name)
    return found


def tests_of(number: int) -> Sequence[str]:
    """Name all tests of a row."""
    return [*here().get(number, ()), *ROWS[number].elsewhere]
