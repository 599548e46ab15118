"""
All that is wrong with a config, in one report.

Each problem is one line: file, line where known, key path, what is wrong and
what is allowed.  Values are not repeated, but for names that refer to other
parts of the config; and a name that looks like a key is masked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import msgspec

from lmgateway.config.merge import KeyPath, Origins

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_KEY_LIKE = re.compile(
    r"""\b(?:
        (?:sk|pk|rk|gsk|xai|csk|nvapi|fw|tgp|hf|r8|pplx|dapi)[-_][A-Za-z0-9_-]{16,}
        | AIza[A-Za-z0-9_-]{30,}
        | (?:ghp|gho|ghs|github_pat)_[A-Za-z0-9_]{20,}
        | AKIA[A-Z0-9]{16}
        | eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*
        | Bearer[ ]+[A-Za-z0-9._~+/-]{16,}=*
    )""",
    re.VERBOSE,
)
_DENSE = re.compile(r"(?=\S*[0-9])(?=\S*[A-Za-z])[A-Za-z0-9+/]{32,}={0,2}")


def looks_like_key(text: str) -> bool:
    """Tell whether *text* is, or holds, what a provider would issue as an API key."""
    return _KEY_LIKE.search(text) is not None


def quoted(name: str) -> str:
    """Give a name for a report: in quotes, masked if it looks like a key."""
    if looks_like_key(name) or _DENSE.fullmatch(name):
        return '"***"'
    shown = name if len(name) <= 200 else name[:197] + "..."
    return json.dumps(shown)


def listed(names: Iterable[str]) -> str:
    """Give several names for a report, as many as one can read."""
    known = [*names]
    shown = ", ".join(quoted(name) for name in known[:12])
    return f"{shown}, ..." if len(known) > 12 else shown or "none"


def suggestion(name: str, known: Iterable[str], label: str = "there are") -> str:
    """Give the end of a sentence about an unknown *name*: the nearest one, or what there is."""
    from difflib import get_close_matches  # for those who have mistyped something

    names = {each.lower(): each for each in known}
    near = get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {quoted(names[near[0]])}?"
    return f"; {label}: {listed(names.values())}"


def dotted(path: KeyPath) -> str:
    """Write a key path as TOML would: ``profiles."ha:fast".rules[0].route_to``."""
    written = ""
    for part in path:
        if isinstance(part, int):
            written += f"[{part}]"
        else:
            written += "." if written else ""
            written += part if _BARE.fullmatch(part) and quoted(part) != '"***"' else quoted(part)
    return written


class Problem(msgspec.Struct, frozen=True, order=True):
    """One fault, with where it is.  Sorts by place."""

    file_order: int
    line: int
    text: str


class Report(msgspec.Struct):
    """
    Gathers faults and warnings.

    Attributes:
        texts: The files that were read, by name as shown, in order of reading.
        origins: Where each setting came from.
    """

    texts: dict[str, str] = msgspec.field(default_factory=dict)
    origins: Origins = msgspec.field(default_factory=Origins)
    _problems: list[Problem] = msgspec.field(default_factory=list)
    _warnings: list[Problem] = msgspec.field(default_factory=list)
    _broken: set[KeyPath] = msgspec.field(default_factory=set)
    _missing: int = 0
    _lines: dict[str, dict[KeyPath, int]] = msgspec.field(default_factory=dict)

    def problem(self, path: KeyPath, text: str) -> None:
        """Note a fault at *path*, unless what stands there is already known to be broken."""
        if not self.is_broken(path):
            self._problems.append(self._located(path, text))

    def is_broken(self, path: KeyPath) -> bool:
        """Tell whether *path*, or something that holds it, is known to be broken."""
        return any(path[:depth] in self._broken for depth in range(len(path) + 1))

    def broken(self, path: KeyPath, text: str) -> None:
        """Note that *path* has no usable value: nothing more is said of it."""
        self.problem(path, text)
        self._broken.add(path)

    def mark_broken(self, path: KeyPath) -> None:
        """Say nothing more of *path*: what is wrong with it was said."""
        self._broken.add(path)

    def missing(self, path: KeyPath, text: str) -> None:
        """Note that a secret could not be had: that may change by itself."""
        self._missing += not self.is_broken(path)
        self.broken(path, text)

    @property
    def is_transient(self) -> bool:
        """Whether nothing is wrong but that secrets are missing."""
        return 0 < self._missing == len(self._problems)

    def warning(self, path: KeyPath, text: str) -> None:
        """Note what is allowed at *path*, but probably not meant."""
        self._warnings.append(self._located(path, text))

    def file_problem(self, file: str, text: str, line: int = 0) -> None:
        """Note a fault of a whole file."""
        self._problems.append(self._written(file, line, text))

    def file_warning(self, file: str, line: int, text: str) -> None:
        """Note what is allowed in a file, but probably not meant."""
        self._warnings.append(self._written(file, line, text))

    @property
    def problems(self) -> tuple[str, ...]:
        """Every fault found, each a full line, in the order of the files."""
        return tuple(dict.fromkeys(problem.text for problem in sorted(self._problems)))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Every warning, each a full line, in the order of the files."""
        return tuple(dict.fromkeys(problem.text for problem in sorted(self._warnings)))

    def where(self, path: KeyPath) -> str:
        """Say where *path* was written: file and, where known, line."""
        place = self.origins.place(path)
        if place is None:
            return ""
        line = self._line(place.file, place.path)
        return f"{place.file}:{line}" if line else place.file

    def _located(self, path: KeyPath, text: str) -> Problem:
        place = self.origins.place(path)
        if place is None:
            return self._written("", 0, f"{dotted(path)}: {text}")
        line = self._line(place.file, place.path)
        return self._written(place.file, line, f"{dotted(path)}: {text}" if path else text)

    def _written(self, file: str, line: int, text: str) -> Problem:
        order = [*self.texts].index(file) if file in self.texts else len(self.texts)
        prefix = (f"{file}:{line}: " if line else f"{file}: ") if file else ""
        return Problem(order, line, prefix + text)

    def _line(self, file: str, path: KeyPath) -> int:
        if file not in self.texts:
            return 0
        from lmgateway.config.lines import key_lines, line_of  # with many patterns

        if file not in self._lines:
            self._lines[file] = key_lines(self.texts[file])
        return line_of(path, self._lines[file]) or 0
