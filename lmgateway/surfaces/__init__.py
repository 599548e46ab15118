"""The client port: each API as we serve it."""
