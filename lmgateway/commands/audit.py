"""``lmgateway audit verify``: is the audit log whole?"""

from __future__ import annotations

from pathlib import Path

from lmgateway.stores.chain import ORIGIN, Verdict, verify


class Broken(Exception):
    """The chain does not hold; the text says where."""


def verified(path: Path, last: str | None) -> str:
    """
    Follow the chain of a file.

    Args:
        last: The hash that its last line had once, if that was kept.

    Returns:
        What it holds, in words.

    Raises:
        Broken: If the chain does not hold.
        OSError: If the file cannot be read.
    """
    verdict = verify(path)
    if verdict.broken is not None:
        where = f"line {verdict.broken} does not follow on the one before it"
        raise Broken(f"{path}: broken: {where} ({verdict.lines} lines before it are good)")
    if last is not None and last != verdict.last and not _has(path, last):
        raise Broken(f"{path}: broken: no line has the hash {last}: the end is missing or changed")
    return f"{path}: whole: {_worded(verdict)}"


def _worded(verdict: Verdict) -> str:
    words = f"{verdict.lines} lines, the last with the hash {verdict.last}"
    if verdict.torn:
        words += f"; {verdict.torn} cut off by crashes"
    if verdict.first != ORIGIN:
        words += f"; follows on a file whose last line has the hash {verdict.first}"
    return words


def _has(path: Path, last: str) -> bool:
    """Tell whether some line has that hash: the file may have grown since."""
    return f'"prev":"{last}"'.encode() in path.read_bytes()
