"""Tests for what is kept beyond the process."""
