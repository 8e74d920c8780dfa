"""Several classes of one image, and how alike two maps are."""

from typing import Any

import torch
from fastapi import APIRouter
from torch import Tensor

from camlens.studio.explaining import Explained, checked_request, explain_request
from camlens.studio.jobs import Report
from camlens.studio.routes._shared import Bench, Wait, as_job
from camlens.studio.schemas import Comparison, ExplanationRequest, JobView

router = APIRouter(prefix="/comparisons", tags=["classes"])
NEARLY_SAME, ALIKE, OPPOSED = 0.95, 0.7, -0.2


@router.post("", response_model=JobView[Comparison])
async def comparison(
    bench: Bench, first: ExplanationRequest, second: ExplanationRequest, wait: Wait = 30
) -> JobView[Any]:
    """How alike the heat maps of two requests are, by the first map of each."""
    requests = checked_request(bench, first), checked_request(bench, second)

    def present(explained: tuple[Explained, Explained]) -> Comparison:
        return compared(_first_map(explained[0]), _first_map(explained[1]))

    def work(report: Report) -> tuple[Explained, Explained]:
        return explain_request(bench, requests[0], report), explain_request(bench, requests[1], report)

    return await as_job(bench, ("compare", requests), work, present, wait)


def _first_map(explained: Explained) -> Tensor:
    explanation = next(iter(explained.explanations.values()))
    return explanation.maps[explanation.layers[0]][0, 0]


def compared(first: Tensor, second: Tensor) -> Comparison:
    """Pearson's correlation of two heat maps (rectified), and what that means."""
    if first.shape != second.shape:
        second = torch.nn.functional.interpolate(second[None, None], size=first.shape, mode="bilinear")[0, 0]
    pair = torch.stack([first.clamp_min(0).flatten(), second.clamp_min(0).flatten()])
    value = float(torch.corrcoef(pair)[0, 1])
    if value != value:
        return Comparison(correlation=None, sentence="One of the maps is empty, so they cannot be compared.")
    return Comparison(correlation=value, sentence=_meaning(value))


def _meaning(value: float) -> str:
    if value >= NEARLY_SAME:
        return (
            "The two maps are nearly the same: the model looks at the same place for both, so these maps do "
            "not tell why one class won."
        )
    if value >= ALIKE:
        return "The two maps overlap for the most part: look at the difference for what tells the classes apart."
    if value <= OPPOSED:
        return "The two maps exclude each other: what speaks for one class is elsewhere than for the other."
    return "The two maps look at different places."
