"""Likely reasons of an error.

A reason states how an error differs from other images. It is a hint, not a proven cause.
"""

from dataclasses import dataclass, field

import numpy as np

from camlens.audit.findings.attention import even_share
from camlens.audit.findings.calibration import Calibration, calibration
from camlens.audit.findings.errors import Matrix, confusion
from camlens.audit.findings.neighbours import Directions, Rows, Territory, nearest
from camlens.audit.findings.outcomes import Outcomes, outcomes_of
from camlens.audit.findings.overview import percent
from camlens.audit.findings.reading import Run, directions_of, numbers
from camlens.core.errors import InputError

_SMALL_MARGIN, _LOW_CONFIDENCE, _HIGH_CONFIDENCE = 0.2, 0.5, 0.8
_FREQUENT_COUNT, _FREQUENT_SHARE, _FREQUENT_PART = 3, 0.05, 0.3
_FAR, _INSIDE = 0.95, 0.9
_ELSEWHERE, _RARE = 2.5, 0.95
_NEIGHBOURS, _AGREEING = 5, 4
_FAR_STRENGTH = 0.6  # below the other reasons, because most errors are far from their class


@dataclass(frozen=True)
class Reason:
    """A likely reason: its kind, a sentence, its strength from 0 to 1, and the numbers in the sentence."""

    kind: str
    sentence: str
    strength: float
    numbers: dict[str, float | int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Reasoner:
    """Finds likely reasons of errors by comparing them with all other images.

    Building it takes a pass over the embeddings; the reasons and neighbors of an image then take milliseconds.
    """

    outcomes: Outcomes
    margin: np.ndarray
    corner_energy: np.ndarray
    directions: Directions
    calibrated: Calibration
    matrix: Matrix
    territory: Territory
    usual_corner: float
    even_corner: float

    @classmethod
    def of(cls, run: Run) -> "Reasoner":
        """Build the reasoner of a run, which reads its embeddings."""
        return cls.of_arrays(
            outcomes_of(run), numbers(run, "margin"), numbers(run, "corner_energy"), directions_of(run), run.grid
        )

    @classmethod
    def of_arrays(
        cls,
        outcomes: Outcomes,
        margin: np.ndarray,
        corner_energy: np.ndarray,
        directions: Directions,
        grid: tuple[int, int],
    ) -> "Reasoner":
        """Build the reasoner from arrays with one row per image; `directions` are features of unit length.

        `grid` is the (height, width) of the maps in cells.
        """
        usual = corner_energy[outcomes.correct & np.isfinite(corner_energy)]
        return cls(
            outcomes,
            margin,
            corner_energy,
            directions,
            calibration(outcomes),
            confusion(outcomes),
            Territory.of(directions, outcomes.label, outcomes.correct, outcomes.classes),
            float(np.quantile(usual, _RARE)) if len(usual) else float("nan"),
            even_share("corner_energy", grid),
        )

    def neighbours(self, row: int, k: int = 3) -> tuple[Rows, np.ndarray]:
        """Return the `k` nearest correctly predicted images and their distances, the nearest first."""
        rows, distances = nearest(self.directions, np.array([row]), k, candidates=self.outcomes.correct)
        known = rows[0] >= 0
        return rows[0][known], distances[0][known]

    def reasons(self, row: int) -> list[Reason]:
        """Return the likely reasons of an error, the strongest first; at least one.

        Raises InputError if the prediction of the row is correct or unknown.
        """
        if not self.outcomes.wrong[row]:
            raise InputError(
                f"row {row} is not an error: reasons exist only for incorrect predictions",
                code="row.no-error",
                row=row,
            )
        checks = (self._unsure, self._usual_confusion, self._far_from_class, self._label_in_doubt, self._elsewhere)
        reasons = [reason for reason in (check(row) for check in checks) if reason is not None]
        return sorted(reasons, key=lambda reason: -reason.strength) or [self._nothing_unusual(row)]

    def _names(self, row: int) -> tuple[int, str, int, str]:
        true, predicted = int(self.outcomes.label[row]), int(self.outcomes.predicted[row])
        return true, self.outcomes.name(true), predicted, self.outcomes.name(predicted)

    def _unsure(self, row: int) -> Reason | None:
        confidence, margin = float(self.outcomes.confidence[row]), float(self.margin[row])
        if not (confidence < _LOW_CONFIDENCE or margin < _SMALL_MARGIN):
            return None
        accuracy, among = self.calibrated.accuracy_at(confidence)
        predicted = self._names(row)[3]
        sentence = (
            f"Low confidence: {percent(confidence)} for {predicted}, {percent(max(confidence - margin, 0))} for the"
            f" next class. Predictions of about this confidence are correct in {percent(accuracy)} of {among:,} cases."
        )
        return Reason("unsure", sentence, 1 - margin, {"confidence": confidence, "margin": margin, "right": accuracy})

    def _usual_confusion(self, row: int) -> Reason | None:
        true, name, predicted, predicted_name = self._names(row)
        count, images = int(self.matrix[true, predicted]), int(self.matrix[true].sum())
        errors = images - int(self.matrix[true, true])
        part, share = count / errors, count / images
        if count < _FREQUENT_COUNT or part < _FREQUENT_PART or share < _FREQUENT_SHARE:
            return None
        sentence = (
            f"Frequent confusion: {count:,} of {images:,} images of {name} are predicted as {predicted_name},"
            f" {percent(part)} of the errors of {name}."
        )
        return Reason("usual_confusion", sentence, part, {"count": count, "share": share, "part": part})

    def _far_from_class(self, row: int) -> Reason | None:
        true, name, predicted, predicted_name = self._names(row)
        own, other = self.territory.distance(self.directions, np.array([row, row]), np.array([true, predicted]))
        farther = self.territory.farther_than(float(own), true)
        if np.isnan(own) or not farther >= _FAR:
            return None
        usual = float(np.median(self.territory.strays[true]))
        most = "all" if farther == 1 else f"{percent(farther)} of"
        sentence = (
            f"Far from its class in feature space: farther from the center of {name} than {most} its correctly"
            f" predicted images (distance {own:.2f}, median {usual:.2f})"
        )
        sentence += "." if np.isnan(other) else f"; the distance to the center of {predicted_name} is {other:.2f}."
        facts = {"distance": float(own), "usual": usual, "farther": farther, "other": float(other)}
        return Reason("far_from_class", sentence, _FAR_STRENGTH * (farther - _INSIDE) / (1 - _INSIDE), facts)

    def _label_in_doubt(self, row: int) -> Reason | None:
        _, _, predicted, predicted_name = self._names(row)
        confidence = float(self.outcomes.confidence[row])
        if not confidence >= _HIGH_CONFIDENCE:
            return None
        near, _ = self.neighbours(row, _NEIGHBOURS)
        agreeing = int((self.outcomes.label[near] == predicted).sum())
        distance = self.territory.distance(self.directions, np.array([row]), np.array([predicted]))[0]
        farther = self.territory.farther_than(float(distance), predicted)
        if agreeing < _AGREEING or not farther <= _INSIDE:
            return None
        sentence = (
            f"The label may be wrong: {agreeing} of the {len(near)} nearest correctly predicted images are"
            f" {predicted_name}, and the confidence is {percent(confidence)}."
        )
        facts = {"agreeing": agreeing, "confidence": confidence, "farther": farther}
        return Reason("label_in_doubt", sentence, confidence * agreeing / _NEIGHBOURS, facts)

    def _elsewhere(self, row: int) -> Reason | None:
        share = float(self.corner_energy[row])
        if not (share >= _ELSEWHERE * self.even_corner and share > self.usual_corner):
            return None
        sentence = (
            f"Evidence in the corners: {percent(share)} of the evidence is there, compared with"
            f" {percent(self.even_corner)} of a uniform map; {percent(_RARE)} of the correct predictions have less than"
            f" {percent(self.usual_corner)}."
        )
        return Reason("looks_elsewhere", sentence, share, {"corner_energy": share, "usual": self.usual_corner})

    def _nothing_unusual(self, row: int) -> Reason:
        true, name, predicted, predicted_name = self._names(row)
        count, images = int(self.matrix[true, predicted]), int(self.matrix[true].sum())
        confidence = float(self.outcomes.confidence[row])
        sentence = (
            f"Nothing unusual: the confidence is {percent(confidence)}, {count:,} of {images:,} images of {name} are"
            f" predicted as {predicted_name}, and the features are not far from the class."
        )
        return Reason("nothing_unusual", sentence, 0.0, {"confidence": confidence, "count": count})
