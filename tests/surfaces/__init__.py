"""Tests for ``lmgateway.surfaces``."""
