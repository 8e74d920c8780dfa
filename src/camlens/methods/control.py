"""The control that every method should beat."""

import torch

from camlens.core.probe import Probe
from camlens.core.registry import register_method
from camlens.core.types import TargetMaps
from camlens.methods.draws import same_draws
from camlens.methods.pooling import weighted_maps


@register_method(
    "random",
    paper="a control of ours: no paper",
    needs="probe",
    good_for="the floor: a method that does not beat it shows the layer, not the class",
)
def random(probe: Probe) -> TargetMaps:
    """Channels weighted at random between -1 and 1: what a map looks like that knows nothing of the class.

    L = sum_k w_k A_k, w_k uniform in [-1, 1], seeded, the same weights for every image.

        explain(model, images, method="random", seed=0)
    """
    activations = probe.activations
    targets, channels = probe.scores.shape[1], activations.shape[1]
    drawn = torch.rand(targets, channels, generator=same_draws(probe.generator))
    weights = (2 * drawn - 1).to(activations.device, activations.dtype)
    return weighted_maps(weights.expand(len(activations), -1, -1), activations)
