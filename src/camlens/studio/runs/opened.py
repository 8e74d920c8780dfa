"""Whether a run was made with the very weights that the studio has loaded, and what to do where it was not."""

import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from shlex import quote
from threading import Lock
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from camlens.audit.findings.errors import confusion
from camlens.audit.findings.neighbours import unit
from camlens.audit.findings.outcomes import Outcomes, outcomes_of
from camlens.audit.findings.reading import numbers
from camlens.audit.findings.reasons import Reasoner
from camlens.audit.opening import Audit, open_run
from camlens.audit.store.manifest import Manifest
from camlens.core.errors import DataError
from camlens.core.layers import checked_model
from camlens.core.provenance import weights_hash
from camlens.models import LoadedModel
from camlens.studio.images import Gallery
from camlens.studio.jobs import Report
from camlens.studio.predictions import UNREADABLE, Predictions
from camlens.studio.runs.maps import RunMaps
from camlens.studio.runs.schemas import RunWeights


def compared_weights(manifest: Manifest, run: str, loaded: LoadedModel) -> RunWeights:
    """The weights of the run in directory `run` beside those of the loaded model."""
    now = weights_hash(checked_model(loaded.model))
    same = manifest.weights == now
    return RunWeights(
        run=manifest.weights,
        loaded=now,
        file=manifest.weights_file,
        same=same,
        notice=None if same else _notice(manifest, run, loaded),
    )


def _notice(manifest: Manifest, run: str, loaded: LoadedModel) -> str:
    return (
        "The maps and predictions of this run were made with other weights than the model loaded here, so Explain and"
        f" the other pages may show other maps for the same images. {_mend(manifest, run, loaded)}"
    )


def _mend(manifest: Manifest, run: str, loaded: LoadedModel) -> str:
    if manifest.model is None:
        return (
            f"The run's model (a {manifest.model_type} handed over in Python) has no name: start with the --model and"
            " --weights that give it, or audit the model loaded here."
        )
    if (loaded.spec, loaded.weights_file) != (manifest.model, manifest.weights_file):
        return (
            f"To see the model of the run, start with `camlens studio --audit {quote(run)}` and neither --model nor"
            " --weights. To see this model's own maps over all images, audit it."
        )
    changed = manifest.weights_file or manifest.model
    return (
        f"{changed} gives other weights today than when the run was made: give the former ones with --weights FILE, or"
        " audit the model anew."
    )


NONE = -1


class OpenRun:
    """One audit run. Columns are read once; features stay once somebody asked for neighbours."""

    def __init__(self, path: str | Path) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.audit: Audit = open_run(path)
        self.maps = RunMaps(self.audit)
        self.problems = [str(warning.message) for warning in caught]
        self.weights: RunWeights | None = None
        self.samples: Int[np.ndarray, " n"] = np.full(len(self.audit), NONE, dtype=np.int64)
        self._measures: dict[str, Float[np.ndarray, " n"]] = {}
        self._reasoner: Reasoner | None = None
        self._reading = Lock()

    def __len__(self) -> int:
        return len(self.audit)

    @cached_property
    def outcomes(self) -> Outcomes:
        """True and predicted class and confidence of every row."""
        return outcomes_of(self.audit)

    @cached_property
    def matrix(self) -> Int[np.ndarray, "classes classes"]:
        """The confusion matrix, rows true, columns predicted."""
        return confusion(self.outcomes)

    @cached_property
    def names(self) -> NDArray[Any]:
        """The source's own name of every image."""
        return self.audit.column("id")

    @cached_property
    def errors(self) -> NDArray[Any]:
        """Why there is no answer for an image, None where there is one."""
        return self.audit.column("error")

    def measure(self, name: str) -> Float[np.ndarray, " n"]:
        """A column of numbers, NaN where there is none."""
        if name not in self._measures:
            self._measures[name] = numbers(self.audit, name)
        return self._measures[name]

    @cached_property
    def top(self) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
        """The best classes of every row and their confidences, -1 and NaN where there are fewer."""
        return self.audit.column("top_classes"), self.audit.column("top_confidences")

    def checked(self, rows: Sequence[int]) -> Int[np.ndarray, " rows"]:
        """Rows by number, or a DataError saying what there is."""
        for row in rows:
            if not 0 <= row < len(self):
                raise DataError(
                    f"there is no row {row}: the run has {len(self):,} rows, from 0",
                    code="row.out-of-range",
                    row=row,
                    rows=len(self),
                )
        return np.array(rows, dtype=np.int64)

    def class_index(self, number: int | None) -> int | None:
        """A class's number, or a DataError saying what there is."""
        if number is not None and not 0 <= number < self.outcomes.classes:
            raise DataError(
                f"there is no class {number}: the run has classes 0 to {self.outcomes.classes - 1}",
                code="target.out-of-range",
                value=number,
                classes=self.outcomes.classes,
            )
        return number

    def reasoner(self, report: Report) -> Reasoner:
        """What all images say together, their features included; built once, part by part."""
        with self._reading:
            if self._reasoner is None:
                parts = list(self.audit.parts())
                found = [np.zeros((0, self.audit.manifest.embedding_width), dtype=np.float32)]
                for done, part in enumerate(parts):
                    report(done, len(parts) + 1)
                    found.append(unit(self.audit.embeddings(part)))
                report(len(parts), len(parts) + 1)
                directions = np.concatenate(found)
                self._reasoner = Reasoner.of_arrays(
                    self.outcomes, self.measure("margin"), self.measure("corner_energy"), directions
                )
            return self._reasoner

    def meet(self, loaded: LoadedModel, gallery: Gallery, predictions: Predictions) -> None:
        """Compare the run's weights with the model's, and find the rows' images among the studio's own, by name.

        Where the weights are the same, the studio is spared what the run has predicted already.
        """
        self.weights = compared_weights(self.audit.manifest, str(self.audit.path), loaded)
        _ = self.errors, self.measure("label_confidence")  # read now, or the first click waits for them
        places = {gallery.name(number): number for number in range(len(gallery))}
        self.samples = np.array([places.get(name, NONE) for name in self.names], dtype=np.int64)
        here = self.samples != NONE
        if not here.any() and len(self):
            self.problems.append(
                f"none of the run's images is in {gallery.spec or 'the data'}: maps are shown without them. "
                + (gallery.problem or "Start with the data of the run: --data FOLDER")
            )
        elif missing := int((~here).sum()):
            self.problems.append(f"{missing:,} of the run's images are no longer in {gallery.spec}")
        if not self.weights.same:
            return
        rows = np.flatnonzero(here)
        predicted = self.outcomes.predicted[rows]
        predictions.classes[self.samples[rows]] = np.where(predicted < 0, UNREADABLE, predicted)
        predictions.confidences[self.samples[rows]] = np.nan_to_num(self.outcomes.confidence[rows])
