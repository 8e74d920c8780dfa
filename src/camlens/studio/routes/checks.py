"""The check of a map: facts about it, and the test against the effects of deleting patches."""

from typing import Any

from fastapi import APIRouter

from camlens.studio.explaining import checked_request, explain_request
from camlens.studio.jobs import Report
from camlens.studio.routes._shared import Bench, Wait, as_job
from camlens.studio.schemas import ExplanationRequest, JobView, MapCheck, MapFact
from camlens.trust.checking import Check

router = APIRouter()


@router.post("/checks", response_model=JobView[MapCheck], tags=["explain"])
async def checks(bench: Bench, request: ExplanationRequest, wait: Wait = 30) -> JobView[Any]:
    """Check the first map of a request: facts, and its rank correlation with the effects of deleting patches."""
    checked = checked_request(bench, request)

    def work(report: Report) -> Check:
        explanation = next(iter(explain_request(bench, checked, report).explanations.values()))
        return explanation.check(bench.model, bench.inputs(checked.image), layer=explanation.layers[0])

    return await as_job(bench, ("check", checked), work, wait, present=_map_check)


def _map_check(check: Check) -> MapCheck:
    values = check.to_dict()
    return MapCheck(
        effect=values["effect"],
        p_value=values["p_value"],
        symmetry_p_value=values["symmetry_p_value"],
        facts=tuple(MapFact(**fact) for fact in values["facts"]),
        sentence=values["sentence"],
    )
