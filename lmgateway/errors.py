"""
What can go wrong, as types.

An error says what went wrong (``kind``), which HTTP status that is, whether another target may
be tried (``retryable``) and who is to blame (``origin``).  It never says how that looks on the
wire: only a dialect turns an error into bytes.  ``str(error)`` is fit for the client: no secret,
no prompt and no upstream body ever goes into it.  ``docs/errors.md`` lists every kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Protocol

Origin = Literal["client", "gateway", "upstream"]


class Tried(Protocol):
    """What a client is told of one attempt: see ``exchange.Attempt``."""

    tier: str
    backend: str
    model: str
    outcome: str
    status: int | None


def untie(error: BaseException | None) -> None:
    """
    Let go of the frames of an error that was dealt with, and of those that it came from.

    A frame may hold the error itself, and all that was at hand: a body of megabytes, which
    would then be kept until somebody looks for cycles.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


class GatewayError(Exception):
    """
    The root of all errors that a client may be told about.

    Args:
        message: One sentence for the client.
        param: The request field at fault, as a path (``messages[2].role``).
        retry_after: Seconds after which the same request may well succeed.
    """

    kind: ClassVar[str] = "internal_error"
    status: int = 500
    retryable: ClassVar[bool] = False
    origin: ClassVar[Origin] = "gateway"

    def __init__(
        self, message: str = "", *, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message or self.default_message())
        self.param = param
        self.retry_after = retry_after
        self.attempts: Sequence[Tried] = ()

    @classmethod
    def default_message(cls) -> str:
        """What is said when there is nothing more precise to say."""
        return "The gateway could not serve this request."


# The request ---------------------------------------------------------------
class RequestError(GatewayError):
    """The client asked for something that cannot be served as asked."""

    kind = "malformed_request"
    status = 400
    origin = "client"


class MalformedRequest(RequestError):
    """The body is not what the surface's grammar says."""


class CapabilityUnavailable(RequestError):
    """No tier that the client may use can do what the request needs."""

    kind = "capability_unavailable"


class NotFound(RequestError):
    """No such path."""

    kind = "not_found"
    status = 404


class UnknownModel(RequestError):
    """No such model, or none that this client may see: the same answer for both."""

    kind = "unknown_model"
    status = 404


class MethodNotAllowed(RequestError):
    """The path exists, but not for this method."""

    kind = "method_not_allowed"
    status = 405

    def __init__(self, message: str = "", *, allow: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.allow = tuple(allow)


class RequestTimeout(RequestError):
    """The client took too long to send its request."""

    kind = "request_timeout"
    status = 408


class RequestTooLarge(RequestError):
    """The body is larger than this gateway accepts."""

    kind = "request_too_large"
    status = 413


class UriTooLong(RequestError):
    """The request line is longer than this gateway accepts."""

    kind = "uri_too_long"
    status = 414


class UnsupportedMediaType(RequestError):
    """The body is declared to be something other than JSON."""

    kind = "unsupported_media_type"
    status = 415


class ExpectationFailed(RequestError):
    """The client expects something other than ``100-continue``."""

    kind = "expectation_failed"
    status = 417


class Unsupported(RequestError):
    """Well formed, but this gateway does not do it."""

    kind = "unsupported"
    status = 422


class UnsupportedParameter(Unsupported):
    """A member that this gateway does not honour, and will not silently ignore."""

    kind = "unsupported_parameter"
    status = 400


class IdempotencyConflict(RequestError):
    """The same Idempotency-Key was used for another request."""

    kind = "idempotency_conflict"
    status = 422

    @classmethod
    def default_message(cls) -> str:
        """What is said when there is nothing more precise to say."""
        return "This Idempotency-Key was used for another request."


class HeadersTooLarge(RequestError):
    """Too many headers, or too long."""

    kind = "headers_too_large"
    status = 431


# Access --------------------------------------------------------------------
class AccessError(GatewayError):
    """The client may not do this."""

    origin = "client"


class Unauthenticated(AccessError):
    """No key, or not a good one."""

    kind = "unauthenticated"
    status = 401


class Forbidden(AccessError):
    """A good key that may not do this."""

    kind = "forbidden"
    status = 403


# Limits --------------------------------------------------------------------
class LimitError(GatewayError):
    """A limit of this gateway, not of a provider; ``standings`` begin with the one reached."""

    status = 429
    standings: Sequence[Any] = ()


class RateLimited(LimitError):
    """Too many requests or tokens in a time."""

    kind = "rate_limited"


class TooManyConcurrent(LimitError):
    """Too many requests at once."""

    kind = "too_many_concurrent"


class BudgetExhausted(LimitError):
    """
    The money is spent.  402, since client libraries retry a 429.

    Attributes:
        budget: The name of the budget that has not enough left.
        resets_at: When it has again.
        downgrade: The tier that serves the request instead, if the budget names one.
    """

    kind = "budget_exhausted"
    status = 402
    budget: str = ""
    resets_at: str | None = None
    downgrade: str | None = None


class MaxCostExceeded(BudgetExhausted):
    """Every target may cost more than the request itself allows (``X-LMG-Max-Cost``)."""

    kind = "max_cost_exceeded"


class Overloaded(GatewayError):
    """The gateway itself is full."""

    kind = "overloaded"
    status = 503


class Unrecordable(GatewayError):
    """The usage ledger cannot be written, and the operator wants nothing served without it."""

    kind = "unrecordable"
    status = 503


class Draining(GatewayError):
    """The gateway is shutting down."""

    kind = "draining"
    status = 503


class CancelledByOperator(GatewayError):
    """An operator ended the request.  403, since client libraries retry a 409 or a 503."""

    kind = "cancelled_by_operator"
    status = 403

    @classmethod
    def default_message(cls) -> str:
        """Say who did it."""
        return "An operator of the gateway ended this request."


# The end -------------------------------------------------------------------
class LadderExhausted(GatewayError):
    """No target was left that could be tried."""

    kind = "no_target"
    status = 503

    @classmethod
    def default_message(cls) -> str:
        """What is said when there is nothing more precise to say."""
        return "No backend is available for this model."


class Insufficient(GatewayError):
    """Answers came, but none was good enough, and the profile wants none of those."""

    kind = "insufficient"
    status = 502

    @classmethod
    def default_message(cls) -> str:
        """What is said when there is nothing more precise to say."""
        return "No model gave an answer that is good enough."


class StreamInterrupted(GatewayError):
    """The answer broke off after its first byte: told in band."""

    kind = "stream_interrupted"
    status = 502
    origin = "upstream"

    @classmethod
    def default_message(cls) -> str:
        """What is said when there is nothing more precise to say."""
        return "The model backend broke off its answer."


class ConfigError(Exception):
    """
    The configuration cannot be used.  Start-up and reload only.

    Args:
        problems: Every fault found, each a full line for the operator.
        transient: Whether another try may succeed although nobody changes the files.
    """

    def __init__(self, problems: Sequence[str], *, transient: bool = False) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
        self.transient = transient
