"""Tests for ``lmgateway.telemetry``."""
