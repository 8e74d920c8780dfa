"""A random baseline for other methods."""

import torch

from camlens.core.probe import Probe
from camlens.core.registry import register_method
from camlens.core.types import TargetMaps
from camlens.methods.draws import same_draws
from camlens.methods.pooling import weighted_maps


@register_method(
    "random",
    paper="control without a paper",
    needs="probe",
    good_for="a baseline: a method that does no better shows the layer, not the class",
)
def random(probe: Probe) -> TargetMaps:
    """Weight the channels at random: a baseline that is independent of the class.

    L = sum_k w_k A_k, w_k uniform in [-1, 1]. Seeded, with the same weights for every image.

        explain(model, images, method="random", seed=0)
    """
    activations = probe.activations
    targets, channels = probe.scores.shape[1], activations.shape[1]
    drawn = torch.rand(targets, channels, generator=same_draws(probe.generator))
    weights = (2 * drawn - 1).to(activations.device, activations.dtype)
    return weighted_maps(weights.expand(len(activations), -1, -1), activations)
