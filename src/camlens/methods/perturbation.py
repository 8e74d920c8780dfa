"""Methods that perturb the input or the features and compare scores; they need no gradients."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from camlens.core.arguments import checked_count, checked_strength
from camlens.core.heatmaps import interpolated
from camlens.core.probe import Probe
from camlens.core.registry import register_method
from camlens.core.types import TargetMaps
from camlens.methods.draws import same_draws
from camlens.methods.pooling import weighted_maps

Masks = Float[Tensor, "m *size"]
Variant = Callable[[Tensor], Tensor]


@register_method(
    "scorecam",
    paper="Wang et al. 2020, Score-CAM, arXiv 1910.01279",
    needs="probe",
    good_for="models whose gradients are noisy, saturated or absent",
    cost="minutes",
)
def scorecam(probe: Probe) -> TargetMaps:
    """Weight the channels by the score of the image masked with each channel.

    w = softmax over channels of Y(x * H_k) - Y(0), H_k the activation A_k interpolated to the image size
    (align_corners) and scaled to [0, 1] by min-max (Wang et al. 2020, arXiv 1910.01279). Y is the target's
    score, for classes the logit. The baseline Y(0) cancels in the softmax and is not computed. Constant channels
    get the weight 0 and are left out of the softmax. All targets share one forward pass per mask.

        explain(model, images, method="scorecam")
    """
    return weighted_maps(mask_weights(probe, [lambda masks: masks]), probe.activations)


@register_method(
    "sscam",
    paper="Wang et al. 2020, SS-CAM, arXiv 2006.14255",
    needs="probe",
    good_for="Score-CAM with less noise",
    cost="minutes",
)
def sscam(probe: Probe, *, samples: int = 10, noise: float = 0.2) -> TargetMaps:
    """Compute Score-CAM with the score of each mask averaged over noisy copies of the mask.

    w = softmax over channels of mean_i Y(x * (H_k + d_i)), d_i Gaussian with standard deviation `noise` in
    units of the mask (Wang et al. 2020, arXiv 2006.14255, first variant). Seeded; all channels and images get the
    same `samples` draws. With noise 0 this is Score-CAM.

        explain(model, images, method="sscam", options={"samples": 10})
    """
    checked_count("samples", samples)
    checked_strength("noise", noise)
    generator, size = same_draws(probe.generator), probe.inputs.shape[2:]
    fields = [torch.randn(size, generator=generator).to(probe.inputs) * noise for _ in range(samples)]
    return weighted_maps(mask_weights(probe, [field.__add__ for field in fields]), probe.activations)


@register_method(
    "iscam",
    paper="Naidu et al. 2020, IS-CAM, arXiv 2010.03023",
    needs="probe",
    good_for="Score-CAM for scores that saturate",
    cost="minutes",
)
def iscam(probe: Probe, *, samples: int = 10) -> TargetMaps:
    """Compute Score-CAM with the score of each mask averaged over a path from zero to the mask.

    w = softmax over channels of mean_i Y(x * H_k * i / N), i = 1 ... N = `samples` (Naidu et al. 2020,
    arXiv 2010.03023, with the integral taken along a straight path as in integrated gradients). With one sample
    this is Score-CAM.

        explain(model, images, method="iscam", options={"samples": 10})
    """
    checked_count("samples", samples)
    shares = [step / samples for step in range(1, samples + 1)]
    variants = [torch.tensor(share).to(probe.inputs).__mul__ for share in shares]
    return weighted_maps(mask_weights(probe, variants), probe.activations)


@register_method(
    "ablationcam",
    paper="Desai and Ramaswamy 2020, Ablation-CAM, WACV",
    needs="probe",
    good_for="the effect of removing a channel; faithful if gradients vanish",
    cost="seconds",
    replays=True,
)
def ablationcam(probe: Probe, *, relative: bool = True) -> TargetMaps:
    """Weight the channels by the relative drop of the score if the channel is set to zero.

    w_k = (Y - Y without A_k) / Y (Desai and Ramaswamy 2020, WACV, eq. 3). Only the network after the layer
    runs, and only for channels that are not zero. If Y is negative, the division flips the sign of the map, so
    positive means against the target: `relative=False` omits the division, as is always done if Y is 0.

        explain(model, images, method="ablationcam", options={"relative": False})
    """
    total = int(sum(_active(features).sum() for features in probe.activations))
    done, rows = 0, []
    for row, features in enumerate(probe.activations):
        scores = []
        for chosen in _chunks(_active(features), probe.batch_size):
            scores.append(probe.feature_scores(_without(features, chosen), row))
            done += len(chosen)
            probe.progress(done, total)
        drops = [probe.scores[row] - chunk for chunk in scores]
        rows.append(_scattered(drops, _active(features), probe.scores[row]))
    weights = torch.stack(rows)
    if relative:
        scale = probe.scores.where(probe.scores != 0, probe.scores.new_ones(()))
        weights = weights / scale[:, :, None]
    return weighted_maps(weights, probe.activations)


def mask_weights(probe: Probe, variants: Sequence[Variant]) -> Float[Tensor, "n t k"]:
    """Softmax over channels of the score of the image under each channel's mask, averaged over `variants`.

    A variant is a function of masks (m, *size). Constant channels have the weight 0.
    """
    size = probe.inputs.shape[2:]
    total = int(sum(_varying(features).sum() for features in probe.activations)) * len(variants)
    done, weights = 0, []
    for row, features in enumerate(probe.activations):
        scores = []
        for chosen in _chunks(_varying(features), probe.batch_size):
            masks = channel_masks(features[chosen], size)
            mean = torch.zeros((), device=masks.device)
            for variant in variants:
                masked = probe.inputs[row] * variant(masks)[:, None].to(probe.inputs.dtype)
                mean = mean + probe.input_scores(masked, row) / len(variants)
                done += len(chosen)
                probe.progress(done, total)
            scores.append(mean)
        shares = [torch.cat(scores).softmax(dim=0)] if scores else []
        weights.append(_scattered(shares, _varying(features), probe.scores[row]))
    return torch.stack(weights)


def channel_masks(channels: Float[Tensor, "m *grid"], size: Sequence[int]) -> Masks:
    """Interpolate each channel to `size` with align_corners and scale it to [0, 1] by min-max."""
    wide = interpolated(channels[:, None], size, align_corners=True).flatten(1)
    low, high = torch.aminmax(wide, dim=1, keepdim=True)
    span = (high - low).where(high > low, high.new_ones(()))
    return ((wide - low) / span).reshape(-1, *size)


def _varying(features: Float[Tensor, "k *grid"]) -> Bool[Tensor, " k"]:
    low, high = torch.aminmax(features.flatten(1), dim=1)
    return high > low


def _active(features: Float[Tensor, "k *grid"]) -> Bool[Tensor, " k"]:
    return (features != 0).flatten(1).any(dim=1)


def _chunks(chosen: Bool[Tensor, " k"], size: int) -> Sequence[Tensor]:
    """Split the indices of the chosen channels into chunks of `size`."""
    indices = chosen.nonzero().squeeze(1)
    return torch.split(indices, size) if len(indices) else ()


def _without(features: Float[Tensor, "k *grid"], chosen: Tensor) -> Float[Tensor, "m k *grid"]:
    """Return copies of the features, each with one of the chosen channels set to zero."""
    copies = features.expand(len(chosen), *features.shape).clone()
    copies[torch.arange(len(chosen), device=features.device), chosen] = 0
    return copies


def _scattered(rows: Sequence[Tensor], chosen: Bool[Tensor, " k"], scores: Float[Tensor, " t"]) -> Float[Tensor, "t k"]:
    """Scatter chunks of values (m, t) of the chosen channels into zeros (t, k)."""
    zeros = scores.new_zeros(len(chosen), len(scores))
    if not rows:
        return zeros.T
    return zeros.index_copy(0, chosen.nonzero().squeeze(1), torch.cat(list(rows)).to(zeros)).T
