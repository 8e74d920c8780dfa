"""The start page: maps of one image, and the same as files to take away."""

from typing import Any

from fastapi import APIRouter

from camlens.studio.explaining import (
    Explained,
    checked_request,
    explain_request,
    explanation_result,
    known,
)
from camlens.studio.routes._shared import Bench, Wait, answered, as_job
from camlens.studio.schemas import ExplanationRequest, ExplanationResult, JobView

router = APIRouter(prefix="/explanations", tags=["explain"])


@router.post("", response_model=JobView[ExplanationResult])
async def explanations(bench: Bench, request: ExplanationRequest, wait: Wait = 30) -> JobView[Any]:
    """Maps of every combination of methods and layers asked for, with predictions and warnings."""
    checked = checked_request(bench, request)
    if known(bench, checked):
        return answered(explanation_result(bench, checked, explain_request(bench, checked, lambda *_: None)))

    def present(explained: Explained) -> ExplanationResult:
        return explanation_result(bench, checked, explained)

    return await as_job(
        bench, ("explain", checked), lambda report: explain_request(bench, checked, report), present, wait
    )
