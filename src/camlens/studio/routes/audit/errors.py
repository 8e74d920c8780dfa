"""Misclassifications: how many, which, and one of them in full."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from camlens.studio.apart import heavy
from camlens.studio.routes._shared import Bench, Wait, as_job
from camlens.studio.routes.audit._open import Run
from camlens.studio.runs.details import row_detail
from camlens.studio.runs.errors import OVERVIEW, Wanted, gallery, overview, row_list
from camlens.studio.runs.rows import mapped_rows
from camlens.studio.runs.schemas import ErrorGallery, ErrorsOverview, MappedRow, RowDetail, RowList
from camlens.studio.schemas import JobView

router = APIRouter(tags=["audit: misclassifications"])
Class = Annotated[int | None, Query(ge=0)]
Share = Annotated[float, Query(ge=0, le=1)]
RowNumber = Annotated[int, Path(ge=0)]
MOST_ROWS = 120


@router.get("/errors")
@heavy
def errors(bench: Bench, run: Run) -> ErrorsOverview:
    """Accuracy with its interval, precision and recall of every class, confusions, calibration."""
    found = bench.cache.get(OVERVIEW)
    return found if isinstance(found, ErrorsOverview) else overview(run)


@router.get("/errors/gallery")
@heavy
def error_gallery(
    run: Run,
    label: Annotated[Class, Query(description="true class")] = None,
    prediction: Annotated[Class, Query(description="predicted class")] = None,
    least: Annotated[Share, Query(description="confidence from")] = 0.0,
    most: Annotated[Share, Query(description="confidence up to")] = 1.0,
    groups: Annotated[int, Query(ge=1, le=40)] = 8,
    each: Annotated[int, Query(ge=1, le=24)] = 4,
) -> ErrorGallery:
    """Errors of the most frequent confused pairs, the most confident first."""
    return gallery(run, Wanted(label, prediction, None, least, most), groups=groups, each=each)


@router.get("/rows")
@heavy
def rows(
    run: Run,
    label: Annotated[Class, Query(description="true class")] = None,
    prediction: Annotated[Class, Query(description="predicted class")] = None,
    correct: bool | None = None,
    least: Annotated[Share, Query(description="confidence from")] = 0.0,
    most: Annotated[Share, Query(description="confidence up to")] = 1.0,
    offset: Annotated[int, Query(ge=0)] = 0,
    count: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 24,
) -> RowList:
    """Images of the run that fit, the most confident first, with both maps."""
    return row_list(run, Wanted(label, prediction, correct, least, most), offset=offset, count=count)


@router.get("/rows/some")
@heavy
def some_rows(
    run: Run, row: Annotated[list[int], Query(max_length=MOST_ROWS, description="row numbers, `row=3&row=5`")]
) -> list[MappedRow]:
    """These very images, with both maps."""
    return list(mapped_rows(run, run.checked(row)))


@router.get("/rows/{row}", response_model=JobView[RowDetail])
async def row(bench: Bench, run: Run, row: RowNumber, wait: Wait = 30) -> JobView[Any]:
    """One image in full: both maps, the best classes, its measures, likely reasons, nearest recognised images."""
    number = run.checked([row])[0]
    return await as_job(
        bench,
        ("audit row", row),
        lambda report: row_detail(run, int(number), report),
        lambda found: found,
        wait,
        queue=bench.studies,
    )
