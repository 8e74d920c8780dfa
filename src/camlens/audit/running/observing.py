"""Predictions, embeddings and maps of a batch, from one forward and one partial backward pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from camlens.audit.running.features import FeatureTap
from camlens.audit.running.measures import map_measures
from camlens.core.engine import Capture, OverBudgetError, Request, Session, capture_session, in_parts
from camlens.core.errors import LayerError, ModelError, NoGradientError
from camlens.core.layers import LayerCall
from camlens.core.probabilities import Activation, probabilities
from camlens.core.registry import Entry
from camlens.core.targets import Output, Rows, Scorer, Target
from camlens.core.types import SelectOutput
from camlens.methods import METHODS

Values = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class PredictedAndTrue(Target):
    """The logit of the predicted class and, if any prediction is wrong, of the true class; -1 is an unknown label."""

    labels: Int[Tensor, " n"]

    def settle(self, output: Output) -> Scorer:
        """Return a scorer with one or two columns."""
        logits = output.logits()
        predicted = logits.detach().argmax(dim=1)
        truth = torch.where(self.labels < 0, predicted, self.labels)
        classes = predicted[:, None] if torch.equal(truth, predicted) else torch.stack([predicted, truth], dim=1)

        def scores(output: Output, rows: Rows) -> Tensor:
            return output.logits().gather(1, classes[rows])

        return Scorer(scores, ("predicted class", "true class")[: classes.shape[1]], classes, plain=True)


@dataclass(eq=False)
class Observer:
    """Computes the columns of a batch. `largest` is reduced when a batch does not fit into memory."""

    model: nn.Module
    layer: LayerCall
    tap: FeatureTap
    method: Entry
    top_k: int
    grid: tuple[int, int]
    output: SelectOutput | None = None
    activation: Activation | None = None
    largest: int | None = None

    def __call__(
        self,
        images: Float[Tensor, "n c h w"],
        labels: Int[Tensor, " n"],
        inside: Float[Tensor, "n gh gw"] | None = None,
    ) -> Values:
        """Return the columns that come from the model, and `finite`, which is False if the logits are not finite.

        Labels are -1 if unknown.
        """
        device = next(self.model.parameters(), torch.empty(0)).device
        moved, truth = images.to(device, non_blocking=True), labels.to(device)

        def part(start: int, stop: int) -> tuple[int, dict[str, Tensor]]:
            with _allocations_refused():
                return stop - start, self._observe(moved[start:stop], truth[start:stop])

        parts = in_parts(len(images), None, part, self.largest)
        if len(parts) > 1:
            self.largest = min(self.largest or len(images), parts[-2][0])
        values = {name: torch.cat([columns[name].cpu() for _, columns in parts]) for name in parts[0][1]}
        values |= map_measures(values["map_predicted"], inside)
        for name in ("map_predicted", "map_label"):
            values[name], values[f"{name}_scale"] = _in_units(values[name])
        return {name: value.numpy() for name, value in values.items()}

    def _observe(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        session = Session.of(self.model, images, output=self.output)
        session = replace(session, gradients=self.method.gradients or "plain")
        with self.tap.open() as tapped:
            try:
                captured = capture_session(session, Request([self.layer], PredictedAndTrue(labels)))
                logits, maps = captured.logits, self._maps(captured)
            except NoGradientError:  # the gradient is zero for the whole batch: the maps are zero
                tapped.calls = 0
                logits = session.predict().logits().float()
                maps = [logits.new_zeros(len(logits), *self.grid)] * 2
            embedding = tapped.features(session)
        if logits is None:
            raise ModelError(
                "an audit needs a classifier, whose output has one row of logits per image", code="model.output"
            )
        predicted = logits.argmax(dim=1)
        wrong = (labels >= 0) & (labels != predicted)
        return {
            **self._answers(logits, predicted, labels),
            "embedding": embedding,
            "map_predicted": maps[0],
            "map_label": maps[-1].where(wrong[:, None, None], torch.nan),
        }

    def _maps(self, captured: Capture) -> list[Tensor]:
        """Return the map of every target (n, h, w), float32."""
        (record,) = captured.records.values()
        # the method "balanced" is HiResCAM with balanced gradients, but its function takes a probe
        method = METHODS["hirescam"] if self.method.name == "balanced" else self.method
        maps = [method.function(record.activations, gradients) for gradients in record.gradients.unbind(1)]
        if maps[0].shape[1:] != torch.Size(self.grid):
            raise LayerError(
                f"maps of layer {self.layer.label!r} have {tuple(maps[0].shape[1:])} cells, but that of the first image"
                f" has {self.grid}",
                code="layer.grid-changed",
                layer=self.layer.label,
            )
        return [target_maps.float() for target_maps in maps]

    def _answers(self, logits: Tensor, predicted: Tensor, labels: Tensor) -> dict[str, Tensor]:
        chances = probabilities(logits, self.activation)
        logs = logits.log_softmax(dim=1) if self.activation != "sigmoid" else logsigmoid(logits)
        best = chances.topk(min(self.top_k, logits.shape[1]), dim=1)
        runner_up = chances.topk(2, dim=1).values[:, 1] if logits.shape[1] > 1 else torch.zeros_like(best.values[:, 0])
        known, place = labels >= 0, labels.clamp_min(0)[:, None]
        truth = chances.gather(1, place)[:, 0].where(known, torch.nan)
        loss = -logs.gather(1, place)[:, 0].where(known, torch.nan)
        return {
            "predicted": predicted,
            "confidence": best.values[:, 0],
            "label_confidence": truth,
            "margin": best.values[:, 0] - runner_up,
            "loss": loss,
            "top_classes": best.indices,
            "top_confidences": best.values,
            "finite": logits.isfinite().all(dim=1),
        }


def _in_units(maps: Float[Tensor, "n h w"]) -> tuple[Tensor, Tensor]:
    """Return maps (n, h*w) divided by their largest absolute value, and that value; NaN if a map is not finite.

    Scaled maps keep their precision in float16, whatever the magnitude of the gradients.
    """
    cells = maps.flatten(1)
    cells = cells.where(cells.isfinite().all(dim=1, keepdim=True), torch.nan)
    scale = cells.abs().amax(dim=1)
    return cells / scale.where(scale != 0, 1)[:, None], scale


@contextmanager
def _allocations_refused() -> Iterator[None]:
    """Convert an allocation failure on the CPU into the error for which a batch is split."""
    try:
        yield
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise OverBudgetError(str(error).splitlines()[0]) from error
