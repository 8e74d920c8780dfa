"""Occlusion: the drop of the score if a window of the image is covered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

import torch
from torch import Tensor

from camlens.core.errors import InputError
from camlens.core.probe import InputProbe
from camlens.core.registry import register_method
from camlens.core.types import TargetMaps, precise
from camlens.methods.baselines import Baseline, baseline_image
from camlens.methods.libraries import library

Lengths = int | Sequence[int] | None


@register_method(
    "occlusion",
    paper="Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks, arXiv 1311.2901",
    needs="probe",
    good_for="the effect of covering a part of the image",
    cost="seconds",
    scope="input",
    diverging=True,
)
def occlusion(
    probe: InputProbe, *, window: Lengths = None, stride: Lengths = None, baseline: Baseline = 0.0
) -> TargetMaps:
    """Compute the mean drop of the score over all windows that cover a pixel.

    O_p = mean over windows w that cover p of Y(x) - Y(x with w covered) (Zeiler and Fergus 2014, arXiv
    1311.2901, section 4.2; computed by captum). `window` and `stride` are in pixels, one number or one per axis. By
    default a window is a seventh of each axis and the stride half a window. `baseline` is a number or an image in the
    units of the model's inputs; 0 is the mean color for most preprocessings. Negative if covering the pixel increases
    the score. All targets share the forward passes.

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
        window_scores = _WindowScores(probe, row, total)
        target_maps = [
            attribution(window_scores.of(target)).attribute(
                image[None],
                sliding_window_shapes=(len(image), *windows),
                strides=(len(image), *strides),
                baselines=baseline_image(baseline, image)[None],
                perturbations_per_eval=probe.batch_size,
            )
            for target in range(probe.scores.shape[1])
        ]
        maps.append(torch.stack([precise(target_map[0, 0]) for target_map in target_maps]))
    return torch.stack(maps)


@dataclass(frozen=True, eq=False)
class _WindowScores:
    """The scores of one image under its windows, computed for the first target and cached for the others."""

    probe: InputProbe
    row: int
    total: int
    cache: list[Tensor] = field(default_factory=list)

    def of(self, target: int) -> Callable[[Tensor], Tensor]:
        """Return the score function of one target, to be called with the same windows in the same order for each."""
        calls = count()

        def score(inputs: Tensor) -> Tensor:
            call = next(calls)
            if call == len(self.cache):
                self.cache.append(self.probe.input_scores(inputs, self.row))
                done = self.row * self.total // len(self.probe.inputs) + sum(map(len, self.cache))
                self.probe.progress(min(done, self.total), self.total)
            return self.cache[call][:, target]

        return score


def _lengths(name: str, given: object, default: tuple[int, ...], limits: tuple[int, ...]) -> tuple[int, ...]:
    """Return one length per axis, or raise InputError unless each is from 1 to its limit."""
    if given is None:
        return default
    lengths = (given,) * len(limits) if isinstance(given, int) else tuple(given) if isinstance(given, Sequence) else ()
    integers = all(isinstance(length, int) and not isinstance(length, bool) for length in lengths)
    if (
        len(lengths) != len(limits)
        or not integers
        or not all(1 <= length <= limit for length, limit in zip(lengths, limits, strict=True))
    ):
        limit = "image" if name == "window" else "window"
        raise InputError(
            f"{name} must be an int, or one per axis, from 1 to the size of the {limit}, "
            f"{' x '.join(map(str, limits))}, not {given!r}",
            code="argument.invalid",
            name=name,
            value=given,
        )
    return lengths
