"""From gradients to channel weights, and from channel weights to maps."""

from jaxtyping import Float
from torch import Tensor

from camlens.core.types import Features, Maps, TargetMaps

Weights = Float[Tensor, "n k"]
TargetWeights = Float[Tensor, "n t k"]


def is_constant(gradients: Features) -> bool:
    """Whether every cell of the grid is the same memory, as in an `expand`ed closed-form gradient."""
    return all(
        step == 0 or length == 1 for step, length in zip(gradients.stride()[2:], gradients.shape[2:], strict=True)
    )


def cells(gradients: Features) -> Float[Tensor, "n k *cells"]:
    """The gradients with one cell per different value: one cell if constant over the grid, else as given.

    Averages over the grid of functions of the gradient alone are the same on either, only faster on one cell.
    """
    if not is_constant(gradients):
        return gradients
    return gradients[(slice(None), slice(None), *[slice(0, 1)] * (gradients.ndim - 2))]


def spatial_mean(features: Features) -> Weights:
    """Mean of each channel over the grid: (n, k, *grid) to (n, k)."""
    return cells(features).flatten(2).mean(dim=2)


def spatial_sum(features: Features) -> Weights:
    """Sum of each channel over the grid: (n, k, *grid) to (n, k)."""
    return features.flatten(2).sum(dim=2)


def weighted_sum(weights: Weights, activations: Features) -> Maps:
    """Sum over channels of weight times activation: (n, k) and (n, k, *grid) to (n, *grid).

    One image expanded over n (its many classes) costs one matrix product and no copy.
    """
    grid = activations.shape[2:]
    if len(activations) > 1 and activations.stride(0) == 0:
        return (weights @ activations[0].flatten(1)).reshape(-1, *grid)
    return (weights[:, None] @ activations.flatten(2)).reshape(-1, *grid)


def weighted_maps(weights: TargetWeights, activations: Features) -> TargetMaps:
    """Sum over channels of weight times activation for each target: (n, t, k) and (n, k, *grid)."""
    return (weights @ activations.flatten(2)).reshape(*weights.shape[:2], *activations.shape[2:])
