"""An open audit run: its columns, derived values, and how it relates to the loaded model and dataset."""

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
from camlens.audit.findings.shortcuts import Shortcuts
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
    """Compare the weights of the run in directory `run` with those of the loaded model."""
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
        "This run was made with weights that differ from those of the loaded model, so the other pages may show"
        f" different maps for the same images. {_remedy(manifest, run, loaded)}"
    )


def _remedy(manifest: Manifest, run: str, loaded: LoadedModel) -> str:
    if manifest.model is None:
        return (
            f"The run was made from Python with a {manifest.model_type} that has no spec: pass --model and --weights to"
            " load it, or audit the model that is loaded here."
        )
    if (loaded.spec, loaded.weights_file) != (manifest.model, manifest.weights_file):
        return (
            f"To load the model of the run, start `camlens studio --audit {quote(run)}` without --model and --weights."
            " To get maps of this model for all images, audit it."
        )
    changed = manifest.weights_file or manifest.model
    return (
        f"{changed} has changed since the run was made: pass the former weights with --weights FILE, or run the audit"
        " again."
    )


NONE = -1


class OpenRun:
    """An open audit run. Columns are read once; features are kept after the first use."""

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
        """Name of every image in its dataset."""
        return self.audit.column("id")

    @cached_property
    def errors(self) -> NDArray[Any]:
        """Error of every image, None for images without one."""
        return self.audit.column("error")

    @cached_property
    def shortcuts(self) -> Shortcuts | None:
        """The result of the shortcut tests, None if they were not run."""
        return self.audit.shortcuts

    def measure(self, name: str) -> Float[np.ndarray, " n"]:
        """Return a numeric column, NaN for missing values."""
        if name not in self._measures:
            self._measures[name] = numbers(self.audit, name)
        return self._measures[name]

    @cached_property
    def top(self) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
        """Top classes of every row and their confidences, padded with -1 and NaN."""
        return self.audit.column("top_classes"), self.audit.column("top_confidences")

    def checked(self, rows: Sequence[int]) -> Int[np.ndarray, " rows"]:
        """Return the row numbers; raise DataError if one is out of range."""
        for row in rows:
            if not 0 <= row < len(self):
                raise DataError(
                    f"row {row} is out of range: the run has {len(self):,} rows, numbered from 0",
                    code="row.out-of-range",
                    row=row,
                    rows=len(self),
                )
        return np.array(rows, dtype=np.int64)

    def class_index(self, number: int | None) -> int | None:
        """Return the class number; raise DataError if it is out of range."""
        if number is not None and not 0 <= number < self.outcomes.classes:
            raise DataError(
                f"class {number} is out of range: the run has {self.outcomes.classes} classes (from 0)",
                code="target.out-of-range",
                value=number,
                classes=self.outcomes.classes,
            )
        return number

    def reasoner(self, report: Report) -> Reasoner:
        """Return the reasoner over all images; it is built once, part by part."""
        with self._reading:
            if self._reasoner is None:
                parts = list(self.audit.parts())
                features = [np.zeros((0, self.audit.manifest.embedding_width), dtype=np.float32)]
                for done, part in enumerate(parts):
                    report(done, len(parts) + 1)
                    features.append(unit(self.audit.embeddings(part)))
                report(len(parts), len(parts) + 1)
                directions = np.concatenate(features)
                self._reasoner = Reasoner.of_arrays(
                    self.outcomes,
                    self.measure("margin"),
                    self.measure("corner_energy"),
                    directions,
                    self.audit.grid,
                )
            return self._reasoner

    def meet(self, loaded: LoadedModel, gallery: Gallery, predictions: Predictions) -> None:
        """Compare the run with the model, and match its rows to the images of the dataset by name.

        If the weights are the same, the predictions of the run are reused.
        """
        self.weights = compared_weights(self.audit.manifest, str(self.audit.path), loaded)
        _ = self.errors, self.measure("label_confidence")  # read now rather than during the first request
        places = {gallery.name(number): number for number in range(len(gallery))}
        self.samples = np.array([places.get(name, NONE) for name in self.names], dtype=np.int64)
        here = self.samples != NONE
        if not here.any() and len(self):
            self.problems.append(
                f"none of the run's images is in {gallery.spec or 'the dataset'}: maps are shown without pictures. "
                + (gallery.problem or "Pass the dataset of the run with --data FOLDER.")
            )
        elif missing := int((~here).sum()):
            self.problems.append(f"{missing:,} images of the run are no longer in {gallery.spec}")
        if not self.weights.same:
            return
        rows = np.flatnonzero(here)
        predicted = self.outcomes.predicted[rows]
        predictions.classes[self.samples[rows]] = np.where(predicted < 0, UNREADABLE, predicted)
        predictions.confidences[self.samples[rows]] = np.nan_to_num(self.outcomes.confidence[rows])
