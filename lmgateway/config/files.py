"""
The files of a config: the main one, ``conf.d/`` beside it, and the profile folder.

They are read in this order, each folder by name; a file that cannot be read
or parsed is a problem of the report, and so is every other such file.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import msgspec

from lmgateway.config.merge import Place, Tree, overlay
from lmgateway.config.report import Report

_POSITION = re.compile(r"(.*) \(at line (\d+), column \d+\)", re.DOTALL)


def overlay_dir(source: Path) -> Path:
    """Give the folder of overlays that belongs to a main file."""
    return source.parent / "conf.d"


def profile_dir(source: Path, configured: object) -> Path:
    """Give the folder of profile files; *configured* is ``gateway.profile_dir``."""
    return source.parent / (
        configured if isinstance(configured, str) and configured else "profiles"
    )


def toml_files(folder: Path) -> Iterator[Path]:
    """Go through the TOML files of a folder by name; none if it is not there."""
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except (NotADirectoryError, FileNotFoundError):
        return
    for name in names:
        if name.endswith(".toml") and not name.startswith("."):  # editors leave dot files
            yield folder / name


class Reading(msgspec.Struct):
    """
    What was read so far.

    Attributes:
        source: The main file.
        report: Where faults go.
        tree: All files, merged.
        contents: The bytes of every file that was read, in order.
    """

    source: Path
    report: Report
    tree: Tree = msgspec.field(default_factory=dict)
    contents: dict[Path, bytes] = msgspec.field(default_factory=dict)

    @property
    def checksum(self) -> str:
        """SHA-256 over the names and contents of all files."""
        digest = sha256()
        for path, content in self.contents.items():
            name = os.path.relpath(path, self.source.parent)
            digest.update(f"{len(name)} {len(content)} {name}".encode())
            digest.update(content)
        return digest.hexdigest()

    def read_main(self) -> None:
        """Read the main file and its overlays."""
        self.report.origins.claim((), Place(str(self.source), ()))
        self.tree = self._parse(self.source) or {}
        for path in self._folder(overlay_dir(self.source)):
            top = self._parse(path) or {}
            self.tree = overlay(self.tree, top, str(path), self.report.origins)

    def read_profiles(self) -> None:
        """
        Read the profile folder.

        A profile defined there replaces one of that name whole.
        """
        gateway = self.tree.get("gateway")
        configured = gateway.get("profile_dir") if isinstance(gateway, dict) else None
        profiles = self.tree.setdefault("profiles", {})
        for path in self._folder(profile_dir(self.source, configured)):
            body = self._parse(path)
            if body is not None and isinstance(profiles, dict):
                self._add_profile(profiles, path, body)

    def _add_profile(self, profiles: Tree, path: Path, body: Tree) -> None:
        name = body.pop("name", path.stem)
        if not isinstance(name, str):
            self.report.file_problem(str(path), "name: must be text")
            return
        before = self.report.where(("profiles", name)) if name in profiles else ""
        profiles[name] = body
        self.report.origins.claim(("profiles", name), Place(str(path), ()))
        if before:
            self.report.warning(("profiles", name), f"replaces the one in {before}")

    def _folder(self, folder: Path) -> list[Path]:
        try:
            return [*toml_files(folder)]
        except OSError as error:
            self.report.file_problem(str(folder), f"cannot be read: {error.strerror}")
            return []

    def _parse(self, path: Path) -> Tree | None:
        try:
            content = path.read_bytes()
            text = content.decode("utf-8-sig")  # Windows editors put a mark in front
        except OSError as error:
            self.report.file_problem(str(path), f"cannot be read: {error.strerror}")
            return None
        except UnicodeDecodeError:
            self.report.file_problem(str(path), "is not UTF-8")
            return None
        self.contents[path] = content
        self.report.texts[str(path)] = text
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            self._not_toml(path, str(error))
        except RecursionError:
            self.report.file_problem(str(path), "is nested too deeply")
        return None

    def _not_toml(self, path: Path, message: str) -> None:
        found = _POSITION.fullmatch(message)
        reason, line = (found[1], int(found[2])) if found else (message, 0)
        self.report.file_problem(str(path), f"is not TOML: {reason}", line)
