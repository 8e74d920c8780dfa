"""Targets for outputs other than logits: embeddings, regions of dense outputs, and detections."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from camlens.core.errors import TargetError
from camlens.core.execution.outputs import find_logits
from camlens.core.targets.classes import checked_class
from camlens.core.targets.scoring import Output, Rows, Scorer, Target
from camlens.core.types import precise


def _as_tensor(values: object, wanted: str) -> Tensor:
    """Convert to a tensor, or raise TargetError with the text `wanted`."""
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError):
        raise TargetError(f"{wanted}, not {values!r}", code="target.type", value=values) from None


@dataclass(frozen=True, eq=False)
class Similarity(Target):
    """The cosine similarity of the model's output vector with `embedding`, (d,) or one per image (n, d)."""

    embedding: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "embedding", _as_tensor(self.embedding, "embedding must be numbers (d,) or (n, d)"))

    def settle(self, output: Output) -> Scorer:
        vectors = output.logits()
        wanted = self.embedding.detach().to(precise(vectors))
        if wanted.ndim == 1:
            wanted = wanted.expand(len(vectors), -1)
        if wanted.shape != vectors.shape:
            raise TargetError(
                f"embedding must have the shape ({vectors.shape[1]},) or {tuple(vectors.shape)} of the model's output, "
                f"not {tuple(self.embedding.shape)}",
                code="target.shape",
                expected=tuple(vectors.shape[1:]),
                given=tuple(self.embedding.shape),
            )

        if not wanted.any(dim=1).all():
            raise TargetError("embedding must not be zero: the cosine similarity is undefined", code="target.zero")

        def scores(output: Output, rows: Rows) -> Tensor:
            return torch.cosine_similarity(precise(output.logits()), wanted[rows], dim=1)[:, None]

        return Scorer(scores, ("similarity to the embedding",))

    def part(self, start: int, stop: int, images: int) -> Target:
        one_each = self.embedding.ndim == 2
        return Similarity(self.embedding[start:stop]) if one_each else self


@dataclass(frozen=True, eq=False)
class InMask(Target):
    """The mean logit of class `c` inside a boolean mask, for dense outputs (n, classes, *size) such as segmentations.

    The mask is (*size) for all images or (n, *size).
    """

    mask: Tensor
    c: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "mask", _as_tensor(self.mask, "mask must be booleans (*size) or (n, *size)"))

    def settle(self, output: Output) -> Scorer:
        dense = self._dense(output)
        index = checked_class(self.c, dense.shape[1])
        mask = self.mask.to(dense.device).bool()
        if mask.ndim == dense.ndim - 2:
            mask = mask.expand(len(dense), *mask.shape)
        if mask.shape != (len(dense), *dense.shape[2:]):
            raise TargetError(
                f"mask must have the shape {tuple(dense.shape[2:])} of the output, not {tuple(self.mask.shape)}",
                code="target.shape",
                expected=tuple(dense.shape[2:]),
                given=tuple(self.mask.shape),
            )
        cells = mask.flatten(1).sum(dim=1)
        if (cells == 0).any():
            raise TargetError(
                "mask must not be empty for any image",
                code="target.empty-mask",
                images=torch.nonzero(cells == 0).flatten().tolist(),
            )

        def scores(output: Output, rows: Rows) -> Tensor:
            inside = self._dense(output)[:, index].flatten(1) * mask[rows].flatten(1)
            return (inside.sum(dim=1) / cells[rows])[:, None]

        return Scorer(scores, (f"class {index} inside the mask",))

    def part(self, start: int, stop: int, images: int) -> Target:
        one_each = self.mask.ndim > 2 and len(self.mask) == images
        return InMask(self.mask[start:stop], self.c) if one_each else self

    def _dense(self, output: Output) -> Tensor:
        dense = find_logits(output.value)
        if dense is None or dense.ndim < 3:
            raise TargetError(
                "InMask needs a dense output (n, classes, *size): select it with output=...", code="target.output"
            )
        return dense


@dataclass(frozen=True)
class Box(Target):
    """The score of the detection of `label` with the largest overlap with `box` (x1, y1, x2, y2), times the overlap.

    For detectors that return one mapping with `boxes`, `labels` and `scores` per image, as those of torchvision. The
    overlap is the intersection over union.
    """

    box: tuple[float, float, float, float]
    label: int

    def __post_init__(self) -> None:
        box = _as_tensor(self.box, "box must be four numbers (x1, y1, x2, y2)")
        if box.shape != (4,):
            raise TargetError(
                f"box must be four numbers (x1, y1, x2, y2), not {self.box!r}", code="target.type", value=self.box
            )
        object.__setattr__(self, "box", tuple(box.tolist()))
        if isinstance(self.label, bool) or not isinstance(self.label, int | np.integer):
            raise TargetError(
                f"label must be an int, a label of the detector, not {self.label!r}",
                code="target.type",
                value=self.label,
            )

    def settle(self, output: Output) -> Scorer:
        x1, y1, x2, y2 = self.box
        if not (x1 < x2 and y1 < y2):
            raise TargetError(
                f"box must be (x1, y1, x2, y2) with x1 < x2 and y1 < y2, not {self.box}",
                code="target.type",
                value=self.box,
            )
        if self._scores(output).detach().max() <= 0:
            raise TargetError(
                f"no detection of label {self.label} overlaps the box {self.box} on any image",
                code="target.no-detection",
                label=self.label,
                box=self.box,
            )

        def scores(output: Output, rows: Rows) -> Tensor:
            return self._scores(output)[:, None]

        return Scorer(scores, (f"label {self.label} in the box",))

    def _scores(self, output: Output) -> Tensor:
        detections = output.value
        if not isinstance(detections, list | tuple) or not all(
            isinstance(detection, Mapping) and "boxes" in detection for detection in detections
        ):
            raise TargetError(
                "Box needs the output of a detector: one mapping with boxes, labels and scores per image",
                code="target.output",
            )
        return torch.stack([self._best(detection) for detection in detections])

    def _best(self, detection: dict[str, Tensor]) -> Tensor:
        chosen = detection["labels"] == self.label
        boxes, confidence = detection["boxes"][chosen], detection["scores"][chosen]
        if not len(boxes):
            return detection["boxes"].sum() * 0.0
        wanted = boxes.new_tensor(self.box)
        shared = torch.minimum(boxes[:, 2:], wanted[2:]) - torch.maximum(boxes[:, :2], wanted[:2])
        overlap = shared.clamp_min(0).prod(dim=1)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) + (wanted[2:] - wanted[:2]).prod()
        share = overlap / (areas - overlap)
        best = share.detach().argmax()
        return share[best] * confidence[best]
