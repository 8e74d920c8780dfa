"""RISE: the average effect of showing a pixel, estimated from the scores of randomly masked images."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from camlens.core.arguments import checked_count
from camlens.core.details import Found
from camlens.core.errors import InputError, invalid_argument
from camlens.core.probe import InputProbe
from camlens.core.registry import register_method
from camlens.core.types import Scores, TargetMaps
from camlens.methods.draws import same_draws


@dataclass(frozen=True, eq=False)
class Draws:
    """The masks of one run as coarse grids of 0 and 1 (m, *cells) and their shifts in pixels (m, axes)."""

    grids: Float[Tensor, "m *cells"]
    shifts: Int[Tensor, "m axes"]

    def __len__(self) -> int:
        return len(self.grids)

    def masks(self, start: int, stop: int, size: Sequence[int]) -> Float[Tensor, "m *size"]:
        """Return the masks from `start` to `stop` in [0, 1]: grids upsampled linearly and cropped at their shifts."""
        masks = self.grids[start:stop]
        for axis, length in enumerate(size):
            shares = _shares(self.shifts[start:stop, axis], length, masks.shape[axis + 1]).to(masks)
            masks = torch.einsum("m...c,mlc->m...l", masks.movedim(axis + 1, -1), shares).movedim(-1, axis + 1)
        return masks


def draws(generator: torch.Generator, count: int, size: Sequence[int], *, cells: int = 7, keep: float = 0.5) -> Draws:
    """Draw `count` random grids, whose cells are 1 with probability `keep`, and shifts of less than a cell."""
    grids = torch.rand(count, *[cells] * len(size), generator=generator, dtype=torch.float32) < keep
    steps = torch.tensor([math.ceil(length / cells) for length in size])
    shifts = (torch.rand(count, len(size), generator=generator, dtype=torch.float32) * steps).long()
    return Draws(grids.float(), shifts)


def _shares(shifts: Int[Tensor, " m"], length: int, cells: int) -> Float[Tensor, "m length cells"]:
    """Interpolation weights of the cells at each pixel of one axis.

    `cells` are upsampled to (cells + 1) * step pixels, step = ceil(length / cells), and cropped to `length` from the
    shift on, so every pixel is covered for any shift.
    """
    step = math.ceil(length / cells)
    pixels = shifts[:, None] + torch.arange(length) + 0.5
    centers = (pixels * cells / ((cells + 1) * step) - 0.5).clamp(0, cells - 1)
    return (1 - (centers[:, :, None] - torch.arange(cells)).abs()).clamp_min(0)


@dataclass(frozen=True, eq=False)
class _Sums:
    """Sums over one half of the masks: M (*size), Y M (n, t, *size) and Y (n, t), and the number of masks."""

    shown: Tensor
    scored: Tensor
    scores: Tensor
    count: int = 0

    def __add__(self, other: "_Sums") -> "_Sums":
        return _Sums(
            self.shown + other.shown,
            self.scored + other.scored,
            self.scores + other.scores,
            self.count + other.count,
        )

    def centred(self) -> Tensor:
        """Mean score weighted by the mask, minus the mean score."""
        average = (self.scores / self.count).reshape(*self.scores.shape, *[1] * self.shown.ndim)
        seen = self.shown > 0
        difference: Tensor = self.scored / self.shown.where(seen, torch.inf) - average.where(seen, 0)
        return difference


@dataclass(frozen=True, eq=False)
class RiseEstimate:
    """The maps estimated from `done` of `total` masks."""

    done: int
    total: int
    keep: float
    halves: tuple[_Sums, _Sums]
    dtype: torch.dtype

    def maps(self, *, centred: bool = True) -> TargetMaps:
        """Return the current maps (n, t, *size): centered, or as defined in the paper."""
        sums = self.halves[0] + self.halves[1]
        maps = sums.centred() if centred else sums.scored / (self.keep * sums.count)
        return maps.to(self.dtype)

    def agreement(self) -> Scores:
        """Correlation (n, t) of the maps of the two halves of the masks: close to 1 if there are enough masks."""
        if not all(half.count for half in self.halves):
            return torch.zeros_like(self.halves[0].scores, dtype=self.dtype)
        first, second = (half.centred().flatten(2) for half in self.halves)
        first, second = (half - half.mean(dim=2, keepdim=True) for half in (first, second))
        lengths = first.norm(dim=2) * second.norm(dim=2)
        correlation: Tensor = (first * second).sum(dim=2) / lengths.where(lengths > 0, torch.inf)
        return correlation.to(self.dtype)


@register_method(
    "rise",
    paper="Petsiuk et al. 2018, RISE, arXiv 1806.07421",
    needs="probe",
    good_for="black-box models: no gradients, no layers",
    cost="minutes",
    scope="input",
)
def rise(probe: InputProbe, *, masks: int = 4000, cells: int = 7, keep: float = 0.5, centred: bool = True) -> Found:
    """Estimate how showing a pixel changes the score, on average over random masks.

    L = sum_i Y(x * M_i) M_i / sum_i M_i - mean_i Y(x * M_i): the paper's estimate of E[Y | pixel shown], normalized
    by the actual sum of the masks, minus the mean score, so that an offset of the score has no effect (Petsiuk et al.
    2018, arXiv 1806.07421). `centred=False` is equation 6 of the paper, sum_i Y(x * M_i) M_i / (keep * masks).
    M_i has `cells` per axis, each 1 with probability `keep`, upsampled linearly and shifted at random.

    Seeded, with the same masks for every image and target; all targets share the forward passes. Masks are made in
    batches of `batch_size`, and after each batch `explain(..., estimate=show)` calls `show` with the current maps.
    The detail `agreement` (n, t) is the correlation of the maps of even and of odd masks: use more masks if it is low.

        explain(model, images, method="rise", options={"masks": 1000})
    """
    estimate = None
    for estimate in rise_estimates(probe, masks=masks, cells=cells, keep=keep):
        if probe.estimate is not None:
            probe.estimate(estimate.maps(centred=centred))
        probe.progress(estimate.done * len(probe.inputs), masks * len(probe.inputs))
    assert estimate is not None
    return Found(estimate.maps(centred=centred), {"agreement": estimate.agreement()})


def rise_estimates(
    probe: InputProbe, *, masks: int = 4000, cells: int = 7, keep: float = 0.5
) -> Iterator[RiseEstimate]:
    """Yield the estimate of `rise` after every `batch_size` masks.

    Use it in a custom method that shows intermediate maps or stops early:

        def settled(probe):
            for estimate in rise_estimates(probe.at_input, masks=8000):
                if estimate.agreement().min() > 0.95:
                    break
            return estimate.maps()

        explain(model, images, method=settled)
    """
    size = tuple(probe.inputs.shape[2:])
    _check(masks, cells, keep, size)
    drawn = draws(same_draws(probe.generator), masks, size, cells=cells, keep=keep)
    drawn = replace(drawn, grids=drawn.grids.to(probe.scores.dtype))
    precise = torch.float32 if probe.inputs.device.type == "mps" else torch.float64
    zeros = partial(probe.scores.new_zeros, dtype=precise)
    nothing = _Sums(zeros(size), zeros((*probe.scores.shape, *size)), zeros(probe.scores.shape))
    halves = (nothing, nothing)
    for start in range(0, masks, probe.batch_size):
        chunk = drawn.masks(start, min(start + probe.batch_size, masks), size).to(probe.inputs)
        scores = torch.stack(
            [probe.input_scores(image * chunk[:, None], row) for row, image in enumerate(probe.inputs)]
        )
        numbers = torch.arange(start, start + len(chunk), device=chunk.device)
        halves = (
            halves[0] + _gathered(chunk[numbers % 2 == 0], scores[:, numbers % 2 == 0], precise),
            halves[1] + _gathered(chunk[numbers % 2 == 1], scores[:, numbers % 2 == 1], precise),
        )
        yield RiseEstimate(start + len(chunk), masks, keep, halves, probe.scores.dtype)


def _gathered(masks: Float[Tensor, "m *size"], scores: Float[Tensor, "n m t"], precise: torch.dtype) -> _Sums:
    shown, answers = masks.to(precise), scores.to(precise)
    scored = (answers.transpose(1, 2) @ shown.flatten(1)).reshape(len(scores), scores.shape[2], *masks.shape[1:])
    return _Sums(shown.sum(dim=0), scored, answers.sum(dim=1), len(masks))


def _check(masks: int, cells: int, keep: float, size: tuple[int, ...]) -> None:
    checked_count("masks", masks)
    checked_count("cells", cells)
    most = min(size)
    if cells > most:
        raise InputError(
            f"cells must be at most the input's smallest side, {most}, not {cells}: pass options={{'cells': {most}}}",
            code="argument.invalid",
            name="cells",
            value=cells,
        )
    if isinstance(keep, bool) or not isinstance(keep, int | float) or not 0 < keep < 1:
        raise invalid_argument("keep", keep, "a probability above 0 and below 1")
