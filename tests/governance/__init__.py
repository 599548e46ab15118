"""Tests for ``lmgateway.governance``."""
