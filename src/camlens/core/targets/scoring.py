"""What a target is: something that settles its classes once and then scores any output."""

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
    """Raise TargetError (target.needed) unless a regression's outputs (n, outputs) are one per image."""
    if outputs.shape[1] > 1:
        raise TargetError(
            f"the regression has {outputs.shape[1]} outputs, none of which is predicted more than the others: pass a "
            "target, such as an int for one output",
            code="target.needed",
            reason="regression",
            outputs=outputs.shape[1],
        )


@dataclass(frozen=True)
class Output:
    """A model's output for `images` inputs: what the user selected from it, and its logits when asked."""

    value: Any
    images: int
    model: nn.Module | None = None
    task: Task = "classification"

    def class_scores(self) -> Tensor:
        """`logits`, or a TargetError (target.needed) if no class can be predicted from them.

        They are certain to be features, or several outputs of a regression.
        """
        logits = self.logits()
        reason = None if self.model is None else features_reason(self.model, self.value, logits)
        if reason is not None:
            raise TargetError(
                f"the model returns {logits.shape[1]} features, not class scores ({reason}), so no class is predicted: "
                "pass a target, such as Similarity(reference), an int for one feature, or a function of the output",
                code="target.needed",
                reason=reason,
                outputs=logits.shape[1],
            )
        if self.task == "regression":
            check_single_output(logits)
        return logits

    def logits(self) -> Tensor:
        """Class logits (n, classes), or a ModelError that says how to point at them."""
        return class_logits(self.value, self.images)

    def logits_or_none(self) -> Tensor | None:
        """Class logits (n, classes) where the output has such, else None."""
        logits = find_logits(self.value)
        if logits is not None:
            logits = one_row_each(logits, self.images)
        fits = logits is not None and logits.ndim == 2 and len(logits) == self.images
        return logits if fits else None


@dataclass(frozen=True, eq=False)
class Scorer:
    """Targets with every class settled.

    `function(output, rows)` gives scores (m, t) of the m inputs in `output`, which belong to the images
    `rows` (m,). `classes` (n, t) are the classes the scores are about, and `plain` is true if each score is just
    the logit of its class. `against` (n, t) are the classes whose logits are subtracted, -1 for none.
    """

    function: Callable[[Output, Tensor], Tensor]
    labels: tuple[str, ...]
    classes: Tensor | None = None
    plain: bool = False
    against: Tensor | None = None

    @property
    def contrasts(self) -> tuple[bool, ...]:
        """For each target whether it sets one class against another."""
        if self.against is None:
            return (False,) * len(self.labels)
        return tuple((self.against >= 0).all(dim=0).tolist())

    def rivals(self, images: int) -> Tensor:
        """`against` (images, t), -1 for each target that is no contrast."""
        return torch.full((images, len(self.labels)), -1) if self.against is None else self.against.cpu()

    def __call__(self, output: Output, rows: Tensor) -> Tensor:
        return self.function(output, rows)


class Target(ABC):
    """What to explain. Subclass it, or pass any callable from the model's output to (n,) scores.

    `needs_batch` states that the scores can be computed for the whole batch only.
    """

    needs_batch: ClassVar[bool] = False

    @abstractmethod
    def settle(self, output: Output) -> Scorer:
        """The scorer for these images, with every class known."""

    def part(self, start: int, stop: int, images: int) -> "Target":
        """The same target for the images from `start` to `stop` of `images`."""
        return self


TargetFunction = Callable[..., Tensor]
TargetLike = (
    int | Sequence[int] | NDArray[np.integer] | Tensor | Target | TargetFunction
    | Sequence[int | Target | TargetFunction] | None
)  # fmt: skip
"""What `target=` may be; `as_target` reads it."""
