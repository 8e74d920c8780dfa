"""Routes under /api/audit: the pages of an audit run."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response

from camlens.audit.findings.shortcut_pictures import Which
from camlens.studio.jobs import Report
from camlens.studio.routes._shared import Bench, Wait, as_job
from camlens.studio.runs.attention import attention, class_attention
from camlens.studio.runs.clouds import cloud, layout_choice
from camlens.studio.runs.errors import OVERVIEW, RowFilter, gallery, overview, row_list
from camlens.studio.runs.opened import OpenRun
from camlens.studio.runs.rows import mapped_rows, neighbours, row_detail
from camlens.studio.runs.schemas import (
    AttentionView,
    ClassAttentions,
    CloudView,
    ErrorGallery,
    ErrorsOverview,
    MappedRow,
    Neighbours,
    RowDetail,
    RowList,
    RunSummary,
    ShortcutsView,
)
from camlens.studio.runs.shortcuts import shortcut_picture, shortcuts_view
from camlens.studio.schemas import JobView
from camlens.studio.threads import slow


def _open_run(bench: Bench) -> OpenRun:
    return bench.run


Run = Annotated[OpenRun, Depends(_open_run)]
Class = Annotated[int | None, Query(ge=0)]
Share = Annotated[float, Query(ge=0, le=1)]
RowNumber = Annotated[int, Path(ge=0)]
MOST_ROWS, MOST_POINTS = 120, 50_000
_CLASSES = ("audit classes",)
router = APIRouter(prefix="/audit")


@router.get("/run", tags=["audit"])
def summary(run: Run) -> RunSummary:
    """Return the open run: model, dataset, method, layer and number of images."""
    manifest, outcomes = run.audit.manifest, run.outcomes
    return RunSummary(
        path=str(run.audit.path),
        model=manifest.model,
        data=manifest.data,
        method=manifest.method,
        layer=manifest.layer,
        grid=(manifest.grid[0], manifest.grid[1]),
        created=manifest.created,
        images=len(run),
        judged=int(outcomes.judged.sum()),
        failed=int(outcomes.failed.sum()),
        missing=run.audit.missing,
        class_names=tuple(outcomes.name(index) for index in range(outcomes.classes)),
        weights=run.weights,
        problems=tuple(run.problems),
    )


@router.get("/shortcuts", tags=["audit: shortcuts"])
@slow
def shortcuts(run: Run) -> ShortcutsView:
    """Return everything that was tested as a shortcut, confirmed ones first."""
    return shortcuts_view(run)


@router.get("/shortcuts/{place}/{example}/{which}.png", response_class=Response, tags=["audit: shortcuts"])
@slow
def picture(run: Run, place: RowNumber, example: RowNumber, which: Which) -> Response:
    """Return a picture of an example, as the model sees it."""
    return Response(shortcut_picture(run, place, example, which), media_type="image/png")


@router.get("/errors", tags=["audit: misclassifications"])
@slow
def errors(bench: Bench, run: Run) -> ErrorsOverview:
    """Return accuracy with its interval, precision and recall of every class, confusions, and calibration."""
    return bench.cache.get(OVERVIEW, ErrorsOverview) or overview(run)


@router.get("/errors/gallery", tags=["audit: misclassifications"])
@slow
def error_gallery(
    run: Run,
    label: Annotated[Class, Query(description="true class")] = None,
    prediction: Annotated[Class, Query(description="predicted class")] = None,
    least: Annotated[Share, Query(description="confidence from")] = 0.0,
    most: Annotated[Share, Query(description="confidence up to")] = 1.0,
    groups: Annotated[int, Query(ge=1, le=40)] = 8,
    each: Annotated[int, Query(ge=1, le=24)] = 4,
) -> ErrorGallery:
    """Return errors of the most frequently confused pairs, the most confident first."""
    return gallery(run, RowFilter(label, prediction, None, least, most), groups=groups, each=each)


@router.get("/rows", tags=["audit: misclassifications"])
@slow
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
    """List images of the run that match, the most confident first, with both maps."""
    return row_list(run, RowFilter(label, prediction, correct, least, most), offset=offset, count=count)


@router.get("/rows/some", tags=["audit: misclassifications"])
@slow
def some_rows(
    run: Run, row: Annotated[list[int], Query(max_length=MOST_ROWS, description="row numbers, `row=3&row=5`")]
) -> list[MappedRow]:
    """Return the given rows with both maps."""
    return list(mapped_rows(run, run.checked(row)))


@router.get("/rows/{row}", response_model=JobView[RowDetail], tags=["audit: misclassifications"])
async def row(bench: Bench, run: Run, row: RowNumber, wait: Wait = 30) -> JobView[Any]:
    """Return one image: maps, top classes, measures, likely reasons, and its nearest correctly predicted images."""
    number = run.checked([row])[0]
    return await as_job(
        bench,
        ("audit row", row),
        lambda report: row_detail(run, int(number), report),
        wait,
        queue=bench.studies,
    )


@router.get("/attention", tags=["audit: attention"])
@slow
def spreads(
    run: Run, predicted: Annotated[int | None, Query(ge=0, description="of images predicted as this class")] = None
) -> AttentionView:
    """Return the distributions of entropy, border and corner energy and spread, and the peaks of the maps."""
    return attention(run, predicted)


@router.get("/attention/classes", response_model=JobView[ClassAttentions], tags=["audit: attention"])
async def classes(bench: Bench, run: Run, wait: Wait = 30) -> JobView[Any]:
    """Return every predicted class with its measures and its mean map."""

    def work(report: Report) -> ClassAttentions:
        answer = ClassAttentions(classes=class_attention(run, report))
        bench.cache.put(
            _CLASSES, answer, sum(2000 + len(row.mean_map.values if row.mean_map else "") for row in answer.classes)
        )
        return answer

    known = bench.cache.get(_CLASSES, ClassAttentions)
    return await as_job(bench, _CLASSES, work, wait, known=known, queue=bench.studies)


@router.get("/layouts/{kind}", response_model=JobView[CloudView], tags=["audit: embeddings"])
async def layout(
    bench: Bench,
    run: Run,
    kind: Annotated[Literal["pca", "tsne", "umap"], Path()],
    samples: Annotated[int, Query(ge=10, le=MOST_POINTS, description="maximum number of images")] = 2000,
    near: Annotated[float | None, Query(ge=1, le=1000, description="perplexity of t-SNE, neighbours of UMAP")] = None,
    seed: Annotated[int, Query(ge=0, le=2**31)] = 0,
    wait: Wait = 30,
) -> JobView[Any]:
    """Return a layout with labels, predictions and confidences; it is computed once, then stored in the run."""
    choice = layout_choice(kind, samples=samples, near=near, seed=seed)
    return await as_job(
        bench,
        ("layout", choice),
        lambda report: cloud(run, kind, choice, report, keep=not bench.settings.read_only),
        wait,
        queue=bench.studies,
    )


@router.get("/rows/{row}/neighbours", response_model=JobView[Neighbours], tags=["audit: embeddings"])
async def near(bench: Bench, run: Run, row: Annotated[int, Path(ge=0)], wait: Wait = 30) -> JobView[Any]:
    """Return the nearest images in feature space, correct or not."""
    number = int(run.checked([row])[0])
    return await as_job(
        bench,
        ("neighbours", number),
        lambda report: neighbours(run, number, report),
        wait,
        queue=bench.studies,
    )
