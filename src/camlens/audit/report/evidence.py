"""The images that a report shows, with the picture, maps, best classes, reasons and neighbors of each."""

import base64
import io
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from camlens.audit.findings.errors import stratified
from camlens.audit.findings.neighbours import Rows, nearest
from camlens.audit.findings.outcomes import Outcomes
from camlens.audit.findings.overview import Overview
from camlens.audit.findings.reading import Run
from camlens.audit.findings.reasons import Reasoner
from camlens.core.errors import CamlensError, MissingExtraError
from camlens.core.probe import Progress, silent
from camlens.models.geometry import WHOLE
from camlens.models.loading import Preprocessing

Picture = np.ndarray

_SIDE, _SMALL_SIDE = 256, 72
_QUALITY = 80
TINY = 64  # pixels; lossy compression would blur what a small network sees
_BEST = 5


@dataclass(frozen=True)
class Limits:
    """The most images that a report shows.

    Attributes:
        errors, per_pair: wrong predictions in total, and for each pair of true and predicted class.
        correct, per_class: typical correct predictions in total, and for each class.
        neighbours: nearest recognized images of each error.
    """

    errors: int = 240
    per_pair: int = 12
    correct: int = 48
    per_class: int = 3
    neighbours: int = 3


def gather(
    run: Run,
    overview: Overview,
    reasoner: Reasoner,
    *,
    preprocess: Preprocessing | None = None,
    limits: Limits,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Return the evidence of a report as plain values for JSON.

    `preprocess` tells which region of each image the model saw; without it, the model is taken to see everything.
    An image that can no longer be read is listed without its picture.
    """
    outcomes = overview.outcomes
    pairs = stratified(outcomes, most=limits.errors, per_pair=limits.per_pair)
    wrong = np.sort(np.concatenate([np.zeros(0, np.int64), *pairs.values()]))
    rows = np.sort(np.concatenate([wrong, _typical(outcomes, reasoner, limits)]))
    near, distances = nearest(reasoner.directions, wrong, limits.neighbours, candidates=outcomes.correct)
    neighbours = {
        int(row): [(int(other), float(far)) for other, far in zip(others, fars, strict=True) if other >= 0]
        for row, others, fars in zip(wrong, near, distances, strict=True)
    }
    small = sorted({other for others in neighbours.values() for other, _ in others})
    steps = len(rows) + len(small)
    pictures, thumbnails = {}, {}
    for done, row in enumerate(rows.tolist()):
        progress(done, steps)
        with suppress(CamlensError, OSError):  # moved or deleted since the run: the card says so
            pictures[str(row)] = _picture(run.image(row), preprocess)
    for done, row in enumerate(small, start=len(rows)):
        progress(done, steps)
        with suppress(CamlensError, OSError):
            thumbnails[str(row)] = webp(run.image(row), _SMALL_SIDE)
    return {
        "classes": [outcomes.name(index) for index in range(outcomes.classes)],
        "grid": list(run.grid),
        "cards": _cards(run, outcomes, reasoner, rows, neighbours),
        "pictures": pictures,
        "thumbnails": thumbnails,
        "pairs": _pairs(overview),
    }


def as_bytes(signed: Float[np.ndarray, "h w"]) -> str | None:
    """Return the positive part of a map as base64, one byte per cell, 255 for its maximum, or None."""
    positive = np.maximum(np.nan_to_num(signed, nan=0.0, posinf=0.0), 0)
    highest = float(positive.max(initial=0))
    if not highest > 0:
        return None
    return base64.b64encode(np.floor(positive / highest * 255 + 0.5).astype(np.uint8).tobytes()).decode()


def _typical(outcomes: Outcomes, reasoner: Reasoner, limits: Limits) -> Rows:
    """Return the correct predictions nearest to the center of their class, one class after the other in turn."""
    rows = np.nonzero(outcomes.correct)[0]
    classes = outcomes.label[rows]
    order = np.lexsort((reasoner.territory.distance(reasoner.directions, rows, classes), classes))
    starts = np.searchsorted(classes[order], np.arange(outcomes.classes))
    turn = np.arange(len(order)) - starts[classes[order]]
    taken = np.lexsort((classes[order], turn))[: limits.correct]
    chosen: Rows = rows[order[taken[turn[taken] < limits.per_class]]]
    return chosen


def _pairs(overview: Overview) -> list[list[int]]:
    """Return each pair (true, predicted) that occurs and its number of images, confusions first."""
    confused = [[pair.true, pair.predicted, pair.count] for pair in overview.pairs]
    correct = overview.matrix.diagonal()
    return confused + [[int(index)] * 2 + [int(correct[index])] for index in np.argsort(-correct, kind="stable")]


def _cards(
    run: Run, outcomes: Outcomes, reasoner: Reasoner, rows: Rows, neighbours: dict[int, list[tuple[int, float]]]
) -> list[dict[str, Any]]:
    names = run.column("id")[rows]
    best = run.column("top_classes")[rows][:, :_BEST] if len(rows) else rows
    confidences = run.column("top_confidences")[rows][:, :_BEST] if len(rows) else rows
    maps, truths = (run.maps(rows, which) if len(rows) else rows for which in ("predicted", "label"))
    return [
        {
            "row": row,
            "id": str(names[place]),
            "label": int(outcomes.label[row]),
            "predicted": int(outcomes.predicted[row]),
            "confidence": round(float(outcomes.confidence[row]), 4),
            "top": [
                [int(index), round(float(confidence), 4)]
                for index, confidence in zip(best[place], confidences[place], strict=True)
                if index >= 0
            ],
            "reasons": (
                [[reason.kind, reason.sentence] for reason in reasoner.reasons(row)] if outcomes.wrong[row] else []
            ),
            "near": [
                [other, int(outcomes.label[other]), round(distance, 3)] for other, distance in neighbours.get(row, [])
            ],
            "map": as_bytes(maps[place]),
            "truth": as_bytes(truths[place]),
        }
        for place, row in enumerate(rows.tolist())
    ]


def _picture(image: Picture, preprocess: Preprocessing | None) -> dict[str, Any]:
    """Return the image, and the region of it that the model saw: (left, top, right, bottom) in fractions, or None.

    If the geometry of the preprocessing is unknown, the picture is what the model saw, and `crop` is true.
    """
    if preprocess is None:
        return {"image": webp(image, _SIDE), "region": None, "crop": False}
    geometry = preprocess.geometry(*image.shape[:2])
    if geometry is None:
        return {"image": webp(preprocess.display(image), _SIDE), "region": None, "crop": True}
    whole = np.allclose(geometry.fractions, WHOLE)
    region = None if whole else [round(share, 5) for share in geometry.fractions]
    return {"image": webp(image, _SIDE), "region": region, "crop": False}


def webp(picture: Picture, side: int) -> str:
    """Return a picture, at most `side` pixels wide and high, as base64; lossless if it is tiny.

    Raises MissingExtraError without Pillow.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError.of("pillow", "audit") from error
    image = Image.fromarray(picture)
    image.thumbnail((side, side))
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=_QUALITY, method=4, lossless=max(image.size) <= TINY)
    return base64.b64encode(stream.getvalue()).decode()
