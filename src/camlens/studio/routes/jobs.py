"""Jobs: where one stands, its progress as it happens, and how to stop it."""

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
    """The queue, the job and the ticket that a job's name in the API stands for."""
    job_id, _, ticket = name.partition(".")
    for queue in bench.queues:
        if (job := queue.find(job_id)) is not None:
            return queue, job, ticket
    raise DataError(f"there is no job {name[:40]!r}: it may have ended long ago", code="job.unknown", job=name[:40])


@router.get("/{job_id}", response_model=JobView[None])
def job(bench: Bench, job_id: str) -> JobView[Any]:
    """State, place in the queue and progress; ask the question again to have the result."""
    queue, job, ticket = _held(bench, job_id)
    queue.renew(job, ticket)
    return job_view(bench, job, ticket)


@router.get("/{job_id}/events", response_class=StreamingResponse)
async def events(bench: Bench, job_id: str) -> StreamingResponse:
    """The same as server-sent events, one for each change until the job is over."""
    return StreamingResponse(_changes(bench, *_held(bench, job_id)), media_type="text/event-stream")


@router.delete("/{job_id}", response_model=JobView[None])
def cancel(bench: Bench, job_id: str) -> JobView[Any]:
    """Give the job up; it ends once nobody wants it any more."""
    queue, job, ticket = _held(bench, job_id)
    queue.release(job, ticket)
    return job_view(bench, job, ticket)


async def _changes(bench: Workbench, queue: JobQueue, watched: Job, ticket: str) -> AsyncIterator[str]:
    with queue.held(watched, ticket):
        while True:
            seen = watched.version
            view = job_view(bench, watched, ticket).model_dump(mode="json")
            yield f"data: {json.dumps(view)}\n\n"
            if watched.finished:
                return
            await watched.changed(seen, HEARTBEAT)
