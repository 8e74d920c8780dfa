"""Explanations by the segments of an image: how much each of them speaks for or against a class."""
