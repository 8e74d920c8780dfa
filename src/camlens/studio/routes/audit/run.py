"""Which run is open, what of it is gone, and whether its weights are those of the model."""

from fastapi import APIRouter

from camlens.studio.routes.audit._open import Run
from camlens.studio.runs.schemas import RunSummary

router = APIRouter(tags=["audit"])


@router.get("/run")
def summary(run: Run) -> RunSummary:
    """The open run: model, data, method, layer, and how many images it judged."""
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
