"""Effects of single deletion: the drop of the score if one patch of a grid is filled, for two fills.

This is itself a method without a layer, so that it runs with the targets, batches and memory limits of `explain`.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from camlens.core.arguments import checked_count
from camlens.core.details import Found
from camlens.core.errors import invalid_argument
from camlens.core.probe import InputProbe
from camlens.core.registry import Entry
from camlens.metrics.patches import patch_of_each_cell

FILLS = ("mean", "blur")
"""The mean color of the image; the image reduced to one color per patch, enlarged linearly."""
_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def patch_effects(probe: InputProbe, *, patches: int = 4) -> Found:
    """Drop of each score if one of `patches` per axis is filled: the mean over both fills, and each as a detail."""
    masks = patch_masks(probe.inputs.shape[2:], patches).to(probe.inputs.device)[:, None]
    rows = []
    for row, image in enumerate(probe.inputs):
        filled, scores = torch.stack(fills(image, patches)), []
        for numbers in torch.arange(len(FILLS) * len(masks), device=masks.device).split(probe.batch_size):
            variants = torch.where(masks[numbers % len(masks)], filled[numbers // len(masks)], image)
            scores.append(probe.input_scores(variants, row))
        drops = (probe.scores[row] - torch.cat(scores)).T
        rows.append(drops.reshape(-1, len(FILLS), *[patches] * (image.ndim - 1)))
        probe.progress(row + 1, len(probe.inputs))
    effects = torch.stack(rows)
    return Found(effects.mean(dim=2), {name: effects[:, :, index] for index, name in enumerate(FILLS)})


DELETION = Entry(
    "deletion",
    patch_effects,
    paper="Hesse et al. 2024, Benchmarking the Attribution Quality of Vision Models, arXiv 2407.11910",
    needs="probe",
    good_for="measured effects of the patches of a grid",
    cost="seconds",
    scope="input",
    diverging=True,
)


def fills(image: Float[Tensor, "c *spatial"], patches: int) -> list[Float[Tensor, "c *spatial"]]:
    """The image's mean color, and the image blurred to about one color per patch."""
    size = tuple(image.shape[1:])
    mean = image.mean(dim=tuple(range(1, image.ndim)), keepdim=True).expand(image.shape)
    coarse = patch_means(image, patches).view(len(image), 1, *[patches] * len(size))
    blurred = torch.nn.functional.interpolate(coarse, size=size, mode=_MODES[len(size)], align_corners=False)
    return [mean, blurred[:, 0].to(image.dtype)]


def patch_masks(size: Sequence[int], patches: int) -> Bool[Tensor, "patches *size"]:
    """The pixels of each of `patches` per axis; raise InputError if an axis has fewer pixels than patches."""
    checked_count("patches", patches, least=2)
    if patches > min(size):
        raise invalid_argument("patches", patches, f"at most the shortest side of the inputs, {min(size)}")
    patch = patch_of_each_cell(size, patches).view(*size)
    return patch == torch.arange(patches ** len(size)).view(-1, *[1] * len(size))


def patch_means(maps: Float[Tensor, "m *size"], patches: int) -> Float[Tensor, "m patches"]:
    """Mean of each map (m, *size) in each of `patches` per axis."""
    masks = patch_masks(maps.shape[1:], patches).flatten(1).to(maps)
    return maps.flatten(1) @ masks.T / masks.sum(dim=1)
