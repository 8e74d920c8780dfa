"""Jobs: where one stands, its progress as it happens, and how to stop it."""

import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from camlens.core.errors import DataError
from camlens.studio.bench import Workbench
from camlens.studio.jobs import Job
from camlens.studio.routes._shared import Bench, job_view
from camlens.studio.schemas import JobView

router = APIRouter(prefix="/jobs", tags=["jobs"])
HEARTBEAT = 10.0


def _found(bench: Workbench, job_id: str) -> Job:
    job = next((found for queue in bench.queues if (found := queue.find(job_id)) is not None), None)
    if job is None:
        raise DataError(f"there is no job {job_id[:40]!r}: it may have ended long ago")
    return job


@router.get("/{job_id}", response_model=JobView[None])
def job(bench: Bench, job_id: str) -> JobView[Any]:
    """State, place in the queue and progress; ask the question again to have the result."""
    return job_view(bench, _found(bench, job_id))


@router.get("/{job_id}/events", response_class=StreamingResponse)
async def events(bench: Bench, job_id: str) -> StreamingResponse:
    """The same as server-sent events, one for each change until the job is over."""
    return StreamingResponse(_changes(bench, _found(bench, job_id)), media_type="text/event-stream")


@router.delete("/{job_id}", response_model=JobView[None])
def cancel(bench: Bench, job_id: str) -> JobView[Any]:
    """Give the job up; it ends once nobody wants it any more."""
    found = _found(bench, job_id)
    for queue in bench.queues:
        if queue.find(job_id) is found:
            queue.cancel(found)
    return job_view(bench, found)


async def _changes(bench: Workbench, watched: Job) -> AsyncIterator[str]:
    while True:
        seen = watched.version
        view = job_view(bench, watched).model_dump(mode="json")
        yield f"data: {json.dumps(view)}\n\n"
        if watched.finished:
            return
        await watched.changed(seen, HEARTBEAT)
