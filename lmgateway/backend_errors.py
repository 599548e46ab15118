"""What backends did wrong, as the gateway tells it: see ``errors``."""

from __future__ import annotations

from lmgateway.errors import GatewayError


class BackendError(GatewayError):
    """
    One attempt at one target failed.

    Args:
        backend: The backend's configured name, for records only.

    Attributes:
        upstream_status: The HTTP status that the backend answered with, if it did.
    """

    kind = "backend_error"
    upstream_status: int | None = None
    status = 502
    retryable = True
    origin = "upstream"

    def __init__(
        self,
        message: str = "",
        *,
        backend: str = "",
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, param=param, retry_after=retry_after)
        self.backend = backend

    @classmethod
    def default_message(cls) -> str:
        """What is said when there is nothing more precise to say."""
        return "The model backend failed."


class Unreachable(BackendError):
    """No connection: refused, reset, no such host."""

    kind = "backend_unavailable"


class BackendTLS(BackendError):
    """The backend's certificate or TLS version is not acceptable."""

    kind = "backend_tls"


class BackendTimeout(BackendError):
    """The backend was silent for too long."""

    kind = "backend_timeout"
    status = 504


class BackendOverloaded(BackendError):
    """The backend answered that it is full (503, 529)."""

    kind = "backend_overloaded"
    status = 503


class BackendFailed(BackendError):
    """The backend answered with a server error (other 5xx)."""

    kind = "backend_failed"


class CredentialRefused(BackendError):
    """The backend refused our credential (401, 403): the operator must act, retrying is no use."""

    kind = "backend_credential"
    retryable = False

    @classmethod
    def default_message(cls) -> str:
        """What is said when there is nothing more precise to say."""
        return "The model backend refused the gateway's credential."


class BackendLimited(BackendError):
    """The backend answered 429: its limit, not ours."""

    kind = "backend_rate_limited"
    status = 429


class ProtocolError(BackendError):
    """What the backend sent is not HTTP, not JSON, or not the grammar asked for."""

    kind = "backend_protocol"


class UnsupportedEncoding(ProtocolError):
    """The backend compressed its answer although it was asked not to."""

    kind = "unsupported_encoding"


class Rejected(BackendError):
    """
    The backend refused the request itself (its own 4xx): no other target is tried.

    Args:
        status: The backend's status, passed on.
        code: The backend's error code, if it gave one (``content_filter``).
    """

    kind = "backend_rejected"
    status = 400
    retryable = False

    def __init__(
        self,
        message: str = "",
        *,
        backend: str = "",
        status: int = 400,
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message, backend=backend, param=param)
        self.status = status
        self.code = code


class ContextExceeded(Rejected):
    """The prompt is too long for this target: a larger window may take it."""

    kind = "context_length_exceeded"
