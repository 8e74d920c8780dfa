"""RISE: the score of the image seen through many random masks, and what showing a pixel does to it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from camlens.core.details import Found
from camlens.core.errors import InputError
from camlens.core.probe import InputProbe
from camlens.core.registry import register_method
from camlens.core.types import Scores, TargetMaps
from camlens.methods.draws import same_draws
from camlens.methods.options import checked_count


@dataclass(frozen=True, eq=False)
class Draws:
    """The masks of one run, small: coarse grids of 0 and 1 (m, *cells), and how far each is shifted (m, axes)."""

    grids: Float[Tensor, "m *cells"]
    shifts: Int[Tensor, "m axes"]

    def __len__(self) -> int:
        return len(self.grids)

    def masks(self, start: int, stop: int, size: Sequence[int]) -> Float[Tensor, "m *size"]:
        """The masks from `start` to `stop` in [0, 1]: each grid enlarged linearly, and cut out at its shift."""
        masks = self.grids[start:stop]
        for axis, length in enumerate(size):
            shares = _shares(self.shifts[start:stop, axis], length, masks.shape[axis + 1]).to(masks)
            masks = torch.einsum("m...c,mlc->m...l", masks.movedim(axis + 1, -1), shares).movedim(-1, axis + 1)
        return masks


def draws(generator: torch.Generator, count: int, size: Sequence[int], *, cells: int = 7, keep: float = 0.5) -> Draws:
    """`count` random grids with each cell kept at the chance `keep`, shifted by less than a cell."""
    grids = torch.rand(count, *[cells] * len(size), generator=generator, dtype=torch.float32) < keep
    steps = torch.tensor([math.ceil(length / cells) for length in size])
    shifts = (torch.rand(count, len(size), generator=generator, dtype=torch.float32) * steps).long()
    return Draws(grids.float(), shifts)


def _shares(shifts: Int[Tensor, " m"], length: int, cells: int) -> Float[Tensor, "m length cells"]:
    """How much each cell gives to each place of one axis.

    `cells` are enlarged to (cells + 1) * step places, step = ceil(length / cells), of which `length` are seen
    from the shift on; so every place is covered whatever the shift.
    """
    step = math.ceil(length / cells)
    places = shifts[:, None] + torch.arange(length) + 0.5
    centres = (places * cells / ((cells + 1) * step) - 0.5).clamp(0, cells - 1)
    return (1 - (centres[:, :, None] - torch.arange(cells)).abs()).clamp_min(0)


@dataclass(frozen=True, eq=False)
class _Sums:
    """What one half of the masks has gathered: sum of M (*size), of Y M (n, t, *size), of Y (n, t), and how many."""

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
        """Mean score weighted by how much of the pixel was shown, minus the mean score."""
        average = (self.scores / self.count).reshape(*self.scores.shape, *[1] * self.shown.ndim)
        seen = self.shown > 0
        difference: Tensor = self.scored / self.shown.where(seen, torch.inf) - average.where(seen, 0)
        return difference


@dataclass(frozen=True, eq=False)
class RiseEstimate:
    """The maps as far as `done` of `total` masks tell them."""

    done: int
    total: int
    keep: float
    halves: tuple[_Sums, _Sums]
    dtype: torch.dtype

    def maps(self, *, centred: bool = True) -> TargetMaps:
        """The estimate (n, t, *size) so far: centred, or as the paper writes it."""
        sums = self.halves[0] + self.halves[1]
        maps = sums.centred() if centred else sums.scored / (self.keep * sums.count)
        return maps.to(self.dtype)

    def agreement(self) -> Scores:
        """Correlation (n, t) of the maps that the two halves of the masks give: near 1 once there are enough."""
        if not all(half.count for half in self.halves):
            return torch.zeros_like(self.halves[0].scores, dtype=self.dtype)
        first, second = (half.centred().flatten(2) for half in self.halves)
        first, second = (one - one.mean(dim=2, keepdim=True) for one in (first, second))
        lengths = first.norm(dim=2) * second.norm(dim=2)
        correlation: Tensor = (first * second).sum(dim=2) / lengths.where(lengths > 0, torch.inf)
        return correlation.to(self.dtype)


@register_method(
    "rise",
    paper="Petsiuk et al. 2018, RISE, arXiv 1806.07421",
    needs="probe",
    good_for="models of which nothing but the answers can be had: no gradients, no layers",
    cost="minutes",
    scope="input",
)
def rise(probe: InputProbe, *, masks: int = 4000, cells: int = 7, keep: float = 0.5, centred: bool = True) -> Found:
    """How the score changes, on average over random masks, when a pixel is shown rather than hidden.

    L = sum_i Y(x * M_i) M_i / sum_i M_i - mean_i Y(x * M_i): the paper's estimate of E[Y | pixel shown] without
    the chance in sum_i M_i, less the mean score, so that an offset of the score does not show (Petsiuk et al.
    2018, arXiv 1806.07421). `centred=False` is the paper's equation 6, sum_i Y(x * M_i) M_i / (keep * masks).
    M_i are `cells` per axis, each kept at the chance `keep`, enlarged linearly and shifted at random.

    Seeded, and the same masks for every image and target; all targets share the forward passes, and no more
    than `batch_size` masks exist at a time; after each of these `explain(..., estimate=show)` sees the maps so far.
    The detail `agreement` (n, t) is the correlation of the maps of the masks with even and with odd numbers: low
    means that more masks are needed.

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
    """The running estimate of `rise`, after every `batch_size` masks; leaving the loop costs nothing more.

    For a method of one's own that shows what there is so far, or stops when it is enough:

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
            f"cells must be at most the input's smallest side, {most}, not {cells}: say options={{'cells': {most}}}",
            code="argument.invalid",
            name="cells",
            value=cells,
        )
    if isinstance(keep, bool) or not isinstance(keep, int | float) or not 0 < keep < 1:
        raise InputError(
            f"keep must be a chance between 0 and 1, both excluded, not {keep!r}",
            code="argument.invalid",
            name="keep",
            value=keep,
        )
