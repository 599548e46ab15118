"""Servers that keep secrets, as fakes: the few calls of Vault and Infisical that are used."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from attrs import define

Answer = tuple[int, Any]


@define
class Asked:
    """One request."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any


class Keeper:
    """A server on a loopback port, in a thread: its clients block."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        keeper = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(length) or b"null")
                url = urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, url.path, parse_qs(url.query), headers, body)
                keeper.asked.append(asked)
                status, document = keeper.answer(asked)
                content = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                if status in (301, 302, 307):
                    self.send_header("Location", "http://127.0.0.1:1/")
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = _answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that left is no matter."""

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, asked: Asked) -> Answer:
        """Say what to answer."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()

    @property
    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [asked.path for asked in self.asked]


class FakeVault(Keeper):
    """Vault, with the KV engine of version 2 at ``secret``."""

    refused: ClassVar[Answer] = (403, {"errors": ["permission denied: canary-of-vault"]})

    def __init__(self) -> None:
        super().__init__()
        self.secrets: dict[str, dict[str, Any]] = {}
        self.tokens = {"root-token"}
        self.ttl = 3600
        self.renewable = True
        self.script: Callable[[Asked], Answer | None] = lambda asked: None
        self._made = 0

    def answer(self, asked: Asked) -> Answer:
        """Do as Vault does."""
        scripted = self.script(asked)
        if scripted is not None:
            return scripted
        if asked.path.endswith("/login"):
            return self._login(asked)
        if asked.headers.get("x-vault-token") not in self.tokens:
            return self.refused
        if asked.path == "/v1/auth/token/lookup-self":
            return 200, {"data": {"ttl": self.ttl, "renewable": self.renewable}}
        if asked.path == "/v1/auth/token/renew-self":
            return 200, {"auth": {"lease_duration": self.ttl, "renewable": self.renewable}}
        name = asked.path.removeprefix("/v1/secret/data/")
        if name not in self.secrets:
            return 404, {"errors": []}
        return 200, {"data": {"data": self.secrets[name], "metadata": {"version": 1}}}

    def _login(self, asked: Asked) -> Answer:
        known = (
            {"role_id": "gateway", "secret_id": "canary-secret-id"},
            {"role": "gateway", "jwt": "canary-jwt"},
        )
        if asked.body not in known:
            return 400, {"errors": ["invalid role or secret ID"]}
        self._made += 1
        token = f"token-{self._made}"
        self.tokens.add(token)
        auth = {"client_token": token, "lease_duration": self.ttl, "renewable": self.renewable}
        return 200, {"auth": auth}


class FakeInfisical(Keeper):
    """Infisical, with universal auth."""

    def __init__(self) -> None:
        super().__init__()
        self.secrets: dict[tuple[str, str, str, str], str] = {}
        self.tokens: set[str] = set()
        self.credential = "canary-client-secret"
        self._made = 0

    def answer(self, asked: Asked) -> Answer:
        """Do as Infisical does."""
        if asked.path == "/api/v1/auth/universal-auth/login":
            if asked.body != {"clientId": "gateway", "clientSecret": self.credential}:
                return 401, {"message": "Invalid credentials"}
            self._made += 1
            self.tokens.add(f"access-{self._made}")
            return 200, {"accessToken": f"access-{self._made}", "expiresIn": 7200}
        if asked.headers.get("authorization", "")[7:] not in self.tokens:
            return 401, {"message": "Token missing"}
        name = asked.path.removeprefix("/api/v3/secrets/raw/")
        where = [asked.query[key][0] for key in ("workspaceId", "environment", "secretPath")]
        value = self.secrets.get((where[0], where[1], where[2], name))
        if value is None:
            return 404, {"message": "Secret not found"}
        return 200, {"secret": {"secretKey": name, "secretValue": value}}
