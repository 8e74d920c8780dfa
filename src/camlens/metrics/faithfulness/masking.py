"""Does the score follow the map? What is left of a class when only the hot places can be seen.

`score(inputs (m, c, *spatial), row)` gives the probability (softmax) of image `row`'s class for m variants
of that image; with logits some of these figures turn round, so what cannot be a probability is refused.
Inputs are (n, c, *size), heat maps (n, *size) in [0, 1], results (n,). The image is multiplied by its map:
where the map is 0 the model sees 0, which in normalised inputs is the mean colour, not black. A constant map
singles out no place and gives NaN, also where it would win.
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
    good_for="what the class loses when only the hot places can be seen",
    better="lower",
    cost="seconds",
)
def average_drop(score: Score, inputs: Images, heatmaps: Maps) -> PerImage:
    """Share of the class's probability that is lost under the map: max(0, s(x) - s(x * M)) / s(x).

    In [0, 1]; the paper prints the mean times 100. NaN where s(x) is 0.
    """
    return _compared(score, inputs, heatmaps, lambda whole, seen: _share(max(0.0, whole - seen), whole))


@register_metric(
    "increase_in_confidence",
    paper="Chattopadhyay et al. 2018, Grad-CAM++, arXiv 1710.11063",
    needs="score, inputs, heatmaps",
    good_for="how often hiding the cold places helps the class",
    better="higher",
    cost="seconds",
)
def increase_in_confidence(score: Score, inputs: Images, heatmaps: Maps) -> PerImage:
    """1 where the class is more probable under the map, s(x * M) > s(x), else 0."""
    return _compared(score, inputs, heatmaps, lambda whole, seen: float(seen > whole))


@register_metric(
    "average_gain",
    paper="Zhang et al. 2024, Opti-CAM, arXiv 2301.07002",
    needs="score, inputs, heatmaps",
    good_for="how much hiding the cold places helps the class",
    better="higher",
    cost="seconds",
)
def average_gain(score: Score, inputs: Images, heatmaps: Maps) -> PerImage:
    """Share of the missing probability that is won under the map: max(0, s(x * M) - s(x)) / (1 - s(x)).

    In [0, 1]; NaN where s(x) is 1 and nothing is left to win.
    """
    return _compared(score, inputs, heatmaps, lambda whole, seen: _share(max(0.0, seen - whole), 1 - whole))


def _compared(score: Score, inputs: Tensor, heatmaps: Tensor, figure: Callable[[float, float], float]) -> PerImage:
    """`figure` of the probability of each whole image and of the image seen through its map."""
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
