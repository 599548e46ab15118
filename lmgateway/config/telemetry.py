"""What may stand in a config of how the gateway is watched."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field

from lmgateway.classes import frozen
from lmgateway.config.backend import SecretSource, source_of
from lmgateway.config.values import (
    BaseUrl,
    Count,
    EnvName,
    HeaderName,
    HeaderValue,
    Milliseconds,
    PositiveCount,
    Ratio,
)


@frozen(kw_only=True)
class SloSection:
    """
    What a profile promises; shown as metrics and at ``/admin/analytics``, enforced by nobody.

    Attributes:
        latency_ms: Milliseconds in which an answer begins (whole answers: ends).
        latency_share: The share of answers of which that is true.
        error_share: The share of requests that may fail, though nobody asked the impossible.
    """

    latency_ms: Milliseconds
    latency_share: Ratio = 0.95
    error_share: Ratio = 0.01


@frozen(kw_only=True)
class OtelSection:
    """
    Where spans are sent, by OTLP over HTTP.

    Attributes:
        endpoint: The collector, as ``http://127.0.0.1:4318``; ``/v1/traces`` is put behind it
            unless it is there.
        headers: Headers that are sent along.
        auth_header: The header that a credential is sent in.
        auth_env: The environment variable that holds it: the whole value of the header.
        auth_secret: Where it is read from; wins over ``auth_env``.
        service_name: What this gateway is called in traces.
        sample: The share of traces that is recorded, of those that begin here; what goes wrong
            is recorded always.
        timeout_ms: Milliseconds that the collector may take to answer.
    """

    endpoint: BaseUrl
    headers: Mapping[HeaderName, HeaderValue] = field(factory=dict)
    auth_header: HeaderName = "authorization"
    auth_env: EnvName | None = None
    auth_secret: SecretSource | None = None
    service_name: str = "lmgateway"
    sample: Ratio = 1.0
    timeout_ms: Milliseconds = 10000

    @property
    def auth_source(self) -> SecretSource | None:
        """Where the credential comes from, whichever way that is written."""
        return source_of(self.auth_env, self.auth_secret)


@frozen(kw_only=True)
class LogsSection:
    """
    The access log: one line for each request.

    Attributes:
        access_file: The file that it goes to, instead of standard output; relative to the main
            config file's folder.  It may be moved away at any time.
        access_sample: The share of lines that is written, of requests that went well.
        access_slow_ms: Requests that took longer are always written.
    """

    access_file: str | None = None
    access_sample: Ratio = 1.0
    access_slow_ms: Milliseconds = 10000


@frozen(kw_only=True)
class ExportSection:
    """
    Where records of requests are sent besides: no prompts and no answers.

    Attributes:
        file: A file of JSON lines, relative to the main config file's folder.
        max_bytes: How large it may become before it is moved aside.
        keep: How many of those moved aside are kept.
        url: Who is sent JSON lines in batches.
        headers: Headers that are sent along.
        auth_header: The header that a credential is sent in.
        auth_env: The environment variable that holds it: the whole value of the header.
        auth_secret: Where it is read from; wins over ``auth_env``.
        timeout_ms: Milliseconds that the receiver may take to answer.
    """

    file: str | None = None
    max_bytes: PositiveCount = 104857600
    keep: Count = 5
    url: BaseUrl | None = None
    headers: Mapping[HeaderName, HeaderValue] = field(factory=dict)
    auth_header: HeaderName = "authorization"
    auth_env: EnvName | None = None
    auth_secret: SecretSource | None = None
    timeout_ms: Milliseconds = 10000

    @property
    def auth_source(self) -> SecretSource | None:
        """Where the credential comes from, whichever way that is written."""
        return source_of(self.auth_env, self.auth_secret)


@frozen(kw_only=True)
class CaptureSection:
    """
    A file with the bodies of requests and answers.  It holds all that is said.

    Attributes:
        file: The file, relative to the main config file's folder; nobody else may read it.
        max_body_bytes: How much is kept of each body.
        max_bytes: How large the file may become before it is moved aside; one is kept so.
        expire_hours: After how many hours what was captured is deleted.
    """

    file: str
    max_body_bytes: PositiveCount = 65536
    max_bytes: PositiveCount = 104857600
    expire_hours: PositiveCount = 24
