"""Tests of lmgateway.routing."""
