"""Which threads run what: slow requests apart from quick ones, small models on a single core."""

import time
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

import torch
from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from torch import Tensor

from camlens.core.engine import Session
from camlens.models import LoadedModel

SLOW_REQUESTS = 2  # run at the same time, so that quick requests always find a free thread
SMALL_MODEL = 0.03  # seconds of a forward pass on one thread
TIMED_RUNS = 3
Answer = TypeVar("Answer")
Parameters = ParamSpec("Parameters")
_limiter: RunVar[CapacityLimiter] = RunVar("camlens.studio.slow_requests")


async def run_apart(work: Callable[..., Answer], *arguments: Any) -> Answer:
    """Return `work(*arguments)`, run in one of the few threads for slow requests."""
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = CapacityLimiter(SLOW_REQUESTS)
        _limiter.set(limiter)
    return await to_thread.run_sync(work, *arguments, limiter=limiter)


def slow(route: Callable[Parameters, Answer]) -> Callable[Parameters, Any]:
    """Run a route in one of the few threads for slow requests."""

    @wraps(route)
    async def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Answer:
        return await run_apart(partial(route, *args, **kwargs))

    return run


def use_suitable_threads(loaded: LoadedModel, example: Tensor) -> int:
    """Make the calling thread run a small model on one core and other models on torch's default; return the number.

    Several threads synchronize after every operation. A small model gains little from them, and on a busy machine
    they slow an explanation down by up to ten times.
    """
    default = torch.get_num_threads()
    torch.set_num_threads(1)
    if min(forward_seconds(Session.of(loaded.model, example))) > SMALL_MODEL:
        torch.set_num_threads(default)
    return torch.get_num_threads()


def forward_seconds(session: Session) -> list[float]:
    """Measure a few plain forward passes."""
    seconds = []
    with session.undisturbed() as guard:
        for _ in range(TIMED_RUNS):
            start = time.perf_counter()
            session.run(guard)
            seconds.append(time.perf_counter() - start)
    return seconds
