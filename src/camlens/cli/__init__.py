"""The `camlens` command: one file per subcommand, and what several of them share."""
