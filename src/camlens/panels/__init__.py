"""From image files to panels on disk: where loaded models, images, explanations and pictures meet."""
