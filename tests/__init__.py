"""Tests: they mirror the package."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# How fast examples are found says something of the machine, and nothing of the product.
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")
