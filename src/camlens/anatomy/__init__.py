"""The model from inside, without asking why: what its layers see in an image, and what its filters look for."""
