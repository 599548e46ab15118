"""The official clients, as they come from the package index, against a running gateway."""
