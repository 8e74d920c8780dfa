"""Compare several layers, methods or classes of one image, from one pass through the model."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from camlens.cli.explaining import map_warnings
from camlens.core.details import finite
from camlens.core.errors import EvidenceWarning, InputError
from camlens.core.layers import layer_in_words
from camlens.core.probe import Progress, silent
from camlens.core.registry import METHODS
from camlens.core.targets import ClassScore
from camlens.explainer import Explainer
from camlens.explanation import Explanation
from camlens.models import LoadedModel
from camlens.models.geometry import View
from camlens.render.figure import class_difference, map_row
from camlens.render.theme import Look

if TYPE_CHECKING:
    from PIL.Image import Image

Kind = Literal["layers", "methods", "classes"]


@dataclass(frozen=True)
class Question:
    """What is compared: two or more of `kind`; at most one each of the other two, or none for the default."""

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
    """One of the compared maps, (*grid) in [0, 1], with its label.

    `evidence` (*grid) in [-1, 1] is set if the map shows both signs.
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
    """The compared maps of one image, in the requested order."""

    path: Path
    picture: View
    question: Question
    views: tuple[ComparedMap, ...]
    warnings: tuple[str, ...]
    provenance: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return everything except the maps as JSON values."""
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
        warnings.simplefilter("ignore", EvidenceWarning)  # reported by `Comparison.warnings`
        explanations: dict[str, Explanation] = explainer(path, target=target)
    views = [view for explanation in explanations.values() for view in _views(explanation, question, loaded)]
    warned = [f"{name}: {text}" for name, explanation in explanations.items() for text in map_warnings(explanation)]
    first = next(iter(explanations.values()))
    provenance = {name: fact for name, fact in first.provenance.items() if name != "warnings"}
    return Comparison(path, first.views[0], question, tuple(views), tuple(warned), provenance)


def _views(explanation: Explanation, question: Question, loaded: LoadedModel) -> list[ComparedMap]:
    views = []
    for layer in explanation.layers:
        grid = tuple(explanation.maps[layer].shape[2:])
        heatmaps = explanation.heatmaps(layer, grid)[0].nan_to_num(0).cpu().numpy()
        signedmaps = explanation.signedmaps(layer, grid)[0].nan_to_num(0).cpu().numpy()
        for number, heatmap in enumerate(heatmaps):
            index = None if explanation.classes is None else int(explanation.classes[0, number])
            target = explanation.label(0, number, loaded.class_names)
            label = {"layers": layer, "methods": explanation.method, "classes": target}[question.kind]
            score = float(explanation.scores[0, number])
            evidence = signedmaps[number] if explanation.shows_both_signs(number) else None
            views.append(ComparedMap(label, heatmap, explanation.method, layer, index, target, grid, score, evidence))
    return views


def comparison_picture(comparison: Comparison, look: Look) -> "Image":
    """Draw the compared maps side by side; for two classes also the signed difference of their maps."""
    views, kind = comparison.views, comparison.question.kind
    heatmaps = {view.label: view.heatmap if view.evidence is None else view.evidence for view in views}
    signed = {view.label for view in views if view.evidence is not None}
    name, first = comparison.path.name, views[0]
    picture, region = comparison.picture.shown(crop=look.crop)
    if kind == "layers":
        subtitle = f"{first.method} for {first.class_name}"
        details = {view.label: " × ".join(map(str, view.grid)) for view in views}
    elif kind == "methods":
        subtitle = f"{first.class_name} at {layer_in_words(first.layer)}"
        details = {}
    else:
        subtitle = f"{first.method} at {layer_in_words(first.layer)}"
        details = {view.label: f"score {view.score:.2f}" for view in views}
    if kind == "classes" and len(views) == 2:
        names = _short(views[0].label, views[1].label)
        return class_difference(
            picture,
            views[0].heatmap,
            views[1].heatmap,
            names=names,
            title=f"{name}: {names[0]} against {names[1]}",
            subtitle=subtitle,
            region=region,
            look=look,
        )
    return map_row(
        picture, heatmaps, details=details, title=name, subtitle=subtitle, signed=signed, region=region, look=look
    )


def _short(first: str, second: str) -> tuple[str, str]:
    """Return both names up to their first comma, if they still differ."""
    short = first.partition(",")[0], second.partition(",")[0]
    return short if short[0] != short[1] else (first, second)
