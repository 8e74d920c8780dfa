"""The score while places are taken away or put back in the order of the map, and the areas under it.

`score(inputs (m, c, *spatial), row)` gives the score of image `row`'s class for m variants of that image:
probabilities (softmax) for insertion and deletion, logits or probabilities for pixel flipping; say which with
the figures. A place is one cell of the map, all channels of it at once. Every step changes exactly the
number of places it says, also where many have the same heat: those are ordered by the generator.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from camlens.core.arguments import checked_count
from camlens.core.registry import register_metric
from camlens.core.types import Images
from camlens.metrics.arguments import (
    AT_ONCE,
    UNDEFINED,
    Baseline,
    Maps,
    PerImage,
    Score,
    baseline_of,
    cells_of,
    draws,
    per_image,
    same_size,
    says_something,
    scores_of,
)
from camlens.metrics.windows import blurred

Order = Literal["most", "least"]
"""Which places go first: the most relevant ones (MoRF) or the least relevant ones (LeRF)."""


@register_metric(
    "insertion_auc",
    paper="Petsiuk et al. 2018, RISE, arXiv 1806.07421",
    needs="score, inputs, heatmaps",
    good_for="whether the hot places alone are enough for the class",
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
    """Area under the score while the hottest places are put back first, from 0 to all of them.

    The empty picture is the blurred image, as in the paper, or `baseline`. Trapezoids over the share of
    places, so that a score that is always s has the area s.
    """
    empty = blurred(inputs) if baseline is None else baseline_of(inputs, baseline)
    return _areas(score, (empty, inputs), heatmaps, steps, generator)


@register_metric(
    "deletion_auc",
    paper="Petsiuk et al. 2018, RISE, arXiv 1806.07421",
    needs="score, inputs, heatmaps",
    good_for="whether the class needs the hot places",
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
    """Area under the score while the hottest places are replaced by `baseline` first, until none is left.

    The paper's baseline is 0, which in normalised inputs is the mean colour.
    """
    return _areas(score, (inputs, baseline_of(inputs, baseline)), heatmaps, steps, generator)


@register_metric(
    "pixel_flipping_morf",
    paper="Bach et al. 2015, PLOS ONE 10(7); Samek et al. 2017 (AOPC), arXiv 1509.06321",
    needs="score, inputs, maps",
    good_for="how fast the score falls without the most relevant places",
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
    """Mean fall of the score, s(x) - s(x_k) over k = 0 ... steps, most relevant places first (AOPC)."""
    curves = flipping_curves(score, inputs, maps, order="most", steps=steps, baseline=baseline, generator=generator)
    return (curves[:, :1] - curves).mean(dim=1)


@register_metric(
    "pixel_flipping_lerf",
    paper="Samek et al. 2017 (AOPC, least relevant first), arXiv 1509.06321",
    needs="score, inputs, maps",
    good_for="whether the score bears the loss of the least relevant places",
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
    """Mean fall of the score, s(x) - s(x_k) over k = 0 ... steps, least relevant places first."""
    curves = flipping_curves(score, inputs, maps, order="least", steps=steps, baseline=baseline, generator=generator)
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
) -> Float[Tensor, "n points"]:
    """Scores while places are replaced by `baseline`, in steps + 1 points from none to all of them.

    A map of fewer cells than `steps` has one step per cell. Rows of constant maps are NaN.
    """
    ends = (inputs, baseline_of(inputs, baseline))
    return _curves(score, ends, maps, step_counts(maps[0].numel(), steps), order, generator)


def ranking(cells: Float[Tensor, " cells"], order: Order, generator: torch.Generator | None) -> Int[Tensor, " cells"]:
    """The cells' indices, first to go first; cells of equal value in an order drawn from the generator."""
    shuffled = torch.randperm(len(cells), generator=draws(generator))
    return shuffled[cells[shuffled].argsort(descending=order == "most", stable=True)]


def step_counts(cells: int, steps: int) -> list[int]:
    """How many cells have changed after each step: from 0 to all, as evenly as whole numbers allow."""
    steps = min(checked_count("steps", steps), cells)
    return [round(step * cells / steps) for step in range(steps + 1)]


def _areas(
    score: Score,
    ends: tuple[Tensor, Tensor],
    heatmaps: Tensor,
    steps: int,
    generator: torch.Generator | None,
) -> PerImage:
    """Areas under the scores on the way from the first to the second of `ends`, hottest places first."""
    same_size(ends[0], heatmaps)
    counts = step_counts(heatmaps[0].numel(), steps)
    curves = _curves(score, ends, heatmaps, counts, "most", generator)
    shares = torch.tensor(counts, dtype=torch.float64) / counts[-1]
    return torch.trapezoid(curves.double(), shares, dim=1).float()


def _curves(
    score: Score,
    ends: tuple[Tensor, Tensor],
    maps: Tensor,
    counts: Sequence[int],
    order: Order,
    generator: torch.Generator | None,
) -> Float[Tensor, "n points"]:
    same_size(ends[0], maps)
    cells = cells_of(maps)
    rows = []
    for row, known in enumerate(says_something(cells).tolist()):
        if not known:
            rows.append(per_image([UNDEFINED] * len(counts)))
            continue
        first_to_go = ranking(cells[row], order, generator)
        variants = _exchanged(ends[0][row], ends[1][row], first_to_go, counts)
        rows.append(scores_of(score, variants, row).float())
    return torch.stack(rows)


def _exchanged(before: Tensor, after: Tensor, first_to_go: Tensor, counts: Sequence[int]) -> Iterator[Tensor]:
    """`before` with the first `count` places as in `after`, for every count, some variants at a time."""
    places = torch.empty_like(first_to_go).scatter(0, first_to_go, torch.arange(len(first_to_go)))
    for start in range(0, len(counts), AT_ONCE):
        gone = places < torch.tensor(counts[start : start + AT_ONCE])[:, None]
        shaped = gone.view(-1, 1, *before.shape[1:]).to(before.device)
        yield torch.where(shaped, after, before)
