"""The admin port: what the operator sees and may do."""
