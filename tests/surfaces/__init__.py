"""Tests of lmgateway.surfaces."""
