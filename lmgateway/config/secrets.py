"""
Secrets: where they are read, and the wrapper that keeps them out of sight.

A secret is named in the config and read from the environment or from a file
(Docker, Kubernetes, systemd), again at each reload.  An environment variable
``NAME`` that is not set is looked for in ``$CREDENTIALS_DIRECTORY/NAME``
(systemd's ``LoadCredential=``) and in the file that ``NAME_FILE`` names.
Trailing line ends are not part of a secret, and an empty one is none.

What servers and commands give is fetched beforehand: see
``lmgateway.config.environment``.
"""

from __future__ import annotations

import hmac
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn, Protocol, runtime_checkable

from lmgateway.config.backend import SecretSource
from lmgateway.config.report import quoted

DOCKER = Path("/run/secrets")
"""Where Docker and Podman mount secrets."""

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


@runtime_checkable
class Fetched(Protocol):
    """An environment that has more than variables: see ``config.environment.Environment``."""

    def fetched(self, source: SecretSource) -> Secret | None:
        """Give what was fetched of a source last."""

    def last_good(self, source: SecretSource, found: Secret | None) -> Secret | None:
        """Remember a secret that was found, or give the one that was found before."""


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
    if is_remote(source):
        return environ.fetched(source) if isinstance(environ, Fetched) else None
    if source.source == "env":
        text = _from_environ(source.var or "", environ)
    else:
        places = _places(source.path or "", environ, base_dir)
        text = next(filter(None, (_read(path).rstrip("\r\n") for path in places)), "")
    text = text.rstrip("\r\n")
    return Secret(text) if is_sendable(text) else None


def obtain(
    source: SecretSource | None, environ: Mapping[str, str], base_dir: Path
) -> Secret | None:
    """Read a secret as ``resolve`` does; if there is none now, give the last one that was."""
    found = resolve(source, environ, base_dir)
    if source is None or not isinstance(environ, Fetched):
        return found
    return environ.last_good(source, found)


def is_remote(source: SecretSource) -> bool:
    """Tell whether a secret has to be fetched."""
    return source.source not in ("env", "file")


def is_sendable(text: str) -> bool:
    """Tell whether a text could be sent in a header."""
    return _SENDABLE.fullmatch(text) is not None


def files_of(source: SecretSource, environ: Mapping[str, str], base_dir: Path) -> tuple[Path, ...]:
    """Give the existing file that *source* is read from, if it is read from one."""
    if is_remote(source):
        candidates = []
    elif source.source == "file":
        candidates = _places(source.path or "", environ, base_dir)
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
    match source.source:
        case "env":
            return f"the environment variable {quoted(source.var or '')}"
        case "file":
            return f"the file {quoted(source.path or '')}"
        case "vault":
            return f"the Vault secret {quoted(f'{mount_of(source)}/{source.name}')}"
        case "infisical":
            return f"the Infisical secret {quoted(source.name or '')}"
        case "command":  # its arguments may tell too much
            return f"the command {quoted((source.command or ('',))[0])}"


def mount_of(source: SecretSource) -> str:
    """Give where the KV engine of a Vault secret is mounted."""
    return source.mount or "secret"


def _from_environ(name: str, environ: Mapping[str, str]) -> str:
    if text := environ.get(name, "").rstrip("\r\n"):
        return text
    return next(filter(None, map(_read, _fallbacks(name, environ))), "")


def _places(name: str, environ: Mapping[str, str], base_dir: Path) -> list[Path]:
    """Where a file may be: a bare name also where systemd and Docker put secrets."""
    path = base_dir / name
    if path.parent != base_dir:
        return [path]
    folder = environ.get("CREDENTIALS_DIRECTORY")
    others = [Path(folder), DOCKER] if folder else [DOCKER]
    return [path, *(other / path.name for other in others)]


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
