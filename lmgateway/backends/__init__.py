"""What can be asked: real providers over the wire, and the built-in mock."""
