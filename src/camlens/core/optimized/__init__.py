"""Faster copies of models that give the same maps."""
