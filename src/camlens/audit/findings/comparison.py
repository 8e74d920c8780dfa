"""Two runs on the same images compared: what changed after retraining."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from camlens.audit.findings.errors import Share
from camlens.audit.findings.outcomes import outcomes_of
from camlens.audit.findings.reading import Run
from camlens.audit.findings.significance import mcnemar, paired_interval
from camlens.audit.opening import open_run
from camlens.core.errors import InputError
from camlens.trust.comparing import holm

LEVEL = 0.05
_LISTED = 5


@dataclass(frozen=True)
class Paired:
    """Predictions of the same images by two models.

    Attributes:
        both, neither: images that both models predict correctly, and that none does.
        fixed: images that only the second model predicts correctly.
        broken: images that only the first model predicts correctly.
    """

    both: int
    fixed: int
    broken: int
    neither: int

    @property
    def images(self) -> int:
        """The number of images."""
        return self.both + self.fixed + self.broken + self.neither

    @property
    def before(self) -> Share:
        """The proportion of correct predictions of the first model."""
        return Share(self.both + self.broken, self.images)

    @property
    def after(self) -> Share:
        """The proportion of correct predictions of the second model."""
        return Share(self.both + self.fixed, self.images)

    @property
    def difference(self) -> float:
        """The proportion of the second model minus that of the first; NaN without images."""
        return (self.fixed - self.broken) / self.images if self.images else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the difference, for paired data (Newcombe 1998)."""
        return paired_interval(self.both, self.fixed, self.broken, self.neither)

    @property
    def p(self) -> float:
        """The p-value of McNemar's exact test: the two models are equally accurate."""
        return mcnemar(self.fixed, self.broken)

    def to_dict(self) -> dict[str, Any]:
        """Return the counts and the difference as values for JSON, with None for NaN."""
        return {
            "images": self.images,
            "fixed": self.fixed,
            "broken": self.broken,
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "difference": self.difference if self.images else None,
            "interval": list(self.interval),
            "p": self.p,
        }


@dataclass(frozen=True)
class ClassChange:
    """Predictions of the images of a class, and the p-value corrected for all classes (Holm 1979)."""

    name: str
    counts: Paired
    corrected: float

    @property
    def verdict(self) -> Literal["better", "worse", "unchanged"]:
        """Whether the recall of the class is higher or lower, if the corrected p-value is below 0.05."""
        if self.corrected >= LEVEL:
            return "unchanged"
        return "better" if self.counts.fixed > self.counts.broken else "worse"


@dataclass(frozen=True)
class ImageChange:
    """An image that only one of the models predicts correctly.

    Attributes:
        id: name of the image.
        label, before, after: names of its class, and of the classes predicted by the first and the second model.
        row_before, row_after: its rows in the two runs.
    """

    id: str
    label: str
    before: str
    after: str
    row_before: int
    row_after: int


@dataclass(frozen=True)
class Comparison:
    """Two runs compared, on the images with a label and a prediction in both.

    Attributes:
        before, after: directories of the runs.
        overall: correct predictions of all images.
        classes: correct predictions by class; classes that are significantly worse come first, then better ones.
        fixed, broken: images that only the second, or only the first, model predicts correctly, by class and id.
        only_before, only_after: number of images of one run without a counterpart in the other.
        relabeled: number of images whose label differs, which are left out.
        unknown: number of images without a label, or without a prediction in one of the runs, which are left out.
    """

    before: str
    after: str
    overall: Paired
    classes: tuple[ClassChange, ...]
    fixed: tuple[ImageChange, ...]
    broken: tuple[ImageChange, ...]
    only_before: int
    only_after: int
    relabeled: int
    unknown: int

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as values for JSON, with None for NaN."""
        return {
            "compared_with": self.before,
            **self.overall.to_dict(),
            "fixed": [vars(image) for image in self.fixed],
            "broken": [vars(image) for image in self.broken],
            "classes": [
                {"class": change.name, "verdict": change.verdict, **change.counts.to_dict(), "p": change.corrected}
                for change in self.classes
            ],
            "left_out": {
                "only_before": self.only_before,
                "only_after": self.only_after,
                "relabeled": self.relabeled,
                "unknown": self.unknown,
            },
        }

    def lines(self) -> list[str]:
        """Return the comparison as lines of text."""
        low, high = self.overall.interval
        lines = [
            f"Compared with {self.before} ({self.overall.images:,} images in both{self.left_out_in_words()})",
            f"  accuracy {100 * self.overall.before.value:.1f} % -> {100 * self.overall.after.value:.1f} %:"
            f" {points(self.overall.difference)} points (95 % interval {points(low)} to {points(high)},"
            f" p = {self.overall.p:.2g})",
            f"  {len(self.fixed):,} fixed, {len(self.broken):,} broken",
        ]
        for verdict in ("worse", "better"):
            classes = [
                f"  {verdict}: {change.name}, recall {100 * change.counts.before.value:.0f} % ->"
                f" {100 * change.counts.after.value:.0f} % ({change.counts.images:,} images, p ="
                f" {change.corrected:.2g} corrected for {len(self.classes):,} classes)"
                for change in self.classes
                if change.verdict == verdict
            ]
            lines += _first(classes)
        return lines + _first(
            [f"  broken: {image.id}, {image.label} predicted as {image.after}" for image in self.broken]
        )

    def left_out_in_words(self) -> str:
        """Return the numbers of images that are left out, each after a comma."""
        kinds = (
            ("only before", self.only_before),
            ("only after", self.only_after),
            ("with another label", self.relabeled),
            ("without a label or a prediction", self.unknown),
        )
        return "".join(f", {count:,} {words}" for words, count in kinds if count)


def compare(before: str | Path | Run, after: str | Path | Run) -> Comparison:
    """Compare the predictions of two runs, matched by the ids of the images and the names of the classes.

    Args:
        before: the run of the earlier model, or its directory.
        after: the run of the later model, or its directory.

    Raises:
        StoreError: a directory holds no run.
        InputError: no image has a label and a prediction in both runs.
    """
    first, second = (open_run(run) if isinstance(run, str | Path) else run for run in (before, after))
    rows = {name: row for row, name in enumerate(first.column("id"))}
    ids = second.column("id")
    common = np.array([row for row, name in enumerate(ids) if name in rows], np.int64)
    matched = np.array([rows[ids[row]] for row in common], np.int64)
    (label, predicted), (other_label, other) = _names(second, common), _names(first, matched)
    unknown = np.array([not all(names) for names in zip(label, predicted, other_label, other, strict=True)], np.bool_)
    relabeled = ~unknown & (label != other_label)
    judged = ~unknown & ~relabeled
    if not judged.any():
        raise InputError(
            f"{first.path} and {second.path} have no image with the same id, the same label and a prediction in both",
            code="compare.nothing-in-common",
            before=str(first.path),
            after=str(second.path),
        )
    right, was_right = judged & (label == predicted), judged & (label == other)

    def counts(of: np.ndarray) -> Paired:
        pairs = (right & was_right, right & ~was_right, ~right & was_right, ~right & ~was_right)
        return Paired(*(int((of & pair).sum()) for pair in pairs))

    def changed(which: np.ndarray) -> tuple[ImageChange, ...]:
        images = [
            ImageChange(
                str(ids[common[place]]),
                str(label[place]),
                str(other[place]),
                str(predicted[place]),
                int(matched[place]),
                int(common[place]),
            )
            for place in np.flatnonzero(which)
        ]
        return tuple(sorted(images, key=lambda image: (image.label, image.id)))

    names = sorted(set(label[judged]))
    by_class = [counts(judged & (label == name)) for name in names]
    corrected = holm([pair.p for pair in by_class])
    changes = [ClassChange(str(name), pair, p) for name, pair, p in zip(names, by_class, corrected, strict=True)]
    order = ("worse", "better", "unchanged")
    return Comparison(
        str(first.path),
        str(second.path),
        counts(judged),
        tuple(sorted(changes, key=lambda change: (order.index(change.verdict), change.corrected))),
        changed(right & ~was_right),
        changed(judged & ~right & was_right),
        len(first) - len(common),
        len(second) - len(common),
        int(relabeled.sum()),
        int(unknown.sum()),
    )


def _first(lines: list[str]) -> list[str]:
    """Return some lines, and the number of the others."""
    rest = len(lines) - _LISTED
    return [*lines[:_LISTED], f"  and {rest:,} more"] if rest > 0 else lines


def points(difference: float) -> str:
    """Format a difference of proportions in percentage points, with its sign."""
    return f"{100 * difference:+.1f}"


def _names(run: Run, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the names of the true and of the predicted class of some rows; an empty name if it is unknown.

    Classes with the same name, such as the two cranes of ImageNet, are told apart by their number.
    """
    outcomes = outcomes_of(run)
    names = [outcomes.name(index) for index in range(outcomes.classes)]
    shared = Counter(names)
    unique = [name if shared[name] == 1 else f"{name} (class {index})" for index, name in enumerate(names)]
    known = np.array([*unique, ""], object)  # -1 is the last
    return known[outcomes.label[rows]], known[outcomes.predicted[rows]]
