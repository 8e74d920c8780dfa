"""Methods that combine several layers, or several noisy copies of the image."""

import torch
from jaxtyping import Float
from torch import Tensor

from camlens.core.arguments import check_choice, check_range, checked_count, checked_strength
from camlens.core.heatmaps import interpolated
from camlens.core.probe import Probe
from camlens.core.registry import register_method
from camlens.core.types import TargetMaps
from camlens.methods.draws import same_draws
from camlens.methods.gradient import damping, layercam
from camlens.methods.pooling import weighted_maps


@register_method(
    "fusion",
    paper="Jiang et al. 2021, LayerCAM, IEEE TIP 30 (no arXiv version)",
    needs="probe",
    good_for="the detail of shallow layers combined with the semantics of deep ones",
    signed=False,
    scope="layers",
)
def fusion(probe: Probe, *, gamma: float = 2.0) -> TargetMaps:
    """Scale the LayerCAM maps of all given layers and take their maximum.

    M' = tanh(gamma * M / max M) for the rectified LayerCAM map M of each layer, resized to the finest of their
    grids, then the elementwise maximum (Jiang et al. 2021, IEEE TIP 30, eq. 9, gamma 2). Between 0 and
    tanh(gamma). Layers without positive evidence add nothing.

        explain(model, images, method="fusion", layers=["layer2", "layer3", "layer4"])
    """
    checked_strength("gamma", gamma)
    layers = [_layer_maps(*captured) for captured in probe.layer_captures.values()]
    finest = max((maps.shape[2:] for maps in layers), key=lambda grid: grid.numel())
    scaled = [interpolated(torch.tanh(gamma * _unit(maps)), finest) for maps in layers]
    return torch.stack(scaled).amax(dim=0)


def _layer_maps(activations: Tensor, gradients: Tensor) -> TargetMaps:
    """Rectified LayerCAM maps of each target, from gradients (n, t, k, *grid)."""
    maps = [layercam(activations, target_gradients) for target_gradients in gradients.unbind(dim=1)]
    return torch.stack(maps, dim=1).clamp_min(0)


def _unit(maps: TargetMaps) -> TargetMaps:
    """Divide each map by its maximum, unless that is zero."""
    highest = maps.flatten(2).amax(dim=2).reshape(*maps.shape[:2], *[1] * (maps.ndim - 2))
    return maps / highest.where(highest > 0, highest.new_ones(()))


@register_method(
    "winsorcam",
    paper="Wall et al. 2025, Winsor-CAM, arXiv 2507.10846",
    needs="probe",
    good_for="all convolutions together, without a single dominant layer; no layer to choose",
    signed=False,
    scope="layers",
    default_layers="convolutions",
)
def winsorcam(probe: Probe, *, percentile: float = 90.0, floor: float = 0.1, importance: str = "mean") -> TargetMaps:
    """Sum the Grad-CAM maps of all convolutions, weighted by winsorized importances of the layers.

    L = sum_l r_l relu(G_l) / max relu(G_l) at the finest of the layers' grids, G_l the Grad-CAM map of layer l.
    The importance of a layer is i_l = relu(mean_k w_k) over its Grad-CAM weights, or their maximum with
    `importance="max"`. Importances above the given `percentile` of the positive ones are set to that percentile, then
    all positive ones are scaled to r_l in [`floor`, 1]; the others are 0 (Wall et al. 2025, arXiv 2507.10846). A low
    percentile makes the layers count alike, 100 lets the important ones dominate. Never negative. Uses all
    convolutions unless `layers` is given.

        explain(model, images, method="winsorcam", options={"percentile": 60})
    """
    check_choice("importance", importance, ("mean", "max"))
    check_range("percentile", percentile, 0, 100)
    check_range("floor", floor, 0, 1)
    maps, importances = [], []
    for activations, gradients in probe.layer_captures.values():
        weights = gradients.flatten(3).mean(dim=3)
        maps.append(_unit(weighted_maps(weights, activations).clamp_min(0)))
        importances.append((weights.mean(dim=2) if importance == "mean" else weights.amax(dim=2)).clamp_min(0))
    shares = winsorized_shares(torch.stack(importances), percentile / 100, floor)
    finest = max((layer_maps.shape[2:] for layer_maps in maps), key=lambda grid: grid.numel())
    total = torch.zeros((), device=shares.device)
    for share, layer_maps in zip(shares, maps, strict=True):
        total = total + share.reshape(*share.shape, *[1] * len(finest)) * interpolated(layer_maps, finest)
    return total


def winsorized_shares(
    importances: Float[Tensor, "layers n t"], quantile: float, floor: float
) -> Float[Tensor, "layers n t"]:
    """Clip importances at a quantile of the positive ones and scale them to [floor, 1]; zeros stay zero."""
    positive = importances.where(importances > 0, torch.nan)
    cut = positive.minimum(positive.nanquantile(quantile, dim=0))
    present = ~cut.isnan()
    low = cut.where(present, torch.inf).amin(dim=0)
    high = cut.where(present, -torch.inf).amax(dim=0)
    span = (high - low).where(high > low, torch.inf)  # equal importances all become 1
    shares = 1 - (1 - floor) * (high - cut) / span
    return shares.where(present, 0)


@register_method(
    "smoothgradcam++",
    paper="Omeiza et al. 2019, Smooth Grad-CAM++, arXiv 1908.01224",
    needs="probe",
    good_for="noisy gradients, which are averaged over a neighborhood of the image",
    cost="seconds",
)
def smooth_gradcam_plusplus(probe: Probe, *, samples: int = 16, noise: float = 0.1) -> TargetMaps:
    """Compute Grad-CAM++ with its derivatives averaged over noisy copies of the image.

    w_k = sum_ij alpha_ij relu(m1_ij), alpha_ij = m2_ij / (2 m2_ij + m3_ij sum_ab A_ab), m_p the mean over
    `samples` of g^p, the p-th derivatives of exp(Y) (Omeiza et al. 2019, arXiv 1908.01224, with m2 in place of its
    numerator m1, as in Grad-CAM++). `noise` is the standard deviation as a share of the image's value range. Seeded:
    every image and every call gets the same draws. With noise 0 this is Grad-CAM++.

        explain(model, images, method="smoothgradcam++", options={"samples": 16})
    """
    checked_count("samples", samples)
    checked_strength("noise", noise)
    weights = [_smooth_weights(probe, row, samples, noise) for row in range(len(probe.inputs))]
    return weighted_maps(torch.stack(weights), probe.activations)


def _smooth_weights(probe: Probe, row: int, samples: int, noise: float) -> Float[Tensor, "t k"]:
    """Grad-CAM++ weights of image `row` from the moments of its gradients, in units of the gradients without noise."""
    image, generator = probe.inputs[row], same_draws(probe.generator)
    spread = noise * (image.amax() - image.amin())
    unit = probe.gradients[row].flatten(1).abs().amax(dim=1)
    unit = unit.where(unit > 0, unit.new_ones(()))
    per_target = unit.reshape(-1, *[1] * (probe.gradients.ndim - 2))
    moments = [torch.zeros((), device=image.device)] * 3
    for start in range(0, samples, probe.batch_size):
        count = min(probe.batch_size, samples - start)
        drawn = torch.stack([torch.randn(image.shape, generator=generator) for _ in range(count)])
        _, gradients = probe.capture_inputs(image + spread * drawn.to(image), row)
        shares = gradients / per_target
        moments = [m + shares.pow(p).sum(dim=0) / samples for p, m in enumerate(moments, start=1)]
        probe.progress(row * samples + start + count, len(probe.inputs) * samples)
    first, second, third = (moment.flatten(2) for moment in moments)
    ratio = third / second.where(second > 0, second.new_ones(()))
    total = probe.activations[row].flatten(1).sum(dim=1, keepdim=True)
    alpha = damping(total * unit[:, None, None] * ratio)
    return (alpha * first.clamp_min(0)).sum(dim=2) * unit[:, None]
