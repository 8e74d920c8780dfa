"""Rank correlation of maps with measured effects, and its permutation tests. No model is needed.

Maps and effects have one value per patch, flattened to (n, patches). A rearrangement is a row of indices (patches,).
"""

from itertools import permutations, product

import torch
from jaxtyping import Float, Int
from torch import Tensor

from camlens.metrics.similarity import ranks, spearman

Values = Float[Tensor, "n patches"]
PerMap = Float[Tensor, " n"]
Rearrangements = Int[Tensor, "m patches"]


def rank_correlation(maps: Values, effects: Values) -> PerMap:
    """Spearman's correlation of each map with its effects, float32; NaN if one of them is constant or not finite."""
    return spearman(maps, effects)


def permutation_p_values(maps: Values, effects: Values, permutations: int, seed: int) -> PerMap:
    """One-sided p-value of the rank correlation under random permutations of the map's patches.

    p = (1 + number of permutations with at least the observed correlation) / (1 + permutations), which is exact:
    if all orders of the map are equally likely, p <= a has at most the probability a, for every a (Phipson and Smyth
    2010, arXiv 1603.05766). All maps are compared with the same permutations. float32 (n,), NaN if undefined.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(permutations, maps.shape[1], generator=generator, dtype=torch.float64).argsort(dim=1)
    return _at_least_as_high(maps, effects, drawn).add(1).div(1 + permutations)


def symmetry_p_values(maps: Values, effects: Values, patches: int, axes: int) -> PerMap:
    """One-sided p-value of the rank correlation among all shifts, reflections and axis exchanges of the map itself.

    These have the same values and, except at the seam of a shift, the same smoothness as the map. p is the share of
    them, the map included, with at least the observed correlation; it is exact if all of them are equally likely.
    """
    symmetries = grid_symmetries(patches, axes)
    return _at_least_as_high(maps, effects, symmetries).div(len(symmetries))


def grid_symmetries(patches: int, axes: int) -> Rearrangements:
    """All shifts with wrap-around, reflections and exchanges of axes of a grid of `patches` per axis, without repeats.

    For 4 x 4 patches these are 128 rearrangements of 16 patches.
    """
    grid = torch.arange(patches**axes).view([patches] * axes)
    every = range(axes)
    rearranged = [
        grid.permute(order).flip([axis for axis in every if flipped[axis]]).roll(shifts, tuple(every)).flatten()
        for order in permutations(every)
        for flipped in product((False, True), repeat=axes)
        for shifts in product(range(patches), repeat=axes)
    ]
    distinct: Tensor = torch.stack(rearranged).unique(dim=0)
    return distinct


def _at_least_as_high(maps: Values, effects: Values, rearrangements: Rearrangements) -> PerMap:
    """Number of rearrangements of each map whose rank correlation is at least that of the map; NaN if undefined."""
    # doubled ranks are integers, so that the sums of their products are exact and ties are found
    left, right = 2 * ranks(maps.double()), 2 * ranks(effects.double())
    counts = [(row[rearrangements] @ effect >= row @ effect).sum() for row, effect in zip(left, right, strict=True)]
    undefined = rank_correlation(maps, effects).isnan()
    return torch.stack(counts).float().masked_fill(undefined, torch.nan)
