"""camlens: see where a PyTorch vision model looks, and whether that can be trusted."""

import typing as _typing

from camlens import targets
from camlens.anatomy.activations import activations
from camlens.anatomy.filters import filters
from camlens.attributions.factorisation import concepts
from camlens.core.errors import (
    CamlensError,
    DataError,
    EvidenceWarning,
    InputError,
    LayerError,
    MissingExtraError,
    ModelError,
    NoGradientError,
    StoreError,
    TargetError,
)
from camlens.core.registry import METHODS, register_method, register_metric
from camlens.explainer import Explainer, explain
from camlens.explanation import Explanation
from camlens.gradcam import compute_gradcam, get_conv_layers, get_top_predictions
from camlens.models import LoadedModel, load_model

__version__ = "0.1.0"
__all__ = [
    "CamlensError",
    "DataError",
    "EvidenceWarning",
    "Explainer",
    "Explanation",
    "InputError",
    "LayerError",
    "LoadedModel",
    "METHODS",
    "METRICS",
    "MissingExtraError",
    "ModelError",
    "NoGradientError",
    "StoreError",
    "TargetError",
    "activations",
    "compute_gradcam",
    "concepts",
    "explain",
    "filters",
    "get_conv_layers",
    "get_top_predictions",
    "load_model",
    "register_method",
    "register_metric",
    "targets",
]

if _typing.TYPE_CHECKING:
    from camlens.metrics import METRICS


def __getattr__(name: str) -> _typing.Any:
    """METRICS on demand: explaining needs no metric, and importing them takes as long as all the rest."""
    if name == "METRICS":
        from camlens.metrics import METRICS

        return METRICS
    raise AttributeError(f"module 'camlens' has no attribute {name!r}")
