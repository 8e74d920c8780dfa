"""Gradient times activation with balanced gradients, for transformers."""

from camlens.core.details import Found
from camlens.core.probe import Probe
from camlens.core.registry import register_method
from camlens.methods.saliency import completeness_gap


@register_method(
    "balanced",
    paper="Mehri et al. 2024, LibraGrad, arXiv 2411.16760",
    needs="probe",
    good_for="what each token adds to the score of a transformer, for and against",
    gradients="balanced",
    diverging=True,
)
def balanced(probe: Probe) -> Found:
    """Sum gradient times activation over channels, with balanced gradients.

    L = sum_k g_k * A_k, with the gradients of `explain(..., gradients="balanced")` (LibraGrad, Mehri et al. 2024, arXiv
    2411.16760): scales of normalizations, attention weights and gates are constants in the backward pass. After the
    layer the score is then a sum of contributions of the tokens and the biases, and the map holds those of the grid.
    `details` holds completeness_gap (n, t), the part of the score that the map does not account for: that of prefix
    tokens and biases.

        explain(model, images, method="balanced")
    """
    maps = (probe.gradients * probe.activations[:, None]).sum(dim=2)
    return Found(maps, {"completeness_gap": completeness_gap(maps, probe.scores)})
