"""What may stand in a config of how the gateway is watched."""

from __future__ import annotations

from attrs import frozen

from lmgateway.config.values import Milliseconds, Ratio


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
