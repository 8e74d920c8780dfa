"""Stability of maps under small changes of the image.

`explain(inputs (m, c, *spatial), row)` must return the maps (m, *size) of the class of image `row` for m variants of
that image, also if the model predicts another class for a variant.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from camlens.core.arguments import checked_count
from camlens.core.errors import InputError
from camlens.core.registry import register_metric
from camlens.core.types import Images
from camlens.metrics.arguments import (
    AT_ONCE,
    UNDEFINED,
    Explain,
    Maps,
    PerImage,
    answer_of,
    cells_of,
    draws,
    per_image,
    same_size,
    says_something,
    unit_range,
    within,
)
from camlens.metrics.similarity import pearson


@register_metric(
    "max_sensitivity",
    paper="Yeh et al. 2019, On the (In)fidelity and Sensitivity of Explanations, arXiv 1901.09392",
    needs="explain, inputs",
    good_for="the largest change of the map under small changes of the image",
    better="lower",
    cost="minutes",
)
def max_sensitivity(
    explain: Explain,
    inputs: Images,
    *,
    radius: float = 0.02,
    samples: int = 10,
    generator: torch.Generator | None = None,
) -> PerImage:
    """Largest relative change of the map, |map(x + d) - map(x)| / |map(x)|, over random small d.

    d is uniform in [-radius, radius] for every value of the input, in the input's units; the norm is
    Euclidean. NaN if the map of x is zero everywhere.
    """
    return _changes(explain, inputs, radius, samples, generator).amax(dim=1)


@register_metric(
    "average_sensitivity",
    paper="Bhatt et al. 2020, Evaluating and Aggregating Feature-based Model Explanations, arXiv 2005.00631",
    needs="explain, inputs",
    good_for="the mean change of the map under small changes of the image",
    better="lower",
    cost="minutes",
)
def average_sensitivity(
    explain: Explain,
    inputs: Images,
    *,
    radius: float = 0.02,
    samples: int = 10,
    generator: torch.Generator | None = None,
) -> PerImage:
    """Mean relative change of the map, |map(x + d) - map(x)| / |map(x)|, over random small d."""
    return _changes(explain, inputs, radius, samples, generator).mean(dim=1)


@register_metric(
    "coherency",
    paper="Poppi et al. 2021, Revisiting The Evaluation of Class Activation Mapping (ADCC), arXiv 2104.10252",
    needs="explain, inputs, heatmaps",
    good_for="whether the image masked by its map has the same map",
    better="higher",
    cost="seconds",
)
def coherency(explain: Explain, inputs: Images, heatmaps: Maps) -> PerImage:
    """Correlation of the map of the image and the map of the image masked by it: (Pearson + 1) / 2.

    In [0, 1]. `heatmaps` are those of `inputs`, in [0, 1] and of the images' size; `explain` must return the same
    kind. NaN if either map is constant.
    """
    same_size(inputs, heatmaps)
    unit_range(heatmaps)
    values = []
    for row, known in enumerate(says_something(cells_of(heatmaps)).tolist()):
        if not known:
            values.append(UNDEFINED)
            continue
        seen = inputs[row] * heatmaps[row].to(inputs)
        again = _maps_of(explain, seen[None], row)
        values.append((float(pearson(heatmaps[row : row + 1], again)[0]) + 1) / 2)
    return per_image(values)


def _changes(
    explain: Explain, inputs: Tensor, radius: float, samples: int, generator: torch.Generator | None
) -> Float[Tensor, "n samples"]:
    """Relative change of every image's map for every sample; samples are the same for all images."""
    within("radius", radius, 0, float("inf"))
    samples = checked_count("samples", samples)
    rows = []
    for row, image in enumerate(inputs):
        original = cells_of(_maps_of(explain, image[None], row))
        norm = float(original.norm())
        if norm == 0:
            rows.append(torch.full((samples,), UNDEFINED))
            continue
        parts = _nearby(image, radius, samples, draws(generator))
        changed = torch.cat([cells_of(_maps_of(explain, part, row)) for part in parts])
        rows.append(((changed - original).norm(dim=1) / norm).float())
    return torch.stack(rows)


def _nearby(image: Tensor, radius: float, samples: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield copies of the image with uniform noise, in batches."""
    for start in range(0, samples, AT_ONCE):
        count = min(AT_ONCE, samples - start)
        noise = 2 * torch.rand(count, *image.shape, generator=generator) - 1
        yield image + radius * noise.to(image)


def _maps_of(explain: Explain, images: Tensor, row: int) -> Tensor:
    maps = answer_of("explain", explain, images, row)
    if maps.ndim < 2 or len(maps) != len(images):
        raise InputError(
            f"explain must return one map for each of {len(images)} images, not {tuple(maps.shape)}",
            code="explain.shape",
            shape=tuple(maps.shape),
            images=len(images),
        )
    return maps.detach()
