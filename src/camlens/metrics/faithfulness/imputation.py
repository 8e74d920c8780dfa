"""Noisy linear imputation of removed pixels: one sparse linear system per image.

A removed pixel is the weighted mean of its eight neighbors (side 1/6, corner 1/12, nothing beyond the border),
including removed ones, plus noise (Rong et al. 2022, arXiv 2202.00449). The matrix is symmetric and positive definite
if at least one pixel is left. Conjugate gradients with a multigrid cycle as preconditioner need about 15 iterations
for holes of any size.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d, pad

from camlens.core.errors import InputError
from camlens.metrics.arguments import draws

Pictures = Float[Tensor, "m c h w"]
Level = tuple[Bool[Tensor, "_ 1 _ _"], Float[Tensor, "1 1 _ _"]]
"""Removed pixels, and the sum of the weights of the neighbors of each pixel."""

COARSEST = 8
MOST_ROUNDS = 1000


def imputed(
    pictures: Pictures,
    removed: Bool[Tensor, "m h w"],
    *,
    noise: float = 0.01,
    generator: torch.Generator | None = None,
    tolerance: float = 1e-5,
) -> Pictures:
    """Replace removed pixels by the weighted mean of their neighbors plus Gaussian noise.

    Solved in the dtype of the pictures, at least float32, up to a residual of `tolerance` relative to the right-hand
    side. The noise has the standard deviation `noise` in the units of the pictures and is the same for all pictures.
    """
    if bool(removed.flatten(1).all(dim=1).any()):
        raise InputError("all pixels of an image are removed: keep at least one", code="input.all-removed")
    drawn = torch.randn(pictures.shape[1:], generator=draws(generator)).to(pictures) * noise
    gone = removed[:, None].to(pictures.device)
    exact = pictures if pictures.dtype == torch.float64 else pictures.float()
    filled = solved(exact, gone, tolerance=tolerance).to(pictures.dtype)
    return torch.where(gone, filled + drawn, pictures)


def solved(pictures: Pictures, gone: Bool[Tensor, "m 1 h w"], *, tolerance: float) -> Pictures:
    """Solve for the `gone` pixels: weight of the neighbors * pixel = weighted sum of the neighbors.

    Conjugate gradients run for all channels of all pictures together, each with its own step length.
    """
    kept = pictures.masked_fill(gone, 0)
    levels = _levels(gone, pictures)
    target = _neighbors(kept).where(gone, 0)
    guess = (_total(kept) / _total((~gone).to(kept))).where(gone, 0)
    residual = target - _applied(guess, levels[0])
    limit = tolerance**2 * _total(target.square())
    direction, power = torch.zeros_like(guess), torch.zeros_like(limit)
    for _ in range(MOST_ROUNDS):
        if not bool((_total(residual.square()) > limit).any()):
            break
        better = _cycle(residual, levels)
        before, power = power, _total(residual * better)
        direction = better + _ratio(power, before) * direction
        image = _applied(direction, levels[0])
        step = _ratio(power, _total(direction * image))
        guess, residual = guess + step * direction, residual - step * image
    return kept + guess


def _cycle(residual: Pictures, levels: list[Level]) -> Pictures:
    """Approximate the correction for `residual` by a multigrid cycle of Jacobi sweeps."""
    here, coarser = levels[0], levels[1:]
    correction = residual / here[1]
    if coarser:
        left = residual - _applied(correction, here)
        halved = avg_pool2d(left, 2, ceil_mode=True, divisor_override=1).where(coarser[0][0], 0)
        doubled = interpolate(_cycle(halved, coarser), scale_factor=2, mode="nearest")
        height, width = residual.shape[2:]
        correction = correction + doubled[:, :, :height, :width].where(here[0], 0)
    for _ in range(1 if coarser else COARSEST):
        correction = correction + (residual - _applied(correction, here)) / here[1]
    return correction


def _levels(gone: Bool[Tensor, "m 1 h w"], pictures: Pictures) -> list[Level]:
    """Grids of half the size each; a coarse pixel is removed if all of its pixels are."""
    levels = []
    while True:
        levels.append((gone, _neighbors(torch.ones_like(gone[:1], dtype=pictures.dtype))))
        if min(gone.shape[2:]) < COARSEST:
            return levels
        gone = max_pool2d((~gone).to(pictures.dtype), 2, ceil_mode=True) == 0


def _applied(pictures: Pictures, level: Level) -> Pictures:
    gone, weight = level
    return (weight * pictures - _neighbors(pictures)).where(gone, 0)


def _neighbors(pictures: Pictures) -> Pictures:
    """Weighted sum of the eight neighbors: (1 2 1) along both axes, without the center, over 12."""
    wide = pad(pictures, (1, 1, 1, 1))
    rows = wide[:, :, :-2] + 2 * wide[:, :, 1:-1] + wide[:, :, 2:]
    both = rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]
    return (both - 4 * pictures) / 12


def _total(pictures: Pictures) -> Float[Tensor, "m c 1 1"]:
    return pictures.sum(dim=(2, 3), keepdim=True)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, or 0 for a system that is already solved."""
    return torch.where(whole > 0, part / torch.where(whole > 0, whole, 1), 0)
