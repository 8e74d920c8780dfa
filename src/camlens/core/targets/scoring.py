"""Base classes of targets."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from camlens.core.errors import TargetError
from camlens.core.execution.outputs import class_logits, features_reason, find_logits, one_row_each
from camlens.core.probabilities import Task


def check_single_output(outputs: Tensor) -> None:
    """Raise TargetError (target.needed) if a regression has more than one output (n, outputs)."""
    if outputs.shape[1] > 1:
        raise TargetError(
            f"a target is required for a regression with {outputs.shape[1]} outputs: pass an int for one of them",
            code="target.needed",
            reason="regression",
            outputs=outputs.shape[1],
        )


@dataclass(frozen=True)
class Output:
    """The selected output of a model for `images` inputs."""

    value: Any
    images: int
    model: nn.Module | None = None
    task: Task = "classification"

    def class_scores(self) -> Tensor:
        """Return `logits`; raise TargetError (target.needed) for features and for several outputs of a regression."""
        logits = self.logits()
        reason = None if self.model is None else features_reason(self.model, self.value, logits)
        if reason is not None:
            raise TargetError(
                f"a target is required, as the model returns {logits.shape[1]} features and no class scores ({reason}):"
                " pass Similarity(reference), an int for one feature, or a function of the output",
                code="target.needed",
                reason=reason,
                outputs=logits.shape[1],
            )
        if self.task == "regression":
            check_single_output(logits)
        return logits

    def logits(self) -> Tensor:
        """Return class logits (n, classes), or raise ModelError."""
        return class_logits(self.value, self.images)

    def logits_or_none(self) -> Tensor | None:
        """Return class logits (n, classes) if the output has them, else None."""
        logits = find_logits(self.value)
        if logits is not None:
            logits = one_row_each(logits, self.images)
        fits = logits is not None and logits.ndim == 2 and len(logits) == self.images
        return logits if fits else None


@dataclass(frozen=True, eq=False)
class Scorer:
    """A target with fixed classes.

    Attributes:
        function: `function(output, rows)` returns the scores (m, t) of the m inputs in `output`, which are variants of
            the images `rows` (m,).
        labels: a label for each target.
        classes: the class of each score (n, t), or None.
        plain: whether each score is the logit of its class.
        against: the classes whose logits are subtracted (n, t), -1 for none.
    """

    function: Callable[[Output, Tensor], Tensor]
    labels: tuple[str, ...]
    classes: Tensor | None = None
    plain: bool = False
    against: Tensor | None = None

    @property
    def contrasts(self) -> tuple[bool, ...]:
        """Whether each target is a contrast of two classes."""
        if self.against is None:
            return (False,) * len(self.labels)
        return tuple((self.against >= 0).all(dim=0).tolist())

    def rivals(self, images: int) -> Tensor:
        """Return `against` (images, t), with -1 for targets that are not contrasts."""
        return torch.full((images, len(self.labels)), -1) if self.against is None else self.against.cpu()

    def __call__(self, output: Output, rows: Tensor | None = None) -> Tensor:
        """Return the scores (m, t); the inputs in `output` are the images themselves unless `rows` is given."""
        return self.function(output, torch.arange(output.images) if rows is None else rows)


class Target(ABC):
    """Base class of targets. A function from the model's output to scores (n,) is a target as well.

    Set `needs_batch` if the scores can only be computed for the whole batch.
    """

    needs_batch: ClassVar[bool] = False

    @abstractmethod
    def settle(self, output: Output) -> Scorer:
        """Return a scorer with the classes for these images."""

    def part(self, start: int, stop: int, images: int) -> "Target":
        """Return the target for the images from `start` to `stop` of `images`."""
        return self


TargetFunction = Callable[..., Tensor]
TargetLike = (
    int | Sequence[int] | NDArray[np.integer] | Tensor | Target | TargetFunction
    | Sequence[int | Target | TargetFunction] | None
)  # fmt: skip
"""Accepted types of `target`; see `as_target`."""
