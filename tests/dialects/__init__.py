"""Tests of the dialects: vectors both ways, and streams cut anywhere."""
