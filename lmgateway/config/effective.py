"""
Every setting that holds, with where it comes from: a file, an environment variable, or a default.

No secret is shown: of header values, digests, credentials in addresses, and whatever looks like a
key, only stars.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs

from lmgateway.classes import frozen
from lmgateway.config.merge import KeyPath
from lmgateway.config.redact import masked_url
from lmgateway.config.report import dotted, looks_like_key
from lmgateway.config.schema import Config, Settings

MAX_ITEMS = 200
"""Of a list of tables, so many are shown: nobody reads ten thousand clients."""

DEFAULT = "default"
MASK = "***"
_MASKED = frozenset({"headers"})


@frozen
class Setting:
    """
    One of them.

    Attributes:
        key: The way to it, as TOML writes it.
        value: As it may be shown; a JSON value.
        origin: The file, ``$NAME`` for an environment variable, or ``default``.
    """

    key: str
    value: Any
    origin: str


def effective(config: Config) -> Iterator[Setting]:
    """Give every setting of *config*."""
    for attribute in attrs.fields(Settings):
        path = (attribute.name,)
        yield from _settings(path, getattr(config, attribute.name), attribute.default, config)


def _settings(path: KeyPath, value: Any, default: Any, config: Config) -> Iterator[Setting]:
    if attrs.has(type(value)):
        for attribute in attrs.fields(type(value)):
            here = (*path, attribute.name)
            yield from _settings(here, getattr(value, attribute.name), attribute.default, config)
    elif isinstance(value, Mapping) and _holds_tables(value.values()):
        for name, item in value.items():
            yield from _settings((*path, name), item, attrs.NOTHING, config)
    elif isinstance(value, tuple) and _holds_tables(value):
        for position, item in enumerate(islice(value, MAX_ITEMS)):
            yield from _settings((*path, position), item, attrs.NOTHING, config)
    else:
        yield Setting(dotted(path), _shown(path, value), _origin(path, value, default, config))


def _holds_tables(values: Any) -> bool:
    return any(attrs.has(type(item)) for item in values)


def _origin(path: KeyPath, value: Any, default: Any, config: Config) -> str:
    factory = getattr(default, "factory", None)
    if factory is not None:
        default = factory()
    if path not in config.written and value == default:
        return DEFAULT
    place = config.origins.place(path)
    return DEFAULT if place is None else place.file


def _shown(path: KeyPath, value: Any) -> Any:
    key = str(path[-1])
    if isinstance(value, Mapping):
        masked = key in _MASKED
        return {name: MASK if masked else _shown((*path, name), v) for name, v in value.items()}
    if key == "command" and isinstance(value, tuple):  # its arguments may tell too much
        return [*value[:1], *([MASK] if len(value) > 1 else [])]
    if isinstance(value, tuple | list | frozenset):
        return [_shown(path, item) for item in value]
    if isinstance(value, str):
        return _hidden(value) if path[0] == "webhooks" and key == "url" else _text(key, value)
    return str(value) if isinstance(value, Path) else value


def _hidden(url: str) -> str:
    """Tell only whose a URL is: all of it may be a secret."""
    return f"{urlsplit(url).scheme}://{urlsplit(url).hostname}/{MASK}"


def _text(key: str, text: str) -> str:
    if key.endswith("sha256"):
        return f"{MASK}{text[:8]}"
    if "://" in text:
        text = masked_url(text)
    return MASK if looks_like_key(text) else text
