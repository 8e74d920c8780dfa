"""camlens: see where a PyTorch vision model looks, and how far that picture can be trusted."""

import typing as _typing

from camlens.core.lazy import lazily as _lazily

__version__ = "0.1.0"
__all__ = [
    "Calibration",
    "CamlensError",
    "Check",
    "ClassBlindWarning",
    "Concepts",
    "DataError",
    "Evaluation",
    "EvidenceWarning",
    "Explainer",
    "Explanation",
    "Fact",
    "Filters",
    "InputError",
    "LayerActivations",
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
    "UnknownArgumentError",
    "activations",
    "calibrate",
    "compute_gradcam",
    "concepts",
    "evaluate",
    "explain",
    "filters",
    "get_conv_layers",
    "get_top_predictions",
    "load_model",
    "measure",
    "register_method",
    "register_metric",
    "targets",
]

_ERRORS = (
    "CamlensError ClassBlindWarning DataError EvidenceWarning InputError LayerError MisfitError MissingExtraError"
    " ModelError NoGradientError StoreError TargetError UnknownArgumentError"
)
# imported on first use: importing torch takes seconds, during which the command line must react to Ctrl-C
_LATER = {
    **dict.fromkeys(_ERRORS.split(), "camlens.core.errors"),
    **dict.fromkeys(("compute_gradcam", "get_conv_layers", "get_top_predictions"), "camlens.gradcam"),
    **dict.fromkeys(("METHODS", "register_method"), "camlens.methods"),  # registers all methods
    **dict.fromkeys(("Calibration", "calibrate"), "camlens.trust.calibrating"),
    "Check": "camlens.trust.checking",
    "Concepts": "camlens.methods.factorisation",
    **dict.fromkeys(("Evaluation", "evaluate"), "camlens.trust.evaluating"),
    "Explainer": "camlens.explainer",
    "Explanation": "camlens.explanation",
    "Fact": "camlens.trust.facts",
    "Filters": "camlens.anatomy.filters",
    "LayerActivations": "camlens.anatomy.activations",
    "LoadedModel": "camlens.models",
    "METRICS": "camlens.metrics",
    "activations": "camlens.anatomy.activations",
    "concepts": "camlens.methods.factorisation",
    "explain": "camlens.explainer",
    "filters": "camlens.anatomy.filters",
    "load_model": "camlens.models",
    "measure": "camlens.trust.measuring",
    "register_metric": "camlens.core.registry",
    **{room: f"camlens.{room}" for room in ("audit", "data", "metrics", "models", "render", "targets", "testing")},
}

if _typing.TYPE_CHECKING:
    from camlens import targets
    from camlens.anatomy.activations import LayerActivations, activations
    from camlens.anatomy.filters import Filters, filters
    from camlens.core.errors import (
        CamlensError,
        ClassBlindWarning,
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
        UnknownArgumentError,
    )
    from camlens.core.registry import METHODS, register_method, register_metric
    from camlens.explainer import Explainer, explain
    from camlens.explanation import Explanation
    from camlens.gradcam import compute_gradcam, get_conv_layers, get_top_predictions
    from camlens.methods.factorisation import Concepts, concepts
    from camlens.metrics import METRICS
    from camlens.models import LoadedModel, load_model
    from camlens.trust.calibrating import Calibration, calibrate
    from camlens.trust.checking import Check
    from camlens.trust.evaluating import Evaluation, evaluate
    from camlens.trust.facts import Fact
    from camlens.trust.measuring import measure


__getattr__, __dir__ = _lazily(__name__, _LATER)
