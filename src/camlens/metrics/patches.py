"""Division of maps into a grid of patches."""

from collections.abc import Sequence

import torch
from torch import Tensor


def patch_of_each_cell(size: Sequence[int], grid: int) -> Tensor:
    """Index of the patch of each cell, flattened, for a grid of about equal patches."""
    patches = torch.zeros((), dtype=torch.long)
    for length in size:
        along = min(grid, length)
        patches = patches[..., None] * along + torch.arange(length) * along // length
    return patches.flatten()
