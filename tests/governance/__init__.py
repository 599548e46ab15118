"""Tests of lmgateway.governance."""
