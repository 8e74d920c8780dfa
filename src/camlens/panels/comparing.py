"""One image seen in several ways: several layers, methods or classes, all from one pass through the model."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from camlens.core.errors import EvidenceWarning, InputError
from camlens.core.probe import Progress, silent
from camlens.core.registry import METHODS
from camlens.core.targets import ClassScore
from camlens.explainer import Explainer
from camlens.explanation import Explanation
from camlens.models import LoadedModel
from camlens.models.geometry import View
from camlens.panels.explaining import finite

Kind = Literal["layers", "methods", "classes"]


@dataclass(frozen=True)
class Question:
    """What to compare by `kind`; of the other two there is one, or none for the default."""

    kind: Kind
    layers: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("gradcam",)
    classes: tuple[int, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        members: Sequence[object] = getattr(self, self.kind)
        if len(members) < 2:
            raise InputError(
                f"a comparison needs two or more {self.kind}, not {len(members)}: list them as a,b",
                code="comparison.too-few",
                kind=self.kind,
                count=len(members),
            )
        for method in self.methods:
            METHODS[method]


@dataclass(frozen=True, eq=False)
class ComparedMap:
    """One of the maps that are compared: its label, the heat map (*grid) in [0, 1] and what it is of.

    `evidence` (*grid) in [-1, 1] is there where the map is one of evidence for and against.
    """

    label: str
    heatmap: NDArray[np.float32]
    method: str
    layer: str
    class_index: int | None
    class_name: str
    grid: tuple[int, ...]
    score: float
    evidence: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """The views of one image, in the order asked for."""

    path: Path
    picture: View
    question: Question
    views: tuple[ComparedMap, ...]
    warnings: tuple[str, ...]
    provenance: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the maps, as plain values that JSON can hold."""
        facts = ("label", "method", "layer", "class_name")
        return {
            "image": str(self.path),
            "picture_size": list(self.picture.picture.shape[:2]),
            "region": None if self.picture.geometry is None else list(self.picture.geometry.region),
            "kind": self.question.kind,
            "views": [
                {fact: getattr(view, fact) for fact in facts}
                | {"class_idx": view.class_index, "score": finite(view.score)}
                for view in self.views
            ],
            "warnings": list(self.warnings),
            "provenance": dict(self.provenance),
        }


def compare_image(loaded: LoadedModel, path: Path, question: Question, *, progress: Progress = silent) -> Comparison:
    """Explain one image in every way that the question asks for."""
    explainer = Explainer(
        loaded,
        method=list(question.methods),
        layers=list(question.layers) or None,
        seed=question.seed,
        progress=progress,
    )
    target = [ClassScore(index) for index in question.classes] or None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EvidenceWarning)  # `Comparison.warnings` has it
        explanations: dict[str, Explanation] = explainer(path, target=target)
    views = [view for explanation in explanations.values() for view in _views(explanation, question, loaded)]
    said = [
        f"{name}: {text.replace('the map of image 0', 'the map')}"
        for name, explanation in explanations.items()
        for text in explanation.provenance["warnings"]
    ]
    first = next(iter(explanations.values()))
    provenance = {name: fact for name, fact in first.provenance.items() if name != "warnings"}
    return Comparison(path, first.views[0], question, tuple(views), tuple(said), provenance)


def _views(explanation: Explanation, question: Question, loaded: LoadedModel) -> list[ComparedMap]:
    views = []
    for layer in explanation.layers:
        grid = tuple(explanation.maps[layer].shape[2:])
        heatmaps = explanation.heatmaps(layer, grid)[0].nan_to_num(0).cpu().numpy()
        signedmaps = explanation.signedmaps(layer, grid)[0].nan_to_num(0).cpu().numpy()
        for number, heatmap in enumerate(heatmaps):
            index = None if explanation.classes is None else int(explanation.classes[0, number])
            named = explanation.label(0, number, loaded.class_names)
            label = {"layers": layer, "methods": explanation.method, "classes": named}[question.kind]
            score = float(explanation.scores[0, number])
            evidence = signedmaps[number] if explanation.shows_both_signs(number) else None
            views.append(ComparedMap(label, heatmap, explanation.method, layer, index, named, grid, score, evidence))
    return views
