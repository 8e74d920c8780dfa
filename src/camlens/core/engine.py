"""The door of the engine: what methods, metrics, the audit, the studio and the command line use of it.

A `Session` is a model with its inputs. `Session.predict` runs the model, `capture_session` answers a `Request` with
activations, gradients and scores, and `features_of` computes features without gradients. All leave the model as it was.
The modules in `core/execution/` are used by the engine only.
"""

from camlens.core.capture import Capture, LayerRecord, Request, capture, capture_session, features_of
from camlens.core.execution.balanced import Gradients
from camlens.core.execution.draws import SeededDraws
from camlens.core.execution.hooks import answered
from camlens.core.execution.memory import OverBudgetError, in_parts
from camlens.core.execution.outputs import describe, find_logits, tensors_in
from camlens.core.execution.saved_tensors import despite_writing
from camlens.core.execution.session import Session
from camlens.core.execution.survey import Choice, LayerStatus, choose_layer, survey_session

__all__ = [
    "Capture",
    "Choice",
    "Gradients",
    "LayerRecord",
    "LayerStatus",
    "OverBudgetError",
    "Request",
    "SeededDraws",
    "Session",
    "answered",
    "capture",
    "capture_session",
    "choose_layer",
    "describe",
    "despite_writing",
    "features_of",
    "find_logits",
    "in_parts",
    "survey_session",
    "tensors_in",
]
