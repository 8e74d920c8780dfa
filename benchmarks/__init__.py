"""Time and memory of camlens beside the plain forward pass and its peers: `python -m benchmarks`."""
