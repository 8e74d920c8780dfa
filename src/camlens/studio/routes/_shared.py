"""What every route module needs: the workbench of the request, and jobs as the page sees them."""

import secrets
from collections.abc import Callable, Hashable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query, Request

from camlens.core.errors import CamlensError
from camlens.studio.bench import Workbench
from camlens.studio.jobs import Job, JobQueue, JobState, QueueFullError, Report
from camlens.studio.schemas import JobView, Problem
from camlens.studio.threads import apart

Found = TypeVar("Found")
Result = TypeVar("Result")


def workbench(request: Request) -> Workbench:
    """The workbench of the app that answers."""
    bench: Workbench = request.app.state.bench
    return bench


Bench = Annotated[Workbench, Depends(workbench)]
Wait = Annotated[float, Query(ge=0, le=120, description="seconds to wait for the result before answering without it")]


def problem_of(error: CamlensError) -> Problem:
    """The error in the API's words."""
    kind = type(error).__name__.removesuffix("Error").lower()
    return Problem(kind=kind, message=str(error))


def job_view(bench: Workbench, job: Job, ticket: str, result: Any = None) -> JobView[Any]:
    """A job as the one who holds this ticket sees it."""
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
    work: Callable[[Report], Found],
    present: Callable[[Found], Result],
    wait: float,
    *,
    known: Found | None = None,
    queue: JobQueue | None = None,
) -> JobView[Any]:
    """Answer with what is `known`; else ask the worker, wait a while, and answer with that or the place in the queue.

    Asked again with the same question while the job lives, it joins that job. Without a `queue` it is the model's.
    If the client goes while it waits, the job is given up.
    """
    if known is not None:
        shown = await apart(present, known)
        return JobView[Any](id="", state=JobState.DONE, position=0, done=1, total=1, problem=None, result=shown)
    queue = queue or bench.jobs
    ticket = _ticket()
    job = queue.recall(key) or queue.submit(key, work, ticket=ticket)
    with queue.held(job, ticket):
        await job.settled(wait)
    if job.error is not None:
        raise job.error
    found = job.result
    result = await apart(present, found) if found is not None else None
    return job_view(bench, job, ticket, result)


async def finished(bench: Workbench, key: Hashable, work: Callable[[Report], Found]) -> Found:
    """The result of a job, however long it takes, as long as its client waits."""
    ticket = _ticket()
    job = bench.jobs.recall(key) or bench.jobs.submit(key, work, ticket=ticket)
    with bench.jobs.held(job, ticket):
        while not await job.settled(60):
            continue
    if job.error is not None:
        raise job.error
    result: Found | None = job.result
    if result is None:
        raise QueueFullError("the job was cancelled, or its result is no longer held: ask again")
    return result


def _ticket() -> str:
    return secrets.token_urlsafe(9)
