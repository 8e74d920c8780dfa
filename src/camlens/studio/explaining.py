"""Answer explanation requests: cached maps are reused, the missing ones are computed together."""

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
ESTIMATE_SIZE = 64  # cells along each side of the estimate of an unfinished map


@dataclass(frozen=True, eq=False)
class Explained:
    """The explanations of one request by method, how long they took to compute, and whether all were cached."""

    explanations: dict[str, Explanation]
    layers: tuple[str, ...]
    seconds: float
    cached: bool


@dataclass(frozen=True, eq=False)
class _Cached:
    """An explanation in the cache, and how many seconds it took to compute."""

    explanation: Explanation
    seconds: float


def checked_request(bench: Workbench, request: ExplanationRequest) -> ExplanationRequest:
    """Return the request with its layers filled in; raise an error for an unknown method, layer or class.

    `layers` is empty if all methods choose their layers themselves.
    """
    free = [chooses_layers(method, request.layers) for method in request.methods]
    check_target(bench, request.target)
    for layer in request.layers:
        bench.anatomy.layer(layer.partition("#")[0])
    if all(free):
        return request.model_copy(update={"layers": ()})
    default = bench.anatomy.default_layer
    if not request.layers and default is None:
        raise InputError(f"no layer of this model can carry a map: {bench.anatomy.reason}", code="layer.none")
    return request.model_copy(update={"layers": request.layers or (default,)})


def check_target(bench: Workbench, target: TargetChoice) -> None:
    """Raise TargetError if a class is missing or out of range."""
    classes = len(bench.model.class_names)
    for index in (target.index, target.against):
        if index is not None and index >= classes:
            raise TargetError(
                f"class {index} is out of range: the model has {classes} classes (0 to {classes - 1})",
                code="target.out-of-range",
                value=index,
                classes=classes,
            )
    if target.kind == "class" and target.index is None:
        raise TargetError("a target of kind 'class' requires an index", code="target.needed")


def chooses_layers(method: str, layers: Sequence[str]) -> bool:
    """Return whether a method explains the input, or uses all convolutions because fewer than two layers are given."""
    entry = METHODS[method]
    return not entry.uses_layers or (entry.default_layers == "convolutions" and len(layers) < 2)


def engine_target(choice: TargetChoice, classes: int) -> targets.Target:
    """Return the target for a choice made on the page."""
    if choice.kind == "class":
        return targets.ClassScore(choice.index or 0)
    if choice.kind == "contrast":
        return targets.Contrast(choice.index, choice.against)
    if choice.kind == "top":
        return targets.TopK(min(choice.k, classes))
    return targets.Predicted()


def explain_request(bench: Workbench, request: ExplanationRequest, report: Report) -> Explained:
    """Return the explanations of a checked request, computing what is not cached; runs in the worker."""
    start = time.perf_counter()
    known = _cached(bench, request)
    missing = [method for method in request.methods if method not in known]
    if missing:
        computed = _computed(bench, request, missing, report)
        seconds = time.perf_counter() - start
        for method, explanation in computed.items():
            known[method] = _Cached(explanation, seconds)
            bench.cache.put(_key(request, method), known[method], _bytes(explanation))
    return _explained(request, known, cached=not missing)


def explanation_key(request: ExplanationRequest) -> Hashable:
    """Return the key under which equal requests share a job."""
    return "explain", request


def known_explanations(bench: Workbench, request: ExplanationRequest) -> Explained | None:
    """Return the explanations of a checked request if all of them are cached."""
    known = _cached(bench, request)
    return _explained(request, known, cached=True) if set(known) == set(request.methods) else None


def _cached(bench: Workbench, request: ExplanationRequest) -> dict[str, _Cached]:
    entries = {method: bench.cache.get(_key(request, method), _Cached) for method in request.methods}
    return {method: entry for method, entry in entries.items() if entry is not None}


def _explained(request: ExplanationRequest, known: dict[str, _Cached], *, cached: bool) -> Explained:
    explanations = {method: known[method].explanation for method in request.methods}
    return Explained(explanations, request.layers, max(entry.seconds for entry in known.values()), cached)


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
            progress = _Progress(report)
            explainer = Explainer(
                bench.model,
                method=group,
                layers=layers,
                progress=progress.report_steps,
                estimate=progress.keep_estimate,
            )
            with warnings.catch_warnings():  # each map carries its own warning
                warnings.simplefilter("ignore", EvidenceWarning)
                explanations |= explainer(inputs, target=target)
    return explanations


@dataclass(eq=False)
class _Progress:
    """Report the progress of a job together with the latest estimate of its first map."""

    report: Report
    grid: GridValues | None = None

    def keep_estimate(self, maps: Tensor) -> None:
        """Keep the maps so far (1, t, h, w) at a reduced size."""
        size = (min(maps.shape[2], ESTIMATE_SIZE), min(maps.shape[3], ESTIMATE_SIZE))
        self.grid = grid_values(torch.nn.functional.adaptive_avg_pool2d(maps[0, :1], size)[0])

    def report_steps(self, done: int, total: int) -> None:
        """Report `done` of `total` steps with the latest estimate."""
        self.report(done, total, self.grid)


def _bytes(explanation: Explanation) -> int:
    return sum(maps.numel() * 4 for maps in explanation.maps.values()) + 4096


def explanation_result(bench: Workbench, request: ExplanationRequest, explained: Explained) -> ExplanationResult:
    """Return the answer to a request: maps as numbers, predictions, and the code that reproduces them."""
    first = next(iter(explained.explanations.values()))
    predictions = predictions_of(bench, request.image, first.logits)
    info = image_info(bench, request.image)
    return ExplanationResult(
        image=info,
        size=(first.input_size[0], first.input_size[1]),
        region=bench.picture(request.image)[1],
        predictions=predictions,
        label_confidence=label_confidence(bench, info, first.logits),
        maps=tuple(result for explanation in explained.explanations.values() for result in _results(explanation)),
        layer_choice=_layer_choice(bench, request),
        seconds=explained.seconds,
        cached=explained.cached,
        python=request_lines(request).python(bench, request.image),
        shell=request_lines(request).shell(bench, request.image),
    )


def label_confidence(bench: Workbench, info: ImageInfo, logits: Tensor | None) -> float | None:
    """Return the probability of the true class, or None if it is unknown."""
    if logits is None or info.label is None or bench.model.task == "regression":
        return None
    return float(bench.model.probabilities(logits[0])[info.label])


def _layer_choice(bench: Workbench, request: ExplanationRequest) -> str:
    if not request.layers:
        return "chosen by the method"
    return bench.anatomy.reason if request.layers == (bench.anatomy.default_layer,) else "requested"


def named_target(explanation: Explanation, number: int = 0) -> tuple[str, int | None, str | None]:
    """Return the title of a target, and its class and class name unless it is a contrast."""
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
    """Return the state of a signed map, and a warning if its picture would be empty or one-sided."""
    if not torch.isfinite(values).all():
        return "broken", "The map contains NaN or infinite values: the model overflows on this image."
    highest, lowest = float(values.max()), float(values.min())
    if highest == lowest:
        return "flat", f"The map is constant ({highest:.3g} everywhere): it does not show where the evidence is."
    if highest <= 0 and both_signs:
        return "negative", f"This layer has only evidence against the class (highest value {highest:.3g})."
    if highest <= 0:
        return "negative", (
            f"This layer has only evidence against the class (highest value {highest:.3g}). No overlay is drawn, "
            "because rescaling would make it look like evidence for the class."
        )
    return "good", None


def _energy(values: Tensor) -> float:
    magnitude = float(values.abs().sum())
    return float(values.clamp_min(0).sum()) / magnitude if magnitude > 0 and magnitude < torch.inf else 0.0


def finite(value: Tensor) -> float | None:
    """Return the number, or None if it is NaN or infinite."""
    return float(value) if torch.isfinite(value) else None
