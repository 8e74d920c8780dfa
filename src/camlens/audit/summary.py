"""What a run says in a page of text: the numbers a reader should know before looking at any picture."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from camlens.audit.findings.errors import ClassReport, Pair, Share, accuracy
from camlens.audit.findings.overview import Overview, percent
from camlens.audit.findings.reading import Run
from camlens.audit.store.commit import committed

_WORST, _PAIRS, _FAILURES = 5, 5, 5


@dataclass(frozen=True)
class Summary:
    """The findings of a run in numbers and sentences.

    `worst` are classes that occur, the least recall first; `pairs` the most frequent confusions; `failures`
    some images that could not be read, as (id, error); `attention` sentences on where the model looks.
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
    failures: Sequence[tuple[str, str]]

    @property
    def wrong(self) -> int:
        """How many judged images have another prediction than their label."""
        return self.accuracy.total - self.accuracy.hits

    def name(self, index: int) -> str:
        """A class in words."""
        return self.class_names[index] if index < len(self.class_names) else f"class {index}"

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values that JSON can hold; None for what is not a number."""
        return {
            "images": self.images,
            "missing": self.missing,
            "failed": self.failed,
            "unlabelled": self.unlabelled,
            "wrong": self.wrong,
            "accuracy": self.accuracy.to_dict(),
            "worst": [
                {"class": one.name, "recall": one.recall.to_dict(), "precision": one.precision.to_dict()}
                for one in self.worst
            ],
            "confused": [
                {"true": self.name(one.true), "predicted": self.name(one.predicted)}
                | {"count": one.count, "share": one.share}
                for one in self.pairs
            ],
            "ece": None if self.ece != self.ece else self.ece,
            "overconfidence": None if self.overconfidence != self.overconfidence else self.overconfidence,
            "attention": list(self.attention),
            "failures": [list(one) for one in self.failures],
        }

    def lines(self) -> list[str]:
        """The summary in words, a line at a time."""
        return [*self._counts(), *self._errors(), *self._calibration(), *self._looks(), *self._failures()]

    def _counts(self) -> list[str]:
        parts = [f"{self.images:,} image{'' if self.images == 1 else 's'}"]
        if self.accuracy.total:
            parts += [f"{self.accuracy.hits:,} right", f"{self.wrong:,} wrong"]
        if self.unlabelled:
            parts.append(f"{self.unlabelled:,} without a label")
        if self.failed:
            parts.append(f"{self.failed:,} could not be read")
        if self.missing:
            parts.append(f"{self.missing:,} not computed yet (run the same command again to resume)")
        return [", ".join(parts)]

    def _errors(self) -> list[str]:
        if not self.accuracy.total:
            return ["Accuracy    unknown: no image has both a label and a prediction"]
        lines = [f"Accuracy    {share_in_words(self.accuracy)}"]
        if self.wrong:
            width = max(len(one.name) for one in self.worst)
            lines += ["", "Worst classes"]
            lines += [
                f"  {one.name:{width}}  recall {share_in_words(one.recall)}, precision {percent(one.precision.value)}"
                for one in self.worst
            ]
            named = [(self.name(one.true), self.name(one.predicted), one) for one in self.pairs]
            width = max(len(f"{true} taken for {taken}") for true, taken, _ in named)
            lines += ["", "Most confused"]
            lines += [
                f"  {f'{true} taken for {taken}':{width}}  {one.count:,} times, {percent(one.share)} of {true}"
                for true, taken, one in named
            ]
        return lines

    def _calibration(self) -> list[str]:
        if self.ece != self.ece:
            return []
        promise = "overconfident" if self.overconfidence > 0 else "underconfident"
        return [
            "",
            f"Calibration  expected error {self.ece:.3f} (0 is best), {promise} by"
            f" {100 * abs(self.overconfidence):.1f} points",
        ]

    def _looks(self) -> list[str]:
        said = [f"  {sentence}" for sentence in self.attention]
        return ["", "Attention", *(said or ["  no class stands out by where its evidence lies"])]

    def _failures(self) -> list[str]:
        if not self.failures:
            return []
        rest = self.failed - len(self.failures)
        more = [f"  and {rest:,} more"] if rest > 0 else []
        return ["", "Could not be read", *(f"  {name}: {error}" for name, error in self.failures), *more]


def summarise(run: Run, overview: Overview | None = None) -> Summary:
    """The summary of a run; `overview` where it is at hand already."""
    seen = Overview.of(run) if overview is None else overview
    outcomes = seen.outcomes
    present = [one for one in seen.classes if one.recall.total and one.recall.hits < one.recall.total]
    present.sort(key=lambda one: (one.recall.value, -one.recall.total))
    failed = np.nonzero(outcomes.failed)[0][:_FAILURES]
    names, errors = run.column("id")[failed], run.column("error")[failed]
    return Summary(
        len(run),
        run.missing,
        int(outcomes.failed.sum()),
        int((~outcomes.failed & (outcomes.label < 0)).sum()),
        accuracy(outcomes),
        present[:_WORST],
        seen.pairs[:_PAIRS],
        tuple(outcomes.name(index) for index in range(outcomes.classes)),
        seen.calibrated.ece,
        seen.calibrated.overconfidence,
        seen.sentences(),
        [(str(name), str(error)) for name, error in zip(names, errors, strict=True)],
    )


def write_summary(summary: Summary, path: Path) -> Path:
    """Write the summary as JSON, whole or not at all."""
    with committed(path) as unfinished:
        text = json.dumps(summary.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        unfinished.write_text(text + "\n", encoding="utf-8")
    return path


def share_in_words(share: Share) -> str:
    """The share with its interval and its counts."""
    if not share.total:
        return "unknown"
    return (
        f"{100 * share.value:.1f} % ({100 * share.low:.1f} to {100 * share.high:.1f} with 95 % confidence,"
        f" {share.hits:,} of {share.total:,})"
    )
