"""Insertion, deletion and pixel flipping: the score while cells are removed or inserted in the order of the map.

`score(inputs (m, c, *spatial), row)` must return the score of the class of image `row` for m variants of that image:
probabilities (softmax) for insertion and deletion, logits or probabilities for pixel flipping. All channels of a cell
are changed together. Every step changes exactly the given number of cells: ties are broken by the generator.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from camlens.core.arguments import checked_count
from camlens.core.baselines import Baseline, baseline_image
from camlens.core.registry import register_metric
from camlens.core.types import Images
from camlens.metrics.arguments import (
    AT_ONCE,
    UNDEFINED,
    Maps,
    PerImage,
    Score,
    cells_of,
    draws,
    per_image,
    same_size,
    says_something,
    scores_of,
)
from camlens.metrics.windows import blurred

Curves = Float[Tensor, "n points"]
Order = Literal["most", "least"]
"""Order of removal: most relevant first (MoRF) or least relevant first (LeRF)."""


@register_metric(
    "insertion_auc",
    paper="Petsiuk et al. 2018, RISE, arXiv 1806.07421",
    needs="score, inputs, heatmaps",
    good_for="whether the hot cells are sufficient for the class",
    better="higher",
    cost="seconds",
)
def insertion_auc(
    score: Score,
    inputs: Images,
    heatmaps: Maps,
    *,
    steps: int = 100,
    baseline: Baseline | None = None,
    generator: torch.Generator | None = None,
) -> PerImage:
    """Area under the score while cells are inserted, hottest first, by the trapezoidal rule.

    The start is the blurred image, as in the paper, or `baseline`. The x-axis is the share of inserted cells, so a
    constant score s has the area s.
    """
    curves = insertion_curves(score, inputs, heatmaps, steps=steps, baseline=baseline, generator=generator)
    return area(curves, heatmaps[0].numel())


@register_metric(
    "deletion_auc",
    paper="Petsiuk et al. 2018, RISE, arXiv 1806.07421",
    needs="score, inputs, heatmaps",
    good_for="whether the hot cells are necessary for the class",
    better="lower",
    cost="seconds",
)
def deletion_auc(
    score: Score,
    inputs: Images,
    heatmaps: Maps,
    *,
    steps: int = 100,
    baseline: Baseline = 0.0,
    generator: torch.Generator | None = None,
) -> PerImage:
    """Area under the score while cells are replaced by `baseline`, hottest first, by the trapezoidal rule.

    The paper's baseline is 0, the mean color of normalized inputs.
    """
    curves = deletion_curves(score, inputs, heatmaps, steps=steps, baseline=baseline, generator=generator)
    return area(curves, heatmaps[0].numel())


@register_metric(
    "pixel_flipping_morf",
    paper="Bach et al. 2015, PLOS ONE 10(7); Samek et al. 2017 (AOPC), arXiv 1509.06321",
    needs="score, inputs, maps",
    good_for="the drop of the score without the most relevant cells",
    better="higher",
    cost="seconds",
)
def pixel_flipping_morf(
    score: Score,
    inputs: Images,
    maps: Maps,
    *,
    steps: int = 100,
    baseline: Baseline = 0.0,
    generator: torch.Generator | None = None,
) -> PerImage:
    """Mean drop of the score, s(x) - s(x_k) over k = 0 ... steps, most relevant cells first (AOPC)."""
    curves = flipping_curves(score, inputs, maps, order="most", steps=steps, baseline=baseline, generator=generator)
    return mean_drop(curves)


@register_metric(
    "pixel_flipping_lerf",
    paper="Samek et al. 2017 (AOPC, least relevant first), arXiv 1509.06321",
    needs="score, inputs, maps",
    good_for="the drop of the score without the least relevant cells",
    better="lower",
    cost="seconds",
)
def pixel_flipping_lerf(
    score: Score,
    inputs: Images,
    maps: Maps,
    *,
    steps: int = 100,
    baseline: Baseline = 0.0,
    generator: torch.Generator | None = None,
) -> PerImage:
    """Mean drop of the score, s(x) - s(x_k) over k = 0 ... steps, least relevant cells first."""
    curves = flipping_curves(score, inputs, maps, order="least", steps=steps, baseline=baseline, generator=generator)
    return mean_drop(curves)


def insertion_curves(
    score: Score,
    inputs: Images,
    heatmaps: Maps,
    *,
    steps: int = 100,
    baseline: Baseline | None = None,
    generator: torch.Generator | None = None,
) -> Curves:
    """Scores while cells are inserted into the blurred image or `baseline`, hottest first, as `flipping_curves`."""
    empty = blurred(inputs) if baseline is None else baseline_image(baseline, inputs)
    return _curves(score, (empty, inputs), heatmaps, steps, "most", generator)


def deletion_curves(
    score: Score,
    inputs: Images,
    heatmaps: Maps,
    *,
    steps: int = 100,
    baseline: Baseline = 0.0,
    generator: torch.Generator | None = None,
) -> Curves:
    """Scores while cells are replaced by `baseline`, hottest first, as `flipping_curves`."""
    return _curves(score, (inputs, baseline_image(baseline, inputs)), heatmaps, steps, "most", generator)


def area(curves: Curves, cells: int) -> PerImage:
    """Area under each curve over the share of changed cells, of `cells` in all, by the trapezoidal rule."""
    counts = step_counts(cells, curves.shape[1] - 1)
    return torch.trapezoid(curves.double(), torch.tensor(counts, dtype=torch.float64) / cells, dim=1).float()


def mean_drop(curves: Curves) -> PerImage:
    """Mean drop of each curve below its first point."""
    return (curves[:, :1] - curves).mean(dim=1)


def flipping_curves(
    score: Score,
    inputs: Images,
    maps: Maps,
    *,
    order: Order = "most",
    steps: int = 100,
    baseline: Baseline = 0.0,
    generator: torch.Generator | None = None,
) -> Curves:
    """Scores while cells are replaced by `baseline`, at steps + 1 points from none to all of them.

    Maps of fewer cells than `steps` have one step per cell. Rows of constant maps are NaN.
    """
    ends = (inputs, baseline_image(baseline, inputs))
    return _curves(score, ends, maps, steps, order, generator)


def ranking(cells: Float[Tensor, " cells"], order: Order, generator: torch.Generator | None) -> Int[Tensor, " cells"]:
    """Indices of the cells in the order of removal; ties are in random order."""
    shuffled = torch.randperm(len(cells), generator=draws(generator))
    return shuffled[cells[shuffled].argsort(descending=order == "most", stable=True)]


def step_counts(cells: int, steps: int) -> list[int]:
    """Number of cells changed after each step, evenly spaced from 0 to all."""
    steps = min(checked_count("steps", steps), cells)
    return [round(step * cells / steps) for step in range(steps + 1)]


def _curves(
    score: Score,
    ends: tuple[Tensor, Tensor],
    maps: Tensor,
    steps: int,
    order: Order,
    generator: torch.Generator | None,
) -> Curves:
    same_size(ends[0], maps)
    counts = step_counts(maps[0].numel(), steps)
    cells = cells_of(maps)
    rows = []
    for row, known in enumerate(says_something(cells).tolist()):
        if not known:
            rows.append(per_image([UNDEFINED] * len(counts)))
            continue
        removal = ranking(cells[row], order, generator)
        variants = _exchanged(ends[0][row], ends[1][row], removal, counts)
        rows.append(scores_of(score, variants, row).float())
    return torch.stack(rows)


def _exchanged(before: Tensor, after: Tensor, removal: Tensor, counts: Sequence[int]) -> Iterator[Tensor]:
    """Yield `before` with the first `count` cells taken from `after`, for every count, in batches."""
    ranks = torch.empty_like(removal).scatter(0, removal, torch.arange(len(removal)))
    for start in range(0, len(counts), AT_ONCE):
        exchanged = ranks < torch.tensor(counts[start : start + AT_ONCE])[:, None]
        yield torch.where(exchanged.view(-1, 1, *before.shape[1:]).to(before.device), after, before)
