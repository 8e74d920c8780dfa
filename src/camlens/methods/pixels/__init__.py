"""Methods about the input alone: no layer is looked at, and the map has the size of the image."""

from camlens.methods.pixels import rise, saliency

__all__ = ["rise", "saliency"]
