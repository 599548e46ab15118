"""Tests for ``lmgateway.routing``."""
