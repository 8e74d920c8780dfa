"""Images: random samples by filter, uploads, pictures, and correct beside incorrect predictions."""

import json
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from numpy.typing import NDArray

from camlens.core.errors import DataError
from camlens.studio.bench import Workbench
from camlens.studio.encoding import bounded, png, webp
from camlens.studio.image_info import image_info
from camlens.studio.images import STRIP, Filter, confused, drawn, fitting
from camlens.studio.problems import ReadOnlyError
from camlens.studio.routes._shared import Bench
from camlens.studio.schemas import ClassInfo, ConfusionPair, Facing, ImageId, ImageInfo, SampleList
from camlens.studio.threads import run_apart, slow

router = APIRouter()
FRESH = {"cache-control": "private, max-age=86400, immutable"}
PICTURE, THUMBNAIL = 640, 160  # pixels along the longer side
ImagePath = Annotated[ImageId, Path()]


@router.get("/samples", tags=["images"])
def samples(
    bench: Bench,
    seed: Annotated[int, Query(ge=0, le=2**31)] = 0,
    count: Annotated[int, Query(ge=1, le=200)] = STRIP,
    show: Filter = "all",
    label: Annotated[int | None, Query(ge=0)] = None,
    prediction: Annotated[int | None, Query(ge=0)] = None,
) -> SampleList:
    """Draw random images that match the filter, as far as predictions are known."""
    predictions = bench.predictions
    numbers = fitting(predictions, show, label=label, prediction=prediction)
    chosen = drawn(numbers, count, seed)
    predictions.want(chosen)
    bench.jobs.wake()
    return SampleList(
        samples=tuple(image_info(bench, f"s{number}") for number in chosen),
        matching=len(numbers),
        settled=predictions.finished or bench.model.task == "regression" or (show == "all" and prediction is None),
    )


@router.get("/classes", tags=["images"])
def classes(bench: Bench) -> list[ClassInfo]:
    """List the classes of the model with the number of their images and of the predictions so far."""
    predictions, names = bench.predictions, bench.model.class_names
    columns = (predictions.labels, predictions.classes, predictions.labels[predictions.correct])
    images, predicted, correct = (
        np.bincount(indices[indices >= 0], minlength=len(names)).tolist() for indices in columns
    )
    return [
        ClassInfo(index=index, name=name, images=images[index], predicted=predicted[index], correct=correct[index])
        for index, name in enumerate(names)
    ]


@router.post("/uploads", openapi_extra={"requestBody": {"content": {"image/*": {}}, "required": True}}, tags=["images"])
async def upload(bench: Bench, request: Request) -> ImageInfo:
    """Upload an image as the request body, as `curl --data-binary @cat.jpg ADDRESS` sends it."""
    if bench.settings.read_only:
        raise ReadOnlyError("uploads are disabled: the studio was started with --read-only")
    body = await request.body()
    return image_info(bench, await run_apart(bench.uploads.add, body))


@router.get("/images/{image}", tags=["images"])
def image(bench: Bench, image: ImagePath) -> ImageInfo:
    """Return name, true class and prediction of one image."""
    if image.startswith("s"):
        bench.predictions.want([bench.gallery.checked(int(image[1:]))])
        bench.jobs.wake()
    return image_info(bench, image)


@router.get("/images/{image}/picture.png", response_class=Response, tags=["images"])
@slow
def picture(
    bench: Bench, image: ImagePath, longest: Annotated[int, Query(ge=THUMBNAIL + 1, le=4096)] = PICTURE
) -> Response:
    """Return the photograph at its own proportions, with its longer side at most `longest`.

    The header `camlens-region` is the region that the model sees: [left, top, right, bottom] in fractions of the
    photograph, or null for all of it. If the preprocessing does not reveal the region, the preprocessed picture is
    returned.
    """
    return _picture(bench, image, longest)


@router.get("/images/{image}/thumbnail.webp", response_class=Response, tags=["images"])
@slow
def small(bench: Bench, image: ImagePath) -> Response:
    """Return a small copy for lists, with the same header."""
    return _picture(bench, image, THUMBNAIL)


def prepare_pictures(bench: Workbench, images: Sequence[str], longest: int) -> None:
    """Encode pictures in spare time, before they are requested."""

    def prepare(image: str) -> None:
        with suppress(DataError):
            _picture(bench, image, longest)

    for image in images:
        bench.in_spare_time(partial(prepare, image))


def _picture(bench: Workbench, image: str, longest: int) -> Response:
    key = ("picture", image, longest)
    if (cached := bench.cache.get(key, Response)) is not None:
        return cached
    pixels, region = bench.picture(image)
    body, kind = (webp, "image/webp") if longest == THUMBNAIL else (png, "image/png")
    headers = {**FRESH, "camlens-region": json.dumps(region)}
    response = Response(body(bounded(pixels, longest)), media_type=kind, headers=headers)
    bench.cache.put(key, response, len(response.body))
    return response


PAIRS = 24


@router.get("/facing", tags=["correct and incorrect"])
def facing(
    bench: Bench,
    label: Annotated[int | None, Query(ge=0, description="true class")] = None,
    prediction: Annotated[int | None, Query(ge=0, description="predicted class of the incorrect images")] = None,
    count: Annotated[int, Query(ge=1, le=60)] = 8,
) -> Facing:
    """Return correctly and incorrectly predicted images of a class, the most confident first."""
    predictions = bench.predictions
    correct = fitting(predictions, "correct", label=label)
    incorrect = fitting(predictions, "incorrect", label=label, prediction=prediction)
    return Facing(
        correct=_most_confident(bench, correct, count),
        incorrect=_most_confident(bench, incorrect, count),
        correct_count=len(correct),
        incorrect_count=len(incorrect),
        pairs=tuple(
            ConfusionPair(label=true, prediction=predicted, count=times)
            for true, predicted, times in confused(predictions, len(bench.model.class_names), PAIRS)
        ),
    )


def _most_confident(bench: Workbench, numbers: NDArray[np.int64], count: int) -> tuple[ImageInfo, ...]:
    order = np.argsort(-bench.predictions.confidences[numbers], kind="stable")[:count]
    return tuple(image_info(bench, f"s{number}") for number in numbers[order])
