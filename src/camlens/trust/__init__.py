"""How far a map can be trusted: facts about it, and a test against the measured effects of deleting patches."""
