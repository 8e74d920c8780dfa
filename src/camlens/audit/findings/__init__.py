"""Findings of a run: pure functions of arrays with one value per image."""
