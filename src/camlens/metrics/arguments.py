"""Checks of the arguments of metrics, and the calls of their score and explain functions."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from camlens.core.errors import InputError, invalid_argument

Maps = Float[Tensor, "n *size"]
Masks = Bool[Tensor, "..."]
PerImage = Float[Tensor, " n"]
Cells = Float[Tensor, "n cells"]
Score = Callable[[Tensor, int], Tensor]
"""score(inputs (m, c, *spatial), row) -> (m,): scores of the class of image `row` for m variants of that image."""
Explain = Callable[[Tensor, int], Tensor]
"""explain(inputs (m, c, *spatial), row) -> (m, *size): maps for the class of image `row` for m variants of it."""

AT_ONCE = 32
UNDEFINED = math.nan


def tensor_of(name: str, value: object) -> Tensor:
    """Return `value`, or raise InputError unless it is a tensor."""
    if not isinstance(value, Tensor):
        raise InputError(
            f"{name} must be a torch.Tensor, not {_kind(value)}: pass torch.as_tensor(...)",
            code="argument.invalid",
            name=name,
            value=value,
        )
    return value


def answer_of(name: str, function: Callable[..., Any], *asked: object) -> Tensor:
    """Call a function that was passed as an argument, and check that it returns a tensor."""
    if not callable(function):
        raise InputError(
            f"{name} must be a function, not {_kind(function)}", code="argument.invalid", name=name, value=function
        )
    result = function(*asked)
    if not isinstance(result, Tensor):
        raise InputError(f"{name} must return a torch.Tensor, not {_kind(result)}", code=f"{name}.type", value=result)
    return result


def _kind(value: object) -> str:
    kind = type(value)
    return repr(value) if value is None else f"{kind.__module__}.{kind.__name__}".removeprefix("builtins.")


def cells_of(maps: Tensor) -> Cells:
    """Flatten every map to one row of cells, in float64 on the CPU, as metrics compute them."""
    tensor_of("maps", maps)
    if maps.ndim < 2 or maps.numel() == 0:
        raise InputError(
            f"maps must be (n, *size) with at least one cell, not {tuple(maps.shape)}",
            code="maps.shape",
            shape=tuple(maps.shape),
        )
    return maps.detach().to("cpu", torch.float64).flatten(1)


def says_something(cells: Cells) -> Bool[Tensor, " n"]:
    """Whether each map is finite and not constant."""
    return cells.isfinite().all(dim=1) & (cells.amax(dim=1) > cells.amin(dim=1))


def masks_of(maps: Tensor, masks: Tensor) -> Bool[Tensor, "n cells"]:
    """Flatten every mask to one row of cells; raise InputError unless there is one bool mask per map, of its size."""
    tensor_of("masks", masks)
    if masks.dtype != torch.bool:
        raise InputError(
            f"masks must be bool, not {masks.dtype}: pass masks > 0", code="masks.dtype", dtype=str(masks.dtype)
        )
    if masks.shape != maps.shape:
        raise InputError(
            f"masks of shape {tuple(masks.shape)} do not fit maps of shape {tuple(maps.shape)}: resize the maps to the"
            " size of the masks",
            code="masks.shape",
            shape=tuple(masks.shape),
            maps=tuple(maps.shape),
        )
    return masks.cpu().flatten(1)


def same_size(inputs: Tensor, maps: Tensor) -> None:
    """Raise InputError unless there is one map per image, of the image's size."""
    wanted = (len(tensor_of("inputs", inputs)), *inputs.shape[2:])
    tensor_of("maps", maps)
    if tuple(maps.shape) != wanted:
        raise InputError(
            f"maps must have the shape {wanted} for images {tuple(inputs.shape)}, not {tuple(maps.shape)}:"
            " use explanation.heatmaps() of one target, or resize the maps",
            code="maps.shape",
            shape=tuple(maps.shape),
            inputs=tuple(inputs.shape),
        )


def unit_range(heatmaps: Tensor) -> None:
    """Raise InputError for heat maps outside [0, 1], which cannot be used as masks."""
    finite = heatmaps[heatmaps.isfinite()]
    if finite.numel() and not (finite.min() >= 0 and finite.max() <= 1):
        raise InputError(
            f"heat maps must be in [0, 1], not [{finite.min():.3g}, {finite.max():.3g}]:"
            " use explanation.heatmaps(), not .maps",
            code="heatmaps.range",
        )


def within(name: str, value: float | int, low: float | int, high: float | int) -> float:
    """Return `value`, or raise InputError unless low < value < high."""
    if not low < value < high:
        raise invalid_argument(name, value, f"above {low:g} and below {high:g}")
    return value


def draws(generator: torch.Generator | None) -> torch.Generator:
    """Return a copy of `generator` in its current state, or a generator with seed 0.

    Each image draws from its own copy, so its result does not depend on the rest of the batch.
    """
    copy = torch.Generator()
    if generator is None:
        return copy.manual_seed(0)
    if generator.device.type != "cpu":
        raise InputError(
            f"generator must be on the CPU, not on {generator.device}",
            code="generator.device",
            device=str(generator.device),
        )
    copy.set_state(generator.get_state())
    return copy


def scores_of(score: Score, variants: Iterable[Tensor], row: int) -> Float[Tensor, " m"]:
    """Compute the scores of variants in batches (m_i, c, *spatial), in float64 on the CPU, without gradients."""
    scores = []
    with torch.no_grad():
        for part in variants:
            values = answer_of("score", score, part, row)
            if values.shape != part.shape[:1]:
                raise InputError(
                    f"score must return one number per image, ({len(part)},), not {tuple(values.shape)}",
                    code="score.shape",
                    shape=tuple(values.shape),
                    images=len(part),
                )
            scores.append(values.to("cpu", torch.float64))
    return torch.cat(scores)


def score_of(score: Score, image: Float[Tensor, "c *spatial"], row: int) -> float:
    """Compute the score of one image."""
    return float(scores_of(score, [image[None]], row)[0])


def probability(value: float) -> float:
    """Return `value` clipped to [0, 1], or raise InputError if it is not a probability, as for logits."""
    if not -1e-6 <= value <= 1 + 1e-6:
        raise InputError(
            f"score must return probabilities, not {value:.4g}: apply softmax to the logits",
            code="score.not-a-probability",
        )
    return min(max(value, 0.0), 1.0)


def per_image(values: Sequence[float]) -> PerImage:
    """Return the result of a metric as float32, one number per image, NaN if undefined."""
    return torch.tensor(values, dtype=torch.float32)
