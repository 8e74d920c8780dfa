"""The true classes of the images of the data, as classes of the model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camlens.data.labels import translated

Pixels = NDArray[np.uint8]
UNKNOWN = -1


@dataclass(frozen=True)
class Labels:
    """The true class of every image as an index into the model's classes; `UNKNOWN` if there is none."""

    indices: NDArray[np.int32]
    problem: str | None

    @property
    def known(self) -> bool:
        """Whether any image has a class that the model knows."""
        return bool((self.indices != UNKNOWN).any())


def labels_of(labels: Sequence[int | None], names: Sequence[str], model_names: Sequence[str]) -> Labels:
    """Return the data's labels in the model's classes, and what the user should know about them."""
    translation = translated(names, model_names)
    classes = [translation(label) for label in labels]
    indices = np.array([UNKNOWN if index is None else index for index in classes], dtype=np.int32)
    return Labels(indices, _problem(names, translation.how, translation.problem, bool((indices != UNKNOWN).any())))


def _problem(names: Sequence[str], how: str, error: Exception | None, known: bool) -> str | None:
    if error is not None:
        return str(error)
    if how == "by place":
        return "the folders' names are not the model's class names: they are taken to be in the same order"
    if not known:
        return "the images carry no labels, so predictions cannot be judged: put each class into its own folder"
    if len(names) == 1:
        return f"all images are of one class, {names[0]!r}: comparisons between classes stay empty"
    return None
