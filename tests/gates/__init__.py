"""Release gates: each a command that prints its figures and fails when one is not met."""
