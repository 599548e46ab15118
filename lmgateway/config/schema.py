"""
What may stand in a config file: one frozen class per table, one attribute per key.

Attribute names are the TOML keys, and ``lmgateway config schema`` prints the ``Attributes``
sections as descriptions.  What values a key takes is told by its annotation (see
``lmgateway.config.values``), what holds between keys by ``lmgateway.config.check``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from attrs import field

from lmgateway.classes import frozen
from lmgateway.config.admin import AdminTokenSection
from lmgateway.config.backend import (
    BackendSection,
    BreakerSection,
    FaultSection,
    MockSection,
    SecretSource,
    source_of,
)
from lmgateway.config.budget import BudgetSection
from lmgateway.config.client import ClientSection, GroupSection
from lmgateway.config.gates import (
    GatesSection,
    JudgeGate,
    LengthGate,
    RefusalGate,
    RepetitionGate,
)
from lmgateway.config.limits import LimitsSection, OverrideSection
from lmgateway.config.listen import HandedSocket
from lmgateway.config.merge import KeyPath, Origins
from lmgateway.config.prices import PricesSection
from lmgateway.config.rule import RuleSection, SplitSection
from lmgateway.config.state import StateSection
from lmgateway.config.stores import InfisicalSection, SecretsSection, VaultSection
from lmgateway.config.telemetry import (
    CaptureSection,
    ExportSection,
    LogsSection,
    OtelSection,
    SloSection,
)
from lmgateway.config.tier import Capability, PriceSection, Strategy, TargetSection, TierSection
from lmgateway.config.values import (
    Count,
    EnvName,
    ListenHost,
    LogLevel,
    Milliseconds,
    Name,
    Network,
    OptionalMilliseconds,
    Origin,
    Port,
    PositiveCount,
    Price,
    Ratio,
    Workers,
)
from lmgateway.config.webhook import WebhookSection

__all__ = [
    "AdminTokenSection",
    "BackendSection",
    "BreakerSection",
    "BudgetSection",
    "Capability",
    "ClientSection",
    "Config",
    "ErrorStyle",
    "FaultSection",
    "GatesSection",
    "GatewaySection",
    "GroupSection",
    "InfisicalSection",
    "JudgeGate",
    "LengthGate",
    "LimitsSection",
    "MidStreamPolicy",
    "MockSection",
    "Mode",
    "OverrideSection",
    "PriceSection",
    "PricesSection",
    "ProfileSection",
    "RefusalGate",
    "RepetitionGate",
    "RuleSection",
    "SecretSource",
    "SecretsSection",
    "Settings",
    "SplitSection",
    "StateSection",
    "Strategy",
    "TargetSection",
    "TierSection",
    "TlsSection",
    "UnknownModelPolicy",
    "VaultSection",
    "WebhookSection",
]

Mode: TypeAlias = Literal["dispatch", "escalate", "classify", "reply"]
ErrorStyle: TypeAlias = Literal["native", "friendly"]
MidStreamPolicy: TypeAlias = Literal["error", "restart", "resume"]
UnknownModelPolicy: TypeAlias = Literal["fallback", "reject"]


@frozen(kw_only=True)
class TlsSection:
    """
    TLS on a listener.

    Attributes:
        cert: The certificate chain, as a PEM file.
        key: Its private key, as a PEM file.
        client_ca: Certificates that a client's certificate must be signed by (mutual TLS).
        client_names: The names that a client's certificate may carry; any if empty.
    """

    cert: str
    key: str
    client_ca: str | None = None
    client_names: tuple[str, ...] = ()


@frozen(kw_only=True)
class GatewaySection:
    """
    The process: its two ports, its limits, and what profiles inherit.

    Attributes:
        client_host: The address that clients connect to.
        client_port: The port that clients connect to.
        admin_host: The address of the admin port.
        admin_port: The port of the admin API.
        client_listen: The socket of the client port that a service manager hands over, instead
            of an address: ``systemd:domain=INET:index=0`` or ``systemd:domain=INET:name=client``.
        admin_listen: As ``client_listen``, for the admin port.
        client_tls: TLS on the client port.
        admin_tls: TLS on the admin port.
        traffic_log_capacity: How many exchanges the traffic log keeps; 0 keeps none.
        log_level: The least level that is logged, for all or by namespace.
        rate_limit_rpm: Requests a minute per client address; off if 0 or not given.
        admin_token_env: The environment variable that holds the admin token.
        admin_token_secret: Where the admin token is read from; wins over ``admin_token_env``.
        admin_hosts: Other names under which browsers call the admin port, with or without port.
        public_profile: The profile of requests that show no key, when there are clients.
        max_retries: Further tries of the same target after a failure.
        retry_delay_ms: Milliseconds before the first retry; doubles each time, up to 2000.
        retry_budget: Retries of a backend, as a share of its other attempts, at most.
        health_window: How many attempts at a target its health is judged by; 0 for never.
        health_error_threshold: The share of failures from which a target is left alone for a while.
        request_timeout_ms: Milliseconds to the first output, all attempts included; 0 is off.
        total_timeout_ms: Milliseconds to the last byte; 0 is off.
        traffic_log_debug: Whether the traffic log also keeps what backends were sent.
        profile_dir: The folder of profile files; relative to the main config file's folder.
        allow_anonymous: Whether anyone may use a client port that others can reach.
        cors_origins: Web origins whose pages may call the client port.
        max_body_bytes: The largest request body.
        header_timeout_ms: Milliseconds for a request's headers to arrive.
        body_timeout_ms: Milliseconds for a request's body to arrive.
        write_stall_timeout_ms: Milliseconds that a client may take no bytes.
        keep_alive_timeout_ms: Milliseconds that an idle client connection is kept.
        drain_timeout_ms: Milliseconds that open requests have to finish at shutdown.
        drain_delay_ms: Milliseconds at shutdown during which requests are still accepted.
        max_connections: Client connections at once; if not given, as many as the limit on open
            files allows, up to 10000.
        max_in_flight: Requests at once.
        trusted_proxies: Networks whose ``X-Forwarded-For`` is believed.
        expose_routing: Whether answers tell the tier, backend and model.
        error_style: ``native`` errors with a true status, or ``friendly`` ones as an answer
            with status 200, for voice assistants.
        unknown_model: Whether an unknown model name goes to the fallback tier, or is refused.
        failover: Whether the next tier is tried when one fails.
        strict: Whether a parameter that a backend cannot take is refused, not dropped.
        mid_stream: What is done when an answer breaks off after its first output: an
            ``error`` in the stream, a ``restart`` elsewhere while nothing was sent of it, or a
            ``resume`` by another target from where it broke off.
        baseline: The tier that all requests would go to without this gateway: what they cost
            less than there counts as saved.
        idempotency_window_ms: Milliseconds for which an answer is kept for who asks again with
            the same ``Idempotency-Key``; 0 ignores that header.
        idempotency_max_bytes: The most that is kept of such answers, all clients together.
        workers: How many processes serve the client port; see ``docs/workers.md``.
    """

    client_host: ListenHost = "127.0.0.1"
    client_port: Port = 8080
    admin_host: ListenHost = "127.0.0.1"
    admin_port: Port = 8081
    client_listen: HandedSocket | None = None
    admin_listen: HandedSocket | None = None
    client_tls: TlsSection | None = None
    admin_tls: TlsSection | None = None
    traffic_log_capacity: Count = 500
    log_level: LogLevel = "info"
    rate_limit_rpm: Count | None = None
    admin_token_env: EnvName | None = None
    admin_token_secret: SecretSource | None = None
    admin_hosts: tuple[str, ...] = ()
    public_profile: str | None = None
    max_retries: Count = 0
    retry_delay_ms: OptionalMilliseconds = 200
    retry_budget: Ratio = 0.2
    health_window: Count = 10
    health_error_threshold: Ratio = 0.7
    request_timeout_ms: OptionalMilliseconds = 120000
    total_timeout_ms: OptionalMilliseconds = 600000
    traffic_log_debug: bool = False
    profile_dir: str | None = None
    allow_anonymous: bool = False
    cors_origins: tuple[Origin, ...] = ()
    max_body_bytes: PositiveCount = 33554432
    header_timeout_ms: Milliseconds = 10000
    body_timeout_ms: Milliseconds = 60000
    write_stall_timeout_ms: Milliseconds = 30000
    keep_alive_timeout_ms: Milliseconds = 30000
    drain_timeout_ms: OptionalMilliseconds = 30000
    drain_delay_ms: OptionalMilliseconds = 0
    max_connections: PositiveCount | None = None
    max_in_flight: PositiveCount = 10000
    trusted_proxies: tuple[Network, ...] = ()
    expose_routing: bool = True
    error_style: ErrorStyle = "native"
    unknown_model: UnknownModelPolicy = "fallback"
    failover: bool = True
    strict: bool = False
    mid_stream: MidStreamPolicy = "error"
    baseline: str | None = None
    idempotency_window_ms: OptionalMilliseconds = 600000
    idempotency_max_bytes: PositiveCount = 67108864
    workers: Workers = 1

    @property
    def admin_token_source(self) -> SecretSource | None:
        """Where the admin token comes from, whichever way that is written."""
        return source_of(self.admin_token_env, self.admin_token_secret)


@frozen(kw_only=True)
class ProfileSection:
    """
    One routing policy.

    Attributes:
        mode: ``dispatch`` goes where the model name says, ``escalate`` climbs until an answer
            is good enough, ``classify`` asks a small model first, ``reply`` answers itself.
        classifier: The tier for unknown model names, which also classifies; not for ``reply``.
        max_auto_tier: The dearest tier that is chosen without being asked for; the last if
            not given.
        expert_requires_flag: Whether a dearer tier needs the expert permission.
        rate_limit_rpm: Requests a minute of all callers together; off if 0 or not given.
        rate_limit_tpm: Their tokens a minute, of prompts and answers; off if 0 or not given.
        rate_limit_usd_per_minute: What their answers may cost in a minute; off if 0 or not given.
        burst: Their requests at once; half of ``rate_limit_rpm`` if not given.
        max_concurrent: Their requests under way at once; unlimited if not given.
        enforce: Whether these limits refuse anyone; if not, it is only told who would be.
        classifier_prompt: What the classifier is told, instead of the built-in text.
        classifier_think: Whether the classifier may think.
        classifier_timeout_ms: Milliseconds that the classifier may take.
        classifier_context: How many of the latest messages the classifier sees; all if not
            given, and 0 skips it.
        classifier_fallback: The tier that classifies when the first one fails.
        system_prompt: Put before the client's system text.
        rules: Where classified requests go.
        class_prompts: System text by class.
        reply_message: The answer of ``reply`` mode.
        thinking_messages: Opening words by tier, one of which a stream begins with.
        unknown_model: As in ``[gateway]``, for this profile.
        expose_routing: As in ``[gateway]``, for this profile.
        error_style: As in ``[gateway]``, for this profile.
        failover: As in ``[gateway]``, for this profile.
        strict: As in ``[gateway]``, for this profile.
        mid_stream: As in ``[gateway]``, for this profile.
        baseline: As in ``[gateway]``, for this profile.
        single_flight: Whether identical requests of one client at one time are made once.
        fallback: The tiers to try when one fails, instead of the next ones of the ladder.
        gates: What an answer must be to be sent, in ``escalate`` mode.
        hold_tokens: How much of a stream is held back to be judged, in ``escalate`` mode.
        hold_ms: Milliseconds from its first output for which a stream is held back at most.
        slo: What is promised of latency and errors.
        on_insufficient: What is sent when no answer is good enough: the ``best`` one, marked,
            or an ``error``.
    """

    mode: Mode = "dispatch"
    classifier: str = ""
    max_auto_tier: str = ""
    expert_requires_flag: bool = False
    rate_limit_rpm: Count | None = None
    rate_limit_tpm: Count | None = None
    rate_limit_usd_per_minute: Price | None = None
    burst: PositiveCount | None = None
    max_concurrent: PositiveCount | None = None
    enforce: bool = True
    classifier_prompt: str | None = None
    classifier_think: bool = False
    classifier_timeout_ms: Milliseconds = 10000
    classifier_context: Count | None = None
    classifier_fallback: str | None = None
    system_prompt: str | None = None
    rules: tuple[RuleSection, ...] = ()
    class_prompts: Mapping[str, str] = field(factory=dict)
    reply_message: str | None = None
    thinking_messages: Mapping[str, tuple[str, ...]] = field(factory=dict)
    unknown_model: UnknownModelPolicy | None = None
    expose_routing: bool | None = None
    error_style: ErrorStyle | None = None
    failover: bool | None = None
    strict: bool | None = None
    mid_stream: MidStreamPolicy | None = None
    baseline: str | None = None
    single_flight: bool = False
    fallback: tuple[str, ...] = ()
    gates: GatesSection = field(factory=GatesSection)
    hold_tokens: PositiveCount = 40
    hold_ms: Milliseconds = 1500
    on_insufficient: Literal["best", "error"] = "best"
    slo: SloSection | None = None


@frozen(kw_only=True)
class Settings:
    """
    A whole config file.

    Attributes:
        gateway: The process: its two ports, its limits, and what profiles inherit.
        backends: Upstreams, by name.
        tiers: The ladder, cheapest first.
        aliases: Other names for tiers.
        profiles: Routing policies, by name.
        clients: Keys and what their holders may do; none opens the client port to all.
        groups: What clients may use together, by name.
        budgets: How much money may be spent.
        prices: Where prices come from that no tier or target gives.
        webhooks: Who is told of what happens.
        admin_tokens: Who may use the admin port, and how.
        state: Where state is kept; in memory if not given.
        logs: The access log: one line for each request.
        otel: Where spans are sent.
        export: Where records of requests are sent besides.
        capture: A file with the bodies of requests and answers.
        limits: How limits are counted, and what everyone may use together.
        secrets: Where secrets are kept that are not on this machine.
    """

    gateway: GatewaySection
    backends: Mapping[Name, BackendSection] = field(factory=dict)
    tiers: tuple[TierSection, ...] = ()
    aliases: Mapping[Name, str] = field(factory=dict)
    profiles: Mapping[Name, ProfileSection] = field(factory=dict)
    clients: tuple[ClientSection, ...] = ()
    groups: Mapping[Name, GroupSection] = field(factory=dict)
    budgets: tuple[BudgetSection, ...] = ()
    prices: PricesSection = field(factory=PricesSection)
    webhooks: tuple[WebhookSection, ...] = ()
    admin_tokens: tuple[AdminTokenSection, ...] = ()
    state: StateSection = field(factory=StateSection)
    logs: LogsSection = field(factory=LogsSection)
    otel: OtelSection | None = None
    export: ExportSection | None = None
    capture: CaptureSection | None = None
    limits: LimitsSection = field(factory=LimitsSection)
    secrets: SecretsSection = field(factory=SecretsSection)

    @property
    def is_open(self) -> bool:
        """Whether the client port is for everyone: no keys are configured, nor to be made."""
        return not self.clients and self.state.keys is None


@frozen(kw_only=True)
class Config(Settings):
    """
    What is served: settings that passed every check, and where they came from.

    Attributes:
        source: The main file.
        files: Every file that was read, the main one first.
        checksum: SHA-256 over the names and contents of ``files``.
        warnings: What is allowed, but probably not meant; each a full line.
        origins: Which file and key each setting came from.
        written: The way to each value that a file or the environment gives, but for clients.
    """

    source: Path
    files: tuple[Path, ...]
    checksum: str
    warnings: tuple[str, ...] = ()
    origins: Origins = field(factory=Origins, eq=False, repr=False)
    written: frozenset[KeyPath] = field(default=frozenset(), eq=False, repr=False)
