"""
What Twisted and OpenSSL say went wrong, in this gateway's words.

The texts are fit for a client: they name no host and repeat nothing that the
backend sent.  The cause is kept on the error for the operator's records.
"""

from __future__ import annotations

from OpenSSL.SSL import Error as SSLError
from service_identity import CertificateError, VerificationError
from twisted.internet import error
from twisted.python.failure import Failure

from lmgateway.backend_errors import (
    BackendError,
    BackendTimeout,
    BackendTLS,
    ProtocolError,
    Unreachable,
)


def connection_fault(reason: Failure) -> BackendError:
    """Say what the failure of a connection means; the cause is kept."""
    value = reason.value
    return value if isinstance(value, BackendError) else _caused(value)


def _caused(value: BaseException | None) -> BackendError:
    fault = _explain(value)
    fault.__cause__ = value
    return fault


def _explain(value: BaseException | None) -> BackendError:
    if isinstance(value, (SSLError, VerificationError, CertificateError)):
        return BackendTLS("The backend's TLS certificate or version is not acceptable.")
    if isinstance(value, error.DNSLookupError):
        return Unreachable("The backend's name does not resolve.")
    if isinstance(value, (error.TimeoutError, error.TCPTimedOutError)):
        return BackendTimeout("The backend did not connect in time.")
    if isinstance(value, error.ConnectionRefusedError):
        return Unreachable("The backend refused the connection.")
    if isinstance(value, error.ConnectError):
        return Unreachable("The backend cannot be reached.")
    return Unreachable("The backend closed the connection.")


def stock_fault(reason: Failure) -> BackendError:
    """Say what another agent's failure means; it wraps the true reasons in its own."""
    value = reason.value
    while True:
        inner = getattr(value, "reasons", None)
        if not inner:
            break
        value = inner[0].value
    if type(value).__module__.startswith("twisted.web"):
        fault: BackendError = ProtocolError("The backend's answer is not valid HTTP.")
        fault.__cause__ = value
        return fault
    return value if isinstance(value, BackendError) else _caused(value)
