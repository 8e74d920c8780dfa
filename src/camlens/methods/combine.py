"""Methods that combine several captures: of several layers, or of several noisy copies of the image."""

import torch
from jaxtyping import Float
from torch import Tensor

from camlens.core.probe import Probe
from camlens.core.registry import register_method
from camlens.core.types import TargetMaps
from camlens.methods.draws import same_draws
from camlens.methods.gradient import damping, layercam
from camlens.methods.options import checked_count, checked_strength
from camlens.methods.pooling import weighted_maps
from camlens.methods.resizing import resized


@register_method(
    "fusion",
    paper="Jiang et al. 2021, LayerCAM, IEEE TIP 30 (no arXiv version)",
    needs="probe",
    good_for="one sharp and one safe map in one: detail of shallow layers, meaning of deep ones",
    signed=False,
    scope="layers",
)
def fusion(probe: Probe, *, gamma: float = 2.0) -> TargetMaps:
    """The LayerCAM maps of all layers asked for, brought to one scale and joined by their maximum.

    M' = tanh(gamma * M / max M) for the rectified LayerCAM map M of each layer, at the finest of their
    grids, then the elementwise maximum (Jiang et al. 2021, IEEE TIP 30, eq. 9, gamma 2). Between 0 and
    tanh(gamma); a layer without positive evidence adds nothing.

        explain(model, images, method="fusion", layers=["layer2", "layer3", "layer4"])
    """
    checked_strength("gamma", gamma)
    layers = [_layer_maps(*captured) for captured in probe.layer_captures.values()]
    finest = max((maps.shape[2:] for maps in layers), key=lambda grid: grid.numel())
    scaled = [resized(_saturated(maps, gamma), finest) for maps in layers]
    return torch.stack(scaled).amax(dim=0)


def _layer_maps(activations: Tensor, gradients: Tensor) -> TargetMaps:
    """LayerCAM of each target: (n, k, *grid) and (n, t, k, *grid) to (n, t, *grid), rectified."""
    each = [layercam(activations, of_target) for of_target in gradients.unbind(dim=1)]
    return torch.stack(each, dim=1).clamp_min(0)


def _saturated(maps: TargetMaps, gamma: float) -> TargetMaps:
    highest = maps.flatten(2).amax(dim=2).reshape(*maps.shape[:2], *[1] * (maps.ndim - 2))
    return torch.tanh(gamma * (maps / highest.where(highest > 0, highest.new_ones(()))))


@register_method(
    "smoothgradcam++",
    paper="Omeiza et al. 2019, Smooth Grad-CAM++, arXiv 1908.01224",
    needs="probe",
    good_for="noisy gradients: the map of the image's neighbourhood rather than of one point",
    cost="seconds",
)
def smooth_gradcam_plusplus(probe: Probe, *, samples: int = 16, noise: float = 0.1) -> TargetMaps:
    """Grad-CAM++ with its derivatives averaged over noisy copies of the image.

    w_k = sum_ij alpha_ij relu(m1_ij), alpha_ij = m2_ij / (2 m2_ij + m3_ij sum_ab A_ab), m_p the mean over
    `samples` of g^p, the p-th derivatives of exp(Y) (Omeiza et al. 2019, arXiv 1908.01224; the numerator
    there reads m1, which has not the dimension of Grad-CAM++'s). `noise` is the standard deviation as a
    share of the image's value range. Seeded: every image and every call sees the same draws. With noise 0
    this is Grad-CAM++.

        explain(model, images, method="smoothgradcam++", options={"samples": 16})
    """
    checked_count("samples", samples)
    checked_strength("noise", noise)
    weights = [_smooth_weights(probe, row, samples, noise) for row in range(len(probe.inputs))]
    return weighted_maps(torch.stack(weights), probe.activations)


def _smooth_weights(probe: Probe, row: int, samples: int, noise: float) -> Float[Tensor, "t k"]:
    """Grad-CAM++ weights of image `row` from the moments of its gradients, in units of the clean ones."""
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
