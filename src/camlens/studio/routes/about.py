"""How to read a heat map, with examples from the demo models."""

from typing import Any

from fastapi import APIRouter

from camlens.studio.examples import reading_examples
from camlens.studio.jobs import Report
from camlens.studio.routes._shared import Bench, Wait, as_job
from camlens.studio.schemas import Examples, JobView

router = APIRouter(prefix="/examples", tags=["about"])
_KEY = ("examples",)


@router.get("", response_model=JobView[Examples])
async def examples(bench: Bench, wait: Wait = 30) -> JobView[Any]:
    """Good and worrying patterns, each with an example picture and its map."""
    found = bench.cache.get(_KEY)
    known = found if isinstance(found, Examples) else None

    def work(report: Report) -> Examples:
        made = reading_examples(report)
        bench.cache.put(_KEY, made, sum(len(one.picture) for one in made.examples) + 4096)
        return made

    return await as_job(bench, _KEY, work, lambda made: made, wait, known=known)
