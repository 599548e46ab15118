"""Measures the gateway beside nginx and a direct call on one machine, in one run."""
