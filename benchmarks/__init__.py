"""Measures the gateway beside nginx on one machine, in one run."""
