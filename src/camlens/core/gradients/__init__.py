"""Derivatives of scores: with respect to layers, biases and images, of the first and the second order."""
