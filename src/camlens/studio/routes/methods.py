"""The methods that the registry knows."""

from fastapi import APIRouter

from camlens.core.registry import METHODS
from camlens.studio.schemas import MethodInfo

router = APIRouter(prefix="/methods", tags=["methods"])


@router.get("")
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
            scope=entry.scope,
        )
        for entry in METHODS.values()
    ]
