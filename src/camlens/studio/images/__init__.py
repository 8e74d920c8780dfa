"""The images people look at: from the data, from uploads, with what the model says of them."""
