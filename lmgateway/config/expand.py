"""
What the environment puts into a config: overriding variables, and ``${NAME}`` in values.

``${NAME}`` and ``${NAME:-default}`` are replaced in the texts under
``[gateway]``, ``[backends.*]``, ``[[tiers]]``, ``[state]`` and ``[secrets]``: in values that
are already parsed, so that what a variable holds can never become syntax.  Prompts and
messages are left alone.  ``$${`` stands for ``${`` itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmgateway.config.merge import KeyPath, Place, Tree
from lmgateway.config.report import Report

_VARIABLE = re.compile(r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_EXPANDED = ("gateway", "backends", "tiers", "state", "secrets")
_FILES = frozenset({"cert", "key", "client_ca", "ca_file", "client_cert", "fixtures", "jwt_file"})
_ANCHORED = frozenset({"gateway", "backends", "clients", "admin_tokens", "secrets", "webhooks"})
_FREE = frozenset({"headers", "default_options"})

OVERRIDES: Mapping[str, KeyPath] = {
    "LMG_CLIENT_HOST": ("gateway", "client_host"),
    "LMG_CLIENT_PORT": ("gateway", "client_port"),
    "LMG_ADMIN_HOST": ("gateway", "admin_host"),
    "LMG_ADMIN_PORT": ("gateway", "admin_port"),
    "LMG_LOG_LEVEL": ("gateway", "log_level"),
}
"""Environment variables that win over the files."""


def override(tree: Tree, environ: Mapping[str, str], report: Report) -> None:
    """Put the overriding variables into *tree*."""
    gateway = tree.get("gateway")
    if not isinstance(gateway, dict):
        return
    for name, path in OVERRIDES.items():
        text = environ.get(name, "")
        if text:
            key = str(path[-1])
            gateway[key] = int(text) if _is_port(key, text) else text
            report.origins.claim(path, Place(f"${name}", path))


def expand(tree: Tree, environ: Mapping[str, str], report: Report) -> None:
    """Replace variables in the values of *tree*."""

    def replaced(text: str, path: KeyPath) -> str:
        def value(match: re.Match[str]) -> str:
            if match[1]:
                return match[1]
            found = environ.get(match[2]) or match[3]
            if found is None:
                report.problem(path, f"the environment variable {match[2]} is not set")
            return found or ""

        return _VARIABLE.sub(value, text)

    for name in _EXPANDED:
        if name in tree:
            tree[name] = _rewritten(tree[name], (name,), replaced)


def anchor(tree: Tree, base_dir: Path) -> None:
    """Make the file names in *tree* absolute, from the main config file's folder."""

    def anchored(text: str, path: KeyPath) -> str:
        return str(base_dir / text) if text and _is_file_name(path) else text

    for name in _ANCHORED & tree.keys():
        tree[name] = _rewritten(tree[name], (name,), anchored)


def _is_port(key: str, text: str) -> bool:
    return key.endswith("_port") and text.isascii() and text.isdigit() and len(text) <= 5


def _is_file_name(path: KeyPath) -> bool:
    if _FREE.intersection(path[2:3]):
        return False
    return path[-1] in _FILES or (path[-1] == "path" and str(path[-2]).endswith("_secret"))


def _rewritten(node: Any, path: KeyPath, rewrite: Any) -> Any:
    """Give a copy of *node* with every text in it rewritten."""
    if isinstance(node, dict):
        return {key: _rewritten(value, (*path, key), rewrite) for key, value in node.items()}
    if isinstance(node, list):
        return [_rewritten(item, (*path, i), rewrite) for i, item in enumerate(node)]
    return rewrite(node, path) if isinstance(node, str) else node
