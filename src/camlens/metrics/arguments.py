"""What metrics are given, checked once at their doors, and the one way in which they ask for scores."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from camlens.core.errors import InputError

Maps = Float[Tensor, "n *size"]
Masks = Bool[Tensor, "..."]
PerImage = Float[Tensor, " n"]
Cells = Float[Tensor, "n cells"]
Baseline = Tensor | float | int
Score = Callable[[Tensor, int], Tensor]
"""score(inputs (m, c, *spatial), row) -> (m,): scores of image `row`'s class for m variants of it."""
Explain = Callable[[Tensor, int], Tensor]
"""explain(inputs (m, c, *spatial), row) -> (m, *size): maps of image `row`'s class for m variants of it."""

AT_ONCE = 32
UNDEFINED = math.nan


def tensor_of(name: str, value: object) -> Tensor:
    """`value` if it is a tensor, else an InputError that names it."""
    if not isinstance(value, Tensor):
        raise InputError(
            f"{name} must be a torch.Tensor, not {_kind(value)}: say torch.as_tensor(...)",
            code="argument.invalid",
            name=name,
            value=value,
        )
    return value


def answer_of(name: str, function: Callable[..., Any], *asked: object) -> Tensor:
    """What a function that was handed over gives, if it is one and gives a tensor."""
    if not callable(function):
        raise InputError(
            f"{name} must be a function, not {_kind(function)}", code="argument.invalid", name=name, value=function
        )
    return tensor_of(f"what {name} gives", function(*asked))


def _kind(value: object) -> str:
    kind = type(value)
    return repr(value) if value is None else f"{kind.__module__}.{kind.__name__}".removeprefix("builtins.")


def cells_of(maps: Tensor) -> Cells:
    """Every map as one row of cells, float64, on the CPU, where metrics do their sums."""
    tensor_of("maps", maps)
    if maps.ndim < 2 or maps.numel() == 0:
        raise InputError(
            f"maps must be (n, *size) with at least one cell, not {tuple(maps.shape)}",
            code="maps.shape",
            shape=tuple(maps.shape),
        )
    return maps.detach().to("cpu", torch.float64).flatten(1)


def says_something(cells: Cells) -> Bool[Tensor, " n"]:
    """Which maps are finite and not constant: only those say anything about places."""
    return cells.isfinite().all(dim=1) & (cells.amax(dim=1) > cells.amin(dim=1))


def masks_of(maps: Tensor, masks: Tensor) -> Bool[Tensor, "n cells"]:
    """Every mask as one row of cells, if there is one bool mask of the right size per map."""
    tensor_of("masks", masks)
    if masks.dtype != torch.bool:
        raise InputError(
            f"masks must be bool, not {masks.dtype}: say masks > 0", code="masks.dtype", dtype=str(masks.dtype)
        )
    if masks.shape != maps.shape:
        raise InputError(
            f"masks are {tuple(masks.shape)} and maps {tuple(maps.shape)}: resize the maps to the masks",
            code="masks.shape",
            shape=tuple(masks.shape),
            maps=tuple(maps.shape),
        )
    return masks.cpu().flatten(1)


def same_size(inputs: Tensor, maps: Tensor) -> None:
    """Refuse maps that do not lie on the images cell by cell."""
    wanted = (len(tensor_of("inputs", inputs)), *inputs.shape[2:])
    tensor_of("maps", maps)
    if tuple(maps.shape) != wanted:
        raise InputError(
            f"maps are {tuple(maps.shape)}, and images {tuple(inputs.shape)} need {wanted}:"
            " take explanation.heatmaps() of one target, or resize the maps",
            code="maps.shape",
            shape=tuple(maps.shape),
            inputs=tuple(inputs.shape),
        )


def unit_range(heatmaps: Tensor) -> None:
    """Refuse maps outside [0, 1], which cannot be laid on an image as a mask."""
    finite = heatmaps[heatmaps.isfinite()]
    if finite.numel() and not (finite.min() >= 0 and finite.max() <= 1):
        raise InputError(
            f"heat maps must lie in [0, 1], not [{finite.min():.3g}, {finite.max():.3g}]:"
            " take explanation.heatmaps(), not .maps",
            code="heatmaps.range",
        )


def within(name: str, value: float | int, low: float | int, high: float | int) -> float:
    """`value` if low < value < high, else an InputError that names it."""
    if not low < value < high:
        raise InputError(
            f"{name} must lie between {low:g} and {high:g}, both left out, not {value!r}",
            code="argument.invalid",
            name=name,
            value=value,
        )
    return value


def baseline_of(inputs: Tensor, baseline: Baseline) -> Tensor:
    """What removed places show, as a tensor of the images' shape."""
    shown = torch.as_tensor(baseline, dtype=inputs.dtype, device=inputs.device)
    try:
        return shown.expand(inputs.shape)
    except RuntimeError:
        raise InputError(
            f"the baseline is {tuple(shown.shape)}: it must be a number or expand to {tuple(inputs.shape)}",
            code="baseline.shape",
            shape=tuple(shown.shape),
            inputs=tuple(inputs.shape),
        ) from None


def draws(generator: torch.Generator | None) -> torch.Generator:
    """A twin of `generator` that leaves it untouched, or one with seed 0: same call, same numbers.

    Every image draws from the start, so that its figure does not depend on its neighbours in the batch.
    """
    twin = torch.Generator()
    if generator is None:
        return twin.manual_seed(0)
    if generator.device.type != "cpu":
        raise InputError(
            f"the generator must be on the CPU, not on {generator.device}",
            code="generator.device",
            device=str(generator.device),
        )
    twin.set_state(generator.get_state())
    return twin


def scores_of(score: Score, variants: Iterable[Tensor], row: int) -> Float[Tensor, " m"]:
    """Scores of variants given in parts (m_i, c, *spatial), float64 on the CPU, without a graph."""
    answers = []
    with torch.no_grad():
        for part in variants:
            answer = answer_of("score", score, part, row)
            if answer.shape != part.shape[:1]:
                raise InputError(
                    f"score gave {tuple(answer.shape)} for {len(part)} images: it must give one number each",
                    code="score.shape",
                    shape=tuple(answer.shape),
                    images=len(part),
                )
            answers.append(answer.to("cpu", torch.float64))
    return torch.cat(answers)


def score_of(score: Score, image: Float[Tensor, "c *spatial"], row: int) -> float:
    """Score of one image."""
    return float(scores_of(score, [image[None]], row)[0])


def probability(value: float) -> float:
    """`value` if it can be a probability, else an InputError: logits give other figures, silently."""
    if not -1e-6 <= value <= 1 + 1e-6:
        raise InputError(
            f"this needs probabilities, and score gave {value:.4g}: apply softmax to the logits",
            code="score.not-a-probability",
        )
    return min(max(value, 0.0), 1.0)


def per_image(values: Sequence[float]) -> PerImage:
    """The result of a metric: float32, one number per image, NaN where it is undefined."""
    return torch.tensor(values, dtype=torch.float32)
