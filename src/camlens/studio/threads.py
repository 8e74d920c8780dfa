"""Which threads run what: long requests apart from short ones, small models on one core."""

import time
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

import torch
from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from torch import Tensor

from camlens.core.execution.harmless import undisturbed
from camlens.core.execution.session import Session, checked_inputs
from camlens.core.layers import checked_model
from camlens.models import LoadedModel

THREADS = 2
Answer = TypeVar("Answer")
Asked = ParamSpec("Asked")
_limiter: RunVar[CapacityLimiter] = RunVar("camlens.studio.threads")


async def apart(work: Callable[..., Answer], *arguments: Any) -> Answer:
    """The result of `work(*arguments)`, run in one of the few threads that are kept for long work."""
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = CapacityLimiter(THREADS)
        _limiter.set(limiter)
    return await to_thread.run_sync(work, *arguments, limiter=limiter)


def heavy(route: Callable[Asked, Answer]) -> Callable[Asked, Any]:
    """The route, run `apart`."""

    @wraps(route)
    async def run(*args: Asked.args, **kwargs: Asked.kwargs) -> Answer:
        return await apart(partial(route, *args, **kwargs))

    return run


SMALL = 0.03  # seconds of a forward pass on one thread
_RUNS = 3


def use_suitable_threads(loaded: LoadedModel, example: Tensor) -> int:
    """Let the calling thread compute small models on one core, and others as torch does; return how many.

    Several threads wait for one another after every operation. For a small model that gains little, and where
    other programs use the cores too it makes an explanation ten times slower.
    """
    usual = torch.get_num_threads()
    session = Session(checked_model(loaded.model), checked_inputs(example))
    torch.set_num_threads(1)
    times = []
    with undisturbed(session.model, example.device):
        for _ in range(_RUNS):
            start = time.perf_counter()
            session.run()
            times.append(time.perf_counter() - start)
    if min(times) > SMALL:
        torch.set_num_threads(usual)
    return torch.get_num_threads()
