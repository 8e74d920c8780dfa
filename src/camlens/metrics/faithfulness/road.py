"""ROAD (remove and debias): the score after pixels are removed and imputed from their neighbors.

Exactly the given share of pixels is removed, also if many have the same value. The noise is seeded.
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
    good_for="the change of the score if the most relevant pixels are imputed",
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
    """Mean change of the score, s(without) - s(x), over `shares` of removed pixels, most relevant first.

    The score may be a logit or a probability.
    """
    left = road_scores(score, inputs, maps, order="most", shares=shares, noise=noise, generator=generator)
    return mean_change(left, score, inputs)


@register_metric(
    "road_lerf",
    paper=_PAPER,
    needs="score, inputs, maps",
    good_for="the change of the score if the least relevant pixels are imputed",
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
    """Mean change of the score, s(without) - s(x), over `shares` of removed pixels, least relevant first."""
    left = road_scores(score, inputs, maps, order="least", shares=shares, noise=noise, generator=generator)
    return mean_change(left, score, inputs)


@register_metric(
    "road_combined",
    paper=_PAPER,
    needs="score, inputs, maps",
    good_for="both orders of removal; 0 for a random map",
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
    """Half the mean difference between both orders of removal: (LeRF - MoRF) / 2."""
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
    """Scores after each share of the pixels is removed in the given order and imputed."""
    same_size(inputs, maps)
    if inputs.ndim != 4:
        raise InputError(
            f"ROAD needs inputs (n, c, height, width), not {tuple(inputs.shape)}",
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


def _first_shares(removal: Tensor, shares: Sequence[float]) -> Bool[Tensor, "shares cells"]:
    """The first round(share * cells) cells for every share, at least one and never all."""
    total = len(removal)
    if not shares:
        raise InputError("shares must not be empty", code="argument.empty", name="shares")
    counts = [min(max(round(within("shares", share, 0, 1) * total), 1), total - 1) for share in shares]
    ranks = torch.empty_like(removal).scatter(0, removal, torch.arange(total))
    return ranks < torch.tensor(counts)[:, None]


def mean_change(left: Float[Tensor, "n shares"], score: Score, inputs: Pictures) -> PerImage:
    """Mean of the scores `left` minus the score of the whole image; NaN rows stay NaN and are not scored."""
    defined = left.isfinite().all(dim=1).tolist()
    whole = [score_of(score, inputs[row], row) if known else UNDEFINED for row, known in enumerate(defined)]
    return left.mean(dim=1) - per_image(whole)
