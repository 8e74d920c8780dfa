"""What every route over a run needs: the run."""

from typing import Annotated

from fastapi import Depends

from camlens.studio.routes._shared import Bench
from camlens.studio.runs.opened import OpenRun


def open_run_of(bench: Bench) -> OpenRun:
    """The run that the studio has open. Raises NoRunError where there is none."""
    return bench.run


Run = Annotated[OpenRun, Depends(open_run_of)]
