"""Health, status, and the first data of a page."""

from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Query

from camlens.core.errors import CamlensError
from camlens.data.samples import printable
from camlens.studio.bench import Workbench
from camlens.studio.explaining import checked_request, explanation_result, known_explanations
from camlens.studio.images import FORMATS, Filter
from camlens.studio.predictions import PENDING, UNREADABLE
from camlens.studio.problems import problem_of
from camlens.studio.routes._shared import Bench
from camlens.studio.routes.images import classes, samples
from camlens.studio.routes.model import layers, methods
from camlens.studio.schemas import (
    DataSummary,
    ExplanationRequest,
    ExplanationResult,
    ImageId,
    Limits,
    PredictionProgress,
    Start,
    Status,
)

router = APIRouter(tags=["status"])
_NO_PREDICTIONS = PredictionProgress(done=0, total=0, correct=0, incorrect=0, unreadable=0)


@router.get("/health")
def health() -> dict[str, str]:
    """Return "ok" while the server runs; needs no token."""
    return {"status": "ok"}


@router.get("/status")
def status(bench: Bench) -> Status:
    """Return the state (loading, ready or failed), the model, the dataset and the progress of the predictions."""
    ready = bench.state == "ready"
    settings = bench.settings
    return Status(
        state=bench.state,
        step=bench.step,
        problem=None if bench.problem is None else problem_of(bench.problem),
        version=version("camlens"),
        session=bench.session,
        model=bench.anatomy.summary if ready else None,
        data=_data(bench) if ready else None,
        predictions=_progress(bench) if ready else _NO_PREDICTIONS,
        jobs=sum(queue.load for queue in bench.queues),
        limits=Limits(
            bytes=settings.upload_bytes,
            pixels=settings.upload_pixels,
            formats=FORMATS,
            uploads=not settings.read_only,
        ),
        run=printable(bench.run.audit.path.name) if bench.has_run else None,
        demo=settings.model if settings.demos else "",
        demos=settings.demos,
    )


@router.get("/start")
def start(
    bench: Bench,
    seed: Annotated[int, Query(ge=0, le=2**31)] = 0,
    show: Filter = "all",
    label: Annotated[int | None, Query(ge=0)] = None,
    image: Annotated[ImageId | None, Query()] = None,
) -> Start:
    """Return everything that a page needs first: status, layers, methods, classes, the strip, and the first map."""
    now = status(bench)
    if now.state != "ready":
        return Start(status=now, layers=(), methods=(), classes=(), samples=None, question=None, explanation=None)
    strip = samples(bench, seed=seed, show=show, label=label)
    first = image or next((sample.id for sample in strip.samples if sample.readable), None)
    question, explanation = (None, None) if first is None else _known_answer(bench, ExplanationRequest(image=first))
    return Start(
        status=now,
        layers=layers(bench),
        methods=tuple(methods()),
        classes=tuple(classes(bench)),
        samples=strip,
        question=question,
        explanation=explanation,
    )


def _known_answer(
    bench: Workbench, request: ExplanationRequest
) -> tuple[ExplanationRequest | None, ExplanationResult | None]:
    """Return the checked request and its cached answer, if any; errors are left to the page's own request."""
    try:
        question = checked_request(bench, request)
        known = known_explanations(bench, question)
        return question, None if known is None else explanation_result(bench, question, known)
    except CamlensError:
        return None, None


def _data(bench: Workbench) -> DataSummary:
    gallery = bench.gallery
    return DataSummary(
        spec=printable(gallery.spec),
        count=len(gallery),
        classes=len(gallery.class_names),
        labelled=gallery.labels.known,
        problem=gallery.problem,
    )


def _progress(bench: Workbench) -> PredictionProgress:
    predictions, judged = bench.predictions, bench.model.task == "classification"
    return PredictionProgress(
        done=int((predictions.classes != PENDING).sum()) if judged else 0,
        total=len(predictions.labels) if judged else 0,
        correct=int(predictions.correct.sum()),
        incorrect=int(predictions.incorrect.sum()),
        unreadable=int((predictions.classes == UNREADABLE).sum()),
    )
