"""What can be chosen: the layers of the model, and the methods that the registry knows."""

from fastapi import APIRouter

from camlens.core.registry import METHODS
from camlens.studio.explaining import chooses_layers
from camlens.studio.routes._shared import Bench
from camlens.studio.schemas import LayerInfo, MethodInfo

router = APIRouter()


@router.get("/layers", tags=["layers"])
def layers(bench: Bench) -> tuple[LayerInfo, ...]:
    """Every layer with its output, its grid and stage, and whether it can carry a map or why not."""
    return bench.anatomy.layers


@router.get("/methods", tags=["methods"])
def methods() -> list[MethodInfo]:
    """Every method: where it comes from, what it is good for, and what it costs."""
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
