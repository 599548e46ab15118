"""Tests for ``lmgateway.admin``."""
