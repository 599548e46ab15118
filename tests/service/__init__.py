"""Tests for the process as a whole."""
