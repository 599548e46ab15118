<<<<<<< HEAD
"""Tests of lmgateway.routing."""
=======
"""Tests for ``lmgateway.routing``."""
>>>>>>> main
