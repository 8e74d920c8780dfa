"""Which images a report shows, and all that it says of each: picture, maps, best classes, reasons, neighbours."""

import base64
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from camlens.audit.findings.errors import most_confident_first, stratified
from camlens.audit.findings.neighbours import Rows, nearest
from camlens.audit.findings.outcomes import Outcomes
from camlens.audit.findings.overview import Overview
from camlens.audit.findings.reading import Run
from camlens.audit.findings.reasons import Reasoner
from camlens.core.errors import CamlensError, MissingExtraError
from camlens.core.probe import Progress, silent

Picture = np.ndarray
See = Callable[[Picture], Picture]
"""From an image (H, W, 3) to what the model saw of it, on which its maps lie."""

_SIDE, _SMALL_SIDE = 224, 72
_QUALITY = 80
_BEST = 5


@dataclass(frozen=True)
class Limits:
    """How much a report holds, whatever the size of the run.

    `errors` wrong answers altogether and at most `per_pair` of a confusion pair; `correct` right ones
    altogether and at most `per_class` of a class; `neighbours` of each error.
    """

    errors: int = 240
    per_pair: int = 12
    correct: int = 48
    per_class: int = 3
    neighbours: int = 3


def gather(
    run: Run, overview: Overview, reasoner: Reasoner, *, see: See, limits: Limits, progress: Progress = silent
) -> dict[str, Any]:
    """The evidence of a report as plain values for JSON. An image that is gone costs its picture only."""
    outcomes = overview.outcomes
    wrong = np.sort(np.concatenate([np.zeros(0, np.int64), *_wrong(outcomes, limits).values()]))
    rows = np.sort(np.concatenate([wrong, _right(outcomes, limits)]))
    near, distances = nearest(reasoner.directions, wrong, limits.neighbours, candidates=outcomes.correct)
    neighbours = {
        int(row): [(int(one), float(far)) for one, far in zip(names, fars, strict=True) if one >= 0]
        for row, names, fars in zip(wrong, near, distances, strict=True)
    }
    small = sorted({one for found in neighbours.values() for one, _ in found})
    steps = len(rows) + len(small)
    pictures = _pictures(run, rows.tolist(), _SIDE, see, lambda done: progress(done, steps))
    thumbnails = _pictures(run, small, _SMALL_SIDE, see, lambda done: progress(len(rows) + done, steps))
    return {
        "classes": [outcomes.name(index) for index in range(outcomes.classes)],
        "grid": list(run.grid),
        "cards": _cards(run, outcomes, reasoner, rows, neighbours),
        "pictures": pictures,
        "thumbnails": thumbnails,
        "pairs": _pairs(overview),
    }


def as_bytes(share_of_highest: Float[np.ndarray, "h w"]) -> str | None:
    """The positive part of a map as base64, a byte for each cell, 255 its highest; None where there is none."""
    positive = np.maximum(np.nan_to_num(share_of_highest, nan=0.0, posinf=0.0), 0)
    highest = float(positive.max(initial=0))
    if not highest > 0:
        return None
    return base64.b64encode(np.floor(positive / highest * 255 + 0.5).astype(np.uint8).tobytes()).decode()


def _wrong(outcomes: Outcomes, limits: Limits) -> dict[tuple[int, int], Rows]:
    return stratified(outcomes, most=limits.errors, per_pair=limits.per_pair)


def _right(outcomes: Outcomes, limits: Limits) -> Rows:
    """The most confident right answers of each class, the classes taking turns."""
    rows = most_confident_first(outcomes, np.nonzero(outcomes.correct)[0])
    classes = outcomes.label[rows]
    order = np.argsort(classes, kind="stable")
    starts = np.searchsorted(classes[order], np.arange(outcomes.classes))
    turn = np.arange(len(order)) - starts[classes[order]]
    taken = np.lexsort((classes[order], turn))[: limits.correct]
    chosen: Rows = rows[order[taken[turn[taken] < limits.per_class]]]
    return chosen


def _pairs(overview: Overview) -> list[list[int]]:
    """Every pair that occurs with its number of images: confusions first, then what is recognised."""
    confused = [[one.true, one.predicted, one.count] for one in overview.pairs]
    recognised = overview.matrix.diagonal()
    return confused + [[int(index)] * 2 + [int(recognised[index])] for index in np.argsort(-recognised, kind="stable")]


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
            "near": [[one, int(outcomes.label[one]), round(distance, 3)] for one, distance in neighbours.get(row, [])],
            "map": as_bytes(maps[place]),
            "truth": as_bytes(truths[place]),
        }
        for place, row in enumerate(rows.tolist())
    ]


def _pictures(run: Run, rows: Iterable[int], side: int, see: See, progress: Callable[[int], None]) -> dict[str, str]:
    """The rows' images as base64 WebP, none larger than `side`; those that cannot be read are left out."""
    found = {}
    for done, row in enumerate(rows):
        progress(done)
        try:
            found[str(row)] = _webp(see(run.image(row)), side)
        except (CamlensError, OSError):
            continue  # moved or deleted since the run: the card says so
    return found


def _webp(picture: Picture, side: int) -> str:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError.of("pillow", "audit") from error
    image = Image.fromarray(picture)
    image.thumbnail((side, side))
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=_QUALITY, method=4)
    return base64.b64encode(stream.getvalue()).decode()
