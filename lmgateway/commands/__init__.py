"""The console script: everything but serving."""
