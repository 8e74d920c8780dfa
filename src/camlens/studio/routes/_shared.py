"""Dependencies of the routes, and answers computed by jobs."""

import secrets
from collections.abc import Callable, Hashable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query, Request

from camlens.studio.bench import Workbench
from camlens.studio.jobs import Job, JobQueue, JobState, QueueFullError, Report
from camlens.studio.problems import problem_of
from camlens.studio.schemas import JobView
from camlens.studio.threads import run_apart

Computed = TypeVar("Computed")


def workbench(request: Request) -> Workbench:
    """Return the workbench of the running app."""
    bench: Workbench = request.app.state.bench
    return bench


Bench = Annotated[Workbench, Depends(workbench)]
Wait = Annotated[
    float, Query(ge=0, le=120, description="seconds to wait for the result before answering with the progress")
]


def job_view(bench: Workbench, job: Job, ticket: str, result: Any = None) -> JobView[Any]:
    """Return the state of a job for the holder of this ticket."""
    return JobView[Any](
        id=f"{job.id}.{ticket}",
        state=job.state,
        position=sum(queue.position(job) for queue in bench.queues),
        done=job.done,
        total=job.total,
        estimate=job.estimate if job.state is JobState.RUNNING else None,
        problem=None if job.error is None else problem_of(job.error),
        result=result if job.state is JobState.DONE else None,
    )


async def as_job(
    bench: Workbench,
    key: Hashable,
    work: Callable[[Report], Computed],
    wait: float,
    *,
    present: Callable[[Computed], Any] = lambda computed: computed,
    known: Computed | None = None,
    queue: JobQueue | None = None,
) -> JobView[Any]:
    """Answer with `known`, or submit `work`, wait up to `wait` seconds, and answer with the result or the progress.

    Requests with the same key share one job. `present` turns the result of `work` into the answer. The default queue
    is that of the model. If the client disconnects while it waits, its ticket is released.
    """
    if known is not None:
        answer = await run_apart(present, known)
        return JobView[Any](id="", state=JobState.DONE, position=0, done=1, total=1, problem=None, result=answer)
    queue = queue or bench.jobs
    ticket = _ticket()
    job = queue.recall(key) or queue.submit(key, work, ticket=ticket)
    with queue.held(job, ticket):
        await job.settled(wait)
    if job.error is not None:
        raise job.error
    result = await run_apart(present, job.result) if job.result is not None else None
    return job_view(bench, job, ticket, result)


async def finished(bench: Workbench, key: Hashable, work: Callable[[Report], Computed]) -> Computed:
    """Wait for a job until it ends or the client disconnects, and return its result."""
    ticket = _ticket()
    job = bench.jobs.recall(key) or bench.jobs.submit(key, work, ticket=ticket)
    with bench.jobs.held(job, ticket):
        while not await job.settled(60):
            continue
    if job.error is not None:
        raise job.error
    result: Computed | None = job.result
    if result is None:
        raise QueueFullError(
            "the job was cancelled or its result has been dropped: send the request again", code="job.dropped"
        )
    return result


def _ticket() -> str:
    return secrets.token_urlsafe(9)
