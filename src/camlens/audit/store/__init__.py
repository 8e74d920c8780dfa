"""The run on disk: one manifest, one plan, immutable shards, and how each of them is committed."""
