"""Shapley-CAM, which uses second derivatives."""

from camlens.core.probe import Probe
from camlens.core.registry import register_method
from camlens.core.types import TargetMaps
from camlens.methods.pooling import weighted_maps


@register_method(
    "shapleycam",
    paper="Cai 2025, CAMs as Shapley Value-based Explainers, arXiv 2501.06261",
    needs="probe",
    good_for="scores that are far from linear in the features, such as probabilities",
    cost="seconds",
)
def shapleycam(probe: Probe) -> TargetMaps:
    """Weight the channels by their mean gradient, corrected for curvature.

    w_k = mean_ij (g - H A / 2)_k,ij, H the Hessian of the score with respect to the features (Cai 2025,
    arXiv 2501.06261). If the network after the layer is piecewise linear, H is zero and this is Grad-CAM.

        explain(model, images, method="shapleycam", target=Probability(281))
    """
    corrected = probe.gradients - probe.curvature(probe.activations) / 2
    return weighted_maps(corrected.flatten(3).mean(dim=3), probe.activations)
