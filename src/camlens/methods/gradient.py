"""Methods that read one activation and one gradient: Grad-CAM and its closed-form relatives."""

import torch
from torch import Tensor

from camlens.core.registry import register_method
from camlens.core.targets import Finer
from camlens.core.types import Features, Maps
from camlens.methods.pooling import cells, is_constant, spatial_mean, spatial_sum, weighted_sum

_ROUNDING = 8  # times the dtype's eps: a sum this small beside its summands' magnitudes is rounding


@register_method(
    "gradcam",
    paper="Selvaraju et al. 2017, Grad-CAM, arXiv 1610.02391",
    needs="gradients",
    good_for="the first look: what speaks for the class at the last convolution",
)
def gradcam(activations: Features, gradients: Features) -> Maps:
    """Channels weighted by their mean gradient: where the score rises with what the layer sees.

    L = sum_k w_k A_k with w_k = mean_ij dY/dA_k,ij (Selvaraju et al. 2017, arXiv 1610.02391, eq. 1 and 2).
    The default choice; after the last convolution it is exact for networks that end in pooling + linear.

        explain(model, images, method="gradcam")
    """
    return weighted_sum(spatial_mean(gradients), activations)


@register_method(
    "finercam",
    paper="Zhang et al. 2025, Finer-CAM, arXiv 2501.11309",
    needs="gradients",
    good_for="telling look-alike classes apart: bird species, car models",
    retarget=Finer,
)
def finercam(activations: Features, gradients: Features) -> Maps:
    """Grad-CAM of a class against its look-alikes: what tells it from them, not what they share.

    L = sum_k w_k A_k as in Grad-CAM, of the score Y_c - gamma * mean of the most similar classes' logits: the
    target c asked for becomes `Finer(c, similar=3, gamma=0.6)` (Zhang et al. 2025, arXiv 2501.11309).

        explain(model, images, method="finercam", target=281)
    """
    return gradcam(activations, gradients)


def damping(pull: Tensor) -> Tensor:
    """Grad-CAM++'s alpha = 1 / (2 + pull), with pull_ij = g_ij * sum_ab A_ab.

    Equation 19 of the paper with its g^2 cancelled, so alpha has no scale and needs no epsilon. The paper
    takes A >= 0, where alpha lies in (0, 1/2] for every g > 0. With negative activations 2 + pull may come
    near zero or pass it; it is kept at 1 or above, which bounds alpha by 1 and leaves it continuous.
    """
    return (2 + pull).clamp_min(1).reciprocal()


@register_method(
    "gradcam++",
    paper="Chattopadhyay et al. 2018, Grad-CAM++, arXiv 1710.11063",
    needs="gradients",
    good_for="several objects of one class in a picture",
)
def gradcam_plusplus(activations: Features, gradients: Features) -> Maps:
    """Channels weighted by their positive gradients, each cell damped by how much the channel is active.

    w_k = sum_ij alpha_ij relu(g_ij), alpha_ij = g_ij^2 / (2 g_ij^2 + g_ij^3 sum_ab A_ab), which is
    1 / (2 + g_ij sum_ab A_ab), under the paper's assumption that the explained score is exp(Y)
    (Chattopadhyay et al. 2018, arXiv 1710.11063, eq. 19). `damping` says what happens where A is negative.

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
    good_for="maps whose sum stays true to the score (sensitivity and conservation axioms)",
)
def xgradcam(activations: Features, gradients: Features) -> Maps:
    """Channels weighted by their gradient where they are active: Grad-CAM with an activation-weighted mean.

    w_k = sum_ij A_ij g_ij / sum_ij A_ij (Fu et al. 2020, arXiv 2008.02312). Written for A >= 0. A channel
    whose activations cancel to zero has no such mean and gets the weight 0.

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
    """Every cell weighted by its own positive gradient, so that shallow layers give sharp maps.

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
    good_for="maps that show only cells the model did use, also when the head is not plain pooling",
)
def hirescam(activations: Features, gradients: Features) -> Maps:
    """Gradient times activation, cell by cell: what each cell adds to the score.

    L = sum_k g_k * A_k (Draelos and Carin 2020, arXiv 2011.08891, eq. 3). The same as Grad-CAM where the
    gradient is constant over the grid; more faithful where it is not.

        explain(model, images, method="hirescam")
    """
    if is_constant(gradients):
        return weighted_sum(spatial_mean(gradients), activations)
    return (gradients * activations).sum(dim=1)


@register_method(
    "gradcam-elementwise",
    paper="Pillai and Pirsiavash 2021, Explainable Models with Consistent Interpretations, AAAI 35",
    needs="gradients",
    good_for="seeing all support at once: evidence against the class cannot cancel it",
    signed=False,
)
def gradcam_elementwise(activations: Features, gradients: Features) -> Maps:
    """The positive part of gradient times activation, summed over channels: support without its opposition.

    L = sum_k relu(g_k * A_k) (Pillai and Pirsiavash 2021, AAAI 35). Never negative.

        explain(model, images, method="gradcam-elementwise")
    """
    if is_constant(gradients):
        weights = spatial_mean(gradients)
        support = weighted_sum(weights.clamp_min(0), activations.clamp_min(0))
        return support + weighted_sum(weights.clamp_max(0), activations.clamp_max(0))
    return (gradients * activations).clamp_min(0).sum(dim=1)
