"""A whole data set: one resumable run, and what it says about errors, features and attention."""
