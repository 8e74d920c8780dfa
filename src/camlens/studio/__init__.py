"""The web application: one model, one dataset, every view in a browser."""
