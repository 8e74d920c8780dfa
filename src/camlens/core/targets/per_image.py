"""A different target for each image, and the target of the first image of a batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from camlens.core.errors import TargetError
from camlens.core.execution.outputs import map_tensors, tensors_in
from camlens.core.targets.classes import as_target
from camlens.core.targets.scoring import Output, Rows, Scorer, Target, TargetFunction


@dataclass(frozen=True)
class PerImage(Target):
    """A different target for each image: n classes, targets or functions, in the order of the images.

    A function is called with the output of its image, (1, classes) for a classifier, and returns scores (1,). Methods
    that perturb the image call it with m outputs of that image for scores (m,).

    Example:
        PerImage([Contrast(281, 207), 5, lambda output: output[:, :10].logsumexp(dim=1)])
    """

    targets: Sequence[int | Target | TargetFunction | None]

    def settle(self, output: Output) -> Scorer:
        self._check(output.images)
        scorers = [
            as_target(target).settle(_rows_of(output, torch.tensor([row]))) for row, target in enumerate(self.targets)
        ]
        counts = [len(scorer.labels) for scorer in scorers]
        if len(set(counts)) > 1:
            raise TargetError(
                f"the targets of all images must have the same number of scores, not {counts}",
                code="target.uneven",
                counts=tuple(counts),
            )

        def scores(output: Output, rows: Rows) -> Tensor:
            images = rows if isinstance(rows, Tensor) else torch.arange(len(scorers))[rows]
            places = [torch.nonzero(images == image).flatten() for image in range(len(scorers))]
            parts = [
                scorer(_rows_of(output, place), torch.zeros_like(place))
                for scorer, place in zip(scorers, places, strict=True)
                if len(place)
            ]
            return torch.cat(parts)[torch.cat(places).argsort()]

        columns = [scorer.classes for scorer in scorers if scorer.classes is not None]
        same = len({scorer.labels for scorer in scorers}) == 1
        return Scorer(
            scores,
            scorers[0].labels if same else tuple(f"target {number} of each image" for number in range(counts[0])),
            torch.cat(columns) if len(columns) == len(scorers) else None,
            all(scorer.plain for scorer in scorers),
            torch.cat([scorer.rivals(1) for scorer in scorers]),
        )

    def part(self, start: int, stop: int, images: int) -> Target:
        self._check(images)
        return PerImage(self.targets[start:stop])

    def _check(self, images: int) -> None:
        if len(self.targets) != images:
            raise TargetError(
                f"PerImage needs one target for each of {images} image(s), not {len(self.targets)}",
                code="target.count",
                targets=len(self.targets),
                images=images,
            )


def for_first_image(target: Target, images: int, run: Callable[[], Output]) -> Target:
    """Return the target of the first image alone.

    A target that needs the batch is evaluated on the output of `run` and replaced by its linearization: the derivative
    of its first score with respect to the output, times the output.
    """
    if images == 1 or not target.needs_batch:
        return target.part(0, 1, images)
    leaves: list[Tensor] = []

    def leaf(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        leaves.append(tensor.detach().clone().requires_grad_())
        return leaves[-1]

    output = run()
    output = replace(output, value=map_tensors(output.value, leaf))
    with torch.enable_grad():
        scores = target.settle(output)(output)
        first = scores[0].sum()
    slopes = torch.autograd.grad(first, leaves, allow_unused=True, materialize_grads=True)
    return _Slope(tuple(slope[:1] if slope.ndim and len(slope) == images else slope for slope in slopes))


@dataclass(frozen=True, eq=False)
class _Slope(Target):
    """A linear function of the output's tensors."""

    slopes: tuple[Tensor, ...]

    def settle(self, output: Output) -> Scorer:
        def scores(output: Output, rows: Rows) -> Tensor:
            products = [
                (tensor * slope).sum() for tensor, slope in zip(tensors_in(output.value), self.slopes, strict=True)
            ]
            return torch.stack(products).sum().reshape(1, 1)

        return Scorer(scores, ("first score",))


def _rows_of(output: Output, rows: Tensor) -> Output:
    """Select images from an output: from tensors with one entry per image, and from the list of a detector."""
    value = output.value
    if (
        isinstance(value, list)
        and len(value) == output.images
        and all(isinstance(detection, Mapping) for detection in value)
    ):
        return replace(output, value=[value[row] for row in rows.tolist()], images=len(rows))

    def cut(tensor: Tensor) -> Tensor:
        return tensor[rows.to(tensor.device)] if tensor.ndim and len(tensor) == output.images else tensor

    return replace(output, value=map_tensors(value, cut), images=len(rows))
