"""
The kinds of value that a config key may hold, each with what it allows.

A kind is an annotated built-in type.  The annotation says what is wrong with
a value in words fit for a report (never repeating the value, which may be a
secret in the wrong place), and how JSON Schema says the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from math import isfinite
from typing import Annotated, Protocol, TypeAlias
from urllib.parse import urlsplit

from msgspec import Struct

from lmgateway.config.report import quoted, suggestion


class Kind(Protocol):
    """What a value must be, beyond its type."""

    def fault(self, value: object) -> str | None:
        """Say what is wrong with *value*, as "must be ..."; ``None`` if nothing is."""

    def schema(self) -> dict[str, object]:
        """Give the JSON Schema keywords that say the same."""


class Range(Struct, frozen=True):
    """A number between two bounds, both allowed."""

    low: float
    high: float

    def fault(self, value: object) -> str | None:
        """Compare; ``nan`` and the infinities are never in range."""
        number = value if isinstance(value, int | float) else float("nan")
        if isfinite(number) and self.low <= number <= self.high:
            return None
        return f"must be from {self.low} to {self.high}"

    def schema(self) -> dict[str, object]:
        """Give both bounds."""
        return {"minimum": self.low, "maximum": self.high}


class Pattern(Struct, frozen=True):
    """Text of a given spelling."""

    regex: str
    meaning: str

    def fault(self, value: object) -> str | None:
        """Match the whole text."""
        if isinstance(value, str) and re.fullmatch(self.regex, value):
            return None
        return f"must be {self.meaning}"

    def schema(self) -> dict[str, object]:
        """Give the spelling as an anchored pattern."""
        return {"pattern": f"^(?:{self.regex})$"}


class Parsed(Struct, frozen=True):
    """Text that a function can read without a ``ValueError``."""

    read: Callable[[str], object]
    meaning: str

    def fault(self, value: object) -> str | None:
        """Try to read it."""
        try:
            self.read(str(value))
        except ValueError:
            return f"must be {self.meaning}"
        return None

    def schema(self) -> dict[str, object]:
        """Nothing that JSON Schema could check."""
        return {}


class OneOf(Struct, frozen=True):
    """One of several words that are not known to the type checker."""

    choices: tuple[str, ...]

    def fault(self, value: object) -> str | None:
        """Look it up; the nearest word is suggested."""
        if value in self.choices:
            return None
        return not_one_of(str(value), self.choices)

    def schema(self) -> dict[str, object]:
        """Give the words."""
        return {"enum": [*self.choices]}


def not_one_of(word: str, choices: Iterable[str]) -> str:
    """Say that *word* is none of *choices*."""
    return f"must not be {quoted(word)}" + suggestion(word, choices, "allowed")


def is_loopback(host: str) -> bool:
    """Tell whether *host* can only be reached from this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def log_levels(text: str) -> dict[str, str]:
    """
    Read ``"info"`` or ``"info,lmgateway.wire=debug"`` into levels by namespace.

    The level without a namespace is under the empty name.

    Raises:
        ValueError: If it is neither.
    """
    levels: dict[str, str] = {}
    for item in text.lower().split(","):
        namespace, _, level = item.strip().rpartition("=")
        if level not in _LEVELS:
            raise ValueError("unknown level")
        levels[namespace] = _LEVELS[level]
    return levels


_LEVELS = {
    "trace": "debug",
    "debug": "debug",
    "info": "info",
    "warn": "warn",
    "warning": "warn",
    "error": "error",
    "critical": "critical",
}


def moment(text: str) -> float:
    """
    Read a date (its beginning, UTC) or a time with its zone, as seconds since the epoch.

    Raises:
        ValueError: If it is neither.
    """
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        if len(text) > len("2030-01-31"):
            raise ValueError("a time without its zone")
        when = when.replace(tzinfo=UTC)
    return when.timestamp()


def _listen_host(text: str) -> None:
    if text != "localhost":
        ip_address(text)


def _web_url(text: str) -> None:
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
        raise ValueError("not a base URL")
    if re.search(r"[\x00-\x20\x7f]", text) or url.port == 0:
        raise ValueError("not a base URL")


def _proxy_url(text: str) -> None:
    _web_url(text)
    url = urlsplit(text)
    if url.scheme != "http" or url.path not in ("", "/"):
        raise ValueError("not a proxy URL")


def _origin(text: str) -> None:
    if text == "*":
        return
    _web_url(text)
    url = urlsplit(text)
    if url.path or url.username is not None:
        raise ValueError("not an origin")


_DAYS = 2**31 - 1

Port: TypeAlias = Annotated[int, Range(0, 65535)]
"""A TCP port; 0 lets the system choose."""

Milliseconds: TypeAlias = Annotated[int, Range(1, _DAYS)]
"""A time that cannot be switched off."""

OptionalMilliseconds: TypeAlias = Annotated[int, Range(0, _DAYS)]
"""A time; what 0 means is said where it is used."""

OptionalSeconds: TypeAlias = Annotated[int, Range(0, 2**31 - 1)]
"""A time; what 0 means is said where it is used."""

Count: TypeAlias = Annotated[int, Range(0, 2**53)]
PositiveCount: TypeAlias = Annotated[int, Range(1, 2**53)]
Workers: TypeAlias = Annotated[int, Range(1, 32)]
Priority: TypeAlias = Annotated[int, Range(-(10**9), 10**9)]
Ratio: TypeAlias = Annotated[float, Range(0, 1)]
Price: TypeAlias = Annotated[float, Range(0, 1_000_000)]
"""USD per million tokens, or per request."""

# Named, since pydoctor takes a string within an alias for a forward reference.
_NAME = Pattern(
    r"[!-~](?:[ -~]{0,253}[!-~])?",
    "printable ASCII and not longer than 255 characters, since it is sent in headers",
)
_ENV_NAME = Pattern(r"[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable")
_HEX_DIGEST = Pattern(r"[0-9A-Fa-f]{64}", "a SHA-256 digest in 64 hexadecimal digits")
_KEEP_ALIVE = Pattern(r"-1|0|(?:\d+(?:ms|s|m|h))+", 'a duration such as "5m", "0" or "-1"')
_HEADER_NAME = Pattern(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", "a header name")
_HEADER_VALUE = Pattern(r"(?:[!-~](?:[ -~]*[!-~])?)?", "printable ASCII on one line")
_LISTEN_HOST = Parsed(_listen_host, "an IP address, or localhost")
_BASE_URL = Parsed(_web_url, "http:// or https:// with a host, without query or fragment")
_PROXY_URL = Parsed(_proxy_url, "http://host:port")
_ORIGIN = Parsed(_origin, '"*" or a scheme and host without path')
_NETWORK = Parsed(ip_network, "an IP network such as 10.0.0.0/8, without host bits")
_MOMENT = Parsed(moment, 'a date or a time with its zone, as "2030-01-31T18:00:00Z"')
_LOG_LEVEL = Parsed(
    log_levels,
    "debug, info, warn, error or critical; more exactly, "
    "for one namespace: info,lmgateway.wire=debug",
)

Name: TypeAlias = Annotated[str, _NAME]
EnvName: TypeAlias = Annotated[str, _ENV_NAME]
HexDigest: TypeAlias = Annotated[str, _HEX_DIGEST]
KeepAlive: TypeAlias = Annotated[str, _KEEP_ALIVE]
HeaderName: TypeAlias = Annotated[str, _HEADER_NAME]
HeaderValue: TypeAlias = Annotated[str, _HEADER_VALUE]
ListenHost: TypeAlias = Annotated[str, _LISTEN_HOST]
BaseUrl: TypeAlias = Annotated[str, _BASE_URL]
ProxyUrl: TypeAlias = Annotated[str, _PROXY_URL]
Origin: TypeAlias = Annotated[str, _ORIGIN]
Network: TypeAlias = Annotated[str, _NETWORK]
Moment: TypeAlias = Annotated[str, _MOMENT]
LogLevel: TypeAlias = Annotated[str, _LOG_LEVEL]
