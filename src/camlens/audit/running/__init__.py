"""Making a run: the plan, the one pass per batch, the engine that says which shard is next."""
