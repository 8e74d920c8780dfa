"""Runs for other programs: a CSV file of errors, a FiftyOne data set."""
