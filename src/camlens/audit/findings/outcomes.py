"""True and predicted classes of all images."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from camlens.audit.findings.reading import NONE, Run, numbers, whole_numbers

Rows = Int[np.ndarray, " rows"]


@dataclass(frozen=True, eq=False)
class Outcomes:
    """True and predicted class of n images, -1 for none, and the confidence, NaN without a prediction."""

    label: Int[np.ndarray, " n"]
    predicted: Int[np.ndarray, " n"]
    confidence: Float[np.ndarray, " n"]
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.label)

    @property
    def failed(self) -> Bool[np.ndarray, " n"]:
        """Images without a prediction."""
        return self.predicted < 0

    @property
    def judged(self) -> Bool[np.ndarray, " n"]:
        """Images with a label and a prediction."""
        return (self.label >= 0) & (self.predicted >= 0)

    @property
    def correct(self) -> Bool[np.ndarray, " n"]:
        """Images whose prediction is their label."""
        mask: Bool[np.ndarray, " n"] = self.judged & (self.label == self.predicted)
        return mask

    @property
    def wrong(self) -> Bool[np.ndarray, " n"]:
        """Images whose prediction is not their label."""
        mask: Bool[np.ndarray, " n"] = self.judged & (self.label != self.predicted)
        return mask

    @property
    def classes(self) -> int:
        """The number of classes: the number of names, or more if a higher index occurs."""
        highest = max(self.label.max(initial=NONE), self.predicted.max(initial=NONE))
        return max(len(self.class_names), int(highest) + 1)

    def name(self, index: int) -> str:
        """Return the name of a class."""
        return self.class_names[index] if 0 <= index < len(self.class_names) else f"class {index}"


def outcomes_of(run: Run) -> Outcomes:
    """Read the outcomes of a run."""
    return Outcomes(
        whole_numbers(run, "label"),
        whole_numbers(run, "predicted"),
        numbers(run, "confidence"),
        tuple(run.class_names),
    )
