"""
The tables under ``[backends.<name>]``: one configured upstream each.

Other code takes these from ``lmgateway.config.schema``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from attrs import field

from lmgateway.classes import frozen
from lmgateway.config.providers import PROVIDERS
from lmgateway.config.values import (
    BaseUrl,
    Count,
    EnvName,
    HeaderName,
    HeaderValue,
    KeepAlive,
    Milliseconds,
    OneOf,
    OptionalMilliseconds,
    PositiveCount,
    ProxyUrl,
    Range,
    Ratio,
)

FaultKind: TypeAlias = Literal["status", "stall", "cut", "malformed"]


@frozen(kw_only=True)
class SecretSource:
    """
    Where a secret is read from; never the secret itself.

    Attributes:
        source: ``env`` for an environment variable, ``file`` for a file's content, ``vault`` and
            ``infisical`` for the servers of ``[secrets]``, ``command`` for what a program writes.
        var: The variable's name, for ``env``.
        path: The file, for ``file``; relative to the main config file's folder.  A name without a
            folder is also looked for in ``$CREDENTIALS_DIRECTORY`` and in ``/run/secrets``.
        name: The secret's name, for ``vault`` (its path below the mount) and ``infisical``.
        field: The member of the secret that is wanted, for ``vault``; ``value`` if not given.
        mount: Where the KV engine is mounted, for ``vault``; ``secret`` if not given.
        folder: The folder that the secret is in, for ``infisical``; ``/`` if not given.
        command: The program and its arguments, for ``command``: the first line that it writes is
            the secret.  No shell is asked.
    """

    source: Literal["env", "file", "vault", "infisical", "command"]
    var: EnvName | None = None
    path: str | None = None
    name: str | None = None
    field: str | None = None
    mount: str | None = None
    folder: str | None = None
    command: tuple[str, ...] | None = None


@frozen(kw_only=True)
class FaultSection:
    """
    What goes wrong in the mock backend, on purpose.

    Attributes:
        kind: An HTTP error status, silence, a connection cut short, or a chunk that is no JSON.
        after: How many events of the answer are still sent as they should be.
        status: The HTTP status of ``kind = "status"``.
        probability: The share of requests that fail.
        retry_after: Seconds told in ``Retry-After`` with a status.
    """

    kind: FaultKind
    after: Count = 0
    status: Annotated[int, Range(400, 599)] = 500
    probability: Ratio = 1.0
    retry_after: Annotated[float, Range(0, 86400)] | None = None


@frozen(kw_only=True)
class MockSection:
    """
    How the built-in mock backend answers.

    Attributes:
        style: ``plain`` says what it is and what it was asked, ``echo`` repeats the last user
            message, ``lorem`` writes filler text, ``scripted`` answers from the fixtures.
        fixtures: A file of scripted answers, or a folder of them; relative to the main config
            file's folder.
        first_token_ms: Milliseconds before the first token.
        tokens_per_second: The pace of a stream; 0 sends everything at once.
        jitter_ms: Up to so many milliseconds more before each token.
        chunks: Into how many chunks an answer is cut; one per word if not given.
        seed: Makes what is random the same in every run.
        fault: What goes wrong, on purpose.
        allow_model_faults: Whether a model name may ask for faults, as ``mock-e503`` does.
    """

    style: Literal["plain", "echo", "lorem", "scripted"] = "plain"
    fixtures: str | None = None
    first_token_ms: Annotated[int, Range(0, 3_600_000)] = 0
    tokens_per_second: Annotated[float, Range(0, 1_000_000)] = 0.0
    jitter_ms: Annotated[int, Range(0, 3_600_000)] = 0
    chunks: Annotated[int, Range(1, 100_000)] | None = None
    seed: int = 0
    fault: FaultSection | None = None
    allow_model_faults: bool = False


@frozen(kw_only=True)
class BreakerSection:
    """
    When a backend's targets are left alone for a while, each by itself.

    Attributes:
        window: How many attempts a target is judged by; as ``health_window`` if not given, and
            0 for never.
        error_threshold: The share of failures among them from which it is left alone; as
            ``health_error_threshold`` if not given.
        min_attempts: Of how many attempts at least.
        consecutive_failures: The failures in a row from which it is left alone; 0 is off.
        failed_probes: The failed probes in a row from which it is left alone; 0 is off.
        long_wait_ms: It is left alone when the backend asks for a longer wait than this.
        open_ms: For how long at first; twice that after each trial that fails, at most 60000.
        trials: How many attempts at once may then try whether it is well again.
    """

    window: Count | None = None
    error_threshold: Ratio | None = None
    min_attempts: PositiveCount = 3
    consecutive_failures: Count = 5
    failed_probes: Count = 3
    long_wait_ms: Annotated[int, Range(0, 60000)] = 10000
    open_ms: Annotated[int, Range(1, 60000)] = 10000
    trials: PositiveCount = 1


@frozen(kw_only=True)
class BackendSection:
    """
    One configured upstream.

    Attributes:
        base_url: Where it is, with any path prefix, with or without ``/v1``.  Presets know
            theirs.
        provider: What it is: a grammar to speak, and presets for well-known services.
        api_key_env: The environment variable that holds the API key.
        api_key_secret: Where the API key is read from; wins over ``api_key_env``.
        timeout_ms: Milliseconds that one attempt may take in all, when not streamed.
        connect_timeout_ms: Milliseconds to connect, name resolution and TLS included.
        first_byte_timeout_ms: Milliseconds to the first output of a stream.
        idle_timeout_ms: Milliseconds of silence within a stream.
        pool_idle_ms: Milliseconds that an idle connection is kept; less than the upstream does.
        rate_limit_rpm: Attempts a minute; off if 0 or not given.
        rate_limit_tpm: Tokens a minute, of prompts and answers; off if 0 or not given.
        burst: Attempts at once; half of ``rate_limit_rpm`` if not given.
        max_concurrent: Requests at once; unlimited if not given.
        queue_depth: Requests that may wait for their turn; 1000 if not given.
        queue_timeout_ms: Milliseconds that a request may wait for its turn; 60000 if not given.
        ca_file: Certificates to trust for this backend, instead of the system's.
        client_cert: A PEM file with certificate and key to show to this backend.
        headers: Fixed headers sent with every request.
        proxy: An HTTP proxy to reach it through, as ``http://host:port``.
        default_options: Model options where the request has none (Ollama).
        keep_alive: How long a model stays in memory where the request does not say (Ollama), as
            ``5m``; ``0`` for not at all, ``-1`` for ever, which is the default.
        local: Whether it costs nothing unless priced; by default, whether it is near.
        http_referer: Sent to OpenRouter as ``HTTP-Referer``.
        x_title: Sent to OpenRouter as ``X-Title``.
        tool_format: ``xml`` for models that write tool calls as tagged text.
        max_tokens_field: The name of the output bound that this server takes.
        stream_usage: Whether this server can tell the usage in streams.
        takes_think: Whether this server understands a ``think`` member.
        breaker: When its targets are left alone for a while.
        probe_interval_ms: Milliseconds between two free questions whether it is well; 0 for none.
        probe_timeout_ms: Milliseconds that the answer to one may take.
        mock: How the mock backend answers (``provider = "mock"``).
    """

    base_url: BaseUrl = field(default="", repr=lambda url: repr(url.rpartition("@")[2]))
    provider: Annotated[str, OneOf(tuple(PROVIDERS))] = "openai"
    api_key_env: EnvName | None = None
    api_key_secret: SecretSource | None = None
    timeout_ms: Milliseconds = 30000
    connect_timeout_ms: Milliseconds = 3000
    first_byte_timeout_ms: Milliseconds = 60000
    idle_timeout_ms: Milliseconds = 60000
    pool_idle_ms: Count = 4000
    rate_limit_rpm: Count | None = None
    rate_limit_tpm: Count | None = None
    burst: PositiveCount | None = None
    max_concurrent: PositiveCount | None = None
    queue_depth: Count | None = None
    queue_timeout_ms: Milliseconds | None = None
    ca_file: str | None = None
    client_cert: str | None = None
    headers: Mapping[HeaderName, HeaderValue] = field(factory=dict, repr=lambda all_: repr([*all_]))
    proxy: ProxyUrl | None = field(default=None, repr=False)
    default_options: Mapping[str, object] = field(factory=dict)
    keep_alive: KeepAlive | None = None
    local: bool | None = None
    http_referer: HeaderValue | None = None
    x_title: HeaderValue | None = None
    tool_format: Literal["json", "xml"] = "json"
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    stream_usage: bool | None = None
    takes_think: bool | None = None
    breaker: BreakerSection = field(factory=BreakerSection)
    probe_interval_ms: OptionalMilliseconds = 30000
    probe_timeout_ms: Milliseconds = 5000
    mock: MockSection | None = None

    @property
    def key_source(self) -> SecretSource | None:
        """Where the API key comes from, whichever way that is written."""
        return source_of(self.api_key_env, self.api_key_secret)


def source_of(env: str | None, secret: SecretSource | None) -> SecretSource | None:
    """Give *secret*, or else a source for the environment variable *env*, if there is one."""
    if secret is not None or env is None:
        return secret
    return SecretSource(source="env", var=env)
