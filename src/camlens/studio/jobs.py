"""A bounded job queue with one worker thread and background work.

Jobs run in the order of their submission. If none is waiting, the worker runs one small step of background work, so
a new job waits for at most one such step.

Each client holds a job by its own ticket: while its connection is open, and for `LEASE` seconds after its last
request. A job without holders is removed from the queue, or stops at its next progress report.
"""

import asyncio
import logging
import math
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Condition, Thread
from time import monotonic
from typing import Any

from camlens.core.errors import CamlensError

log = logging.getLogger("camlens.studio")
WORKER = "camlens-studio-worker"
KEPT_FINISHED = 256
KEPT_RESULTS = 8
LEASE = 30.0  # seconds a job stays held after the last request of its client
STUDIO = "studio"  # ticket of the studio's own jobs, which is never released
Report = Callable[..., None]  # takes done, total and optionally an estimate of the result
Work = Callable[[Report], Any]


class JobState(StrEnum):
    """The state of a job."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class QueueFullError(CamlensError):
    """Too many jobs are waiting, or a result is gone: the client should retry later."""

    default_code = "job.queue-full"


class JobCancelledError(CamlensError):
    """Nobody holds the job any more."""

    default_code = "job.cancelled"


@dataclass(eq=False)
class Job:
    """One piece of work with its state, progress and result."""

    key: Hashable
    work: Work
    id: str = field(default_factory=lambda: secrets.token_urlsafe(9))
    state: JobState = JobState.WAITING
    done: int = 0
    total: int = 0
    result: Any = None
    estimate: Any = None
    error: CamlensError | None = None
    holders: dict[str, float] = field(default_factory=dict)  # expiry time by ticket; inf while a connection is open
    version: int = 0
    _listeners: list[Callable[[], None]] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether the job has ended."""
        return self.state in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)

    @property
    def wanted(self) -> bool:
        """Whether any ticket is still valid."""
        now = monotonic()
        return any(until > now for until in tuple(self.holders.values()))

    def touch(self) -> None:
        """Count a change and wake the listeners."""
        self.version += 1
        for listener in tuple(self._listeners):
            listener()

    async def changed(self, seen: int, timeout: float | None = None) -> int:
        """Wait until the version differs from `seen` or the timeout expires; return the version."""
        loop, event = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(event.set)

        self._listeners.append(wake)
        try:
            if self.version == seen:
                await asyncio.wait_for(event.wait(), timeout)
        except TimeoutError:
            pass
        finally:
            self._listeners.remove(wake)
        return self.version

    async def settled(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for the job to end; return whether it has."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while not self.finished and (left := end - loop.time()) > 0:
            await self.changed(self.version, left)
        return self.finished


class JobQueue:
    """Run one job at a time, with at most `capacity` waiting; jobs with equal keys are shared.

    `idle` does one step of background work and returns whether it did anything.
    """

    def __init__(self, *, capacity: int, idle: Callable[[], bool] = lambda: False) -> None:
        self.capacity = capacity
        self._idle = idle
        self._waiting: deque[Job] = deque()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._running: Job | None = None
        self._open = True
        self._results: deque[Job] = deque()
        self._changed = Condition()
        self._worker = Thread(target=self._run, name=WORKER, daemon=True)
        self._worker.start()

    def submit(self, key: Hashable, work: Work, *, ticket: str = STUDIO) -> Job:
        """Return the waiting or running job with this key, or append a new one; `ticket` holds it until released."""
        with self._changed:
            for job in (self._running, *self._waiting):
                if job is not None and job.key == key and not job.finished and job.wanted:
                    job.holders[ticket] = math.inf
                    return job
            if len(self._waiting) >= self.capacity or not self._open:
                waiting = len(self._waiting)
                raise QueueFullError(f"{waiting} jobs are already waiting: try again in a moment", waiting=waiting)
            job = Job(key, work, holders={ticket: math.inf})
            self._waiting.append(job)
            self._jobs[job.id] = job
            self._forget_finished()
            self._changed.notify_all()
            return job

    def recall(self, key: Hashable) -> Job | None:
        """Return a recently finished job with this key if its result is still kept."""
        with self._changed:
            return next((job for job in self._results if job.key == key), None)

    def find(self, job_id: str) -> Job | None:
        """Return the job with this id, or None if it is unknown or was forgotten."""
        return self._jobs.get(job_id)

    def position(self, job: Job) -> int:
        """Return the number of jobs before this one; 0 if it is running or has ended."""
        with self._changed:
            if job not in self._waiting:
                return 0
            return self._waiting.index(job) + (self._running is not None)

    @property
    def load(self) -> int:
        """Number of waiting and running jobs."""
        return len(self._waiting) + (self._running is not None)

    @contextmanager
    def held(self, job: Job, ticket: str) -> Iterator[None]:
        """Hold the job during the block; afterwards renew the ticket, or release it if the block raises."""
        self._extend(job, ticket, math.inf)
        try:
            yield
        except BaseException:  # includes the cancellation on disconnect
            self.release(job, ticket)
            raise
        self.renew(job, ticket)

    def renew(self, job: Job, ticket: str) -> None:
        """Extend the ticket by `LEASE` seconds."""
        self._extend(job, ticket, monotonic() + LEASE)

    def release(self, job: Job, ticket: str) -> None:
        """Drop a ticket; without any ticket the job is cancelled."""
        with self._changed:
            job.holders.pop(ticket, None)
            if job.wanted or job not in self._waiting:
                return
            self._waiting.remove(job)
            job.state = JobState.CANCELLED
            touched = [job, *self._waiting]
        for waiting in touched:
            waiting.touch()

    def _extend(self, job: Job, ticket: str, until: float) -> None:
        with self._changed:
            if ticket in job.holders:
                job.holders[ticket] = until

    def wake(self) -> None:
        """Wake the worker because there is new background work."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Refuse new jobs, cancel the waiting ones and stop the running one at its next progress report."""
        with self._changed:
            self._open = False
            waiting, running = list(self._waiting), self._running
            self._waiting.clear()
            self._changed.notify_all()
        for job in waiting:
            job.state = JobState.CANCELLED
            job.touch()
        if running is not None:
            running.holders.clear()
        self._worker.join(timeout=10)

    def _forget_finished(self) -> None:
        for job_id, job in list(self._jobs.items())[: max(0, len(self._jobs) - KEPT_FINISHED)]:
            if job.finished:
                del self._jobs[job_id]

    def _keep_result(self, job: Job) -> None:
        if job.state is not JobState.DONE:
            return
        self._results.append(job)
        if len(self._results) > KEPT_RESULTS:
            self._results.popleft().result = None  # clients that still need it submit the job again

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._open:
                    return
                job = self._running = self._waiting.popleft() if self._waiting else None
                if job is not None:
                    job.state = JobState.RUNNING
            if job is None:
                if not self._background_step():
                    with self._changed:
                        if self._open and not self._waiting:
                            self._changed.wait(timeout=1.0)
                continue
            for moved in (job, *tuple(self._waiting)):
                moved.touch()
            state = self._execute(job)
            job.estimate = None
            with self._changed:  # whoever sees the end can recall the result
                job.state, self._running = state, None
                self._keep_result(job)
            job.touch()

    def _execute(self, job: Job) -> JobState:
        def report(done: int, total: int, estimate: Any = None) -> None:
            if not job.wanted:
                raise JobCancelledError("the job was cancelled: no client holds it")
            job.done, job.total, job.estimate = done, total, estimate
            job.touch()

        try:
            report(0, 0)
            job.result = job.work(report)
            return JobState.DONE
        except JobCancelledError:
            return JobState.CANCELLED
        except CamlensError as error:
            job.error = error
        except Exception as error:  # an error in a user's model must not end the worker
            log.exception("a job failed")
            job.error = CamlensError(
                f"the job failed with {type(error).__name__}: {error}",
                code="job.failed",
                type=type(error).__name__,
            )
        return JobState.FAILED

    def _background_step(self) -> bool:
        try:
            return self._idle()
        except Exception:  # must not end the worker
            log.exception("a background step failed")
            return False
