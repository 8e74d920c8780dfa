"""The layers of the model, in the order in which they finish."""

from fastapi import APIRouter

from camlens.studio.routes._shared import Bench
from camlens.studio.schemas import LayerInfo

router = APIRouter(prefix="/layers", tags=["layers"])


@router.get("")
def layers(bench: Bench) -> tuple[LayerInfo, ...]:
    """Every layer with its output, its grid and stage, and whether it can carry a map or why not."""
    return bench.anatomy.layers
