"""Ready models by name: the network, how to prepare an image for it, and what its classes are called."""

from camlens.models.geometry import Geometry, View
from camlens.models.loading import LoadedModel, Preprocessing, load_model

__all__ = ["Geometry", "LoadedModel", "Preprocessing", "View", "load_model"]
