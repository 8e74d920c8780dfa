"""Running an audit: the plan, one pass per batch, and the engine that schedules shards."""
