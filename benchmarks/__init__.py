"""Benchmarks of time and memory against the plain forward pass and other libraries: `python -m benchmarks`."""
