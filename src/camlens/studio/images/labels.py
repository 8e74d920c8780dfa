"""The images of the data, by number: read when asked for, with labels in the model's own classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
UNKNOWN = -1


@dataclass(frozen=True)
class Labels:
    """The true class of every image as an index into the model's classes; `UNKNOWN` where there is none."""

    indices: NDArray[np.int32]
    problem: str | None

    @property
    def known(self) -> bool:
        """Whether any image has a class that the model knows."""
        return bool((self.indices != UNKNOWN).any())


def translated(labels: Sequence[int | None], names: Sequence[str], model_names: Sequence[str]) -> Labels:
    """The data's labels in the model's classes, matched by name, or by number where the counts agree."""
    places = {name.casefold(): index for index, name in enumerate(model_names)}
    by_name = [places.get(name.casefold(), UNKNOWN) for name in names]
    problem = None
    if names and all(index == UNKNOWN for index in by_name):
        if len(names) == len(model_names):
            by_name = list(range(len(names)))
            problem = "the folders' names are not the model's class names: they are taken to be in the same order"
        else:
            problem = "no folder is named like one of the model's classes, so predictions cannot be judged"
    elif missing := [name for name, index in zip(names, by_name, strict=True) if index == UNKNOWN]:
        problem = f"not classes of the model: {', '.join(missing[:5])}{' and others' if len(missing) > 5 else ''}"
    indices = np.array([UNKNOWN if one is None else by_name[one] for one in labels], dtype=np.int32)
    if problem is None and len(indices) and not (indices != UNKNOWN).any():
        problem = "the images carry no labels, so predictions cannot be judged: put each class into its own folder"
    if problem is None and len(names) == 1:
        problem = f"all images are of one class, {names[0]!r}: comparisons between classes stay empty"
    return Labels(indices, problem)
