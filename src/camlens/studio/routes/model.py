"""The model: its summary, layers and methods, activations and filters."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from camlens.anatomy.activations import LayerActivations
from camlens.core.registry import METHODS
from camlens.studio.channels import Sort, activation_maps, layer_activations, learned_filters
from camlens.studio.explaining import chooses_layers
from camlens.studio.jobs import Report
from camlens.studio.routes._shared import Bench, Wait, as_job
from camlens.studio.schemas import (
    ActivationMaps,
    ImageId,
    JobView,
    LayerInfo,
    LayerName,
    LearnedFilters,
    MethodInfo,
    ModelSummary,
)
from camlens.studio.threads import slow

router = APIRouter()
Offset = Annotated[int, Query(ge=0)]
Limit = Annotated[int, Query(ge=1, le=128)]


@router.get("/model", tags=["model"])
def model(bench: Bench) -> ModelSummary:
    """Return parameters, size, classes and the measured time of one forward pass."""
    return bench.anatomy.summary


@router.get("/model/activations", response_model=JobView[ActivationMaps], tags=["model"])
async def activations(
    bench: Bench,
    image: ImageId,
    layer: Annotated[LayerName, Query()],
    sort: Sort = "mean",
    offset: Offset = 0,
    limit: Limit = 48,
    wait: Wait = 30,
) -> JobView[Any]:
    """Return a page of a layer's channels for one image."""
    bench.anatomy.layer(layer.partition("#")[0])
    key = ("activations", image, layer)

    def present(seen: LayerActivations) -> ActivationMaps:
        return activation_maps(seen, layer, sort=sort, offset=offset, limit=limit)

    def work(_report: Report) -> LayerActivations:
        seen = layer_activations(bench.anatomy, bench.inputs(image), layer)
        bench.cache.put(key, seen, seen.features.numel() * 4)
        return seen

    known = bench.cache.get(key, LayerActivations)
    return await as_job(bench, key, work, wait, present=present, known=known)


@router.get("/model/filters", tags=["model"])
@slow
def filters(
    bench: Bench, layer: Annotated[LayerName, Query()], offset: Offset = 0, limit: Limit = 64
) -> LearnedFilters:
    """Return a page of a convolution's filters with their statistics."""
    return learned_filters(bench.anatomy.layer(layer), layer, offset=offset, limit=limit)


@router.get("/layers", tags=["layers"])
def layers(bench: Bench) -> tuple[LayerInfo, ...]:
    """List the layers with output shape, grid and stage, and whether they can carry a map."""
    return bench.anatomy.layers


@router.get("/methods", tags=["methods"])
def methods() -> list[MethodInfo]:
    """List the methods with their paper, purpose and cost."""
    return [
        MethodInfo(
            name=entry.name,
            title=entry.paper.rpartition(", arXiv")[0].rpartition(", ")[2] or entry.name,
            paper=entry.paper,
            needs=entry.needs,
            good_for=entry.good_for,
            cost=entry.cost,
            signed=entry.signed,
            diverging=entry.diverging,
            scope=entry.scope,
            chooses_layers=chooses_layers(entry.name, ()),
        )
        for entry in METHODS.values()
    ]
