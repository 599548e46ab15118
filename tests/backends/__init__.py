"""Tests of ``lmgateway.backends``."""
