"""Load models by name, with their preprocessing and class names."""

from camlens.models.geometry import Geometry, View
from camlens.models.loading import LoadedModel, Preprocessing, load_model

__all__ = ["Geometry", "LoadedModel", "Preprocessing", "View", "load_model"]
