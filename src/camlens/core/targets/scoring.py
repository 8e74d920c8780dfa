"""Base classes of targets."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from camlens.core.errors import ModelError, TargetError
from camlens.core.execution.outputs import describe, features_reason, find_logits
from camlens.core.probabilities import Task

_HOW_TO_SELECT = 'select it with explain(..., output=lambda out: out["logits"])'


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
        """Return class logits (n, classes), or raise a ModelError that shows how to select them."""
        logits = self._logits
        if logits is None:
            raise ModelError(
                f"it is ambiguous which part of the output is the logits: {describe(self.value)}; {_HOW_TO_SELECT}",
                code="model.output",
                output=describe(self.value),
            )
        if logits.ndim != 2 or len(logits) != self.images:
            raise ModelError(
                f"a class score needs logits of shape ({self.images}, classes), the model gave {tuple(logits.shape)}; "
                f"{_HOW_TO_SELECT}, or use a target made for such outputs, such as InMask(mask, c)",
                code="model.output",
                shape=tuple(logits.shape),
                images=self.images,
            )
        if not torch.is_floating_point(logits):
            raise ModelError(
                f"logits must be floating, the model gave {logits.dtype}; {_HOW_TO_SELECT}",
                code="model.output",
                dtype=str(logits.dtype),
            )
        return logits

    def logits_or_none(self) -> Tensor | None:
        """Return class logits (n, classes) if the output has them, else None."""
        logits = self._logits
        return logits if logits is not None and logits.ndim == 2 and len(logits) == self.images else None

    @cached_property
    def _logits(self) -> Tensor | None:
        """The output's logits of any shape, with (n,) and (n, k, 1, 1) as (n, k); None if they are ambiguous."""
        logits = find_logits(self.value)
        if logits is None or logits.ndim in (0, 2) or len(logits) != self.images:
            return logits
        if logits.ndim > 2 and logits[0, 0].numel() > 1:
            return logits
        with torch.enable_grad():  # the result is kept
            return logits.reshape(self.images, -1)


Rows = Tensor | slice
_ALL = slice(None)


@dataclass(frozen=True, eq=False)
class Scorer:
    """A target with fixed classes.

    Attributes:
        function: `function(output, rows)` returns the scores (m, t) of the m inputs in `output`, which are variants of
            the images `rows`: a tensor (m,), or a slice of all images.
        labels: a label for each target.
        classes: the class of each score (n, t), or None.
        plain: whether each score is the logit of its class.
        against: the classes whose logits are subtracted (n, t), -1 for none.
    """

    function: Callable[[Output, Rows], Tensor]
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
        return self.function(output, _ALL if rows is None else rows)


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
