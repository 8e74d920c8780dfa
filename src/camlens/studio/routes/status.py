"""Is it up, what is it doing, what can it do: asked before everything else."""

from importlib.metadata import version

from fastapi import APIRouter

from camlens.studio.bench import Workbench
from camlens.studio.images.predictions import PENDING, UNREADABLE
from camlens.studio.images.uploads import FORMATS
from camlens.studio.routes._shared import Bench, problem_of
from camlens.studio.schemas import DataSummary, Limits, PredictionProgress, Status

router = APIRouter(tags=["status"])


@router.get("/health")
def health() -> dict[str, str]:
    """Answer as long as the server lives; needs no token."""
    return {"status": "ok"}


@router.get("/status")
def status(bench: Bench) -> Status:
    """Loading, ready or failed; the model, the data, and how far the predictions are."""
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
        predictions=_progress(bench) if ready else PredictionProgress(done=0, total=0, correct=0, unreadable=0),
        jobs=bench.jobs.load,
        limits=Limits(
            bytes=settings.upload_bytes,
            pixels=settings.upload_pixels,
            formats=FORMATS,
            uploads=not settings.read_only,
        ),
    )


def _data(bench: Workbench) -> DataSummary:
    gallery = bench.gallery
    return DataSummary(
        spec=gallery.spec,
        count=len(gallery),
        classes=len(gallery.class_names),
        labelled=gallery.labels.known,
        problem=gallery.problem,
    )


def _progress(bench: Workbench) -> PredictionProgress:
    predictions = bench.predictions
    return PredictionProgress(
        done=int((predictions.classes != PENDING).sum()),
        total=len(predictions.labels),
        correct=int(predictions.correct.sum()),
        unreadable=int((predictions.classes == UNREADABLE).sum()),
    )
