"""Exports of a run: a CSV file of errors, a FiftyOne dataset."""
