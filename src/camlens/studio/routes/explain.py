"""The start page: maps of one image, and the same as files to take away."""

from functools import partial
from typing import Any

from fastapi import APIRouter

from camlens.studio.explaining import (
    checked_request,
    explain_request,
    explanation_key,
    explanation_result,
    known_explanations,
)
from camlens.studio.routes._shared import Bench, Wait, as_job
from camlens.studio.schemas import ExplanationRequest, ExplanationResult, JobView

router = APIRouter(prefix="/explanations", tags=["explain"])


@router.post("", response_model=JobView[ExplanationResult])
async def explanations(bench: Bench, request: ExplanationRequest, wait: Wait = 30) -> JobView[Any]:
    """Maps of every combination of methods and layers asked for, with predictions and warnings."""
    checked = checked_request(bench, request)
    return await as_job(
        bench,
        explanation_key(checked),
        partial(explain_request, bench, checked),
        partial(explanation_result, bench, checked),
        wait,
        known=known_explanations(bench, checked),
    )
