"""What may stand in ``[[tiers]]``: see ``lmgateway.config.schema``."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from lmgateway.classes import frozen
from lmgateway.config.values import (
    Count,
    Milliseconds,
    Name,
    PositiveCount,
    Price,
    Priority,
    Range,
)

Capability: TypeAlias = Literal[
    "tools",
    "vision",
    "audio",
    "video",
    "file",
    "json_schema",
    "reasoning",
    "embeddings",
]
Strategy: TypeAlias = Literal[
    "priority",
    "weighted",
    "round_robin",
    "least_busy",
    "latency",
    "cost",
]


@frozen(kw_only=True)
class PriceSection:
    """
    What a tier costs, in USD per million tokens.

    Attributes:
        input: Input tokens.
        output: Output tokens.
        cached_read: Input tokens read from the provider's cache; as ``input`` if not given.
        cached_write: Input tokens written to the provider's cache; as ``input`` if not given.
        reasoning: Output tokens spent on reasoning; as ``output`` if not given.
        request: USD for each request, whatever its tokens.
    """

    input: Price
    output: Price
    cached_read: Price | None = None
    cached_write: Price | None = None
    reasoning: Price | None = None
    request: Price | None = None


@frozen(kw_only=True)
class TargetSection:
    """
    One of the backends that serve a tier.

    Attributes:
        backend: Which one.
        model: What it calls the model.
        weight: Its share of the requests, in proportion; 0 is only for when others fail.
        price: What it costs; as the tier if not given.
    """

    backend: str
    model: str
    weight: Annotated[float, Range(0, 1_000_000)] = 1.0
    price: PriceSection | None = None


@frozen(kw_only=True)
class TierSection:
    """
    One rung of the ladder; the file lists them cheapest first.

    Attributes:
        name: What clients, aliases and rules call it.
        backend: The backend that serves it; short for one entry of ``targets``.
        model: What that backend calls the model.
        targets: The backends that serve it, if there are several.
        strategy: Which target is tried first: ``priority`` takes them as written; if not
            given, ``priority``, or ``weighted`` where ``sticky`` is true.
        sticky: Whether a conversation keeps to one target, whose prompt cache knows it.
        think: Sets the ``think`` flag of requests that have none.
        max_context_tokens: The largest prompt that fits; unlimited if not given.
        max_output_tokens: The largest answer that the model gives.
        capabilities: What the model can take or do; anything if not given.
        price: What it costs.
        queue_id: The queue of this tier, which others may share; its name if not given, and
            empty for none.
        rate_limit_rpm: Attempts a minute; off if 0 or not given.
        rate_limit_tpm: Tokens a minute, of prompts and answers; off if 0 or not given.
        burst: Attempts at once; half of ``rate_limit_rpm`` if not given.
        max_concurrent: Requests at once; unlimited if not given.
        queue_depth: Requests that may wait for their turn; 1000 if not given.
        queue_timeout_ms: Milliseconds that a request may wait for its turn; 60000 if not given.
        priority: Of requests whose client gives none; higher goes first.
        overflow_tier: The tier that requests go to when this one's queue is too long.
        overflow_depth: How many may be in flight or waiting before that.
        overflow_min_priority: The least priority that this is done for.
        prefill: How the model is asked to continue an answer that another one began: by a last
            ``message`` of the assistant's alone, with ``prefix`` set in it, or with
            ``continue_final_message``; not at all if not given.
    """

    name: Name
    backend: str = ""
    model: str = ""
    targets: tuple[TargetSection, ...] = ()
    strategy: Strategy | None = None
    sticky: bool = False
    think: bool | None = None
    max_context_tokens: PositiveCount | None = None
    max_output_tokens: PositiveCount | None = None
    capabilities: tuple[Capability, ...] | None = None
    price: PriceSection | None = None
    queue_id: str | None = None
    rate_limit_rpm: Count | None = None
    rate_limit_tpm: Count | None = None
    burst: PositiveCount | None = None
    max_concurrent: PositiveCount | None = None
    queue_depth: Count | None = None
    queue_timeout_ms: Milliseconds | None = None
    priority: Priority = 0
    overflow_tier: str | None = None
    overflow_depth: Count | None = None
    overflow_min_priority: Priority = 0
    prefill: Literal["message", "prefix", "continue_final_message"] | None = None

    @property
    def all_targets(self) -> tuple[TargetSection, ...]:
        """The targets, whichever way they are written."""
        return self.targets or (TargetSection(backend=self.backend, model=self.model),)

    @property
    def queue(self) -> str | None:
        """The name of its queue; ``None`` if it has none."""
        return self.name if self.queue_id is None else self.queue_id or None
