<<<<<<< HEAD
"""Tests, mirroring the package."""
=======
"""Tests: they mirror the package."""
>>>>>>> main
