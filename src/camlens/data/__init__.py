"""Images in: safe decoding, sources of labelled images, and the demo photographs."""
