"""Attention statistics: where the model looks when it is right, when it is wrong, and for each class."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from camlens.studio.apart import heavy
from camlens.studio.jobs import Report
from camlens.studio.routes._shared import Bench, Wait, as_job
from camlens.studio.routes.audit._open import Run
from camlens.studio.runs.attention import attention, class_attention
from camlens.studio.runs.schemas import AttentionView, ClassAttentions
from camlens.studio.schemas import JobView

router = APIRouter(prefix="/attention", tags=["audit: attention"])
_KEY = ("audit classes",)


@router.get("")
@heavy
def spreads(
    run: Run, predicted: Annotated[int | None, Query(ge=0, description="of images predicted as this class")] = None
) -> AttentionView:
    """How entropy, border and corner energy and spread are distributed, and where maps peak."""
    return attention(run, predicted)


@router.get("/classes", response_model=JobView[ClassAttentions])
async def classes(bench: Bench, run: Run, wait: Wait = 30) -> JobView[Any]:
    """Every predicted class with its measures and its mean map."""
    found = bench.cache.get(_KEY)
    known = found if isinstance(found, ClassAttentions) else None

    def work(report: Report) -> ClassAttentions:
        made = ClassAttentions(classes=class_attention(run, report))
        bench.cache.put(
            _KEY, made, sum(2000 + len(one.mean_map.values if one.mean_map else "") for one in made.classes)
        )
        return made

    return await as_job(bench, _KEY, work, lambda made: made, wait, known=known, queue=bench.studies)
