"""The web application: one model, one set of images, every view in a browser."""
