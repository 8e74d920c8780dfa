"""Maps of one image, segments, comparisons, and the same as files to download."""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from torch import Tensor

from camlens.render.pictures import encode_png
from camlens.studio.bench import Workbench
from camlens.studio.explaining import (
    Explained,
    checked_request,
    explain_request,
    explanation_key,
    explanation_result,
    known_explanations,
)
from camlens.studio.image_info import image_info
from camlens.studio.jobs import Report
from camlens.studio.report import report_html
from camlens.studio.routes._shared import Bench, Wait, as_job, finished
from camlens.studio.schemas import (
    Comparison,
    ExplanationRequest,
    ExplanationResult,
    ImageId,
    JobView,
    LayerName,
    MethodName,
    SegmentsRequest,
    SegmentsResult,
    TargetChoice,
)
from camlens.studio.segments import (
    checked_segments_request,
    known_weights,
    segments_key,
    segments_result,
    weigh_segments,
)
from camlens.studio.threads import run_apart

router = APIRouter()
NEARLY_SAME, ALIKE, OPPOSED = 0.95, 0.7, -0.2  # correlations


@router.post("/explanations", response_model=JobView[ExplanationResult], tags=["explain"])
async def explanations(bench: Bench, request: ExplanationRequest, wait: Wait = 30) -> JobView[Any]:
    """Return a map for each combination of methods and layers, with predictions and warnings."""
    checked = checked_request(bench, request)
    return await as_job(
        bench,
        explanation_key(checked),
        partial(explain_request, bench, checked),
        wait,
        present=partial(explanation_result, bench, checked),
        known=known_explanations(bench, checked),
    )


@router.post("/segments", response_model=JobView[SegmentsResult], tags=["segments"])
async def segments(bench: Bench, request: SegmentsRequest, wait: Wait = 30) -> JobView[Any]:
    """Return the segments of one image with their weights by LIME or KernelSHAP, and how reliable these are."""
    checked = checked_segments_request(bench, request)
    return await as_job(
        bench,
        segments_key(checked),
        partial(weigh_segments, bench, checked),
        wait,
        present=partial(segments_result, bench, checked),
        known=known_weights(bench, checked),
    )


@router.post("/comparisons", response_model=JobView[Comparison], tags=["classes"])
async def comparison(
    bench: Bench, first: ExplanationRequest, second: ExplanationRequest, wait: Wait = 30
) -> JobView[Any]:
    """Compare the first heat maps of two requests."""
    requests = checked_request(bench, first), checked_request(bench, second)

    def present(explained: tuple[Explained, Explained]) -> Comparison:
        return compared(_first_map(explained[0]), _first_map(explained[1]))

    def work(report: Report) -> tuple[Explained, Explained]:
        return explain_request(bench, requests[0], report), explain_request(bench, requests[1], report)

    return await as_job(bench, ("compare", requests), work, wait, present=present)


def _first_map(explained: Explained) -> Tensor:
    explanation = next(iter(explained.explanations.values()))
    return explanation.maps[explanation.layers[0]][0, 0]


def compared(first: Tensor, second: Tensor) -> Comparison:
    """Return the Pearson correlation of two rectified heat maps, and its interpretation."""
    if first.shape != second.shape:
        second = torch.nn.functional.interpolate(second[None, None], size=first.shape, mode="bilinear")[0, 0]
    pair = torch.stack([first.clamp_min(0).flatten(), second.clamp_min(0).flatten()])
    value = float(torch.corrcoef(pair)[0, 1])
    if math.isnan(value):
        return Comparison(correlation=None, sentence="One of the maps is empty, so there is nothing to compare.")
    return Comparison(correlation=value, sentence=_meaning(value))


def _meaning(value: float) -> str:
    if value >= NEARLY_SAME:
        return (
            "The two maps are nearly identical: the model looks at the same place for both, so they do not explain "
            "why one class won."
        )
    if value >= ALIKE:
        return "The two maps mostly overlap: their difference shows what separates the classes."
    if value <= OPPOSED:
        return "The two maps are opposed: the evidence for one class lies where the other has none."
    return "The two maps highlight different places."


def _request(
    image: ImageId,
    method: Annotated[tuple[MethodName, ...], Query()] = ("gradcam",),
    layer: Annotated[tuple[LayerName, ...], Query()] = (),
    kind: Literal["predicted", "class", "contrast", "top"] = "predicted",
    index: Annotated[int | None, Query(ge=0)] = None,
    against: Annotated[int | None, Query(ge=0)] = None,
) -> ExplanationRequest:
    target = TargetChoice(kind=kind, index=index, against=against)
    return ExplanationRequest(image=image, methods=method, layers=layer, target=target)


@dataclass(frozen=True)
class Drawing:
    """Display settings of a downloaded picture."""

    opacity: Annotated[float, Query(ge=0, le=1)] = 0.5
    colours: Annotated[str, Query(max_length=40)] = "turbo"


Requested = Annotated[ExplanationRequest, Depends(_request)]
Style = Annotated[Drawing, Depends()]


@router.get("/explanations/panel.png", response_class=Response, tags=["take away"])
async def panel(bench: Bench, requested: Requested, drawing: Style) -> Response:
    """Return photograph, heat map with color bar, overlay and predictions as one PNG."""

    def draw(_checked: ExplanationRequest, explained: Explained) -> bytes:
        first = next(iter(explained.explanations.values()))
        figure = replace(first, views=(bench.view(requested.image),)).figure(
            title=image_info(bench, requested.image).name,
            alpha=drawing.opacity,
            colormap=None if first.shows_both_signs() else drawing.colours,  # signed maps have their own color map
        )
        return encode_png(figure)

    return await _file(bench, requested, draw, "png", "image/png")


@router.get("/explanations/maps.npy", response_class=Response, tags=["take away"])
async def maps(bench: Bench, requested: Requested) -> Response:
    """Return the signed maps of the first method and layer, float32 (targets, height, width), for `numpy.load`."""

    def save(_checked: ExplanationRequest, explained: Explained) -> bytes:
        first = next(iter(explained.explanations.values()))
        stream = io.BytesIO()
        np.save(stream, first.maps[first.layers[0]][0].cpu().numpy(), allow_pickle=False)
        return stream.getvalue()

    return await _file(bench, requested, save, "npy", "application/octet-stream")


@router.get("/explanations/report.html", response_class=Response, tags=["take away"])
async def report(bench: Bench, requested: Requested, drawing: Style) -> Response:
    """Return a self-contained HTML file with adjustable opacity, threshold and colors."""

    def write(checked: ExplanationRequest, explained: Explained) -> bytes:
        page = report_html(bench, checked, explained, opacity=drawing.opacity, colours=drawing.colours)
        return page.encode()

    return await _file(bench, requested, write, "html", "text/html")


async def _file(
    bench: Workbench,
    requested: ExplanationRequest,
    write: Callable[[ExplanationRequest, Explained], bytes],
    suffix: str,
    kind: str,
) -> Response:
    checked = checked_request(bench, requested)
    explained = await finished(bench, ("explain", checked), lambda report: explain_request(bench, checked, report))
    body = await run_apart(write, checked, explained)
    name = "-".join([requested.image, *requested.methods, *checked.layers[:1]]).replace("/", "_")
    disposition = f'attachment; filename="{name}.{suffix}"'
    return Response(body, media_type=kind, headers={"content-disposition": disposition})
