"""Who may use the admin port: the ``[[admin_tokens]]`` tables."""

from __future__ import annotations

from typing import Literal, TypeAlias

from lmgateway.classes import frozen
from lmgateway.config.backend import SecretSource, source_of
from lmgateway.config.values import EnvName, HexDigest, Moment, Name

AdminRole: TypeAlias = Literal["viewer", "operator", "admin"]


@frozen(kw_only=True)
class AdminTokenSection:
    """
    One token for the admin port, and what its holder may do.

    Attributes:
        name: What the audit log calls its holder.
        token_env: The environment variable that holds the token.
        token_secret: Where the token is read from.
        token_sha256: The SHA-256 of the token, in hexadecimal digits.
        role: A ``viewer`` sees, an ``operator`` also steers what runs, an ``admin`` may do all.
        expires: The time from which the token is not good any more.
    """

    name: Name
    token_env: EnvName | None = None
    token_secret: SecretSource | None = None
    token_sha256: HexDigest | None = None
    role: AdminRole = "viewer"
    expires: Moment | None = None

    @property
    def token_source(self) -> SecretSource | None:
        """Where the token comes from; ``None`` if only its digest is known."""
        return source_of(self.token_env, self.token_secret)
