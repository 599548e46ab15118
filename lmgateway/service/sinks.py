"""
Files, collectors and receivers that records of traffic go to, as the config wants them.

Imported for configs that name one: see ``service.reporting``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from lmgateway.config.backend import BackendSection, SecretSource
from lmgateway.config.providers import PROVIDERS
from lmgateway.config.schema import Config
from lmgateway.config.secrets import Secret, obtain
from lmgateway.config.telemetry import CaptureSection, ExportSection, OtelSection
from lmgateway.exchange import Exchange
from lmgateway.service.poster import Poster
from lmgateway.service.reporting import Make
from lmgateway.service.resources import Resources
from lmgateway.telemetry.access import AccessLog, encoded
from lmgateway.telemetry.capture import Capture
from lmgateway.telemetry.line_file import LineFile, Shelf
from lmgateway.telemetry.outbox import Outbox
from lmgateway.telemetry.sinks import FileSink, Opened
from lmgateway.telemetry.spans import Record, SpanWriter, is_recorded, record_of
from lmgateway.telemetry.traffic import Entry

TRACES = "/v1/traces"

_PROVIDERS = {
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "xai": "x_ai",
    "azure": "azure.ai.openai",
}
"""Where the conventions' name of a provider is not ours."""


class Makers:
    """
    Says what a config wants, and how it is made.

    Attributes:
        problems: Why some of it cannot be.
    """

    def __init__(self, config: Config, resources: Resources) -> None:
        self._config = config
        self._resources = resources
        self._folder = config.source.parent
        self.problems: list[str] = []

    def wanted(self) -> Iterator[tuple[str, tuple[object, Make]]]:
        """Give what is wanted, by name."""
        config = self._config
        if config.logs.access_file is not None:
            path = self._path("logs.access_file", config.logs.access_file)
            yield "access", (path, partial(self._access, path))
        export, otel, capture = config.export, config.otel, config.capture
        if export is not None and export.file is not None:
            path = self._path("export.file", export.file)
            shelf = (path, export.max_bytes, export.keep)
            yield "export_file", (shelf, partial(self._export_file, path, export))
        if export is not None and export.url is not None:
            auth = self._auth("export", export.auth_source, export.auth_header)
            yield "export", ((export, _shown(auth)), partial(self._export, export, auth))
        if (together := self._resources.together) is not None and together.sink is not None:
            for name, section in (("otel", otel), ("capture", capture)):
                if section is not None:
                    yield name, (section, partial(together.sink, name))
            return
        if otel is not None:
            auth = self._auth("otel", otel.auth_source, otel.auth_header)
            backends = [(n, b.provider, b.base_url) for n, b in config.backends.items()]
            yield "otel", ((otel, _shown(auth), backends), partial(self._otel, otel, auth))
        if capture is not None:
            path = self._path("capture.file", capture.file)
            yield "capture", ((path, capture), partial(self._capture, path, capture))

    def _path(self, key: str, name: str) -> Path:
        path = self._folder / name
        folder = path.parent
        if path.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
            self.problems.append(f'{key}: "{path}" cannot be written')
        return path

    def _auth(
        self, key: str, source: SecretSource | None, header: str
    ) -> tuple[str, Secret] | None:
        if source is None:
            return None
        secret = obtain(source, self._resources.environ, self._folder)
        if secret is None:
            self.problems.append(f"{key}: the credential resolves to nothing")
            return None
        return header, secret

    def _file(self, shelf: Shelf) -> LineFile:
        return LineFile(shelf, self._resources.in_thread)

    def _access(self, path: Path, key: object) -> Opened:
        resources = self._resources
        file = self._file(Shelf(path=path))
        return Opened(
            key, FileSink("access", resources.access, file, resources.reactor, shared=True)
        )

    def _export_file(self, path: Path, export: ExportSection, key: object) -> Opened:
        resources = self._resources
        file = self._file(Shelf(path=path, max_bytes=export.max_bytes, keep=export.keep))
        lines = AccessLog(file.write, resources.reactor)
        sink = FileSink("export_file", lines, file, resources.reactor)
        return Opened(key, sink, stop=resources.traffic.listen(lines))

    def _export(
        self, export: ExportSection, auth: tuple[str, Secret] | None, key: object
    ) -> Opened:
        assert export.url is not None, "asked for because it is given"
        resources, encode = self._resources, msgspec.json.Encoder().encode
        post = Poster(
            resources,
            export.url,
            "application/x-ndjson",
            export.headers,
            auth,
            export.timeout_ms / 1000,
        )

        def write(batch: list[Entry]) -> bytes:
            return b"".join([encoded(encode, entry) + b"\n" for entry in batch])

        box = Outbox("export", resources.reactor, write, post, ended=post.close)
        return Opened(key, box, stop=resources.traffic.listen(box.put))

    def _otel(self, otel: OtelSection, auth: tuple[str, Secret] | None, key: object) -> Opened:
        resources = self._resources
        url = otel.endpoint.rstrip("/")
        url += "" if url.endswith(TRACES) else TRACES
        post = Poster(
            resources, url, "application/json", otel.headers, auth, otel.timeout_ms / 1000
        )
        resource = {
            "service.name": otel.service_name,
            "service.version": _version(),
            "telemetry.sdk.name": "lmgateway",
            "telemetry.sdk.language": "python",
        }
        writer = SpanWriter(resource, {n: _peer(b) for n, b in self._config.backends.items()})
        box: Outbox[Record] = Outbox(
            "otel", resources.reactor, writer.write, post, ended=post.close
        )

        def take(exchange: Exchange) -> None:
            if is_recorded(exchange):
                record = record_of(exchange)
                if record is not None:
                    box.put(record)

        return Opened(key, box, take=take, put=box.put)

    def _capture(self, path: Path, capture: CaptureSection, key: object) -> Opened:
        resources = self._resources
        shelf = Shelf(
            path=path,
            mode=0o600,
            max_bytes=capture.max_bytes,
            max_seconds=capture.expire_hours * 3600.0,
            keep=2,
        )
        file = self._file(shelf)
        lines = Capture(file.write, resources.reactor, capture.max_body_bytes)
        sink = FileSink("capture", lines, file, resources.reactor, expires=True)
        return Opened(key, sink, take=lines, put=lines.put)


def _shown(auth: tuple[str, Secret] | None) -> object:
    return None if auth is None else (auth[0], auth[1].reveal())


def _peer(section: BackendSection) -> dict[str, Any]:
    """What spans tell of a backend."""
    provider = section.provider
    url = urlsplit(section.base_url or PROVIDERS[provider].base_url or "")
    told: dict[str, Any] = {"gen_ai.provider.name": _PROVIDERS.get(provider, provider)}
    if url.hostname:
        told["server.address"] = url.hostname
        told["server.port"] = url.port or (443 if url.scheme == "https" else 80)
    return told


def _version() -> str:
    try:
        return version("lmgateway")
    except PackageNotFoundError:
        return "unknown"
