"""The LIME page: an image in segments, and what each of them does to the score."""

from functools import partial
from typing import Any

from fastapi import APIRouter

from camlens.studio.routes._shared import Bench, Wait, as_job
from camlens.studio.schemas import JobView
from camlens.studio.segments.answering import (
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
    return await as_job(
        bench,
        segments_key(checked),
        partial(weigh_segments, bench, checked),
        partial(segments_result, bench, checked),
        wait,
        known=known_weights(bench, checked),
    )
