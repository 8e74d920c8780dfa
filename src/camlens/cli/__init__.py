"""The `camlens` command: one thin file for each of its words."""
