"""A faster copy of a model that gives the same maps, or says why it could not be had."""
