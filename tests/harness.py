"""A whole gateway in this process, on real loopback sockets, asked by stock treq."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from textwrap import dedent
from typing import Any, cast

from attrs import define
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.iweb import IResponse

from lmgateway.config.load import load
from lmgateway.service.life import GatewayService
from lmgateway.service.resources import Resources
from tests.fakes import FakeBackend, Script

BASE = """
    [gateway]
    client_port = {client}
    admin_port = {admin}
    {gateway}

    [backends.mock]
    base_url = "{backend}"
    {backends}

    [[tiers]]
    name = "local:fast"
    backend = "mock"
    model = "fast-model"

    [[tiers]]
    name = "cloud:economy"
    backend = "mock"
    model = "economy-model"

    [aliases]
    "hint:fast" = "local:fast"

    [profiles.default]
    mode = "dispatch"
    classifier = "local:fast"
    max_auto_tier = "cloud:economy"
    {profile}

    {more}
"""


_given: set[int] = set()


def free_port() -> int:
    """Give a port that nobody listens on, each time another one."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _given:
            _given.add(port)
            return port


@define
class Got:
    """A whole response."""

    code: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as parsed JSON."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """The assistant's text of a chat completion."""
        return str(self.json["choices"][0]["message"]["content"])


class GatewayCase(TestCase):
    """Runs a gateway in front of scripted backends."""

    timeout = 20

    def setUp(self) -> None:
        """Make the backend that every config of these tests names ``mock``."""
        self.backend = FakeBackend()
        self.lines: list[bytes] = []
        self.pool = HTTPConnectionPool(reactor, persistent=False)
        self.http = HTTPClient(Agent(reactor, self.pool))
        self.environ: dict[str, str] = {}
        self.extra: list[FakeBackend] = []
        self.service: GatewayService | None = None

    async def tearDown(self) -> None:  # type: ignore[override]  # trial awaits it
        """Stop everything; nothing may be left over."""
        if self.service is not None:
            for port in (self.service.client, self.service.admin):
                if port.factory is not None:
                    port.factory.abort()
            await self.service.drain()
            self.service.resources.keep_only(set())
        for backend in (self.backend, *self.extra):
            if backend.port is not None:
                await backend.close()
        await self.pool.closeCachedConnections()
        if self.service is not None:
            self.service.resources.wheel.stop()
            self.service.resources.access.flush()

    def another(self, script: Script | None = None) -> tuple[FakeBackend, str]:
        """Open one more backend; give it and its base URL."""
        backend = FakeBackend() if script is None else FakeBackend(script)
        self.extra.append(backend)
        return backend, backend.listen()

    def write(self, template: str = BASE, **parts: str) -> Path:
        """Write a config file; *parts* fill the template."""
        if self.backend.port is None:
            self.url_of_backend = self.backend.listen()
        if not hasattr(self, "client_port"):
            self.client_port, self.admin_port = free_port(), free_port()
            self.folder = Path(self.mktemp())
            self.folder.mkdir()
        filled = {"gateway": "", "backends": "", "profile": "", "more": "", **parts}
        text = dedent(template).format(
            client=self.client_port,
            admin=self.admin_port,
            backend=self.url_of_backend,
            **{key: dedent(value) for key, value in filled.items()},
        )
        path = self.folder / "config.toml"
        path.write_text(text)
        return path

    def start(self, template: str = BASE, **parts: str) -> GatewayService:
        """Serve a config."""
        path = self.write(template, **parts)
        config = load(path, self.environ)
        resources = Resources.of(cast(Any, reactor), self.environ, write=self.lines.append)
        self.service = GatewayService(config, resources)
        self.service.privilegedStartService()
        return self.service

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        admin: bool = False,
        **headers: Any,
    ) -> Got:
        """Make one request and read all of the answer."""
        response = await self.begin(method, path, body, admin=admin, **headers)
        return Got(response.code, _headers(response), await response.content())

    async def begin(
        self, method: str, path: str, body: Any = None, *, admin: bool = False, **headers: str
    ) -> Any:
        """Make one request and give its response, the body unread."""
        port = self.admin_port if admin else self.client_port
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("content-type", "application/json")
        return await self.http.request(
            method,
            f"http://127.0.0.1:{port}{path}",
            data=data,
            headers=cast(Any, sent),
            allow_redirects=False,
            unbuffered=True,
        )

    async def chat(self, model: str | None = "hint:fast", **members: Any) -> Got:
        """Ask for a chat completion; members beginning with an upper-case letter are headers."""
        headers = {k: members.pop(k) for k in list(members) if k[0].isupper()}
        body = {"messages": [{"role": "user", "content": "hi"}], **members}
        if model is not None:
            body["model"] = model
        return await self.ask("POST", "/v1/chat/completions", body, **headers)

    async def entries(self) -> list[dict[str, Any]]:
        """Give the traffic entries, the newest first."""
        got = await self.ask("GET", "/admin/traffic", admin=True)
        entries: list[dict[str, Any]] = got.json["entries"]
        return entries


def _headers(response: IResponse) -> dict[str, str]:
    return {
        name.decode().lower(): values[-1].decode("latin-1")
        for name, values in response.headers.getAllRawHeaders()
    }


__all__ = ["BASE", "GatewayCase", "Got", "ensureDeferred", "free_port"]
