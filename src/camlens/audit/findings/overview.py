"""All that is said about a run as a whole, from one reading of its columns and maps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from camlens.audit.findings.attention import (
    Distribution,
    Lean,
    MeanMaps,
    distribution,
    leans,
    map_parts,
    mean_maps,
    together,
)
from camlens.audit.findings.calibration import Calibration, calibration
from camlens.audit.findings.errors import ClassReport, Matrix, Pair, confused_pairs, confusion, per_class
from camlens.audit.findings.outcomes import Outcomes, outcomes_of
from camlens.audit.findings.reading import Run, numbers

MEASURES = {
    "entropy": "how evenly the evidence is spread",
    "spread": "how far the evidence reaches",
    "border_energy": "share of the evidence on the border",
    "corner_energy": "share of the evidence in the corners",
}
"""The measures of maps that are compared, and what each says."""

_FEWEST = 20
_APART = 0.15
_SEEN = 0.05
_NINTH = 1 / 9
_WORDS = {
    "entropy": ("more evenly spread", "less evenly spread", "entropy"),
    "spread": ("farther spread", "closer together", "spread"),
    "border_energy": ("more on the border", "less on the border", "border energy"),
    "corner_energy": ("more in the corners", "less in the corners", "corner energy"),
}


@dataclass(frozen=True, eq=False)
class Overview:
    """One run as a whole. Attention is grouped by predicted class, whose evidence the maps show.

    `means` are the mean maps of the classes, `whole` the one of all images together.
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
        """The overview of a run; reads its maps once, a part at a time."""
        outcomes = outcomes_of(run)
        matrix = confusion(outcomes)
        measures = {name: numbers(run, name) for name in MEASURES}
        groups, count = outcomes.predicted, outcomes.classes
        means = mean_maps(map_parts(run, groups), count, run.grid)
        corners = leans(measures["corner_energy"], groups, count, measure="corner_energy")
        known = {lean.index for lean in corners}
        borders = leans(measures["border_energy"], groups, count, measure="border_energy")
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
            [*corners, *(lean for lean in borders if lean.index not in known)],
        )

    def sentences(self) -> list[str]:
        """What stands out about where the model looks, in plain words with numbers; empty where nothing does."""
        return [*(self._leaning(lean) for lean in self.leaning), *self._everywhere(), *self._apart()]

    def _leaning(self, lean: Lean) -> str:
        where = {"corner_energy": "in the corners", "border_energy": "on the border"}[lean.measure]
        said = f"class {self.outcomes.name(lean.index)}: {percent(lean.mean)} of its evidence lies {where}, others"
        said += f" {percent(lean.others)}"
        corner, share, others = self.favourite(lean.index)
        if share >= _NINTH * 2 and share >= 2 * others:
            said += f"; {percent(share)} lies in the {corner} ninth of the image, others {percent(others)}"
        return f"{said} ({lean.images:,} images)"

    def favourite(self, index: int) -> tuple[str, float, float]:
        """The corner, a third of each side long, with most of a class's evidence: its name, its share, and the share
        that all other classes have there."""
        corner, share = max(self.means.corners(index, width=1 / 3).items(), key=lambda one: one[1])
        others = together(self.means, without=index).corners(0, width=1 / 3)[corner]
        return corner, share, others

    def _everywhere(self) -> list[str]:
        if not self.whole.counts[0]:
            return []
        corners = self.whole.corners(0)
        height, width = self.whole.maps.shape[1:]
        even = MeanMaps(np.full((1, height, width), 1 / (height * width)), np.ones(1, np.int64))
        share, usual = sum(corners.values()), sum(even.corners(0).values())
        if share < 2 * usual or share < 0.3:
            return []
        corner, most = max(corners.items(), key=lambda one: one[1])
        return [
            f"over all images {percent(share)} of the evidence lies in the corners, {percent(most)} in the {corner};"
            f" an even map has {percent(usual)} there"
        ]

    def _apart(self) -> list[str]:
        """The two measures in which right and wrong answers differ most, where they differ at all."""
        found = []
        for name, spread in self.distributions.items():
            chance, wrong = spread.superiority, int(spread.counts["incorrect"].sum())
            right_mean, wrong_mean = spread.means["correct"], spread.means["incorrect"]
            if wrong < _FEWEST or not (abs(chance - 0.5) >= _APART and abs(wrong_mean - right_mean) >= _SEEN):
                continue
            more, less, word = _WORDS[name]
            where, than = (more, "higher") if chance > 0.5 else (less, "lower")
            sentence = (
                f"wrong answers have their evidence {where}: {word} {wrong_mean:.2f}, right ones {right_mean:.2f}"
                f" ({than} in {percent(max(chance, 1 - chance))} of pairs)"
            )
            found.append((abs(chance - 0.5), sentence))
        return [sentence for _, sentence in sorted(found, reverse=True)[:2]]


def percent(share: float) -> str:
    """A share in whole per cent, but never 100 % for less than all nor 0 % for more than nothing."""
    if share != share:
        return "–"
    return f"{min(max(round(100 * share), 1 if share > 0 else 0), 99 if share < 1 else 100)} %"
