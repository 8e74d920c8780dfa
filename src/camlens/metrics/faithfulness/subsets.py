"""Sums of the map over random sets of cells, compared with the drop of the score without them.

`score(inputs (m, c, *spatial), row)` must return the score of the class of image `row` for m variants of that image;
the papers use logits, since probabilities saturate. Maps are (n, *size), signed or not, results (n,). All channels of a
cell are removed together. The seeded random sets are the same for every image.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from camlens.core.arguments import checked_count
from camlens.core.baselines import Baseline, baseline_image
from camlens.core.errors import InputError
from camlens.core.registry import register_metric
from camlens.core.types import Images
from camlens.metrics.arguments import (
    AT_ONCE,
    UNDEFINED,
    Maps,
    PerImage,
    Score,
    answer_of,
    cells_of,
    draws,
    per_image,
    same_size,
    says_something,
    score_of,
    scores_of,
    within,
)
from camlens.metrics.patches import patch_of_each_cell
from camlens.metrics.similarity import pearson, spearman

Perturb = Callable[[Tensor, int, torch.Generator], Tensor]
"""perturb(image (c, *spatial), samples, generator) -> I (samples, c, *spatial), to be subtracted from the image."""


@register_metric(
    "sensitivity_n",
    paper="Ancona et al. 2018, Towards better understanding of gradient-based attribution, arXiv 1711.06104",
    needs="score, inputs, maps",
    good_for="whether sums of the map predict the drop of the score, for sets of one size",
    better="higher",
    cost="seconds",
)
def sensitivity_n(
    score: Score,
    inputs: Images,
    maps: Maps,
    *,
    size: int | None = None,
    samples: int = 100,
    generator: torch.Generator | None = None,
) -> PerImage:
    """Correlation, over random sets of `size` cells, of the sum of the map and the drop of the score.

    The drop is s(x) - s(x with the set at 0). Pearson, in [-1, 1]. By default `size` is a tenth of the cells; the paper
    uses many sizes, from one cell to nearly all. NaN if the map is constant or no set changes the score.
    """
    cells = maps[0].numel()
    size = max(1, round(cells / 10)) if size is None else checked_count("size", size)
    if size >= cells:
        raise InputError(
            f"size must be below the number of cells of a map, {cells}, not {size}",
            code="argument.invalid",
            name="size",
            value=size,
        )
    members = random_subsets(cells, size, samples, generator)
    sums, losses = _sums_and_losses(score, inputs, maps, members, inputs.new_zeros(()).expand(inputs.shape))
    return pearson(sums, losses)


@register_metric(
    "faithfulness_correlation",
    paper="Bhatt et al. 2020, Evaluating and Aggregating Feature-based Model Explanations, arXiv 2005.00631",
    needs="score, inputs, maps",
    good_for="whether sums of the map predict the drop of the score, with a baseline",
    better="higher",
    cost="seconds",
)
def faithfulness_correlation(
    score: Score,
    inputs: Images,
    maps: Maps,
    *,
    share: float = 0.2,
    samples: int = 100,
    baseline: Baseline = 0.0,
    generator: torch.Generator | None = None,
) -> PerImage:
    """Correlation, over random sets of a `share` of the cells, of the sum of the map and the drop of the score.

    The drop is s(x) - s(x with the set as in `baseline`). Pearson, in [-1, 1].
    """
    cells = maps[0].numel()
    members = random_subsets(cells, _share_of(cells, share), samples, generator)
    sums, losses = _sums_and_losses(score, inputs, maps, members, baseline_image(baseline, inputs))
    return pearson(sums, losses)


@register_metric(
    "mu_fidelity",
    paper="Fel et al. 2021, Look at the Variance! (muFidelity), arXiv 2111.04138, after arXiv 2005.00631",
    needs="score, inputs, maps",
    good_for="whether sums of the map over patches predict the drop of the score",
    better="higher",
    cost="seconds",
)
def mu_fidelity(
    score: Score,
    inputs: Images,
    maps: Maps,
    *,
    grid: int = 9,
    share: float = 0.2,
    samples: int = 100,
    baseline: Baseline = 0.0,
    generator: torch.Generator | None = None,
) -> PerImage:
    """Rank correlation (Spearman), over random sets of patches, of the sum of the map and the drop of the score.

    The image is divided into `grid` patches along every axis, or into single cells if it has fewer.
    """
    patches = patch_of_each_cell(maps.shape[1:], checked_count("grid", grid))
    count = int(patches.max()) + 1
    members = random_subsets(count, _share_of(count, share), samples, generator)[:, patches]
    sums, losses = _sums_and_losses(score, inputs, maps, members, baseline_image(baseline, inputs))
    return spearman(sums, losses)


@register_metric(
    "single_deletion",
    paper="Hesse et al. 2024, Benchmarking the Attribution Quality of Vision Models (IDSDS), arXiv 2407.11910",
    needs="score, inputs, maps",
    good_for="whether the map ranks patches by the drop of the score without them",
    better="higher",
    cost="seconds",
)
def single_deletion(score: Score, inputs: Images, maps: Maps, *, grid: int = 4, baseline: Baseline = 0.0) -> PerImage:
    """Rank correlation (Spearman), over the patches of a grid, of the sum of the map and the drop of the score.

    One patch at a time is replaced by `baseline`. The image is divided into `grid` patches along every axis. The score
    is in-domain (IDSDS) if the model was trained with random patches replaced likewise. Many methods are worse by it if
    their absolute values are used.
    """
    patches = patch_of_each_cell(maps.shape[1:], checked_count("grid", grid, least=2))
    members = patches == torch.arange(int(patches.max()) + 1)[:, None]
    sums, losses = _sums_and_losses(score, inputs, maps, members, baseline_image(baseline, inputs))
    return spearman(sums, losses)


@register_metric(
    "infidelity",
    paper="Yeh et al. 2019, On the (In)fidelity and Sensitivity of Explanations, arXiv 1901.09392",
    needs="score, inputs, maps",
    good_for="the error of score changes predicted from the map",
    better="lower",
    cost="seconds",
)
def infidelity(
    score: Score,
    inputs: Images,
    maps: Maps,
    *,
    perturb: Perturb | None = None,
    samples: int = 100,
    scaled: bool = True,
    generator: torch.Generator | None = None,
) -> PerImage:
    """Mean of (scale * I . map - (s(x) - s(x - I)))^2 over random perturbations I.

    I . map sums over cells and channels of I. If `scaled`, the scale is optimal for each map, mean(ab) / mean(a^2);
    otherwise it is 1, which is meaningful only for signed attributions in units of the score, not for heat maps in
    [0, 1]. Constant maps have a value too: that of a zero map is the mean square of the score change. The default
    perturbation is `removed_squares()`.
    """
    same_size(inputs, maps)
    samples = checked_count("samples", samples)
    cells, values = cells_of(maps), []
    for row, finite in enumerate(cells.isfinite().all(dim=1).tolist()):
        if not finite:
            values.append(UNDEFINED)
            continue
        taken = answer_of("perturb", perturb or removed_squares(), inputs[row], samples, draws(generator))
        if taken.shape != (samples, *inputs.shape[1:]):
            raise InputError(
                f"perturb must return {(samples, *inputs.shape[1:])}, not {tuple(taken.shape)}",
                code="perturb.shape",
                shape=tuple(taken.shape),
            )
        predicted = cells_of(taken.sum(dim=1)) @ cells[row]
        parts = ((inputs[row] - part) for part in taken.split(AT_ONCE))
        losses = score_of(score, inputs[row], row) - scores_of(score, parts, row)
        values.append(_mean_square_error(predicted, losses, scaled=scaled))
    return per_image(values)


def removed_squares(share: float = 0.25) -> Perturb:
    """Return a perturbation that sets one random square to zero, `share` of the image long along every axis."""
    within("share", share, 0, 1)

    def perturb(image: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        inside = torch.ones(samples, 1, *[1] * (image.ndim - 1), dtype=torch.bool)
        for axis, length in enumerate(image.shape[1:]):
            side = max(1, round(share * length))
            starts = torch.randint(length - side + 1, (samples, 1), generator=generator)
            indices = torch.arange(length)
            within_side = (indices >= starts) & (indices < starts + side)
            shape = [samples, 1, *[1] * (image.ndim - 1)]
            shape[axis + 2] = length
            inside = inside & within_side.view(shape)
        return image * inside.to(image.device)

    return perturb


def gaussian_noise(deviation: float = 0.1) -> Perturb:
    """Return a perturbation by independent Gaussian noise, in the units of the images."""
    within("deviation", deviation, 0, float("inf"))

    def perturb(image: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        return torch.randn(samples, *image.shape, generator=generator).to(image) * deviation

    return perturb


def random_subsets(
    total: int, size: int, samples: int, generator: torch.Generator | None
) -> Bool[Tensor, "samples total"]:
    """Draw random subsets of exactly `size` of `total` members, uniformly."""
    samples = checked_count("samples", samples, least=2)
    order = torch.rand(samples, total, generator=draws(generator), dtype=torch.float64).argsort(dim=1)
    return torch.zeros(samples, total, dtype=torch.bool).scatter(1, order[:, :size], True)


def _share_of(total: int, share: float) -> int:
    return min(max(1, round(within("share", share, 0, 1) * total)), total - 1)


def _sums_and_losses(
    score: Score, inputs: Tensor, maps: Tensor, members: Bool[Tensor, "m cells"], shown: Tensor
) -> tuple[Float[Tensor, "n m"], Float[Tensor, "n m"]]:
    """Sum of the map over each set and drop of the score without it, for every image; NaN if undefined."""
    same_size(inputs, maps)
    cells = cells_of(maps)
    sums, losses = cells @ members.to(cells).T, []
    for row, known in enumerate(says_something(cells).tolist()):
        if not known:
            losses.append(torch.full((len(members),), UNDEFINED, dtype=torch.float64))
            continue
        parts = members.view(-1, 1, *inputs.shape[2:]).to(inputs.device).split(AT_ONCE)
        variants = (torch.where(part, shown[row], inputs[row]) for part in parts)
        losses.append(score_of(score, inputs[row], row) - scores_of(score, variants, row))
    return sums, torch.stack(losses)


def _mean_square_error(predicted: Tensor, losses: Tensor, *, scaled: bool) -> float:
    scale: Tensor | float = 1.0
    if scaled:
        power = float(predicted.square().mean())
        scale = (predicted * losses).mean() / power if power > 0 else 0.0
    return float((scale * predicted - losses).square().mean())
