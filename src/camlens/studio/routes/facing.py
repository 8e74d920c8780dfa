"""Correct and incorrect predictions, face to face."""

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query
from numpy.typing import NDArray

from camlens.studio.bench import Workbench
from camlens.studio.images.gallery import confused, fitting
from camlens.studio.images.info import image_info
from camlens.studio.routes._shared import Bench
from camlens.studio.schemas import ConfusionPair, Facing, ImageInfo

router = APIRouter(prefix="/facing", tags=["correct and incorrect"])
PAIRS = 24


@router.get("")
def facing(
    bench: Bench,
    label: Annotated[int | None, Query(ge=0, description="true class")] = None,
    prediction: Annotated[int | None, Query(ge=0, description="predicted class of the incorrect ones")] = None,
    count: Annotated[int, Query(ge=1, le=60)] = 8,
) -> Facing:
    """Images of a class that were recognised, and those that were not; the most confident first."""
    predictions = bench.predictions
    correct = fitting(predictions, "correct", label=label)
    incorrect = fitting(predictions, "incorrect", label=label, prediction=prediction)
    return Facing(
        correct=_most_confident(bench, correct, count),
        incorrect=_most_confident(bench, incorrect, count),
        correct_count=len(correct),
        incorrect_count=len(incorrect),
        pairs=tuple(
            ConfusionPair(label=true, prediction=said, count=times)
            for true, said, times in confused(predictions, len(bench.model.class_names), PAIRS)
        ),
    )


def _most_confident(bench: Workbench, numbers: NDArray[np.int64], count: int) -> tuple[ImageInfo, ...]:
    order = np.argsort(-bench.predictions.confidences[numbers], kind="stable")[:count]
    return tuple(image_info(bench, f"s{number}") for number in numbers[order])
