"""From a request to maps: what is known already is taken from the cache, the rest comes from one capture."""

import time
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from camlens import targets
from camlens.core.errors import EvidenceWarning, InputError, TargetError
from camlens.core.registry import METHODS
from camlens.explainer import Explainer
from camlens.explanation import Explanation
from camlens.methods import METHODS as FILLED_METHODS
from camlens.studio.bench import Workbench
from camlens.studio.encoding import grid_values
from camlens.studio.image_info import image_info, predictions_of
from camlens.studio.jobs import Report
from camlens.studio.reproduction import request_lines
from camlens.studio.schemas import (
    ExplanationRequest,
    ExplanationResult,
    GridValues,
    ImageInfo,
    MapResult,
    MapState,
    TargetChoice,
)

assert FILLED_METHODS is METHODS
TOP = 5
ESTIMATE = 64  # cells along each side of a map that is not finished


@dataclass(frozen=True, eq=False)
class Explained:
    """One request's explanations by method name, how long they took when computed, and whether they were known."""

    explanations: dict[str, Explanation]
    layers: tuple[str, ...]
    seconds: float
    cached: bool


@dataclass(frozen=True, eq=False)
class _Kept:
    """An explanation in the cache, and how many seconds it took."""

    explanation: Explanation
    seconds: float


def checked_request(bench: Workbench, request: ExplanationRequest) -> ExplanationRequest:
    """The request with its layers named, or an error that says what of it does not exist.

    It names none where all its methods know by themselves where to look.
    """
    own = [chooses_layers(method, request.layers) for method in request.methods]
    check_target(bench, request.target)
    for layer in request.layers:
        bench.anatomy.layer(layer.partition("#")[0])
    if all(own):
        return request.model_copy(update={"layers": ()})
    default = bench.anatomy.default_layer
    if not request.layers and default is None:
        raise InputError(f"this model has no layer that can carry a map: {bench.anatomy.reason}", code="layer.none")
    return request.model_copy(update={"layers": request.layers or (default,)})


def check_target(bench: Workbench, target: TargetChoice) -> None:
    """Raise TargetError for a class that the model does not have, or that is missing."""
    classes = len(bench.model.class_names)
    for index in (target.index, target.against):
        if index is not None and index >= classes:
            raise TargetError(
                f"class {index} does not exist: the model has classes 0 to {classes - 1}",
                code="target.out-of-range",
                value=index,
                classes=classes,
            )
    if target.kind == "class" and target.index is None:
        raise TargetError("a target of kind 'class' needs an index", code="target.needed")


def chooses_layers(method: str, layers: Sequence[str]) -> bool:
    """Whether a method looks at no layer, or at all convolutions where fewer than two layers are named."""
    entry = METHODS[method]
    return entry.scope == "input" or (entry.default_layers == "convolutions" and len(layers) < 2)


def engine_target(choice: TargetChoice, classes: int) -> targets.Target:
    """The engine's target that a choice on the page means."""
    if choice.kind == "class":
        return targets.ClassScore(choice.index or 0)
    if choice.kind == "contrast":
        return targets.Contrast(choice.index, choice.against)
    if choice.kind == "top":
        return targets.TopK(min(choice.k, classes))
    return targets.Predicted()


def explain_request(bench: Workbench, request: ExplanationRequest, report: Report) -> Explained:
    """Explanations of a checked request, computed where they are not known. Runs in the worker."""
    start = time.perf_counter()
    found = _held(bench, request)
    missing = [method for method in request.methods if method not in found]
    if missing:
        computed = _computed(bench, request, missing, report)
        seconds = time.perf_counter() - start
        for method, explanation in computed.items():
            found[method] = _Kept(explanation, seconds)
            bench.cache.put(_key(request, method), found[method], _bytes(explanation))
    return _together(request, found, cached=not missing)


def explanation_key(request: ExplanationRequest) -> Hashable:
    """What tells one question from another: those who ask the same share a job."""
    return "explain", request


def known_explanations(bench: Workbench, request: ExplanationRequest) -> Explained | None:
    """The answer to a checked request where the cache holds all of it."""
    found = _held(bench, request)
    return _together(request, found, cached=True) if set(found) == set(request.methods) else None


def _held(bench: Workbench, request: ExplanationRequest) -> dict[str, _Kept]:
    kept = {method: bench.cache.get(_key(request, method)) for method in request.methods}
    return {method: one for method, one in kept.items() if isinstance(one, _Kept)}


def _together(request: ExplanationRequest, found: dict[str, _Kept], *, cached: bool) -> Explained:
    explanations = {method: found[method].explanation for method in request.methods}
    return Explained(explanations, request.layers, max(one.seconds for one in found.values()), cached)


def _key(request: ExplanationRequest, method: str) -> Hashable:
    layers = () if chooses_layers(method, request.layers) else request.layers
    return "maps", request.image, method, layers, request.target


def _computed(
    bench: Workbench, request: ExplanationRequest, methods: Sequence[str], report: Report
) -> dict[str, Explanation]:
    inputs = bench.inputs(request.image)
    target = engine_target(request.target, len(bench.model.class_names))
    free = [method for method in methods if chooses_layers(method, request.layers)]
    bound = [method for method in methods if method not in free]
    explanations: dict[str, Explanation] = {}
    for group, layers in ((bound, list(request.layers)), (free, None)):
        if group:
            sofar = _SoFar(report)
            explainer = Explainer(
                bench.model,
                method=group,
                layers=layers,
                progress=sofar.tell,
                estimate=sofar.keep,
            )
            with warnings.catch_warnings():  # the page shows each map's own warning
                warnings.simplefilter("ignore", EvidenceWarning)
                explanations |= explainer(inputs, target=target)
    return explanations


@dataclass(eq=False)
class _SoFar:
    """What a job tells of its progress, with its first map as far as that is known."""

    report: Report
    grid: GridValues | None = None

    def keep(self, maps: Tensor) -> None:
        """Take the maps so far (1, t, h, w): only as fine as a picture that will be gone in a moment must be."""
        size = (min(maps.shape[2], ESTIMATE), min(maps.shape[3], ESTIMATE))
        self.grid = grid_values(torch.nn.functional.adaptive_avg_pool2d(maps[0, :1], size)[0])

    def tell(self, done: int, total: int) -> None:
        """Report the progress."""
        self.report(done, total, self.grid)


def _bytes(explanation: Explanation) -> int:
    return sum(one.numel() * 4 for one in explanation.maps.values()) + 4096


def explanation_result(bench: Workbench, request: ExplanationRequest, explained: Explained) -> ExplanationResult:
    """What the page gets: maps as numbers, predictions, and how to repeat it."""
    first = next(iter(explained.explanations.values()))
    predictions = predictions_of(bench, request.image, first.logits)
    info = image_info(bench, request.image)
    return ExplanationResult(
        image=info,
        size=(first.input_size[0], first.input_size[1]),
        region=bench.picture(request.image)[1],
        predictions=predictions,
        label_confidence=label_confidence(bench, info, first.logits),
        maps=tuple(one for explanation in explained.explanations.values() for one in _results(explanation)),
        layer_choice=_layer_choice(bench, request),
        seconds=explained.seconds,
        cached=explained.cached,
        python=request_lines(request).python(bench, request.image),
        shell=request_lines(request).shell(bench, request.image),
    )


def label_confidence(bench: Workbench, info: ImageInfo, logits: Tensor | None) -> float | None:
    """How likely the model finds the true class, where there is one."""
    if logits is None or info.label is None or bench.model.task == "regression":
        return None
    return float(bench.model.probabilities(logits[0])[info.label])


def _layer_choice(bench: Workbench, request: ExplanationRequest) -> str:
    if not request.layers:
        return "the method's own choice"
    return bench.anatomy.reason if request.layers == (bench.anatomy.default_layer,) else "asked for"


def named_target(explanation: Explanation, number: int = 0) -> tuple[str, int | None, str | None]:
    """What a map is about: its title, and, unless it is a contrast, its class and the name of that."""
    name = explanation.label(0, number)
    if explanation.classes is None or explanation.contrasts(0, number):
        return name, None, None
    return explanation.targets[number], int(explanation.classes[0, number]), name


def _results(explanation: Explanation) -> list[MapResult]:
    results = []
    for layer in explanation.layers:
        for number in range(len(explanation.targets)):
            values = explanation.maps[layer][0, number]
            target, index, name = named_target(explanation, number)
            both = explanation.shows_both_signs(number)
            state, warning = verdict(values, both_signs=both)
            results.append(
                MapResult(
                    method=explanation.method,
                    layer=layer,
                    target=target,
                    class_index=index,
                    class_name=name,
                    score=finite(explanation.scores[0, number]),
                    grid=grid_values(values),
                    state=state,
                    warning=warning,
                    energy=_energy(values),
                    diverging=both,
                )
            )
    return results


def verdict(values: Tensor, *, both_signs: bool = False) -> tuple[MapState, str | None]:
    """What a signed map is worth: its state, and a sentence where its picture would be empty or one-sided."""
    if not torch.isfinite(values).all():
        return "broken", "The map holds NaN or infinite values: the model's numbers overflowed on this image."
    highest, lowest = float(values.max()), float(values.min())
    if highest == lowest:
        return "flat", f"The map is constant ({highest:.3g} everywhere): this layer says nothing about where."
    if highest <= 0 and both_signs:
        return "negative", f"There is only evidence against this class here (highest value {highest:.3g})."
    if highest <= 0:
        return "negative", (
            f"There is only evidence against this class here (highest value {highest:.3g}): nothing is "
            "drawn, because a stretched map would look like evidence for it."
        )
    return "good", None


def _energy(values: Tensor) -> float:
    magnitude = float(values.abs().sum())
    return float(values.clamp_min(0).sum()) / magnitude if magnitude > 0 and magnitude < torch.inf else 0.0


def finite(value: Tensor) -> float | None:
    """The number, or None where it is not one that JSON can hold."""
    return float(value) if torch.isfinite(value) else None
