"""Tests on the model that tell whether it relies on a property of the images that is not the object."""
