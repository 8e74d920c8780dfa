"""Methods computed from the activations and gradients of one layer: Grad-CAM and its variants."""

import torch
from torch import Tensor

from camlens.core.registry import register_method
from camlens.core.targets import Finer
from camlens.core.types import Features, Maps
from camlens.methods.pooling import cells, is_constant, spatial_mean, spatial_sum, weighted_sum

_ROUNDING = 8  # a sum below this multiple of eps times the sum of magnitudes is rounding error


@register_method(
    "gradcam",
    paper="Selvaraju et al. 2017, Grad-CAM, arXiv 1610.02391",
    needs="gradients",
    good_for="the default: evidence for the class at the last convolution",
)
def gradcam(activations: Features, gradients: Features) -> Maps:
    """Weight the channels by their mean gradient.

    L = sum_k w_k A_k with w_k = mean_ij dY/dA_k,ij (Selvaraju et al. 2017, arXiv 1610.02391, eq. 1 and 2).
    The default method. After the last convolution it is exact for networks that end in pooling + linear.

        explain(model, images, method="gradcam")
    """
    return weighted_sum(spatial_mean(gradients), activations)


@register_method(
    "finercam",
    paper="Zhang et al. 2025, Finer-CAM, arXiv 2501.11309",
    needs="gradients",
    good_for="differences between similar classes: bird species, car models",
    retarget=Finer,
)
def finercam(activations: Features, gradients: Features) -> Maps:
    """Compute Grad-CAM of a class minus the classes most similar to it.

    L = sum_k w_k A_k as in Grad-CAM, for the score Y_c - gamma * mean of the most similar classes' logits: target c
    is replaced by `Finer(c, similar=3, gamma=0.6)` (Zhang et al. 2025, arXiv 2501.11309).

        explain(model, images, method="finercam", target=281)
    """
    return gradcam(activations, gradients)


def damping(pull: Tensor) -> Tensor:
    """Return alpha = 1 / (2 + pull) of Grad-CAM++, with pull_ij = g_ij * sum_ab A_ab.

    This is equation 19 of the paper with g^2 cancelled, so it needs no epsilon. The paper assumes A >= 0: then
    alpha lies in (0, 1/2] for every g > 0. With negative activations 2 + pull can reach zero, so it is clamped to 1,
    which bounds alpha by 1 and keeps it continuous.
    """
    return (2 + pull).clamp_min(1).reciprocal()


@register_method(
    "gradcam++",
    paper="Chattopadhyay et al. 2018, Grad-CAM++, arXiv 1710.11063",
    needs="gradients",
    good_for="several objects of one class in an image",
)
def gradcam_plusplus(activations: Features, gradients: Features) -> Maps:
    """Weight the channels by their positive gradients, damped where the channel is active.

    w_k = sum_ij alpha_ij relu(g_ij), alpha_ij = g_ij^2 / (2 g_ij^2 + g_ij^3 sum_ab A_ab), which is
    1 / (2 + g_ij sum_ab A_ab), under the paper's assumption that the explained score is exp(Y)
    (Chattopadhyay et al. 2018, arXiv 1710.11063, eq. 19). See `damping` for negative activations.

        explain(model, images, method="gradcam++")
    """
    kept = cells(gradients)
    total = spatial_sum(activations)
    pull = kept * total.reshape(*total.shape, *[1] * (kept.ndim - 2))
    positions = activations.shape[2:].numel()
    return weighted_sum(spatial_mean(damping(pull) * kept.clamp_min(0)) * positions, activations)


@register_method(
    "xgradcam",
    paper="Fu et al. 2020, XGrad-CAM, arXiv 2008.02312",
    needs="gradients",
    good_for="maps that satisfy the sensitivity and conservation axioms",
)
def xgradcam(activations: Features, gradients: Features) -> Maps:
    """Weight the channels by their mean gradient, averaged with the activations as weights.

    w_k = sum_ij A_ij g_ij / sum_ij A_ij (Fu et al. 2020, arXiv 2008.02312). Defined for A >= 0. Channels whose
    activations sum to zero get the weight 0.

        explain(model, images, method="xgradcam")
    """
    total = spatial_sum(activations)
    carries = total.abs() > _ROUNDING * torch.finfo(total.dtype).eps * spatial_sum(activations.abs())
    if is_constant(gradients):
        return weighted_sum(spatial_mean(gradients) * carries, activations)
    weights = spatial_sum(activations * gradients) / total.where(carries, total.new_ones(()))
    return weighted_sum(weights * carries, activations)


@register_method(
    "layercam",
    paper="Jiang et al. 2021, LayerCAM, IEEE TIP 30 (no arXiv version)",
    needs="gradients",
    good_for="fine maps at shallow layers",
)
def layercam(activations: Features, gradients: Features) -> Maps:
    """Weight every cell by its own positive gradient.

    L = sum_k relu(g_k) * A_k, cell by cell (Jiang et al. 2021, IEEE TIP 30, eq. 6 and 7).

        explain(model, images, method="layercam", layers="layer2")
    """
    if is_constant(gradients):
        return weighted_sum(spatial_mean(gradients).clamp_min(0), activations)
    return (gradients.clamp_min(0) * activations).sum(dim=1)


@register_method(
    "hirescam",
    paper="Draelos and Carin 2020, HiResCAM, arXiv 2011.08891",
    needs="gradients",
    good_for="only cells that the model used, also if the head is not global pooling",
)
def hirescam(activations: Features, gradients: Features) -> Maps:
    """Sum gradient times activation over channels, cell by cell.

    L = sum_k g_k * A_k (Draelos and Carin 2020, arXiv 2011.08891, eq. 3). Equal to Grad-CAM if the gradient is
    constant over the grid; more faithful otherwise.

        explain(model, images, method="hirescam")
    """
    if is_constant(gradients):
        return weighted_sum(spatial_mean(gradients), activations)
    return (gradients * activations).sum(dim=1)


@register_method(
    "gradcam-elementwise",
    paper="Pillai and Pirsiavash 2021, Explainable Models with Consistent Interpretations, AAAI 35",
    needs="gradients",
    good_for="all positive evidence: negative evidence in other channels does not cancel it",
    signed=False,
)
def gradcam_elementwise(activations: Features, gradients: Features) -> Maps:
    """Sum the positive part of gradient times activation over channels.

    L = sum_k relu(g_k * A_k) (Pillai and Pirsiavash 2021, AAAI 35). Never negative.

        explain(model, images, method="gradcam-elementwise")
    """
    if is_constant(gradients):
        weights = spatial_mean(gradients)
        support = weighted_sum(weights.clamp_min(0), activations.clamp_min(0))
        return support + weighted_sum(weights.clamp_max(0), activations.clamp_max(0))
    return (gradients * activations).clamp_min(0).sum(dim=1)
