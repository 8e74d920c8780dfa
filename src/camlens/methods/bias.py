"""FullGrad, which attributes the score to the biases as well as to the input."""

import torch
from jaxtyping import Float
from torch import Tensor

from camlens.core.heatmaps import interpolated
from camlens.core.probe import Probe
from camlens.core.registry import register_method
from camlens.core.types import TargetMaps


@register_method(
    "fullgrad",
    paper="Srinivas and Fleuret 2019, FullGrad, arXiv 1905.00780",
    needs="probe",
    good_for="sharp maps at the input's resolution that use every layer",
    cost="seconds",
    signed=False,
    scope="model",
)
def fullgrad(probe: Probe) -> TargetMaps:
    """Sum the contributions of the input and of every layer's bias to the score, at the input's resolution.

    L = sum_c psi(x * dY/dx)_c + sum over layers and channels of psi(b_c * dY/db_c), psi =
    resize(rescale(|.|)), rescale being min-max to [0, 1] of each channel (Srinivas and Fleuret 2019, arXiv
    1905.00780, eq. 7). Never negative; independent of `layers`. Layers whose grid has another number of axes than
    the input, such as linear layers, are left out, as in the paper.

        explain(model, images, method="fullgrad")
    """
    size = probe.inputs.shape[2:]
    total = _rescaled(probe.inputs[:, None] * probe.input_gradients).sum(dim=2)
    for bias, gradients in probe.bias_terms():
        if gradients.ndim == probe.inputs.ndim + 1:
            weight = bias.to(gradients).reshape(-1, *[1] * len(size))
            # resizing is linear, so one map per layer is resized instead of one per channel
            total = total + interpolated(_rescaled(weight * gradients).sum(dim=2), size)
    return total


def _rescaled(terms: Float[Tensor, "n t k *grid"]) -> Float[Tensor, "n t k *grid"]:
    """Scale the magnitudes of each channel to [0, 1] by min-max; constant channels become zero."""
    magnitudes = terms.flatten(3).abs()
    low, high = torch.aminmax(magnitudes, dim=3, keepdim=True)
    span = (high - low).where(high > low, high.new_ones(()))
    return ((magnitudes - low) / span).reshape(terms.shape)
