"""`evaluate`: which method and layer is best for a model, by metrics on a sample of images, and by how much."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from camlens.core.arguments import checked_count, suggesting
from camlens.core.details import finite
from camlens.core.errors import DataError, InputError, StoreError
from camlens.core.provenance import weights_hash
from camlens.core.registry import METHODS, METRICS
from camlens.data.samples import Sample, Source
from camlens.explainer import Explainer
from camlens.models.loading import LoadedModel
from camlens.pictures import prepared
from camlens.trust.again import quietly
from camlens.trust.comparing import bootstrap_means, holm, interval, signed_rank
from camlens.trust.measuring import measure

_VALUES, _PLAN = "values.jsonl", "plan.json"
LEVEL = 0.05
"""Corrected p-values below this are differences."""


@dataclass(frozen=True)
class Comparison:
    """Two candidates on the same images: the share of images on which the first is better, and Holm's p-value."""

    first: str
    second: str
    wins: float
    difference: float
    p_value: float


@dataclass(frozen=True)
class Recommendation:
    """The best candidate on one half of the images, and what it costs on the other half.

    Attributes:
        candidate: the method and layer with the best mean on the first half.
        reliable: whether it is better than each other candidate there, by the signed-rank test with Holm's correction.
        regret: the best mean of the other half minus the mean of `candidate` there, in units of the metric.
        interval: the 95 % bootstrap interval of the regret.
        text: a sentence.
    """

    candidate: str
    reliable: bool
    regret: float
    interval: tuple[float, float]
    text: str


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The value of each metric for each candidate and image.

    Attributes:
        candidates: the method and layer of each candidate, such as "gradcam at layer4".
        images: the identifiers of the images.
        values: float32 (candidates, n) by metric; NaN if undefined.
        failed: images that could not be read, with the error.
        seed: seed of the sample, of the halves and of all draws.
    """

    candidates: tuple[str, ...]
    images: tuple[str, ...]
    values: Mapping[str, Float[np.ndarray, "candidates n"]]
    failed: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0

    def means(self, metric: str) -> dict[str, tuple[float, float, float, int]]:
        """Return for each candidate the mean, its 95 % bootstrap interval (low, high), and the number of images."""
        rows = {}
        for candidate, row in zip(self.candidates, self._of(metric), strict=True):
            known = row[~np.isnan(row)]
            low, high = interval(bootstrap_means(known[None], self.seed)[:, 0]) if len(known) else (np.nan, np.nan)
            rows[candidate] = (float(known.mean()) if len(known) else np.nan, low, high, len(known))
        return rows

    def compare(self, metric: str) -> list[Comparison]:
        """Compare every pair of candidates by the signed-rank test, with p-values corrected by Holm's procedure.

        Images for which one of the two is undefined are left out. `difference` is the mean of first minus second, and
        `wins` counts ties as one half.
        """
        return self._compare(self._of(metric), METRICS[metric].better)

    def recommend(self, metric: str) -> Recommendation:
        """Choose the best candidate on a random half of the images, and measure its regret on the other half.

        Raises InputError if the metric has no direction, or fewer than 20 images have a value for every candidate.
        """
        better = METRICS[metric].better
        if better == "neither":
            raise InputError(
                f"neither high nor low values of {metric} are better: choose another metric",
                code="metric.no-direction",
                name=metric,
            )
        sign = 1.0 if better == "higher" else -1.0
        values = sign * self._of(metric)
        values = values[:, ~np.isnan(values).any(axis=0)]
        if values.shape[1] < 20:
            raise InputError(
                f"{values.shape[1]} images with a value for every candidate are too few: at least 20 are needed",
                code="evaluation.too-few",
                images=values.shape[1],
                needed=20,
            )
        order = np.random.default_rng(self.seed).permutation(values.shape[1])
        first, second = values[:, order[::2]], values[:, order[1::2]]
        chosen = int(first.mean(axis=1).argmax())
        name = self.candidates[chosen]
        against = [pair for pair in self._compare(first, "higher") if name in (pair.first, pair.second)]
        reliable = all(pair.p_value <= LEVEL for pair in against)
        draws = bootstrap_means(second, self.seed)
        regrets = draws.max(axis=1) - draws[:, chosen]
        regret, (low, high) = float(second.mean(axis=1).max() - second[chosen].mean()), interval(regrets)
        text = (
            f"{name} is best by {metric} on {first.shape[1]} images."
            if reliable
            else f"No candidate is reliably better by {metric} than all others; {name} has the best mean."
        )
        text += (
            f" On {second.shape[1]} other images its regret is {regret:.3g} (95 % interval {low:.3g} to {high:.3g})."
        )
        return Recommendation(name, reliable, regret, (low, high), text)

    def to_dict(self) -> dict[str, Any]:
        """Return candidates, means, comparisons and, if possible, recommendations as JSON values."""
        metrics: dict[str, dict[str, Any]] = {}
        for metric in self.values:
            means = self.means(metric)
            metrics[metric] = {
                "better": METRICS[metric].better,
                "means": {
                    name: {"mean": finite(mean), "interval": [finite(low), finite(high)], "images": count}
                    for name, (mean, low, high, count) in means.items()
                },
                "comparisons": [{**vars(pair), "wins": finite(pair.wins)} for pair in self.compare(metric)],
            }
            try:
                metrics[metric]["recommendation"] = dict(vars(self.recommend(metric)))
            except InputError as error:
                metrics[metric]["recommendation"] = {"candidate": None, "text": str(error)}
        return {
            "candidates": list(self.candidates),
            "images": len(self.images),
            "failed": dict(self.failed),
            "seed": self.seed,
            "metrics": metrics,
        }

    def _of(self, metric: str) -> Float[np.ndarray, "candidates n"]:
        if metric not in self.values:
            raise InputError(
                f"{metric!r} was not evaluated; available: {', '.join(self.values)}", code="metric.unknown", name=metric
            )
        return self.values[metric].astype(np.float64)

    def _compare(self, values: Float[np.ndarray, "candidates n"], better: str) -> list[Comparison]:
        sign = -1.0 if better == "lower" else 1.0
        pairs = list(combinations(range(len(values)), 2))
        differences = [values[first] - values[second] for first, second in pairs]
        differences = [row[~np.isnan(row)] for row in differences]
        corrected = holm([signed_rank(row, self.seed) for row in differences])
        return [
            Comparison(
                self.candidates[first],
                self.candidates[second],
                float(((sign * row > 0) + 0.5 * (row == 0)).mean()) if len(row) else np.nan,
                float(row.mean()) if len(row) else 0.0,
                p,
            )
            for (first, second), row, p in zip(pairs, differences, corrected, strict=True)
        ]


@suggesting
def evaluate(
    data: Source,
    model: LoadedModel,
    *,
    methods: Sequence[str] = ("gradcam", "random"),
    layers: Sequence[str] | None = None,
    metrics: Sequence[str] = ("single_deletion",),
    n: int = 100,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    seed: int = 0,
    output: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Measure methods and layers by metrics on a random sample of images, for the predicted classes.

    Args:
        data: a source of images, such as `camlens.data.open_source(...)`. Metrics that need masks use its object masks.
        model: what `load_model` returned.
        methods, layers: the candidates are all combinations; by default the model's layer.
        metrics: names from METRICS, with arguments as in `measure`.
        n: number of images.
        options: options of metrics by their names.
        seed: seed of the sample, the methods and the metrics.
        output: a directory for the results of each image. The same call resumes from there; other settings are refused
            with StoreError ("evaluation.other-plan").
        progress: called as `progress(done, total)`.

    Rankings of methods do not transfer between models, datasets and metrics (arXiv 2407.19471): evaluate on your own.
    """
    checked_count("n", n)
    for name, values, known in (("methods", methods, METHODS), ("metrics", metrics, METRICS)):
        if isinstance(values, str) or not list(values):
            raise InputError(f"{name} must be a list of names", code="argument.invalid", name=name, value=values)
        for value in values:
            known[value]  # raises the error for an unknown name
    explainer = Explainer(model, method=list(methods), layers=None if layers is None else list(layers), seed=seed)
    chosen = np.random.default_rng(checked_count("seed", seed, least=0)).permutation(len(data))[:n].tolist()
    plan = {
        "model": model.spec,
        "weights": weights_hash(model.model),
        "methods": list(methods),
        "layers": None if layers is None else list(layers),
        "metrics": list(metrics),
        "options": json.loads(json.dumps(dict(options or {}), default=str)),
        "images": len(data),
        "seed": seed,
    }
    store = None if output is None else _Store(Path(output), plan)
    done = {} if store is None else store.read()
    rows: list[dict[str, Any]] = []
    for count, index in enumerate(chosen):
        sample = data[index]
        row = done.get(sample.id)
        if row is None:
            row = _measured(sample, model, explainer, metrics, options, seed)
            if store is not None:
                store.add(row)
        rows.append(row)
        if progress is not None:
            progress(count + 1, len(chosen))
    read = [row for row in rows if "error" not in row]
    if not read:
        raise DataError("no image of the sample can be read", code="data.unreadable")
    candidates = tuple(read[0]["values"])
    return Evaluation(
        candidates,
        tuple(row["id"] for row in read),
        {
            metric: np.array(
                [[row["values"][name][metric] for row in read] for name in candidates], dtype=np.float32
            )  # None becomes NaN
            for metric in metrics
        },
        {row["id"]: row["error"] for row in rows if "error" in row},
        seed,
    )


def _measured(
    sample: Sample,
    model: LoadedModel,
    explainer: Explainer[Any],
    metrics: Sequence[str],
    options: Mapping[str, Mapping[str, Any]] | None,
    seed: int,
) -> dict[str, Any]:
    """Explain one image with all candidates, and return the value of each metric by candidate, or the error."""
    try:
        pixels = sample.load()
        mask = sample.load_mask() if any("masks" in METRICS[metric].needs for metric in metrics) else None
    except DataError as error:
        return {"id": sample.id, "error": str(error)}
    inputs, _ = prepared(model, [pixels])
    masks = None if mask is None else torch.from_numpy(model.preprocess.display_mask(mask))[None]
    values = {}
    for method, explanation in quietly(explainer, inputs, None).items():
        for layer in explanation.layers:
            measured = measure(
                explanation, inputs, metrics, model=model, masks=masks, layer=layer, options=options, seed=seed
            )
            values[f"{method} at {layer}"] = {name: finite(float(value[0])) for name, value in measured.items()}
    return {"id": sample.id, "values": values}


class _Store:
    """The results of each image as lines of JSON, and the plan that they belong to."""

    def __init__(self, directory: Path, plan: Mapping[str, Any]) -> None:
        self.lines = directory / _VALUES
        directory.mkdir(parents=True, exist_ok=True)
        written = directory / _PLAN
        if not written.exists():
            written.write_text(json.dumps(plan, indent=1), encoding="utf-8")
        elif json.loads(written.read_text(encoding="utf-8")) != plan:
            raise StoreError(
                f"{directory} holds an evaluation with other settings: choose another directory",
                code="evaluation.other-plan",
                path=str(directory),
            )

    def read(self) -> dict[str, dict[str, Any]]:
        """Return the stored rows by image; a last line that was cut off is removed."""
        if not self.lines.exists():
            return {}
        content = self.lines.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            self.lines.write_bytes(whole)
        rows = map(json.loads, whole.decode().splitlines())
        return {row["id"]: row for row in rows}

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one row."""
        with self.lines.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row, allow_nan=False) + "\n")
