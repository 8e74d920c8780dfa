"""Targets that are classes: given, predicted, top-k, all, and contrasts of classes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camlens.core.errors import NoGradientError, TargetError
from camlens.core.execution.outputs import tensors_in
from camlens.core.targets.scoring import Output, Rows, Scorer, Target
from camlens.core.types import precise


def _cut(classes: Any, start: int, stop: int, images: int) -> Any:
    """Select the classes of some of the images from one class per image; return anything else unchanged."""
    if not isinstance(classes, list | tuple):
        return classes
    _check_count(classes, images)
    return classes[start:stop]


def _plain(classes: Any) -> Any:
    """Convert arrays, tensors and ranges of classes to ints; return anything else unchanged."""
    if isinstance(classes, Tensor | np.ndarray | np.integer):
        return classes.tolist()
    if isinstance(classes, list | tuple):
        return type(classes)(int(index) if isinstance(index, np.integer) else index for index in classes)
    return list(classes) if isinstance(classes, range) else classes


def _check_count(classes: Sequence[int], images: int) -> None:
    if len(classes) != images:
        raise TargetError(
            f"expected one class for each of {images} image(s), not {len(classes)}: pass one int per image, one int "
            f"for all images, or a list of targets such as [ClassScore(3), ClassScore(5)] for several maps per image",
            code="target.count",
            targets=len(classes),
            images=images,
        )


def checked_class(index: object, classes: int) -> int:
    """Return the index as an int, or raise TargetError if the model has no such class."""
    if isinstance(index, bool) or not isinstance(index, int | np.integer):
        raise TargetError(
            f"a class must be an int from 0 to {classes - 1}, not {index!r}",
            code="target.type",
            value=index,
            classes=classes,
        )
    if not 0 <= int(index) < classes:
        raise TargetError(
            f"class {int(index)} is out of range: the model has {classes} classes (0 to {classes - 1})",
            code="target.out-of-range",
            value=int(index),
            classes=classes,
        )
    return int(index)


def _logit_scorer(classes: Tensor, labels: tuple[str, ...]) -> Scorer:
    """Return a scorer of the logits of `classes` (n, t)."""

    def scores(output: Output, rows: Rows) -> Tensor:
        return output.logits().gather(1, classes[rows])

    return Scorer(scores, labels, classes, plain=True)


def _class_column(classes: int | Sequence[int] | None, output: Output) -> Tensor:
    """Return the class of each image as (n, 1); None is the predicted class."""
    if classes is None:
        return output.class_scores().detach().argmax(dim=1, keepdim=True)
    logits = output.logits()
    count = logits.shape[1]
    if isinstance(classes, int | np.integer | str):
        return torch.full((len(logits), 1), checked_class(classes, count), device=logits.device)
    indices = [checked_class(index, count) for index in classes]
    _check_count(indices, len(logits))
    return torch.tensor(indices, device=logits.device)[:, None]


def _described(classes: int | Sequence[int] | None) -> str:
    if classes is None:
        return "predicted class"
    return f"class {classes}" if isinstance(classes, int | np.integer | str) else "given class"


@dataclass(frozen=True)
class ClassScore(Target):
    """The logit of class `c`: one int for all images, or one int per image."""

    c: int | Sequence[int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "c", _plain(self.c))

    def settle(self, output: Output) -> Scorer:
        return _logit_scorer(_class_column(self.c, output), (f"class {self.c}",))

    def part(self, start: int, stop: int, images: int) -> Target:
        return ClassScore(_cut(self.c, start, stop, images))


@dataclass(frozen=True)
class Predicted(Target):
    """The logit of each image's own predicted class."""

    def settle(self, output: Output) -> Scorer:
        return _logit_scorer(_class_column(None, output), ("predicted class",))


@dataclass(frozen=True)
class TopK(Target):
    """The logits of the `k` classes with the highest scores: k maps per image, best first."""

    k: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", _plain(self.k))

    def settle(self, output: Output) -> Scorer:
        logits = output.class_scores()
        if isinstance(self.k, bool) or not isinstance(self.k, int) or not 1 <= self.k <= logits.shape[1]:
            raise TargetError(
                f"k must be an int from 1 to the number of classes, {logits.shape[1]}, not {self.k!r}",
                code="target.out-of-range",
                value=self.k,
                classes=logits.shape[1],
            )
        classes = logits.detach().topk(self.k, dim=1).indices
        return _logit_scorer(classes, tuple(f"rank {rank}" for rank in range(1, self.k + 1)))


@dataclass(frozen=True)
class AllClasses(Target):
    """The logit of every class: one map per image and class."""

    def settle(self, output: Output) -> Scorer:
        logits = output.logits()
        classes = torch.arange(logits.shape[1], device=logits.device).expand(len(logits), -1)
        return _logit_scorer(classes, tuple(f"class {index}" for index in range(logits.shape[1])))


@dataclass(frozen=True)
class Contrast(Target):
    """The logit of class `a` minus the logit of class `b`.

    Each is one int for all images, one int per image, or None for the predicted class. If both are the same class for
    an image, its map is zero and an EvidenceWarning is given.
    """

    a: int | Sequence[int] | None
    b: int | Sequence[int] | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "a", _plain(self.a))
        object.__setattr__(self, "b", _plain(self.b))

    def settle(self, output: Output) -> Scorer:
        if isinstance(self.a, int) and self.a == self.b:
            raise TargetError(
                f"the classes of a contrast must differ, not both be {self.a}",
                code="target.same-class",
                a=self.a,
                b=self.b,
            )
        ours, theirs = _class_column(self.a, output), _class_column(self.b, output)

        def scores(output: Output, rows: Rows) -> Tensor:
            logits = output.logits()
            return logits.gather(1, ours[rows]) - logits.gather(1, theirs[rows])

        return Scorer(scores, (f"{_described(self.a)} minus {_described(self.b)}",), ours, against=theirs)

    def part(self, start: int, stop: int, images: int) -> Target:
        return Contrast(_cut(self.a, start, stop, images), _cut(self.b, start, stop, images))


@dataclass(frozen=True)
class Finer(Target):
    """The logit of class `c` minus `gamma` times the mean logit of similar classes.

    `c` is a class, one class per image, any target of classes, or None for the predicted class. The similar classes are
    the `similar` other classes whose logits are closest to that of `c`, or all others if there are fewer.
    Finer-CAM, Zhang et al. 2025, arXiv 2501.11309.
    """

    c: object = None
    similar: int = 3
    gamma: float = 0.6

    def settle(self, output: Output) -> Scorer:
        logits = output.logits()
        others = logits.shape[1] - 1
        if isinstance(self.similar, bool) or not isinstance(self.similar, int) or self.similar < 1 or others < 1:
            raise TargetError(
                f"similar must be an int of 1 or more, and the model must have 2 classes or more: got {self.similar!r} "
                f"and {logits.shape[1]} class(es)",
                code="target.out-of-range",
                value=self.similar,
                classes=logits.shape[1],
            )
        base = as_target(self.c).settle(output)
        if base.classes is None:
            raise TargetError(
                f"Finer needs a class or a target of classes, not {self.c!r}",
                code="target.type",
                value=self.c,
            )
        ours = base.classes
        distance = (logits.detach()[:, None] - logits.detach().gather(1, ours)[:, :, None]).abs()
        distance = distance.scatter(2, ours[:, :, None], torch.inf)
        nearest = distance.topk(min(self.similar, others), dim=2, largest=False).indices

        def scores(output: Output, rows: Rows) -> Tensor:
            logits = output.logits()
            similar = nearest[rows]
            own: Tensor = logits.gather(1, ours[rows])
            return own - self.gamma * logits.gather(1, similar.flatten(1)).view(similar.shape).mean(dim=2)

        return Scorer(scores, tuple(f"{label} minus similar classes" for label in base.labels), ours)

    def part(self, start: int, stop: int, images: int) -> Target:
        return Finer(as_target(self.c).part(start, stop, images), self.similar, self.gamma)


@dataclass(frozen=True)
class Probability(Target):
    """The softmax probability of class `c`; None is the predicted class."""

    c: int | Sequence[int] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "c", _plain(self.c))

    def settle(self, output: Output) -> Scorer:
        classes = _class_column(self.c, output)

        def scores(output: Output, rows: Rows) -> Tensor:
            return precise(output.logits()).softmax(dim=1).gather(1, classes[rows])

        return Scorer(scores, (f"probability of class {self.c}",), classes)

    def part(self, start: int, stop: int, images: int) -> Target:
        return Probability(_cut(self.c, start, stop, images))


@dataclass(frozen=True)
class _Custom(Target):
    """A user's own function from the model's output to (n,) scores."""

    function: Callable[[Any], Tensor]
    needs_batch = True

    def settle(self, output: Output) -> Scorer:
        label = getattr(self.function, "__name__", type(self.function).__name__)

        def scores(output: Output, rows: Rows) -> Tensor:
            values = self.function(output.value)
            if not isinstance(values, Tensor) or values.shape not in ((output.images,), (output.images, 1)):
                returned = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
                raise TargetError(
                    f"the target {label} must return scores of shape ({output.images},), not {returned}; pass "
                    f"functions of single images as PerImage([...])",
                    code="target.shape",
                    target=label,
                    images=output.images,
                    returned=returned,
                )
            tensors = list(tensors_in(output.value))
            differentiable = bool(tensors) and all(tensor.requires_grad for tensor in tensors)
            if torch.is_grad_enabled() and differentiable and not values.requires_grad:
                raise NoGradientError(
                    f"No gradients captured. The score of the target {label} has no gradient although the output has "
                    f"one, as after detach(), item() or argmax()",
                    code="target.no-gradient",
                    target=label,
                )
            return values.reshape(-1, 1)

        return Scorer(scores, (label,))


@dataclass(frozen=True)
class _Several(Target):
    """Several targets, concatenated along t."""

    members: tuple[Target, ...]

    @property
    def needs_batch(self) -> bool:  # type: ignore[override]
        """Whether one of the members needs the batch."""
        return any(member.needs_batch for member in self.members)

    def settle(self, output: Output) -> Scorer:
        scorers = [member.settle(output) for member in self.members]
        columns = [scorer.classes for scorer in scorers if scorer.classes is not None]

        def scores(output: Output, rows: Rows) -> Tensor:
            return torch.cat([precise(scorer.function(output, rows)) for scorer in scorers], dim=1)

        labels = tuple(label for scorer in scorers for label in scorer.labels)
        known = len(columns) == len(scorers)
        plain = all(scorer.plain for scorer in scorers)
        against = torch.cat([scorer.rivals(output.images) for scorer in scorers], dim=1)
        return Scorer(scores, labels, torch.cat(columns, dim=1) if known else None, plain, against)

    def part(self, start: int, stop: int, images: int) -> Target:
        return _Several(tuple(member.part(start, stop, images) for member in self.members))


def as_target(target: object) -> Target:
    """Convert the argument `target` to a Target.

    None is the predicted class, an int one class for all images, a list of ints one class per image, and a list of
    targets several maps per image. A Target or a callable is used as it is.
    """
    if target is None:
        return Predicted()
    if isinstance(target, Target):
        return target
    target = _plain(target)
    if isinstance(target, int) and not isinstance(target, bool):
        return ClassScore(int(target))
    if isinstance(target, list | tuple):
        if not target:
            raise TargetError(
                "target must not be empty: pass an int, one int per image, or targets",
                code="argument.empty",
                name="target",
            )
        if any(isinstance(member, Target) or callable(member) for member in target):
            return _Several(tuple(map(as_target, target)))
        return ClassScore(tuple(target))
    if callable(target):
        return _Custom(target)
    raise TargetError(
        f"target must be None (the predicted class), an int, one int per image, a target such as Contrast(3, 5), or a "
        f"function of the output that returns scores (n,), not {target!r}",
        code="target.type",
        value=target,
    )
