"""Filling removed pixels from their neighbours: one sparse linear system per picture.

A removed pixel is the weighted mean of its eight neighbours (side 1/6, corner 1/12, beyond the border
nothing), removed ones included (Rong et al. 2022, arXiv 2202.00449). A little noise on top hides how smooth
the answer is. The matrix is symmetric and positive definite as long as one pixel is left: conjugate
gradients, preconditioned by one multigrid cycle, need about 15 rounds however large the hole is.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d, pad

from camlens.core.errors import InputError
from camlens.metrics.arguments import draws

Pictures = Float[Tensor, "m c h w"]
Level = tuple[Bool[Tensor, "_ 1 _ _"], Float[Tensor, "1 1 _ _"]]
"""Which pixels are gone, and the weight of all neighbours of each pixel."""

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
    """Pictures whose removed pixels are the weighted mean of their neighbours, plus Gaussian noise.

    Solved in the pictures' own precision, at least float32, down to a residual of `tolerance` times the
    right-hand side. The noise has the standard deviation `noise`, in the pictures' units; all pictures meet
    the same noise.
    """
    if bool(removed.flatten(1).all(dim=1).any()):
        raise InputError(
            "all pixels of a picture are removed: keep at least one to impute from", code="input.all-removed"
        )
    drawn = torch.randn(pictures.shape[1:], generator=draws(generator)).to(pictures) * noise
    gone = removed[:, None].to(pictures.device)
    exact = pictures if pictures.dtype == torch.float64 else pictures.float()
    filled = solved(exact, gone, tolerance=tolerance).to(pictures.dtype)
    return torch.where(gone, filled + drawn, pictures)


def solved(pictures: Pictures, gone: Bool[Tensor, "m 1 h w"], *, tolerance: float) -> Pictures:
    """Pictures whose `gone` pixels solve: weight of the neighbours * pixel = weighted sum of the neighbours.

    All channels of all pictures walk together, each with its own step length.
    """
    kept = pictures.masked_fill(gone, 0)
    levels = _levels(gone, pictures)
    target = _neighbours(kept).where(gone, 0)
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
    """About the correction that removes `residual`: fine errors by sweeps, coarse ones on a coarser grid."""
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
    """Grids of half the size each; a coarse pixel is gone if all that it stands for is gone."""
    levels = []
    while True:
        levels.append((gone, _neighbours(torch.ones_like(gone[:1], dtype=pictures.dtype))))
        if min(gone.shape[2:]) < COARSEST:
            return levels
        gone = max_pool2d((~gone).to(pictures.dtype), 2, ceil_mode=True) == 0


def _applied(pictures: Pictures, level: Level) -> Pictures:
    gone, weight = level
    return (weight * pictures - _neighbours(pictures)).where(gone, 0)


def _neighbours(pictures: Pictures) -> Pictures:
    """Weighted sum of the eight neighbours: (1 2 1) along both axes, without the middle, over 12."""
    wide = pad(pictures, (1, 1, 1, 1))
    rows = wide[:, :, :-2] + 2 * wide[:, :, 1:-1] + wide[:, :, 2:]
    both = rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]
    return (both - 4 * pictures) / 12


def _total(pictures: Pictures) -> Float[Tensor, "m c 1 1"]:
    return pictures.sum(dim=(2, 3), keepdim=True)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, and 0 where a system is solved already and both vanish."""
    return torch.where(whole > 0, part / torch.where(whole > 0, whole, 1), 0)
