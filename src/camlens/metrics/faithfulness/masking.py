"""Change of the class probability if the image is multiplied by its heat map.

`score(inputs (m, c, *spatial), row)` must return the probability (softmax) of the class of image `row` for m variants
of that image; logits are refused. Inputs are (n, c, *size), heat maps (n, *size) in [0, 1], results (n,). Masked pixels
become 0, which is the mean color of normalized inputs, not black. Constant maps give NaN.
"""

from collections.abc import Callable

from torch import Tensor

from camlens.core.registry import register_metric
from camlens.core.types import Images
from camlens.metrics.arguments import (
    UNDEFINED,
    Maps,
    PerImage,
    Score,
    cells_of,
    per_image,
    probability,
    same_size,
    says_something,
    score_of,
    unit_range,
)


@register_metric(
    "average_drop",
    paper="Chattopadhyay et al. 2018, Grad-CAM++, arXiv 1710.11063",
    needs="score, inputs, heatmaps",
    good_for="the drop of the class probability if only hot cells are visible",
    better="lower",
    cost="seconds",
)
def average_drop(score: Score, inputs: Images, heatmaps: Maps) -> PerImage:
    """Relative drop of the class probability under the map: max(0, s(x) - s(x * M)) / s(x).

    In [0, 1]; the paper reports percent. NaN if s(x) is 0.
    """
    return _compared(score, inputs, heatmaps, lambda whole, seen: _share(max(0.0, whole - seen), whole))


@register_metric(
    "increase_in_confidence",
    paper="Chattopadhyay et al. 2018, Grad-CAM++, arXiv 1710.11063",
    needs="score, inputs, heatmaps",
    good_for="how often hiding cold cells increases the probability",
    better="higher",
    cost="seconds",
)
def increase_in_confidence(score: Score, inputs: Images, heatmaps: Maps) -> PerImage:
    """1 if the class is more probable under the map, s(x * M) > s(x), else 0."""
    return _compared(score, inputs, heatmaps, lambda whole, seen: float(seen > whole))


@register_metric(
    "average_gain",
    paper="Zhang et al. 2024, Opti-CAM, arXiv 2301.07002",
    needs="score, inputs, heatmaps",
    good_for="how much hiding cold cells increases the probability",
    better="higher",
    cost="seconds",
)
def average_gain(score: Score, inputs: Images, heatmaps: Maps) -> PerImage:
    """Relative gain of the class probability under the map: max(0, s(x * M) - s(x)) / (1 - s(x)).

    In [0, 1]; NaN if s(x) is 1.
    """
    return _compared(score, inputs, heatmaps, lambda whole, seen: _share(max(0.0, seen - whole), 1 - whole))


def _compared(score: Score, inputs: Tensor, heatmaps: Tensor, figure: Callable[[float, float], float]) -> PerImage:
    """Apply `figure` to the probabilities of each image and of the image multiplied by its map."""
    same_size(inputs, heatmaps)
    unit_range(heatmaps)
    values = []
    for row, known in enumerate(says_something(cells_of(heatmaps)).tolist()):
        if not known:
            values.append(UNDEFINED)
            continue
        seen = inputs[row] * heatmaps[row].to(inputs)
        whole = probability(score_of(score, inputs[row], row))
        values.append(figure(whole, probability(score_of(score, seen, row))))
    return per_image(values)


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else UNDEFINED
