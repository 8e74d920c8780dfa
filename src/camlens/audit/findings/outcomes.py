"""What the model said about every image, and whether that was right."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from camlens.audit.findings.reading import NONE, Columns, numbers, whole_numbers

Rows = Int[np.ndarray, " rows"]


@dataclass(frozen=True, eq=False)
class Outcomes:
    """True and predicted class of n images, -1 where there is none, and the confidence, NaN where it failed."""

    label: Int[np.ndarray, " n"]
    predicted: Int[np.ndarray, " n"]
    confidence: Float[np.ndarray, " n"]
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.label)

    @property
    def failed(self) -> Bool[np.ndarray, " n"]:
        """Images that the model never saw."""
        return self.predicted < 0

    @property
    def judged(self) -> Bool[np.ndarray, " n"]:
        """Images with a label and a prediction: only these can be right or wrong."""
        return (self.label >= 0) & (self.predicted >= 0)

    @property
    def correct(self) -> Bool[np.ndarray, " n"]:
        """Images whose prediction is their label."""
        right: Bool[np.ndarray, " n"] = self.judged & (self.label == self.predicted)
        return right

    @property
    def wrong(self) -> Bool[np.ndarray, " n"]:
        """Images whose prediction is another class than their label."""
        wrong: Bool[np.ndarray, " n"] = self.judged & (self.label != self.predicted)
        return wrong

    @property
    def classes(self) -> int:
        """How many classes there are: as many as have names, or more where a higher number occurs."""
        highest = max(self.label.max(initial=NONE), self.predicted.max(initial=NONE))
        return max(len(self.class_names), int(highest) + 1)

    def name(self, index: int) -> str:
        """The class in words."""
        return self.class_names[index] if 0 <= index < len(self.class_names) else f"class {index}"


def outcomes_of(run: Columns) -> Outcomes:
    """The outcomes of a run; reads three columns."""
    return Outcomes(
        whole_numbers(run, "label"),
        whole_numbers(run, "predicted"),
        numbers(run, "confidence"),
        tuple(run.class_names),
    )
