"""Embeddings: the run's features as points of a plane, and who is near whom."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query

from camlens.studio.routes._shared import Bench, Wait, as_job
from camlens.studio.routes.audit._open import Run
from camlens.studio.runs.clouds import cloud, layout_choice
from camlens.studio.runs.details import neighbours
from camlens.studio.runs.schemas import CloudView, Neighbours
from camlens.studio.schemas import JobView

router = APIRouter(tags=["audit: embeddings"])
MOST_POINTS = 50_000


@router.get("/layouts/{kind}", response_model=JobView[CloudView])
async def layout(
    bench: Bench,
    run: Run,
    kind: Annotated[Literal["pca", "tsne", "umap"], Path()],
    samples: Annotated[int, Query(ge=10, le=MOST_POINTS, description="how many images at most")] = 2000,
    near: Annotated[float | None, Query(ge=1, le=1000, description="perplexity of t-SNE, neighbours of UMAP")] = None,
    seed: Annotated[int, Query(ge=0, le=2**31)] = 0,
    wait: Wait = 30,
) -> JobView[Any]:
    """The layout with labels, predictions and confidences; computed once, then kept in the run."""
    choice = layout_choice(kind, samples=samples, near=near, seed=seed)
    return await as_job(
        bench,
        ("layout", choice),
        lambda report: cloud(run, kind, choice, report, keep=not bench.settings.read_only),
        lambda found: found,
        wait,
        queue=bench.studies,
    )


@router.get("/rows/{row}/neighbours", response_model=JobView[Neighbours])
async def near(bench: Bench, run: Run, row: Annotated[int, Path(ge=0)], wait: Wait = 30) -> JobView[Any]:
    """The nearest images in feature space, right or wrong."""
    number = int(run.checked([row])[0])
    return await as_job(
        bench,
        ("neighbours", number),
        lambda report: neighbours(run, number, report),
        lambda found: found,
        wait,
        queue=bench.studies,
    )
