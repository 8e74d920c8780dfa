"""The summary of a run as text and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from camlens.audit.findings.attention import Distribution, Lean
from camlens.audit.findings.comparison import Comparison
from camlens.audit.findings.errors import ClassReport, Pair, Share, accuracy
from camlens.audit.findings.overview import Overview, percent
from camlens.audit.findings.reading import Run
from camlens.audit.findings.shortcuts import Shortcuts, for_summary, p_in_words, sentence, tested_in_words
from camlens.audit.store.commit import committed
from camlens.audit.store.run_directory import RunDirectory

_WORST, _PAIRS, _FAILURES = 5, 5, 5


@dataclass(frozen=True)
class Summary:
    """The most important findings of a run.

    Attributes:
        images, missing, failed, unlabelled: numbers of images in total, not computed yet, with an error, and without
            a label.
        accuracy: proportion of correct predictions.
        worst: classes with errors, the lowest recall first.
        pairs: the most frequent confusions.
        class_names: names of the classes.
        ece, overconfidence: expected calibration error, and mean confidence minus accuracy.
        attention: sentences on where the model looks.
        leaning: classes whose evidence is concentrated in the corners or at the border.
        distributions: measures of the maps of correct and incorrect predictions.
        failures: some images with an error, as (id, error).
        shortcuts: what was tested as a shortcut; None if the tests were not run.
        comparison: this run compared with an earlier one, or None.
        method, layer, method_reason: method and layer of the maps, and why the method was chosen.
    """

    images: int
    missing: int
    failed: int
    unlabelled: int
    accuracy: Share
    worst: Sequence[ClassReport]
    pairs: Sequence[Pair]
    class_names: Sequence[str]
    ece: float
    overconfidence: float
    attention: Sequence[str]
    leaning: Sequence[Lean]
    distributions: Mapping[str, Distribution]
    failures: Sequence[tuple[str, str]]
    shortcuts: Shortcuts | None
    comparison: Comparison | None
    method: str
    layer: str
    method_reason: str

    @property
    def wrong(self) -> int:
        """The number of incorrect predictions."""
        return self.accuracy.total - self.accuracy.hits

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as values for JSON, with None for NaN.

        "shortcuts" lists everything that was tested, confirmed ones first; None if the tests were not run.
        """
        tested = self.shortcuts
        return {
            "images": self.images,
            "missing": self.missing,
            "failed": self.failed,
            "unlabelled": self.unlabelled,
            "wrong": self.wrong,
            "accuracy": self.accuracy.to_dict(),
            "worst": [
                {"class": report.name, "recall": report.recall.to_dict(), "precision": report.precision.to_dict()}
                for report in self.worst
            ],
            "confused": [
                {"true": self.class_names[pair.true], "predicted": self.class_names[pair.predicted]}
                | {"count": pair.count, "share": pair.share}
                for pair in self.pairs
            ],
            "ece": None if self.ece != self.ece else self.ece,
            "overconfidence": None if self.overconfidence != self.overconfidence else self.overconfidence,
            "method": self.method,
            "layer": self.layer,
            "method_reason": self.method_reason,
            "attention": list(self.attention),
            "leaning": [
                {"class": self.class_names[lean.index], "measure": lean.measure, "mean": lean.mean}
                | {"others": lean.others, "uniform": lean.even, "images": lean.images}
                for lean in self.leaning
            ],
            "measures": {name: _means(spread) for name, spread in self.distributions.items()},
            "failures": [list(failure) for failure in self.failures],
            "shortcuts": (
                None if tested is None else [for_summary(shortcut, self.class_names) for shortcut in tested.shortcuts]
            ),
            "comparison": None if self.comparison is None else self.comparison.to_dict(),
        }

    def lines(self) -> list[str]:
        """Return the summary as lines of text: the number of images, confirmed shortcuts, then everything else."""
        return [
            *self._counts(),
            *self._shortcuts(),
            *self._errors(),
            *([] if self.comparison is None else ["", *self.comparison.lines()]),
            *self._calibration(),
            *(["", "Shortcuts   not tested"] if self.shortcuts is None else []),
            *self._looks(),
            *self._failures(),
        ]

    def _counts(self) -> list[str]:
        parts = [f"{self.images:,} image{'' if self.images == 1 else 's'}"]
        if self.accuracy.total:
            parts += [f"{self.accuracy.hits:,} correct", f"{self.wrong:,} incorrect"]
        if self.unlabelled:
            parts.append(f"{self.unlabelled:,} without a label")
        if self.failed:
            parts.append(f"{self.failed:,} unreadable")
        if self.missing:
            parts.append(f"{self.missing:,} not computed yet (run the same command again to resume)")
        return [", ".join(parts)]

    def _shortcuts(self) -> list[str]:
        if self.shortcuts is None:
            return []
        flags = [
            f"  {sentence(shortcut, self.class_names)}; p-value {p_in_words(shortcut.p)}"
            for shortcut in self.shortcuts.confirmed
        ]
        return ["", f"Shortcuts   {len(flags) or 'none'} confirmed", *flags, f"  {tested_in_words(self.shortcuts)}", ""]

    def _errors(self) -> list[str]:
        if not self.accuracy.total:
            return ["Accuracy    unknown: no image has both a label and a prediction"]
        lines = [f"Accuracy    {share_in_words(self.accuracy)}"]
        if self.wrong:
            width = max(len(report.name) for report in self.worst)
            lines += ["", "Worst classes"]
            lines += [
                f"  {report.name:{width}}  recall {share_in_words(report.recall)},"
                f" precision {percent(report.precision.value)}"
                for report in self.worst
            ]
            confusions = [
                f"{self.class_names[pair.true]} predicted as {self.class_names[pair.predicted]}" for pair in self.pairs
            ]
            width = max(map(len, confusions))
            lines += ["", "Most frequent confusions"]
            lines += [
                f"  {confusion:{width}}  {pair.count:,} {'image' if pair.count == 1 else 'images'},"
                f" {percent(pair.share)} of {self.class_names[pair.true]}"
                for confusion, pair in zip(confusions, self.pairs, strict=True)
            ]
        return lines

    def _calibration(self) -> list[str]:
        if self.ece != self.ece:
            return []
        direction = "overconfident" if self.overconfidence > 0 else "underconfident"
        return [
            "",
            f"Calibration  expected calibration error {self.ece:.3f} (0 is best), {direction} by"
            f" {100 * abs(self.overconfidence):.1f} percentage points",
        ]

    def _looks(self) -> list[str]:
        sentences = [f"  {sentence}" for sentence in self.attention]
        method = f"  maps by {self.method} at layer {self.layer}: {self.method_reason}"
        return ["", "Attention", method, *(sentences or ["  no notable differences between classes"])]

    def _failures(self) -> list[str]:
        if not self.failures:
            return []
        rest = self.failed - len(self.failures)
        more = [f"  and {rest:,} more"] if rest > 0 else []
        return ["", "Unreadable images", *(f"  {name}: {error}" for name, error in self.failures), *more]


def summarise(run: Run, overview: Overview | None = None, comparison: Comparison | None = None) -> Summary:
    """Summarize a run. Pass its `overview` if it is already computed, and its comparison with an earlier run if any."""
    overview = overview or Overview.of(run)
    outcomes = overview.outcomes
    worst = [report for report in overview.classes if report.recall.hits < report.recall.total]
    worst.sort(key=lambda report: (report.recall.value, -report.recall.total))
    failed = np.nonzero(outcomes.failed)[0][:_FAILURES]
    names, errors = run.column("id")[failed], run.column("error")[failed]
    return Summary(
        len(run),
        run.missing,
        int(outcomes.failed.sum()),
        int((~outcomes.failed & (outcomes.label < 0)).sum()),
        accuracy(outcomes),
        worst[:_WORST],
        overview.pairs[:_PAIRS],
        tuple(outcomes.name(index) for index in range(outcomes.classes)),
        overview.calibrated.ece,
        overview.calibrated.overconfidence,
        overview.sentences(),
        overview.leaning,
        overview.distributions,
        [(str(name), str(error)) for name, error in zip(names, errors, strict=True)],
        Shortcuts.read(RunDirectory(run.path).shortcuts_path),
        comparison,
        run.manifest.method,
        run.manifest.layer,
        run.manifest.method_reason,
    )


def _means(spread: Distribution) -> dict[str, float | None]:
    """Return the means of a measure and the test of their difference as values for JSON, with None for NaN."""
    values = {"correct": spread.means["correct"], "incorrect": spread.means["incorrect"]}
    values |= {"superiority": spread.superiority, "p": spread.p}
    return {name: None if value != value else value for name, value in values.items()}


def write_summary(summary: Summary, path: Path) -> Path:
    """Write the summary as JSON, atomically."""
    with committed(path) as unfinished:
        text = json.dumps(summary.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        unfinished.write_text(text + "\n", encoding="utf-8")
    return path


def share_in_words(share: Share) -> str:
    """Format a proportion with its interval and its counts."""
    if not share.total:
        return "unknown"
    return (
        f"{100 * share.value:.1f} % (95 % interval {100 * share.low:.1f} to {100 * share.high:.1f} %,"
        f" {share.hits:,} of {share.total:,})"
    )
