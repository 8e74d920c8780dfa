"""Jobs: state, progress and cancellation."""

import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from camlens.core.errors import DataError
from camlens.studio.bench import Workbench
from camlens.studio.jobs import Job, JobQueue
from camlens.studio.routes._shared import Bench, job_view
from camlens.studio.schemas import JobView

router = APIRouter(prefix="/jobs", tags=["jobs"])
HEARTBEAT = 10.0


def _held(bench: Workbench, name: str) -> tuple[JobQueue, Job, str]:
    """Return the queue, the job and the ticket that the id `name` of the API stands for."""
    job_id, _, ticket = name.partition(".")
    for queue in bench.queues:
        if (job := queue.find(job_id)) is not None:
            return queue, job, ticket
    raise DataError(f"unknown job {name[:40]!r}: it may have ended long ago", code="job.unknown", job=name[:40])


@router.get("/{job_id}", response_model=JobView[None])
def job(bench: Bench, job_id: str) -> JobView[Any]:
    """Return state, queue position and progress; repeat the original request to get the result."""
    queue, job, ticket = _held(bench, job_id)
    queue.renew(job, ticket)
    return job_view(bench, job, ticket)


@router.get("/{job_id}/events", response_class=StreamingResponse)
async def events(bench: Bench, job_id: str) -> StreamingResponse:
    """Send the state as server-sent events, one per change, until the job ends."""
    return StreamingResponse(_changes(bench, *_held(bench, job_id)), media_type="text/event-stream")


@router.delete("/{job_id}", response_model=JobView[None])
def cancel(bench: Bench, job_id: str) -> JobView[Any]:
    """Release the job; it is cancelled once all its clients have released it."""
    queue, job, ticket = _held(bench, job_id)
    queue.release(job, ticket)
    return job_view(bench, job, ticket)


async def _changes(bench: Workbench, queue: JobQueue, watched: Job, ticket: str) -> AsyncIterator[str]:
    with queue.held(watched, ticket):
        while True:
            seen, ended = watched.version, watched.finished  # before the view, so that the last view tells the end
            view = job_view(bench, watched, ticket).model_dump(mode="json")
            yield f"data: {json.dumps(view)}\n\n"
            if ended:
                return
            await watched.changed(seen, HEARTBEAT)
