"""Where secrets are kept that are not on this machine: the ``[secrets]`` table."""

from __future__ import annotations

from typing import Literal

from attrs import field

from lmgateway.classes import frozen
from lmgateway.config.backend import SecretSource, source_of
from lmgateway.config.values import BaseUrl, EnvName, Milliseconds, OptionalSeconds


@frozen(kw_only=True)
class VaultSection:
    """
    A HashiCorp Vault or OpenBao server, read through its KV engine, version 2.

    Attributes:
        address: Where it is, as ``https://vault.example:8200``.
        namespace: The namespace that is asked.
        ca_file: Certificates to trust for it, instead of the system's.
        auth: How to log in: with a ``token``, as an ``approle``, or by the service account of
            a ``kubernetes`` pod.
        login_mount: Where that way to log in is mounted; by its own name if not given.
        token_env: The environment variable that holds the token.
        token_secret: Where the token is read from.
        role_id: The role's id, for ``approle``.
        secret_id_env: The environment variable that holds the secret id, for ``approle``.
        secret_id_secret: Where the secret id is read from, for ``approle``.
        role: The role's name, for ``kubernetes``.
        jwt_file: The service account's token, for ``kubernetes``.
    """

    address: BaseUrl
    namespace: str | None = None
    ca_file: str | None = None
    auth: Literal["token", "approle", "kubernetes"] = "token"
    login_mount: str | None = None
    token_env: EnvName | None = None
    token_secret: SecretSource | None = None
    role_id: str | None = None
    secret_id_env: EnvName | None = None
    secret_id_secret: SecretSource | None = None
    role: str | None = None
    jwt_file: str = "/var/run/secrets/kubernetes.io/serviceaccount/token"

    @property
    def credential(self) -> SecretSource | None:
        """Where the secret half of a login comes from."""
        if self.auth == "token":
            return source_of(self.token_env, self.token_secret)
        if self.auth == "approle":
            return source_of(self.secret_id_env, self.secret_id_secret)
        return SecretSource(source="file", path=self.jwt_file)


@frozen(kw_only=True)
class InfisicalSection:
    """
    An Infisical server, logged in to by universal auth.

    Attributes:
        address: Where it is.
        ca_file: Certificates to trust for it, instead of the system's.
        client_id: Of the machine identity.
        client_secret_env: The environment variable that holds its client secret.
        client_secret_secret: Where its client secret is read from.
        project: The project's id.
        environment: The environment's slug.
    """

    address: BaseUrl = "https://app.infisical.com"
    ca_file: str | None = None
    client_id: str
    client_secret_env: EnvName | None = None
    client_secret_secret: SecretSource | None = None
    project: str
    environment: str = "prod"

    @property
    def credential(self) -> SecretSource | None:
        """Where the client secret comes from."""
        return source_of(self.client_secret_env, self.client_secret_secret)


@frozen(kw_only=True)
class SecretsSection:
    """
    Where secrets are kept that are not on this machine.

    Attributes:
        vault: The server of ``source = "vault"``.
        infisical: The server of ``source = "infisical"``.
        refresh_seconds: Seconds after which secrets of servers and commands are fetched again;
            0 leaves that to reloads.
        timeout_ms: Milliseconds that fetching all of them may take.
        command_env: The environment variables that commands are given besides ``PATH``,
            ``HOME`` and ``LANG``.
    """

    vault: VaultSection | None = None
    infisical: InfisicalSection | None = None
    refresh_seconds: OptionalSeconds = 300
    timeout_ms: Milliseconds = 10000
    command_env: tuple[EnvName, ...] = field(default=())
