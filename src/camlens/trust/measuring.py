"""`measure`: metrics of an explanation, without the functions that they need being written by hand."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camlens.core.arguments import checked_count, closest, suggesting
from camlens.core.errors import InputError
from camlens.core.heatmaps import resized
from camlens.core.probabilities import probabilities
from camlens.core.registry import METRICS
from camlens.core.types import Pictures, SelectOutput
from camlens.explanation import Explanation
from camlens.metrics import faithfulness
from camlens.models.loading import LoadedModel
from camlens.targets import ClassScore
from camlens.trust.again import classes_of, inputs_of, repeated, scored

_OF_LOGITS = frozenset({"sensitivity_n", "faithfulness_correlation", "mu_fidelity", "single_deletion", "infidelity"})
"""Metrics whose papers use logits; the others use probabilities."""
_PARTS = {
    "adcc": ("coherency", "complexity", "average_drop"),
    "arcc": ("coherency", "complexity", "road_combined"),
}


class Measures(dict[str, Tensor]):
    """The value of each metric, float32 (n,) by name, NaN if undefined; and the curves that some of them are made of.

    Attributes:
        curves: (n, points) by the name of the metric: the score for each step of insertion, deletion and pixel
            flipping, and for each share of removed pixels of ROAD.
    """

    def __init__(self) -> None:
        super().__init__()
        self.curves: dict[str, Tensor] = {}


@suggesting
def measure(
    explanation: Explanation,
    inputs: Tensor | Pictures | None,
    metrics: str | Iterable[str],
    *,
    model: nn.Module | LoadedModel,
    masks: Tensor | None = None,
    cells: Tensor | None = None,
    layer: str | None = None,
    target: int = 0,
    output: SelectOutput | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    seed: int = 0,
) -> Measures:
    """Compute metrics for the maps of one target.

    Args:
        explanation: the result of `explain`. Its targets must be classes.
        inputs: the explained inputs. None are the explained pictures, if a LoadedModel explained pictures.
        metrics: a name from METRICS or several.
        model: the explained model.
        masks: bool (n, *size) of the size of the inputs, for metrics that compare the map with an object.
        cells: int (n,) for the grid pointing game.
        layer: the layer of the maps; the last one by default.
        target: the number of the target, if several were explained.
        output: as in `explain`, if it was passed there.
        options: the options of each metric by its name, such as {"deletion_auc": {"steps": 50}}.
        seed: seed of the random numbers that metrics draw.

    Returns a dictionary from metric to float32 (n,) on the CPU, with the attribute `curves`.

    Metrics of removed regions use the probability of the class, and those that compare sums of the map with drops of
    the score use the logit, as their papers do. Maps are enlarged linearly to the size of the inputs if the metric
    compares them with inputs, masks or cells, and else are those of the layer.

    Raises InputError for unknown metrics and options, and if `masks` or `cells` are missing ("argument.missing").

    Example:
        measure(explanation, images, ["deletion_auc", "road_combined"], model=model)
    """
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    if not names:
        raise InputError("metrics must not be empty", code="argument.empty", name="metrics")
    for name in names:
        if "first" in METRICS[name].needs:
            raise InputError(
                f"{name} compares two maps: call METRICS[{name!r}].function(first, second)",
                code="metric.two-maps",
                name=name,
            )
    given = dict(options or {})
    for name in given:
        if name not in names:
            raise InputError(
                f"there are options for {name!r}, which is not one of the metrics {', '.join(names)}",
                code="option.by-metric",
                name=name,
                suggestion=closest(name, names),
            )
    subject = _Subject(
        explanation,
        model,
        inputs_of(explanation, model, inputs),
        explanation._layer(layer),
        explanation._target(target),
        output,
        masks,
        cells,
    )
    results = Measures()
    for name in names:
        subject.compute(name, given.get(name, {}), checked_count("seed", seed, least=0), results)
    return results


@dataclass(frozen=True, eq=False)
class _Subject:
    """The maps of one target, and what metrics need to know about them."""

    explanation: Explanation
    model: nn.Module | LoadedModel
    inputs: Tensor
    layer: str
    target: int
    output: SelectOutput | None
    masks: Tensor | None
    cells: Tensor | None

    def compute(self, name: str, options: Mapping[str, Any], seed: int, results: Measures) -> None:
        """Add a metric, and its curve if it has one, to the results."""
        entry = METRICS[name]
        entry.check_options(options)
        parameters = inspect.signature(entry.function).parameters
        keywords = dict(options)
        if "generator" in parameters:
            keywords.setdefault("generator", torch.Generator().manual_seed(seed))
        if "number_of_classes" in parameters:
            keywords.setdefault("number_of_classes", self.number_of_classes)
        needs = entry.needs.split(", ")
        enlarged = not {"inputs", "masks", "cells"}.isdisjoint(needs)
        if name in _PARTS:
            parts = Measures()
            for part in _PARTS[name]:
                self.compute(part, {}, seed, parts)
            arguments = [parts[part] for part in _PARTS[name]]
        else:
            arguments = [self.argument(name, need, enlarged) for need in needs]
        if name not in _CURVES:
            results[name] = entry.function(*arguments, **keywords)
            return
        curve, summary = _CURVES[name]
        results.curves[name] = curve(*arguments, **keywords)
        results[name] = summary(results.curves[name], *arguments)

    def argument(self, metric: str, need: str, enlarged: bool) -> Any:
        """Return one argument of a metric by its name."""
        if need == "maps":
            return self.enlarged if enlarged else self.maps
        if need == "heatmaps":
            return self.explanation.heatmaps(self.layer)[:, self.target]
        if need == "score":
            return self.logit if metric in _OF_LOGITS else self.probability
        if need == "explain":
            explains = {
                "random_logit_similarity": self.explain_classes,
                "parameter_randomisation": self.explain_model,
                "coherency": self.explain_heatmaps,
            }
            return explains.get(metric, self.explain_maps)
        if need == "model":
            return self.model.model if isinstance(self.model, LoadedModel) else self.model
        value = getattr(self, need)
        if value is None:
            raise InputError(f"{metric} needs {need}: pass {need}=", code="argument.missing", name=need, metric=metric)
        return value

    @property
    def classes(self) -> Tensor:
        """The explained class of each image."""
        return classes_of(self.explanation)[:, self.target].cpu()

    @property
    def maps(self) -> Float[Tensor, "n *grid"]:
        """The signed maps of the layer."""
        return self.explanation.maps[self.layer][:, self.target]

    @cached_property
    def enlarged(self) -> Float[Tensor, "n *size"]:
        """The signed maps at the size of the inputs, each divided by its largest magnitude."""
        return _enlarged(self.maps, self.explanation.input_size)

    @property
    def number_of_classes(self) -> int:
        """The number of classes of the model."""
        logits = self.explanation.logits
        return 0 if logits is None else logits.shape[1]

    def logit(self, inputs: Tensor, row: int) -> Tensor:
        """The logit of the class of an image, for variants of it."""
        return scored(self.model, inputs, ClassScore(int(self.classes[row])), self.output).scores[:, 0]

    def probability(self, inputs: Tensor, row: int) -> Tensor:
        """The probability of the class of an image, for variants of it."""
        index = int(self.classes[row])
        logits = scored(self.model, inputs, ClassScore(index), self.output).logits
        assert logits is not None, "a class was explained"
        return probabilities(logits, self.explanation.activation, self.explanation.task)[:, index]

    def explain_classes(self, inputs: Tensor, classes: Tensor) -> Tensor:
        """The maps of each input for its class."""
        again = repeated(self.explanation, self.model, inputs, ClassScore(tuple(classes.tolist())), output=self.output)
        return again.maps[self.layer][:, 0]

    def explain_maps(self, inputs: Tensor, row: int) -> Tensor:
        """The maps of variants of an image for its class."""
        return self.explain_classes(inputs, self.classes[row].expand(len(inputs)))

    def explain_heatmaps(self, inputs: Tensor, row: int) -> Tensor:
        """The heat maps of variants of an image for its class, at the size of the inputs."""
        target = ClassScore(int(self.classes[row]))
        return repeated(self.explanation, self.model, inputs, target, output=self.output).heatmaps(self.layer)[:, 0]

    def explain_model(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """The maps of a model with other parameters for the explained classes."""
        target = ClassScore(tuple(self.classes.tolist()))
        output = self.model.reader if self.output is None and isinstance(self.model, LoadedModel) else self.output
        return repeated(self.explanation, model, inputs, target, output=output).maps[self.layer][:, 0]


def _enlarged(maps: Float[Tensor, "n *grid"], size: tuple[int, ...]) -> Float[Tensor, "n *size"]:
    largest = maps.abs().flatten(1).amax(dim=1).view(-1, *[1] * (maps.ndim - 1))
    return resized((maps / torch.where(largest > 0, largest, 1))[:, None], size)[:, 0]


def _area(curves: Tensor, _score: object, _inputs: object, heatmaps: Tensor) -> Tensor:
    return faithfulness.area(curves, heatmaps[0].numel())


def _drop(curves: Tensor, *_arguments: object) -> Tensor:
    return faithfulness.mean_drop(curves)


def _change(curves: Tensor, score: Any, inputs: Tensor, _maps: Tensor) -> Tensor:
    return faithfulness.mean_change(curves, score, inputs)


def _in_order(curve: Callable[..., Tensor], order: str) -> Callable[..., Tensor]:
    return lambda *arguments, **options: curve(*arguments, order=order, **options)


_CURVES: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "insertion_auc": (faithfulness.insertion_curves, _area),
    "deletion_auc": (faithfulness.deletion_curves, _area),
    "pixel_flipping_morf": (_in_order(faithfulness.flipping_curves, "most"), _drop),
    "pixel_flipping_lerf": (_in_order(faithfulness.flipping_curves, "least"), _drop),
    "road_morf": (_in_order(faithfulness.road_scores, "most"), _change),
    "road_lerf": (_in_order(faithfulness.road_scores, "least"), _change),
}
"""The curve of a metric, and how its value is computed from it."""
