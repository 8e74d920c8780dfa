"""The LIME page: an image in segments, and what each of them does to the score."""

from typing import Any

from fastapi import APIRouter

from camlens.studio.jobs import Report
from camlens.studio.routes._shared import Bench, Wait, answered, as_job
from camlens.studio.schemas import JobView
from camlens.studio.segments.answering import (
    Weighed,
    checked_segments_request,
    known_weights,
    segments_key,
    segments_result,
    weigh_segments,
)
from camlens.studio.segments.schemas import SegmentsRequest, SegmentsResult

router = APIRouter(prefix="/segments", tags=["segments"])


@router.post("", response_model=JobView[SegmentsResult])
async def segments(bench: Bench, request: SegmentsRequest, wait: Wait = 30) -> JobView[Any]:
    """The segments of one image with their weights, by LIME or KernelSHAP, and how far these can be believed."""
    checked = checked_segments_request(bench, request)
    held = known_weights(bench, checked)
    if held is not None:
        return answered(segments_result(bench, checked, held))

    def work(report: Report) -> Weighed:
        return weigh_segments(bench, checked, report)

    def present(weighed: Weighed) -> SegmentsResult:
        return segments_result(bench, checked, weighed)

    return await as_job(bench, segments_key(checked), work, present, wait)
