"""What the model is made of: its layers, their activations, their filters."""
