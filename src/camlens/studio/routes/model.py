"""The model from inside: its numbers, what its layers see in an image, and what its filters look for."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from camlens.anatomy.activations import LayerActivations
from camlens.studio.anatomy.activations import Sort, activation_maps, layer_activations
from camlens.studio.anatomy.filters import learned_filters
from camlens.studio.apart import heavy
from camlens.studio.jobs import Report
from camlens.studio.routes._shared import Bench, Wait, as_job
from camlens.studio.schemas import ActivationMaps, ImageId, JobView, LayerName, LearnedFilters, ModelSummary

router = APIRouter(prefix="/model", tags=["model"])
Offset = Annotated[int, Query(ge=0)]
Limit = Annotated[int, Query(ge=1, le=128)]


@router.get("")
def model(bench: Bench) -> ModelSummary:
    """Parameters, size, classes and the measured time of one forward pass."""
    return bench.anatomy.summary


@router.get("/activations", response_model=JobView[ActivationMaps])
async def activations(
    bench: Bench,
    image: ImageId,
    layer: Annotated[LayerName, Query()],
    sort: Sort = "mean",
    offset: Offset = 0,
    limit: Limit = 48,
    wait: Wait = 30,
) -> JobView[Any]:
    """A page of the layer's channels for one image, the most active first."""
    bench.anatomy.layer(layer.partition("#")[0])
    key = ("activations", image, layer)

    def present(found: LayerActivations) -> ActivationMaps:
        return activation_maps(found, layer, sort=sort, offset=offset, limit=limit)

    def work(_report: Report) -> LayerActivations:
        seen = layer_activations(bench.anatomy, bench.inputs(image), layer)
        bench.cache.put(key, seen, seen.features.numel() * 4)
        return seen

    found = bench.cache.get(key)
    known = found if isinstance(found, LayerActivations) else None
    return await as_job(bench, key, work, present, wait, known=known)


@router.get("/filters")
@heavy
def filters(
    bench: Bench, layer: Annotated[LayerName, Query()], offset: Offset = 0, limit: Limit = 64
) -> LearnedFilters:
    """A page of a convolution's filters with their statistics."""
    return learned_filters(bench.anatomy.layer(layer), layer, offset=offset, limit=limit)
