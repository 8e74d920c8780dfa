"""Switch to another demo model without a restart."""

from dataclasses import replace

from fastapi import APIRouter, Request

from camlens.core.errors import InputError
from camlens.studio.priming import opened_bench
from camlens.studio.routes._shared import Bench
from camlens.studio.routes.status import status
from camlens.studio.schemas import DemoChoice, Status

router = APIRouter(prefix="/demo", tags=["status"])


@router.post("")
def open_demo(request: Request, choice: DemoChoice, bench: Bench) -> Status:
    """Load another demo model and its photographs, for all users of this studio."""
    if choice.model not in bench.settings.demos:
        raise InputError(
            f"this studio cannot switch to {choice.model!r}: run `camlens studio --model {choice.model}`",
            code="studio.not-a-demo",
            model=choice.model,
            allowed=bench.settings.demos,
        )
    fresh = request.app.state.bench = opened_bench(replace(bench.settings, model=choice.model))
    bench.close()
    return status(fresh)
