"""The job queue: order, limits, positions, progress, sharing, cancellation and errors."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from camlens.core.errors import CamlensError, LayerError
from camlens.studio.jobs import LEASE, Job, JobQueue, JobState, QueueFullError, Report
from tests.studio.conftest import PATIENCE, until


def soon(job: Job, timeout: float = PATIENCE) -> Job:
    """Wait until the job ends, and return it."""
    assert asyncio.run(job.settled(timeout)), f"the job is still {job.state}"
    return job


class Gate:
    """Work that blocks until it is opened."""

    def __init__(self) -> None:
        self.started, self.open = threading.Event(), threading.Event()

    def __call__(self, _report: Report) -> str:
        self.started.set()
        assert self.open.wait(PATIENCE)
        return "through"


@pytest.fixture
def queue() -> Iterator[JobQueue]:
    jobs = JobQueue(capacity=3)
    yield jobs
    jobs.close()


def test_a_job_returns_its_result(queue: JobQueue) -> None:
    job = soon(queue.submit("sum", lambda _report: 2 + 3))
    assert (job.state, job.result) == (JobState.DONE, 5)


def test_jobs_run_one_at_a_time_in_order(queue: JobQueue) -> None:
    order: list[int] = []
    gate = Gate()
    queue.submit("gate", gate)
    assert gate.started.wait(PATIENCE)
    jobs = [queue.submit(number, lambda _report, number=number: order.append(number)) for number in range(3)]
    gate.open.set()
    for job in jobs:
        soon(job)
    assert order == [0, 1, 2]


def test_queue_positions(queue: JobQueue) -> None:
    gate = Gate()
    running = queue.submit("gate", gate)
    assert gate.started.wait(PATIENCE)
    jobs = [queue.submit(number, lambda _report: None) for number in range(3)]
    assert [queue.position(job) for job in (running, *jobs)] == [0, 1, 2, 3]
    gate.open.set()
    soon(jobs[-1])
    assert [queue.position(job) for job in jobs] == [0, 0, 0]


def test_a_full_queue_refuses_jobs(queue: JobQueue) -> None:
    gate = Gate()
    queue.submit("gate", gate)
    assert gate.started.wait(PATIENCE)
    for number in range(3):
        queue.submit(number, lambda _report: None)
    with pytest.raises(QueueFullError) as caught:
        queue.submit("one too many", lambda _report: None)
    assert (caught.value.code, caught.value.facts["waiting"]) == ("job.queue-full", 3)
    gate.open.set()


def test_equal_keys_share_a_job(queue: JobQueue) -> None:
    gate = Gate()
    queue.submit("gate", gate)
    assert queue.submit("same", lambda _report: 1) is queue.submit("same", lambda _report: 2)
    gate.open.set()


def test_recent_results_are_kept(queue: JobQueue) -> None:
    first = soon(queue.submit("first", lambda _report: "kept"))
    assert queue.recall("first") is first
    for number in range(8):
        soon(queue.submit(number, lambda _report: None))
    assert queue.recall("first") is None
    assert first.result is None


def test_a_released_waiting_job_never_runs(queue: JobQueue) -> None:
    gate, ran = Gate(), threading.Event()
    queue.submit("gate", gate)
    assert gate.started.wait(PATIENCE)
    job = queue.submit("unwanted", lambda _report: ran.set(), ticket="a")
    queue.release(job, "a")
    gate.open.set()
    assert soon(job).state == JobState.CANCELLED
    soon(queue.submit("after", lambda _report: None))
    assert not ran.is_set()


def test_a_released_running_job_stops_at_its_next_report(queue: JobQueue) -> None:
    started = threading.Event()

    def work(report: Report) -> None:
        started.set()
        while True:
            report(1, 2)
            time.sleep(0.002)

    job = queue.submit("long", work, ticket="a")
    assert started.wait(PATIENCE)
    queue.release(job, "a")
    assert soon(job).state == JobState.CANCELLED


def test_a_shared_job_survives_repeated_release_by_one_client(queue: JobQueue) -> None:
    gate = Gate()
    queue.submit("gate", gate)
    job = queue.submit("shared", lambda _report: "answer", ticket="a")
    assert queue.submit("shared", lambda _report: "answer", ticket="b") is job
    for _ in range(3):
        queue.release(job, "a")
        queue.renew(job, "a")  # a released ticket cannot be renewed
    assert set(job.holders) == {"b"}
    gate.open.set()
    assert soon(job).result == "answer"


def test_tickets_are_released_on_disconnect_and_renewed_by_an_answer(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("camlens.studio.jobs.monotonic", lambda: now)
    gate = Gate()
    queue.submit("gate", gate)
    assert gate.started.wait(PATIENCE)
    left, answered = (queue.submit(name, lambda _report: None, ticket="a") for name in ("left", "answered"))
    with contextlib.suppress(asyncio.CancelledError), queue.held(left, "a"):
        assert left.wanted
        raise asyncio.CancelledError
    assert left.state == JobState.CANCELLED
    with queue.held(answered, "a"):
        now += 10 * LEASE
        assert answered.wanted
    now += LEASE - 1
    assert answered.wanted
    queue.renew(answered, "a")
    now += LEASE - 1
    assert answered.wanted
    now += 1
    assert not answered.wanted
    gate.open.set()
    assert soon(answered).state == JobState.CANCELLED


def test_camlens_errors_are_kept_and_others_wrapped(queue: JobQueue) -> None:
    def refuse(_report: Report) -> None:
        raise LayerError("no such layer")

    def break_down(_report: Report) -> None:
        raise ZeroDivisionError("by zero")

    ours, other = soon(queue.submit(1, refuse)), soon(queue.submit(2, break_down))
    assert isinstance(ours.error, LayerError)
    assert isinstance(other.error, CamlensError)
    assert (other.error.code, other.error.facts["type"]) == ("job.failed", "ZeroDivisionError")
    assert soon(queue.submit(3, lambda _report: "alive")).result == "alive"


def test_progress_wakes_the_listeners(queue: JobQueue) -> None:
    go, noticed = threading.Event(), threading.Event()

    def work(report: Report) -> None:
        assert go.wait(PATIENCE)
        report(3, 8)
        assert noticed.wait(PATIENCE)

    job = queue.submit("steps", work)

    async def watch() -> list[tuple[int, int]]:
        version = job.version
        go.set()
        seen: list[tuple[int, int]] = []
        while not job.finished:
            await job.changed(version, PATIENCE)
            version = job.version
            seen.append((job.done, job.total))
            if seen[-1] == (3, 8):
                noticed.set()
        return seen

    assert (3, 8) in asyncio.run(watch())


def test_an_estimate_exists_only_while_the_job_runs(queue: JobQueue) -> None:
    told, go = threading.Event(), threading.Event()

    def work(report: Report) -> str:
        report(1, 2, "so far")
        told.set()
        assert go.wait(PATIENCE)
        return "result"

    job = queue.submit("estimate", work)
    assert told.wait(PATIENCE)
    assert job.estimate == "so far"
    go.set()
    assert soon(job).result == "result"
    assert job.estimate is None


def test_background_steps_run_only_if_no_job_waits() -> None:
    log: list[str] = []
    left = threading.Semaphore(3)

    def idle() -> bool:
        if not left.acquire(blocking=False):
            return False
        log.append("step")
        return True

    queue = JobQueue(capacity=3, idle=idle)
    soon(queue.submit("job", lambda _report: log.append("job")))
    until(lambda: log.count("step") == 3)
    queue.close()
    assert sorted(log) == ["job", "step", "step", "step"]


def test_an_error_in_background_work_does_not_end_the_worker() -> None:
    asked = threading.Event()

    def idle() -> bool:
        asked.set()
        raise RuntimeError("a fault")

    queue = JobQueue(capacity=3, idle=idle)
    assert asked.wait(PATIENCE)
    assert soon(queue.submit("job", lambda _report: 1)).result == 1
    queue.close()


def test_closing_cancels_waiting_jobs_and_refuses_new_ones() -> None:
    queue = JobQueue(capacity=3)
    gate = Gate()
    queue.submit("gate", gate)
    assert gate.started.wait(PATIENCE)
    waiting = queue.submit("waiting", lambda _report: None)
    waiting._listeners.append(gate.open.set)  # called on cancellation: the gate must not open earlier
    queue.close()
    assert waiting.state == JobState.CANCELLED
    with pytest.raises(QueueFullError):
        queue.submit("late", lambda _report: None)
