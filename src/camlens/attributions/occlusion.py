"""Occlusion: what the score loses when a window of the image is covered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

import torch
from torch import Tensor

from camlens.attributions.baselines import Baseline, baseline_image
from camlens.attributions.libraries import library
from camlens.core.errors import InputError
from camlens.core.probe import InputProbe
from camlens.core.registry import register_method
from camlens.core.types import TargetMaps, precise

Lengths = int | Sequence[int] | None


@register_method(
    "occlusion",
    paper="Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks, arXiv 1311.2901",
    needs="probe",
    good_for="the plainest question: what happens when this part is covered?",
    cost="seconds",
    scope="input",
    diverging=True,
)
def occlusion(
    probe: InputProbe, *, window: Lengths = None, stride: Lengths = None, baseline: Baseline = 0.0
) -> TargetMaps:
    """How much the score falls when a window over each place is filled with the baseline.

    O_p = mean over windows w that cover p of Y(x) - Y(x with w covered) (Zeiler and Fergus 2014, arXiv
    1311.2901, section 4.2; computed by captum). `window` and `stride` are pixels, one number or one per axis;
    without them a window is a seventh of each axis and moves by half of itself. `baseline` is a number or an
    image in the model's own units; 0 is the mean colour for most preprocessings. Negative where covering the
    place helps the target. All targets share the forward passes.

        explain(model, images, method="occlusion", options={"window": 32, "stride": 16})
    """
    size = tuple(probe.inputs.shape[2:])
    windows = _lengths("window", window, tuple(max(1, round(length / 7)) for length in size), size)
    strides = _lengths("stride", stride, tuple((length + 1) // 2 for length in windows), windows)
    attribution = library("captum.attr").Occlusion
    positions = [1 + -(-(length - wide) // step) for length, wide, step in zip(size, windows, strides, strict=True)]
    total = len(probe.inputs) * (1 + int(torch.Size(positions).numel()))
    maps = []
    for row, image in enumerate(probe.inputs):
        answers = _Answers(probe, row, total)
        each = [
            attribution(answers.of(target)).attribute(
                image[None],
                sliding_window_shapes=(len(image), *windows),
                strides=(len(image), *strides),
                baselines=baseline_image(baseline, image)[None],
                perturbations_per_eval=probe.batch_size,
            )
            for target in range(probe.scores.shape[1])
        ]
        maps.append(torch.stack([precise(found[0, 0]) for found in each]))
    return torch.stack(maps)


@dataclass(frozen=True, eq=False)
class _Answers:
    """The scores of one image under its windows: computed for the first target, remembered for the others."""

    probe: InputProbe
    row: int
    total: int
    kept: list[Tensor] = field(default_factory=list)

    def of(self, target: int) -> Callable[[Tensor], Tensor]:
        """One target's scores of the windows, which are asked in the same order for every target."""
        places = count()

        def score(inputs: Tensor) -> Tensor:
            place = next(places)
            if place == len(self.kept):
                self.kept.append(self.probe.input_scores(inputs, self.row))
                asked = self.row * self.total // len(self.probe.inputs) + sum(map(len, self.kept))
                self.probe.progress(min(asked, self.total), self.total)
            return self.kept[place][:, target]

        return score


def _lengths(name: str, given: object, default: tuple[int, ...], limits: tuple[int, ...]) -> tuple[int, ...]:
    """One length per axis, each from 1 to its limit, or an InputError."""
    if given is None:
        return default
    lengths = (given,) * len(limits) if isinstance(given, int) else tuple(given) if isinstance(given, Sequence) else ()
    whole = all(isinstance(one, int) and not isinstance(one, bool) for one in lengths)
    if (
        len(lengths) != len(limits)
        or not whole
        or not all(1 <= one <= limit for one, limit in zip(lengths, limits, strict=True))
    ):
        limit = "the image" if name == "window" else "the window"
        raise InputError(
            f"{name} must be from 1 pixel to {limit} itself, {' x '.join(map(str, limits))}, as one whole number or "
            f"one per axis, not {given!r}",
            code="argument.invalid",
            name=name,
            value=given,
        )
    return lengths
