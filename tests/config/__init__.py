"""How config files are read, checked, shown and watched."""
