"""Names of headers, in lower case, and what else is asked of headers on either side."""

from __future__ import annotations

_LONG = 40
_MOST = 1024


class _Names(dict[bytes, bytes]):
    """Names in lower case, by name: bounded, since others choose them."""

    def __missing__(self, name: bytes) -> bytes:
        lower = name.lower()
        if len(name) < _LONG and len(self) < _MOST:
            self[name] = lower
        return lower


NAMES = _Names()
"""Those of backends."""


def tokens(value: bytes) -> list[bytes]:
    """Split a comma-separated header into lower-case words."""
    return [token.strip(b" \t").lower() for token in value.split(b",")]


def size_of(headers: list[tuple[bytes, bytes]]) -> int:
    """Give how many bytes names and values have."""
    return sum(len(name) + len(value) for name, value in headers)
