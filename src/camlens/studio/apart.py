"""Threads for answers that take long to make, so that small answers never wait for them."""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

THREADS = 2
Answer = TypeVar("Answer")
Asked = ParamSpec("Asked")
_limiter: RunVar[CapacityLimiter] = RunVar("camlens.studio.apart")


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
