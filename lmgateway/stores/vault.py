"""
HashiCorp Vault and OpenBao: the KV engine, version 2.

===========================================  ==========================================
request                                      for
===========================================  ==========================================
``POST /v1/auth/<mount>/login``              a token, by AppRole or Kubernetes
``GET /v1/auth/token/lookup-self``           how long a given token lives
``POST /v1/auth/token/renew-self``           a longer life, from half of it on
``GET /v1/<mount>/data/<name>``              a secret
===========================================  ==========================================

The token is kept as long as it lives.  One that is refused is given up, and another
login tried, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any
from urllib.parse import quote

from lmgateway.config.secrets import Secret
from lmgateway.config.stores import VaultSection
from lmgateway.stores.deadline import Deadline, Refused
from lmgateway.stores.web import Server

Read = Callable[[], Secret | None]


class Vault:
    """
    One Vault, as a client of it.

    Args:
        section: Where it is, and how to log in.
        now: Monotonic seconds.
    """

    def __init__(self, section: VaultSection, now: Callable[[], float] = monotonic) -> None:
        self._section = section
        self._now = now
        self._server = Server(section.address, section.ca_file)
        self._token: Secret | None = None
        self._renew_at = float("inf")
        self._ends = float("inf")

    def read(self, mount: str, name: str, credential: Read, deadline: Deadline) -> dict[str, Any]:
        """
        Read all members of a secret.

        Args:
            credential: Reads the secret half of a login.

        Raises:
            Refused: If it is not given.
        """
        known = self._token is not None
        self._keep_token(credential, deadline)
        path = f"/v1/{quote(mount.strip('/'))}/data/{quote(name.strip('/'))}"
        try:
            document = self._ask("GET", path, deadline)
        except Refused as error:
            if error.status != 403 or not known:
                raise
            self._token = None  # it was revoked, or its policy was
            self._keep_token(credential, deadline)
            document = self._ask("GET", path, deadline)
        data = _member(_member(document, "data"), "data")
        if not isinstance(data, dict):
            raise Refused("its answer holds no data: is it a KV engine of version 2?")
        return data

    def close(self) -> None:
        """Let go of the connection; the token is kept."""
        self._server.close()

    def _keep_token(self, credential: Read, deadline: Deadline) -> None:
        now = self._now()
        if self._token is not None and now >= self._renew_at:
            self._renew(deadline)
        if self._token is not None and now >= self._ends:
            self._token = None
        if self._token is None:
            self._log_in(credential, deadline)

    def _log_in(self, credential: Read, deadline: Deadline) -> None:
        secret, section = credential(), self._section
        if secret is None:
            raise Refused("what is needed to log in is missing")
        if section.auth == "token":
            self._token = secret
            self._look_up(deadline)
            return
        if section.auth == "approle":
            document = {"role_id": section.role_id, "secret_id": secret.reveal()}
        else:
            document = {"role": section.role, "jwt": secret.reveal()}
        mount = quote((section.login_mount or section.auth).strip("/"))
        try:
            answer = self._ask("POST", f"/v1/auth/{mount}/login", deadline, document)
        except Refused as error:
            raise Refused(f"login failed: {error}", error.status) from None
        token = _member(_member(answer, "auth"), "client_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise Refused("login failed: its answer holds no token")
        self._token = Secret(token)
        self._lives(_member(answer, "auth"), "lease_duration")

    def _look_up(self, deadline: Deadline) -> None:
        """See how long a token that was given to us lives; it may not be allowed to know."""
        self._renew_at = self._ends = float("inf")
        try:
            answer = self._ask("GET", "/v1/auth/token/lookup-self", deadline)
        except Refused as error:
            if error.status is None:
                raise
        else:
            self._lives(_member(answer, "data"), "ttl")

    def _renew(self, deadline: Deadline) -> None:
        """Have the token live longer; if that is refused, it still lives to its end."""
        self._renew_at = float("inf")
        try:
            answer = self._ask("POST", "/v1/auth/token/renew-self", deadline, {})
        except Refused as error:
            if error.status is None:
                raise
        else:
            self._lives(_member(answer, "auth"), "lease_duration")

    def _lives(self, facts: Any, member: str) -> None:
        seconds = _member(facts, member)
        self._renew_at = self._ends = float("inf")
        if isinstance(seconds, int) and seconds > 0:
            now = self._now()
            self._ends = now + seconds
            if _member(facts, "renewable") is True:
                self._renew_at = now + seconds / 2

    def _ask(
        self, method: str, path: str, deadline: Deadline, document: Mapping[str, Any] | None = None
    ) -> Any:
        headers = {"X-Vault-Request": "true"}
        if self._section.namespace:
            headers["X-Vault-Namespace"] = self._section.namespace
        if self._token is not None:
            headers["X-Vault-Token"] = self._token.reveal()
        return self._server.ask(method, path, headers, deadline, document)


def _member(document: Any, name: str) -> Any:
    return document.get(name) if isinstance(document, dict) else None
