"""Occlusion: the drop of the score if a window of the image is covered."""

from collections.abc import Sequence
from itertools import product

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from camlens.core.baselines import Baseline, baseline_image
from camlens.core.errors import invalid_argument
from camlens.core.probe import InputProbe
from camlens.core.registry import register_method
from camlens.core.types import TargetMaps

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
    1311.2901, section 4.2). `window` and `stride` are in pixels, one number or one per axis. By
    default a window is a seventh of each axis and the stride half a window. `baseline` is a number or an image in the
    units of the model's inputs; 0 is the mean color for most preprocessings. Negative if covering the pixel increases
    the score. All targets share the forward passes.

        explain(model, images, method="occlusion", options={"window": 32, "stride": 16})
    """
    size = tuple(probe.inputs.shape[2:])
    windows = _lengths("window", window, tuple(max(1, round(length / 7)) for length in size), size)
    strides = _lengths("stride", stride, tuple((length + 1) // 2 for length in windows), windows)
    steps = [range(0, length - wide + step, step) for length, wide, step in zip(size, windows, strides, strict=True)]
    corners = torch.tensor(list(product(*steps)), device=probe.inputs.device)
    done, maps = 0, []
    for row, image in enumerate(probe.inputs):
        filled = baseline_image(baseline, image)
        drops = probe.scores.new_zeros(probe.scores.shape[1], *size)
        times_covered = drops.new_zeros(size)
        for chunk in corners.split(probe.batch_size):
            covered = _covered(chunk, windows, size)
            scores = probe.input_scores(torch.where(covered[:, None], filled, image), row)
            drops = drops + torch.einsum("mt,m...->t...", probe.scores[row] - scores, covered.to(drops))
            times_covered = times_covered + covered.sum(dim=0)
            done += len(chunk)
            probe.progress(done, len(probe.inputs) * len(corners))
        maps.append(drops / times_covered)
    return torch.stack(maps)


def _covered(corners: Int[Tensor, "m axes"], windows: Sequence[int], size: Sequence[int]) -> Bool[Tensor, "m *size"]:
    """Masks of the windows at the given corners; windows may extend beyond the image."""
    masks = torch.ones((), dtype=torch.bool, device=corners.device)
    for axis, (wide, length) in enumerate(zip(windows, size, strict=True)):
        starts, pixels = corners[:, axis, None], torch.arange(length, device=corners.device)
        inside = (starts <= pixels) & (pixels < starts + wide)
        masks = masks[..., None] & inside.view(len(corners), *[1] * axis, length)
    return masks


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
        whole, size = "image" if name == "window" else "window", " x ".join(map(str, limits))
        raise invalid_argument(name, given, f"an int, or one per axis, from 1 to the size of the {whole}, {size}")
    return lengths
