"""Remove and debias: places are taken away so that the hole itself tells the model nothing.

Removed pixels are filled from their neighbours (imputation.py). Exactly the share asked for is removed, also
where many pixels have the same heat, and the noise is seeded.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from camlens.core.errors import InputError
from camlens.core.registry import register_metric
from camlens.metrics.arguments import (
    UNDEFINED,
    Maps,
    PerImage,
    Score,
    cells_of,
    per_image,
    same_size,
    says_something,
    score_of,
    scores_of,
    within,
)
from camlens.metrics.faithfulness.curves import Order, ranking
from camlens.metrics.faithfulness.imputation import Pictures, imputed

SHARES = (0.2, 0.4, 0.6, 0.8)
_PAPER = "Rong et al. 2022, A Consistent and Efficient Evaluation Strategy (ROAD), arXiv 2202.00449"


@register_metric(
    "road_morf",
    paper=_PAPER,
    needs="score, inputs, maps",
    good_for="whether the score falls without the most relevant places, fairly removed",
    better="lower",
    cost="seconds",
)
def road_morf(
    score: Score,
    inputs: Pictures,
    maps: Maps,
    *,
    shares: Sequence[float] = SHARES,
    noise: float = 0.01,
    generator: torch.Generator | None = None,
) -> PerImage:
    """Mean change of the score, s(without) - s(x), most relevant places removed first.

    The mean is over `shares` of the pixels. The score may be a logit or a probability: say which.
    """
    left = road_scores(score, inputs, maps, order="most", shares=shares, noise=noise, generator=generator)
    return _change(score, inputs, left)


@register_metric(
    "road_lerf",
    paper=_PAPER,
    needs="score, inputs, maps",
    good_for="whether the score bears the loss of the least relevant places",
    better="higher",
    cost="seconds",
)
def road_lerf(
    score: Score,
    inputs: Pictures,
    maps: Maps,
    *,
    shares: Sequence[float] = SHARES,
    noise: float = 0.01,
    generator: torch.Generator | None = None,
) -> PerImage:
    """Mean change of the score, s(without) - s(x), least relevant places removed first."""
    left = road_scores(score, inputs, maps, order="least", shares=shares, noise=noise, generator=generator)
    return _change(score, inputs, left)


@register_metric(
    "road_combined",
    paper=_PAPER,
    needs="score, inputs, maps",
    good_for="one figure for both orders of removal; a random map has 0",
    better="higher",
    cost="seconds",
)
def road_combined(
    score: Score,
    inputs: Pictures,
    maps: Maps,
    *,
    shares: Sequence[float] = SHARES,
    noise: float = 0.01,
    generator: torch.Generator | None = None,
) -> PerImage:
    """Half the mean gap between removing the least and the most relevant places: (LeRF - MoRF) / 2."""
    least = road_scores(score, inputs, maps, order="least", shares=shares, noise=noise, generator=generator)
    most = road_scores(score, inputs, maps, order="most", shares=shares, noise=noise, generator=generator)
    return (least - most).mean(dim=1) / 2


def road_scores(
    score: Score,
    inputs: Pictures,
    maps: Maps,
    *,
    order: Order = "most",
    shares: Sequence[float] = SHARES,
    noise: float = 0.01,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "n shares"]:
    """Scores after each share of the pixels was removed in the given order and imputed."""
    same_size(inputs, maps)
    if inputs.ndim != 4:
        raise InputError(
            f"ROAD imputes pictures (n, c, height, width), not inputs {tuple(inputs.shape)}",
            code="input.axes",
            shape=tuple(inputs.shape),
        )
    cells, rows = cells_of(maps), []
    for row, known in enumerate(says_something(cells).tolist()):
        if not known:
            rows.append(per_image([UNDEFINED] * len(shares)))
            continue
        removed = _first_shares(ranking(cells[row], order, generator), shares).view(-1, *maps.shape[1:])
        pictures = inputs[row].expand(len(shares), -1, -1, -1)
        filled = imputed(pictures, removed, noise=noise, generator=generator)
        rows.append(scores_of(score, [filled], row).float())
    return torch.stack(rows)


def _first_shares(first_to_go: Tensor, shares: Sequence[float]) -> Bool[Tensor, "shares cells"]:
    """For every share the first so many cells: exactly round(share * cells), at least one, never all."""
    total = len(first_to_go)
    if not shares:
        raise InputError("shares must not be empty", code="argument.empty", name="shares")
    counts = [min(max(round(within("shares", one, 0, 1) * total), 1), total - 1) for one in shares]
    places = torch.empty_like(first_to_go).scatter(0, first_to_go, torch.arange(total))
    return places < torch.tensor(counts)[:, None]


def _change(score: Score, inputs: Pictures, left: Float[Tensor, "n shares"]) -> PerImage:
    """Mean score that is left minus the score of the whole picture; undefined rows are not asked about."""
    known = left.isfinite().all(dim=1).tolist()
    whole = [score_of(score, inputs[row], row) if one else UNDEFINED for row, one in enumerate(known)]
    return left.mean(dim=1) - per_image(whole)
