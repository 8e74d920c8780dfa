"""Patches that recur in the images of a class, at changing places."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.fft import irfft2, rfft2
from torch.nn.functional import avg_pool2d

from camlens.audit.findings.shortcuts import Region
from camlens.audit.shortcuts.images import Pixels, reduced

_LONGEST_SIDE = 128
_SIDES = (0.2, 0.12)
_SOURCES, _FIRST, _FINALISTS, _PATCHES = 4, 8, 8, 240
_AT_ONCE = 16
_MARGIN = 6
_CONTRAST = 0.08
_NOISE = 0.05**2
_MATCH = 0.88
_SHARE, _ELSEWHERE = 0.5, 0.04


@dataclass(frozen=True, eq=False)
class Recurring:
    """A patch that recurs in images of a class.

    Attributes:
        patch: the patch, at the reduced size in which images are compared.
        share: share of the class's images that have it.
        sameness: median correlation with the patch among the images that have it.
        carries: which of the images have it.
        spread: standard deviation of its places in the direction in which they vary least, in sides of the image. It
            is small for a part of an edge, which may slide along the edge.
        region: box of its median place.
    """

    patch: Float[Tensor, "3 s s"]
    share: float
    sameness: float
    carries: np.ndarray
    spread: float
    region: Region

    def masks(self, images: Pixels) -> Tensor:
        """Return the place of the best match in each image, as masks (n, h, w), with a margin.

        The patch may be a part of something larger.
        """
        small = reduced(images, _LONGEST_SIDE)
        scale = images.shape[2] / small.shape[2]
        size = self.patch.shape[1]
        margin = size // _MARGIN
        masks = torch.zeros(len(images), *images.shape[2:], dtype=torch.bool)
        for mask, corner in zip(masks, _corners(self.patch, small).tolist(), strict=True):
            (top, bottom), (left, right) = (
                (max(round((at - margin) * scale), 0), round((at + size + margin) * scale)) for at in corner
            )
            mask[top:bottom, left:right] = True
        return masks


def recurring_patches(images: Pixels, others: Pixels, random: np.random.Generator) -> list[Recurring]:
    """Return patches that recur in `images` of a class, but not in `others`: at most one per size, the largest first.

    Patches are cut from a few images. The best of them on some other images are then searched in all of them.
    """
    small, small_others = reduced(images, _LONGEST_SIDE), reduced(others, _LONGEST_SIDE)
    order = random.permutation(len(images))
    sources, first = order[:_SOURCES], order[_SOURCES : _SOURCES + _FIRST]
    if len(first) < 3:
        return []
    recurring = []
    for side in _SIDES:
        size = max(4, round(side * min(small.shape[2:])))
        patches = _cut(small[sources], size)
        if not len(patches):
            continue
        inside = _best(patches, small[first]).quantile(0.4, dim=1)
        outside = _best(patches, small_others[: 2 * _FIRST]).quantile(0.9, dim=1)
        finalists = patches[(inside - outside).argsort(descending=True, stable=True)[:_FINALISTS]]
        own, foreign = _best(finalists, small), _best(finalists, small_others)
        match = foreign.quantile(1 - _ELSEWHERE, dim=1).clamp_min(_MATCH)
        shares = (own > match[:, None]).float().mean(1)
        best = int(shares.argmax())
        if shares[best] < _SHARE:
            continue
        carries = (own[best] > match[best]).numpy()
        sameness = float(own[best][torch.from_numpy(carries)].median())
        corners = _corners(finalists[best], small[torch.from_numpy(carries)]).float()
        height, width = small.shape[2:]
        spread = float(corners.std(0, correction=0).amin()) / min(height, width)
        top, left = corners.median(0).values.tolist()
        region = (left / width, top / height, (left + size) / width, (top + size) / height)
        recurring.append(Recurring(finalists[best], float(shares[best]), sameness, carries, spread, region))
    return recurring


def _corners(patch: Float[Tensor, "3 s s"], images: Pixels) -> Int[Tensor, "n 2"]:
    """Return the top and left edge of the best match of a patch in each image."""
    scores = _matches(patch[None], rfft2(images), _scale(images, patch.shape[1]), images.shape[2:])[:, 0]
    best = scores.flatten(1).argmax(1)
    return torch.stack([best // scores.shape[2], best % scores.shape[2]], 1)


def _cut(images: Pixels, size: int) -> Float[Tensor, "k 3 s s"]:
    """Return the overlapping patches with the most contrast."""
    step = max(1, size // 2)
    patches = images.unfold(2, size, step).unfold(3, size, step)
    patches = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, images.shape[1], size, size)
    contrasts = patches.flatten(1).std(1)
    chosen = contrasts.argsort(descending=True, stable=True)[:_PATCHES]
    return patches[chosen[contrasts[chosen] > _CONTRAST]]


def _best(patches: Tensor, images: Pixels) -> Float[Tensor, "k n"]:
    """Return the correlation of each patch with the best place in each image."""
    spectra, scale = rfft2(images), _scale(images, patches.shape[2])
    parts = [_matches(part, spectra, scale, images.shape[2:]) for part in patches.split(_AT_ONCE)]
    return torch.cat([part.flatten(2).amax(2).T for part in parts])


def _matches(patches: Float[Tensor, "k 3 s s"], spectra: Tensor, scale: Tensor, size: torch.Size) -> Tensor:
    """Return the correlation (n, k, down, across) of each patch with each place, by fast Fourier transforms.

    `spectra` are the transforms of the images, and `scale` the norm of each part of them.
    """
    centered = patches - patches.mean((1, 2, 3), keepdim=True)
    kernels = centered / centered.flatten(1).norm(dim=1).clamp_min(1e-6)[:, None, None, None]
    products = torch.einsum("nchw,kchw->nkhw", spectra, rfft2(kernels, s=tuple(size)).conj())
    correlations: Tensor = irfft2(products, s=tuple(size))[:, :, : scale.shape[2], : scale.shape[3]]
    return correlations / scale


def _scale(images: Pixels, side: int) -> Float[Tensor, "n 1 down across"]:
    """Return the norm of the deviation of each square part of the images from its mean."""

    def mean(values: Tensor) -> Tensor:
        return avg_pool2d(avg_pool2d(values.mean(1, keepdim=True), (side, 1), 1), (1, side), 1)

    variance = mean(images.square()) - mean(images) ** 2
    return (images.shape[1] * side**2 * (variance.clamp_min(0) + _NOISE)).sqrt()
