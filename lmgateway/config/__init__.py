"""One TOML file to one frozen value, or one report of all that is wrong with it."""
