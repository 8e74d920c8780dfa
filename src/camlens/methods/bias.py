"""Methods that account for the biases as well as for the input."""

import torch
from jaxtyping import Float
from torch import Tensor

from camlens.core.probe import Probe
from camlens.core.registry import register_method
from camlens.core.types import TargetMaps
from camlens.methods.resizing import resized


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
    """What the input and every layer's bias add to the score, as one map at the input's own resolution.

    L = sum_c psi(x * dY/dx)_c + sum over layers and channels of psi(b_c * dY/db_c), psi =
    resize(rescale(|.|)), rescale being min-max to [0, 1] of each channel (Srinivas and Fleuret 2019, arXiv
    1905.00780, eq. 7). Never negative; the layer asked for plays no part. Layers without the input's number
    of grid axes (linear ones) are left out, as in the paper.

        explain(model, images, method="fullgrad")
    """
    size = probe.inputs.shape[2:]
    total = _rescaled(probe.inputs[:, None] * probe.input_gradients).sum(dim=2)
    for bias, gradients in probe.bias_terms():
        if gradients.ndim == probe.inputs.ndim + 1:
            weight = bias.to(gradients).reshape(-1, *[1] * len(size))
            # Resizing is linear: one map per layer is resized instead of one per channel.
            total = total + resized(_rescaled(weight * gradients).sum(dim=2), size)
    return total


def _rescaled(terms: Float[Tensor, "n t k *grid"]) -> Float[Tensor, "n t k *grid"]:
    """Magnitudes of each channel, min-max to [0, 1]; a channel without range becomes zero."""
    magnitudes = terms.flatten(3).abs()
    low, high = torch.aminmax(magnitudes, dim=3, keepdim=True)
    span = (high - low).where(high > low, high.new_ones(()))
    return ((magnitudes - low) / span).reshape(terms.shape)
