"""The tests, a folder for each of the package; ``make test`` runs them all."""
