"""Backends, from their sections of the config."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Set
from pathlib import Path
from urllib.parse import urlsplit

from msgspec.structs import replace

from lmgateway.backends.base import Backend
from lmgateway.backends.http import HTTPBackend, Patience
from lmgateway.backends.probes import Probing
from lmgateway.backends.quirks import ProviderQuirks, join, quirks_for
from lmgateway.config.providers import PROVIDERS
from lmgateway.config.schema import BackendSection, Config
from lmgateway.config.secrets import Secret, obtain, resolve
from lmgateway.dialects.base import Dialect
from lmgateway.dialects.completions import COMPLETIONS
from lmgateway.dialects.openai import OPENAI
from lmgateway.errors import ConfigError
from lmgateway.service.resources import Resources
from lmgateway.surfaces.grammars import BACKEND_DIALECTS, CALLS
from lmgateway.wire.client import Origin, Target, WireClient

_JSON = (b"content-type", b"application/json")
SHORT = 8
"""Fixed header values of fewer characters are taken for no secret."""
_AGENT = (b"user-agent", b"lmgateway")


class Backends:
    """
    All backends of a config.

    Attributes:
        by_name: The backends.
        private: Those of clients with keys of their own, by the backend's and the client's name.

    Raises:
        ConfigError: If a file that a section names cannot be used; all faults at once.
    """

    def __init__(self, config: Config, resources: Resources) -> None:
        self._config = config
        self._folder = config.source.parent
        self._resources = resources
        self._clients: set[WireClient] = set()
        by_name: dict[str, Backend] = {}
        problems: list[str] = []
        for name, section in config.backends.items():
            try:
                by_name[name] = self._backend(name, section)
            except ConfigError as error:
                problems += error.problems
            except (OSError, ValueError) as error:
                problems.append(f"backends.{name}: {error}")
        self.private: Mapping[str, Mapping[str, Backend]] = self._private(problems)
        if problems:
            raise ConfigError(problems)
        self.by_name: Mapping[str, Backend] = by_name

    def settle(self, others: Set[WireClient] = frozenset()) -> None:
        """
        Probe these backends; let go of the connections to upstreams that none uses any more.

        Args:
            others: Clients of this config that are no backend's.
        """
        sections = self._config.backends
        self._resources.probes.settle(
            {
                name: Probing(backend, sections[name].probe_interval_ms / 1000)
                for name, backend in self.by_name.items()
            }
        )
        self._resources.keep_only({*self._clients, *others})

    def missing_keys(self) -> int:
        """Say how many backends name a key that is not there now."""
        sources = [section.key_source for section in self._config.backends.values()]
        environ, folder = self._resources.environ, self._folder
        return sum(s is not None and resolve(s, environ, folder) is None for s in sources)

    def _key(self, section: BackendSection) -> Secret | None:
        return obtain(section.key_source, self._resources.environ, self._folder)

    def _private(self, problems: list[str]) -> dict[str, dict[str, Backend]]:
        """Make the backends of clients who bring keys; what is wrong is added to *problems*."""
        private: dict[str, dict[str, Backend]] = defaultdict(dict)
        for client in self._config.clients:
            for name, source in (client.upstream_keys or {}).items():
                key = obtain(source, self._resources.environ, self._folder)
                if key is None:
                    problems.append(f"clients: {client.name!r} has no key for {name!r}")
                    continue
                section = self._config.backends[name]
                private[name][client.name] = self._backend(name, section, client.name, key)
        return private

    def _backend(
        self, name: str, section: BackendSection, owner: str = "", key: Secret | None = None
    ) -> Backend:
        """Make a backend; *key* is its owner's, or the gateway's own is sent."""
        if section.provider == "mock":
            from lmgateway.service.mock import mock_backend  # few who serve others have one

            return mock_backend(name, section, self._folder, self._resources.wheel.clock)
        provider = PROVIDERS[section.provider]
        base_url = section.base_url or provider.base_url or ""
        quirks = _quirks(section, base_url)
        origin = self._origin(section, base_url)
        client = self._resources.client(
            origin, section.connect_timeout_ms / 1000, section.pool_idle_ms / 1000, owner
        )
        self._clients.add(client)
        key = key or self._key(section)
        headers = [*_fixed_headers(section, quirks, key), _AGENT]
        fixed = frozenset(name for name, _ in headers)
        defaults = tuple(header for header in quirks.headers if header[0] not in fixed)
        codec = BACKEND_DIALECTS[provider.dialect]
        paths = {path: quirks.place(path) for path in CALLS[codec.name]}
        return HTTPBackend(
            name=name,
            codec=codec,
            own={} if quirks.completions_path is None else own_codecs(codec),
            client=client,
            wheel=self._resources.wheel,
            quirks=quirks,
            targets={
                endpoint: Target.prepare(origin, b"POST", _path(base_url, path), [_JSON, *headers])
                for endpoint, path in paths.items()
                if path is not None
            },
            listing=Target.prepare(
                origin, b"GET", _path(base_url, quirks.probe_path or "/"), [*headers, *defaults]
            ),
            defaults=defaults,
            fixed=fixed,
            credentials=_credentials(section, key),
            patience=Patience(
                whole=section.timeout_ms / 1000,
                first_output=section.first_byte_timeout_ms / 1000,
                silence=section.idle_timeout_ms / 1000,
                probe=section.probe_timeout_ms / 1000,
            ),
        )

    def _origin(self, section: BackendSection, base_url: str) -> Origin:
        scheme, host, *_ = urlsplit(base_url)
        return Origin.parse(
            f"{scheme}://{host}",
            ca_file=_file(section.ca_file, self._folder),
            client_cert=_file(section.client_cert, self._folder),
            proxy=section.proxy,
        )


def own_codecs(codec: Dialect) -> Mapping[str, Dialect]:
    """Give the further grammars of servers that speak *codec*: OpenAI's had one before chat."""
    return {COMPLETIONS.name: COMPLETIONS} if codec is OPENAI else {}


def _file(name: str | None, folder: Path) -> str | None:
    return None if name is None else str(folder / name)


def _path(base_url: str, path: str) -> str:
    return urlsplit(join(base_url, path)).path


def _quirks(section: BackendSection, base_url: str) -> ProviderQuirks:
    quirks = quirks_for(section.provider, base_url)
    quirks = replace(
        quirks, tool_format=section.tool_format, default_options=section.default_options
    )
    if section.max_tokens_field is not None:
        quirks = replace(quirks, max_tokens_field=section.max_tokens_field)
    if section.stream_usage is not None:
        quirks = replace(quirks, stream_usage=section.stream_usage)
    if section.keep_alive is not None:
        bare = section.keep_alive in ("-1", "0")  # numbers to Ollama, which wants units in text
        kept = int(section.keep_alive) if bare else section.keep_alive
        quirks = replace(quirks, keep_alive=kept)
    if section.takes_think is not None:
        quirks = replace(quirks, takes_think=section.takes_think)
    return quirks


def _fixed_headers(
    section: BackendSection, quirks: ProviderQuirks, key: Secret | None
) -> list[tuple[bytes, bytes]]:
    headers: dict[bytes, bytes] = {}
    if section.provider == "openrouter":
        headers[b"x-title"] = (section.x_title or "lmgateway").encode()
        if section.http_referer is not None:
            headers[b"http-referer"] = section.http_referer.encode()
    headers.update((n.lower().encode(), v.encode()) for n, v in section.headers.items())
    if key is not None:
        headers[quirks.auth_header] = quirks.auth_prefix + key.reveal().encode()
    return list(headers.items())


def _credentials(section: BackendSection, key: Secret | None) -> tuple[bytes, ...]:
    """Give what must not come back: the key, and whatever of the headers is long enough to be."""
    values = {value for value in section.headers.values() if len(value) >= SHORT}
    if key is not None:
        values.add(key.reveal())
    escaped = {json.dumps(value)[1:-1] for value in values}
    return tuple(v.encode() for v in sorted(values | escaped, key=len, reverse=True))
