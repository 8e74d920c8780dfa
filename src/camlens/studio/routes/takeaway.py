"""A view as a file: a PNG panel, the maps as numbers, or a report that needs no server."""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from camlens.render.pictures import encode_png
from camlens.studio.apart import apart
from camlens.studio.bench import Workbench
from camlens.studio.explaining import Explained, checked_request, explain_request
from camlens.studio.images.info import image_info
from camlens.studio.routes._shared import Bench, finished
from camlens.studio.schemas import ExplanationRequest, ImageId, LayerName, MethodName, TargetChoice
from camlens.studio.takeaway.report import report_html

router = APIRouter(prefix="/explanations", tags=["take away"])


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
    """How the picture is drawn."""

    opacity: Annotated[float, Query(ge=0, le=1)] = 0.5
    colours: Annotated[str, Query(max_length=40)] = "turbo"


Wanted = Annotated[ExplanationRequest, Depends(_request)]
Drawn = Annotated[Drawing, Depends()]


@router.get("/panel.png", response_class=Response)
async def panel(bench: Bench, wanted: Wanted, drawing: Drawn) -> Response:
    """Original, heat map with colour bar, overlay and predictions as one PNG."""

    def draw(_checked: ExplanationRequest, explained: Explained) -> bytes:
        first = next(iter(explained.explanations.values()))
        figure = replace(first, views=(bench.view(wanted.image),)).figure(
            title=image_info(bench, wanted.image).name,
            alpha=drawing.opacity,
            colormap=None if first.shows_both_signs() else drawing.colours,  # both signs have colours of their own
        )
        return encode_png(figure)

    return await _file(bench, wanted, draw, "png", "image/png")


@router.get("/maps.npy", response_class=Response)
async def maps(bench: Bench, wanted: Wanted) -> Response:
    """The signed maps as float32 (targets, height, width) of the first method and layer, for `numpy.load`."""

    def save(_checked: ExplanationRequest, explained: Explained) -> bytes:
        first = next(iter(explained.explanations.values()))
        stream = io.BytesIO()
        np.save(stream, first.maps[first.layers[0]][0].cpu().numpy(), allow_pickle=False)
        return stream.getvalue()

    return await _file(bench, wanted, save, "npy", "application/octet-stream")


@router.get("/report.html", response_class=Response)
async def report(bench: Bench, wanted: Wanted, drawing: Drawn) -> Response:
    """One file with live opacity, threshold and colours, that opens from disk."""

    def write(checked: ExplanationRequest, explained: Explained) -> bytes:
        page = report_html(bench, checked, explained, opacity=drawing.opacity, colours=drawing.colours)
        return page.encode()

    return await _file(bench, wanted, write, "html", "text/html")


async def _file(
    bench: Workbench,
    wanted: ExplanationRequest,
    write: Callable[[ExplanationRequest, Explained], bytes],
    suffix: str,
    kind: str,
) -> Response:
    checked = checked_request(bench, wanted)
    explained = await finished(bench, ("explain", checked), lambda report: explain_request(bench, checked, report))
    body = await apart(write, checked, explained)
    name = "-".join([wanted.image, *wanted.methods, *checked.layers[:1]]).replace("/", "_")
    disposition = f'attachment; filename="{name}.{suffix}"'
    return Response(body, media_type=kind, headers={"content-disposition": disposition})
