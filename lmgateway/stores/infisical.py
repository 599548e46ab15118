"""
Infisical: universal auth and raw secrets.

===========================================  ==========================================
request                                      for
===========================================  ==========================================
``POST /api/v1/auth/universal-auth/login``   a token that lives for a while
``GET /api/v3/secrets/raw/<name>``           a secret
===========================================  ==========================================
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from urllib.parse import quote, urlencode

from lmgateway.config.secrets import Secret
from lmgateway.config.stores import InfisicalSection
from lmgateway.stores.deadline import Deadline, Refused
from lmgateway.stores.web import Server

Read = Callable[[], Secret | None]

_EARLY = 30.0
"""Seconds before its end from which a token is not used any more."""


class Infisical:
    """
    One Infisical server, as a client of it.

    Args:
        section: Where it is, and how to log in.
        now: Monotonic seconds.
    """

    def __init__(self, section: InfisicalSection, now: Callable[[], float] = monotonic) -> None:
        self._section = section
        self._now = now
        self._server = Server(section.address, section.ca_file)
        self._token: Secret | None = None
        self._ends = 0.0

    def read(self, folder: str, name: str, credential: Read, deadline: Deadline) -> str:
        """
        Read a secret.

        Args:
            credential: Reads the client secret.

        Raises:
            Refused: If it is not given.
        """
        known = self._token is not None and self._now() < self._ends
        if not known:
            self._log_in(credential, deadline)
        try:
            return self._get(folder, name, deadline)
        except Refused as error:
            if error.status not in (401, 403) or not known:
                raise
        self._log_in(credential, deadline)
        return self._get(folder, name, deadline)

    def close(self) -> None:
        """Let go of the connection; the token is kept."""
        self._server.close()

    def _get(self, folder: str, name: str, deadline: Deadline) -> str:
        section = self._section
        where = {
            "workspaceId": section.project,
            "environment": section.environment,
            "secretPath": folder,
        }
        assert self._token is not None, "logged in"
        headers = {"Authorization": f"Bearer {self._token.reveal()}"}
        path = f"/api/v3/secrets/raw/{quote(name, safe='')}?{urlencode(where)}"
        answer = self._server.ask("GET", path, headers, deadline)
        secret = answer.get("secret")
        value = secret.get("secretValue") if isinstance(secret, dict) else None
        if not isinstance(value, str):
            raise Refused("its answer holds no secret")
        return value

    def _log_in(self, credential: Read, deadline: Deadline) -> None:
        secret = credential()
        if secret is None:
            raise Refused("what is needed to log in is missing")
        document = {"clientId": self._section.client_id, "clientSecret": secret.reveal()}
        path = "/api/v1/auth/universal-auth/login"
        try:
            answer = self._server.ask("POST", path, {}, deadline, document)
        except Refused as error:
            raise Refused(f"login failed: {error}", error.status) from None
        token, seconds = answer.get("accessToken"), answer.get("expiresIn")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise Refused("login failed: its answer holds no token")
        self._token = Secret(token)
        lives = seconds if isinstance(seconds, int) and seconds > 0 else 3600
        self._ends = self._now() + lives - min(_EARLY, lives / 2)
