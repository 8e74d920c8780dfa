"""Spatial pooling of gradients and weighted sums of activations."""

from jaxtyping import Float
from torch import Tensor

from camlens.core.types import Features, Maps, TargetMaps

Weights = Float[Tensor, "n k"]
TargetWeights = Float[Tensor, "n t k"]


def is_constant(gradients: Features) -> bool:
    """Whether all cells of the grid share memory, as in the expanded gradient of a linear head."""
    return all(
        step == 0 or length == 1 for step, length in zip(gradients.stride()[2:], gradients.shape[2:], strict=True)
    )


def cells(gradients: Features) -> Float[Tensor, "n k *cells"]:
    """Return a single cell of gradients that are constant over the grid, else the gradients.

    The spatial mean of any function of the gradient is the same, but faster to compute.
    """
    if not is_constant(gradients):
        return gradients
    return gradients[(slice(None), slice(None), *[slice(0, 1)] * (gradients.ndim - 2))]


def spatial_mean(features: Features) -> Weights:
    """Mean of each channel over the grid."""
    return cells(features).flatten(2).mean(dim=2)


def spatial_sum(features: Features) -> Weights:
    """Sum of each channel over the grid."""
    return features.flatten(2).sum(dim=2)


def weighted_sum(weights: Weights, activations: Features) -> Maps:
    """Sum weight times activation over channels.

    A single image expanded to n, one for each class, costs one matrix product and no copy.
    """
    grid = activations.shape[2:]
    if len(activations) > 1 and activations.stride(0) == 0:
        return (weights @ activations[0].flatten(1)).reshape(-1, *grid)
    return (weights[:, None] @ activations.flatten(2)).reshape(-1, *grid)


def weighted_maps(weights: TargetWeights, activations: Features) -> TargetMaps:
    """Sum weight times activation over channels for each target."""
    return (weights @ activations.flatten(2)).reshape(*weights.shape[:2], *activations.shape[2:])
