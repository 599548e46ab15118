"""Putting it together: the only floor that knows all the others."""
