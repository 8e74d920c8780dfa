"""One bounded queue and one worker: nothing heavy runs on the event loop, and everybody sees their place.

Interactive jobs go first, in the order they came. Whenever none waits, the worker does one small step of the
background work, so that a click never waits for more than such a step.

Everybody who asks for a job holds it by a ticket of their own: while their connection is open, and for a while
after each sign of them. A job that nobody holds is removed from the queue, or stops at its next report.
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
LEASE = 30.0  # seconds for which a job goes on without a sign of those who asked
STUDIO = "studio"  # the ticket for what the studio wants for itself, which nobody gives up
Report = Callable[..., None]  # of done and total, and of what the result looks like so far, where that is known
Work = Callable[[Report], Any]


class JobState(StrEnum):
    """Where a job stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class QueueFullError(CamlensError):
    """Too many jobs wait already; ask again a little later."""


class JobCancelledError(CamlensError):
    """The job was cancelled by those who asked for it."""


@dataclass(eq=False)
class Job:
    """One piece of work, and everything that those who wait for it may see."""

    key: Hashable
    work: Work
    id: str = field(default_factory=lambda: secrets.token_urlsafe(9))
    state: JobState = JobState.WAITING
    done: int = 0
    total: int = 0
    result: Any = None
    estimate: Any = None
    error: CamlensError | None = None
    holders: dict[str, float] = field(default_factory=dict)  # until when, by ticket; inf while a connection is open
    version: int = 0
    _listeners: list[Callable[[], None]] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)

    @property
    def wanted(self) -> bool:
        """Whether anybody still holds it."""
        now = monotonic()
        return any(until > now for until in tuple(self.holders.values()))

    def touch(self) -> None:
        """Tell those who wait that something changed."""
        self.version += 1
        for listener in tuple(self._listeners):
            listener()

    async def changed(self, seen: int, timeout: float | None = None) -> int:
        """Wait until the version is another than `seen`, or the time is over; return the version."""
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
        """Wait at most `timeout` seconds for the end, and say whether it came."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while not self.finished and (left := end - loop.time()) > 0:
            await self.changed(self.version, left)
        return self.finished


class JobQueue:
    """At most `capacity` waiting jobs and one running; the same question asked twice is one job."""

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
        """The job that answers `key`: one that lives already, else a new one at the end of the queue.

        It is held by `ticket` until that is released.
        """
        with self._changed:
            for job in (self._running, *self._waiting):
                if job is not None and job.key == key and not job.finished and job.wanted:
                    job.holders[ticket] = math.inf
                    return job
            if len(self._waiting) >= self.capacity or not self._open:
                raise QueueFullError(f"{len(self._waiting)} jobs are waiting already: try again in a moment")
            job = Job(key, work, holders={ticket: math.inf})
            self._waiting.append(job)
            self._jobs[job.id] = job
            self._forget_finished()
            self._changed.notify_all()
            return job

    def recall(self, key: Hashable) -> Job | None:
        """The job that answered `key` a moment ago, if its result is still held."""
        with self._changed:
            return next((job for job in self._results if job.key == key), None)

    def find(self, job_id: str) -> Job | None:
        """The job with this id, if it is not long forgotten."""
        return self._jobs.get(job_id)

    def position(self, job: Job) -> int:
        """How many jobs come before this one: 0 when it runs or is over."""
        with self._changed:
            if job not in self._waiting:
                return 0
            return self._waiting.index(job) + (self._running is not None)

    @property
    def load(self) -> int:
        """Jobs that wait or run."""
        return len(self._waiting) + (self._running is not None)

    @contextmanager
    def held(self, job: Job, ticket: str) -> Iterator[None]:
        """Hold the job by a ticket that it knows; let go in the end, at once if the block is left by an error."""
        self._extend(job, ticket, math.inf)
        try:
            yield
        except BaseException:  # also a connection that has gone
            self.release(job, ticket)
            raise
        self.renew(job, ticket)

    def renew(self, job: Job, ticket: str) -> None:
        """Note a sign of life of the one who holds this ticket."""
        self._extend(job, ticket, monotonic() + LEASE)

    def release(self, job: Job, ticket: str) -> None:
        """Give up a ticket; once only. The last one stops the job."""
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
        """Tell an idle worker that there is background work again."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Take no more jobs, cancel the waiting ones and let the running one stop at its next report."""
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
            self._results.popleft().result = None  # who still wants it asks again

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
            for one in (job, *tuple(self._waiting)):
                one.touch()
            self._do(job)
            job.estimate = None
            with self._changed:
                self._running = None
                self._keep_result(job)
            job.touch()

    def _do(self, job: Job) -> None:
        def report(done: int, total: int, estimate: Any = None) -> None:
            if not job.wanted:
                raise JobCancelledError("the job was cancelled")
            job.done, job.total, job.estimate = done, total, estimate
            job.touch()

        try:
            report(0, 0)
            job.result = job.work(report)
            job.state = JobState.DONE
        except JobCancelledError:
            job.state = JobState.CANCELLED
        except CamlensError as error:
            job.error, job.state = error, JobState.FAILED
        except Exception as error:  # a fault in a user's model must end the job, not the worker
            log.exception("a job failed")
            job.error = CamlensError(
                f"the model or its data failed with {type(error).__name__}: {error}",
                code="job.failed",
                type=type(error).__name__,
            )
            job.state = JobState.FAILED

    def _background_step(self) -> bool:
        try:
            return self._idle()
        except Exception:  # the background work reports its own faults; the worker must live
            log.exception("a background step failed")
            return False
