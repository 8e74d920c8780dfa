"""camlens: see where a PyTorch vision model looks, and whether that can be trusted."""

import typing as _typing

from camlens import targets
from camlens.attributions.factorisation import concepts
from camlens.core.errors import (
    CamlensError,
    DataError,
    EvidenceWarning,
    InputError,
    LayerError,
    MisfitError,
    MissingExtraError,
    ModelError,
    NoGradientError,
    StoreError,
    TargetError,
)
from camlens.core.lazy import lazily as _lazily
from camlens.core.registry import METHODS, register_method, register_metric
from camlens.explainer import Explainer, explain
from camlens.explanation import Explanation
from camlens.gradcam import compute_gradcam, get_conv_layers, get_top_predictions

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
    "MisfitError",
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

# on demand, since explaining needs none of them, and importing them takes as long as half of the rest
_LATER = {
    "LoadedModel": "camlens.models",
    "METRICS": "camlens.metrics",
    "activations": "camlens.anatomy.activations",
    "filters": "camlens.anatomy.filters",
    "load_model": "camlens.models",
    **{room: f"camlens.{room}" for room in ("audit", "data", "metrics", "models", "render", "testing")},
}

if _typing.TYPE_CHECKING:
    from camlens.anatomy.activations import activations
    from camlens.anatomy.filters import filters
    from camlens.metrics import METRICS
    from camlens.models import LoadedModel, load_model


__getattr__, __dir__ = _lazily(__name__, _LATER)
