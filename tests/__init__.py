"""Tests: they mirror the package."""

from __future__ import annotations

import sys

from hypothesis import HealthCheck, settings

# How fast examples are found says something of the machine, and nothing of the product.
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")

if "twisted.scripts.trial" in sys.modules:  # and not in programs that tests start
    from twisted.internet import reactor

    from lmgateway.wire.turns import lighten

    # As the service does: what is tested over sockets is read and sent as there.
    lighten(reactor)
