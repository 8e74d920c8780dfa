"""Methods that use only the activations of a layer, channel by channel."""

from camlens.core.arguments import checked_strength
from camlens.core.registry import register_method
from camlens.core.types import Features, Maps


@register_method(
    "fem",
    paper="Fuad et al. 2020, Features Understanding in 3D CNNs for Actions Recognition in Video, IPTA",
    needs="activations",
    good_for="unusually strong responses of a layer, independent of the class",
)
def fem(activations: Features, *, sigmas: float = 2.0) -> Maps:
    """Sum the channels that respond unusually strongly at a cell, each weighted by its mean activation.

    L = sum_k mu_k [A_k > mu_k + sigmas * sigma_k], mu and sigma the channel's mean and standard deviation
    over the grid (Feature Explanation Method, Fuad et al. 2020, IPTA). Independent of the class. Constant
    channels add nothing.

        explain(model, images, method="fem")
    """
    checked_strength("sigmas", sigmas)
    flat = activations.flatten(2)
    mean = flat.mean(dim=2, keepdim=True)
    varies = flat.amax(dim=2, keepdim=True) > flat.amin(dim=2, keepdim=True)
    strong = (flat > mean + sigmas * flat.std(dim=2, correction=0, keepdim=True)) & varies
    return (mean * strong).sum(dim=1).reshape(-1, *activations.shape[2:])
