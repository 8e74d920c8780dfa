"""The findings of a whole run, from one pass over its columns and maps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from camlens.audit.findings.attention import (
    Distribution,
    Lean,
    MeanMaps,
    distribution,
    even_share,
    leans,
    map_parts,
    mean_maps,
    together,
)
from camlens.audit.findings.calibration import Calibration, calibration
from camlens.audit.findings.errors import ClassReport, Matrix, Pair, confused_pairs, confusion, per_class
from camlens.audit.findings.outcomes import Outcomes, outcomes_of
from camlens.audit.findings.reading import Run, numbers
from camlens.trust.comparing import holm

MEASURES = {
    "entropy": "how evenly the evidence is distributed",
    "spread": "how far the evidence extends",
    "border_energy": "share of the evidence at the border",
    "corner_energy": "share of the evidence in the corners",
}
"""The measures of maps that are compared, and their meaning."""

_LEVEL = 0.05
_FEWEST = 20
_APART = 0.15
_SEEN = 0.05
_NINTH = 1 / 9
_COMPARISONS = {
    "entropy": ("more evenly distributed", "less evenly distributed"),
    "spread": ("more widespread", "more compact"),
    "border_energy": ("closer to the border", "farther from the border"),
    "corner_energy": ("more in the corners", "less in the corners"),
}


@dataclass(frozen=True, eq=False)
class Overview:
    """The findings of a run. Maps are grouped by predicted class, because they show its evidence.

    Attributes:
        outcomes: true and predicted classes.
        matrix: confusion matrix.
        classes: precision and recall by class.
        pairs: confusions, the most frequent first.
        calibrated: confidence compared with accuracy.
        measures, distributions: values of each measure of the maps, and their distributions.
        means, whole: mean map of each class, and of all images.
        leaning: classes whose evidence is concentrated in the corners or at the border.
    """

    outcomes: Outcomes
    matrix: Matrix
    classes: Sequence[ClassReport]
    pairs: Sequence[Pair]
    calibrated: Calibration
    measures: dict[str, np.ndarray]
    distributions: dict[str, Distribution]
    means: MeanMaps
    whole: MeanMaps
    leaning: Sequence[Lean]

    @classmethod
    def of(cls, run: Run) -> "Overview":
        """Compute the findings of a run, which reads its maps once, a part at a time."""
        outcomes = outcomes_of(run)
        matrix = confusion(outcomes)
        measures = {name: numbers(run, name) for name in MEASURES}
        groups, count = outcomes.predicted, outcomes.classes
        means = mean_maps(map_parts(run, groups), count, run.grid)
        corners = leans(measures["corner_energy"], groups, count, measure="corner_energy", grid=run.grid)
        in_corners = {lean.index for lean in corners}
        borders = leans(measures["border_energy"], groups, count, measure="border_energy", grid=run.grid)
        return cls(
            outcomes,
            matrix,
            per_class(outcomes),
            confused_pairs(matrix),
            calibration(outcomes),
            measures,
            {name: distribution(values, outcomes) for name, values in measures.items()},
            means,
            together(means),
            [*corners, *(lean for lean in borders if lean.index not in in_corners)],
        )

    def sentences(self) -> list[str]:
        """Return a sentence for each notable difference in where the model looks. They describe, and accuse nothing."""
        return [*(self._leaning(lean) for lean in self.leaning), *self._everywhere(), *self._apart()]

    def _leaning(self, lean: Lean) -> str:
        part = {"corner_energy": "in the corners", "border_energy": "at the border"}[lean.measure]
        sentence = (
            f"class {self.outcomes.name(lean.index)}: {percent(lean.mean)} of its evidence is {part}, compared with"
            f" {percent(lean.others)} for other classes and {percent(lean.even)} of a uniform map"
        )
        corner, share, others = self.favourite(lean.index)
        if share >= _NINTH * 2 and share >= 2 * others:
            sentence += f"; {percent(share)} is in the {corner} ninth of the image, compared with {percent(others)}"
        return f"{sentence} ({lean.images:,} images)"

    def favourite(self, index: int) -> tuple[str, float, float]:
        """Return the corner ninth of the image with most of a class's evidence, that share, and the other classes'."""
        shares = self.means.corners(index, width=1 / 3)
        corner = max(shares, key=shares.__getitem__)
        others = together(self.means, without=index).corners(0, width=1 / 3)[corner]
        return corner, shares[corner], others

    def _everywhere(self) -> list[str]:
        if not self.whole.counts[0]:
            return []
        corners = self.whole.corners(0)
        height, width = self.whole.maps.shape[1:]
        share, usual = sum(corners.values()), even_share("corner_energy", (height, width))
        if share < 2 * usual:
            return []
        corner = max(corners, key=corners.__getitem__)
        return [
            f"over all images, {percent(share)} of the evidence is in the corners, and {percent(corners[corner])} in"
            f" the {corner} one; a uniform map has {percent(usual)} in the corners"
        ]

    def _apart(self) -> list[str]:
        """Return sentences on the two measures that differ most between correct and incorrect predictions.

        Their p-values, corrected for the number of measures, are below 0.05.
        """
        differences = []
        corrected = holm([spread.p for spread in self.distributions.values()])
        for (name, spread), p in zip(self.distributions.items(), corrected, strict=True):
            chance, wrong = spread.superiority, int(spread.counts["incorrect"].sum())
            right_mean, wrong_mean = spread.means["correct"], spread.means["incorrect"]
            if p >= _LEVEL or wrong < _FEWEST or abs(chance - 0.5) < _APART or abs(wrong_mean - right_mean) < _SEEN:
                continue
            more, less = _COMPARISONS[name]
            comparison, direction = (more, "higher") if chance > 0.5 else (less, "lower")
            sentence = (
                f"evidence of incorrect predictions is {comparison}: mean {name.replace('_', ' ')} {wrong_mean:.2f},"
                f" compared with {right_mean:.2f} ({direction} in {percent(max(chance, 1 - chance))} of pairs,"
                f" p = {p:.2g})"
            )
            differences.append((abs(chance - 0.5), sentence))
        return [sentence for _, sentence in sorted(differences, reverse=True)[:2]]


def percent(share: float) -> str:
    """Format a share in percent, as 100 % only if it is 1 and as 0 % only if it is 0."""
    if share != share:
        return "–"
    return f"{min(max(round(100 * share), 1 if share > 0 else 0), 99 if share < 1 else 100)} %"
