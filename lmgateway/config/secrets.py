"""
Secrets: where they are read, and the wrapper that keeps them out of sight.

A secret is named in the config and read from the environment or from a file
(Docker, Kubernetes, systemd), again at each reload.  An environment variable
``NAME`` that is not set is looked for in ``$CREDENTIALS_DIRECTORY/NAME``
(systemd's ``LoadCredential=``) and in the file that ``NAME_FILE`` names.
Trailing line ends are not part of a secret, and an empty one is none.
"""

from __future__ import annotations

import hmac
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from lmgateway.config.backend import SecretSource
from lmgateway.config.report import quoted

_LIMIT = 65536
_SENDABLE = re.compile(r"[!-~](?:[ -~]*[!-~])?")


class Secret:
    """
    A text that must not be seen: not printed, formatted, logged or pickled.

    Only ``reveal`` gives it out; call that where a header is written or a
    digest is made, and nowhere else.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Give the text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    __hash__ = None  # type: ignore[assignment]  # a hash would tell something of the text

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret cannot be pickled or copied")


def resolve(
    source: SecretSource | None, environ: Mapping[str, str], base_dir: Path
) -> Secret | None:
    """
    Read a secret.

    Args:
        source: Where it is; ``None`` gives ``None``.
        environ: The environment.
        base_dir: What a relative file name is relative to: the main config file's folder.

    Returns:
        The secret; ``None`` if there is none, or if it could not be sent in a header.
    """
    if source is None:
        return None
    if source.source == "env":
        text = _from_environ(source.var or "", environ)
    else:
        text = _read(base_dir / (source.path or ""))
    text = text.rstrip("\r\n")
    return Secret(text) if _SENDABLE.fullmatch(text) else None


def files_of(source: SecretSource, environ: Mapping[str, str], base_dir: Path) -> tuple[Path, ...]:
    """Give the existing file that *source* is read from, if it is read from one."""
    if source.source == "file":
        candidates = [base_dir / (source.path or "")]
    elif environ.get(source.var or ""):
        candidates = []
    else:
        candidates = [*_fallbacks(source.var or "", environ)]
    return tuple(path for path in candidates if _is_file(path))[:1]


def is_world_readable(path: Path) -> bool:
    """Tell whether every user of this machine may read *path*."""
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def described(source: SecretSource) -> str:
    """Name a source in a report: the variable or the file, never what is in it."""
    if source.source == "env":
        return f"the environment variable {quoted(source.var or '')}"
    return f"the file {quoted(source.path or '')}"


def _from_environ(name: str, environ: Mapping[str, str]) -> str:
    if text := environ.get(name, "").rstrip("\r\n"):
        return text
    return next(filter(None, map(_read, _fallbacks(name, environ))), "")


def _fallbacks(name: str, environ: Mapping[str, str]) -> list[Path]:
    paths = []
    if folder := environ.get("CREDENTIALS_DIRECTORY"):
        paths.append(Path(folder) / name)
    if file := environ.get(f"{name}_FILE"):
        paths.append(Path(file))
    return paths


def _read(path: Path) -> str:
    try:
        if not _is_file(path):  # a pipe or a device would block
            return ""
        with path.open("rb") as file:
            return file.read(_LIMIT).decode()
    except (OSError, ValueError):
        return ""


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
