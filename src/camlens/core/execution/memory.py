"""Batches that do not fit: notice it, halve them, and get the same answer."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from camlens.core.errors import InputError

Result = TypeVar("Result")


class OverBudgetError(MemoryError):
    """More memory was about to be held than the user allows."""


class _Watch(TorchDispatchMode):
    """Count the bytes of tensors made in the block that are still alive, and stop above a limit."""

    def __init__(self, limit: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.limit = limit
        self.held = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, list | tuple) else (result,):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        if self.held > self.limit:
            raise OverBudgetError(f"{self.held:,} bytes are held, {self.limit:,} are allowed")
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._seen:
            self._seen.add(key)
            size = storage.nbytes()
            self.held += size
            weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.held -= size


@contextmanager
def within(budget: int | None) -> Iterator[None]:
    """Raise OverBudgetError in the block as soon as its tensors hold more than `budget` bytes; None: no limit."""
    if budget is None:
        yield
        return
    with _Watch(budget):
        yield


def in_parts(
    images: int, budget: int | None, explain: Callable[[int, int], Result], largest: int | None = None
) -> list[Result]:
    """Results of `explain(start, stop)` over all images, in batches that are halved when memory runs out.

    The batch size stays at what fitted. A single image that does not fit is an InputError.
    """
    size, start, results = min(images, largest or images), 0, []
    while start < images:
        stop = min(start + size, images)
        try:
            with within(budget):
                results.append(explain(start, stop))
        except (torch.OutOfMemoryError, OverBudgetError) as error:
            if stop - start == 1:
                raise InputError(
                    f"a single image does not fit into memory ({error}): use a later layer, fewer targets or "
                    f"layers, smaller inputs, or a larger memory_budget"
                ) from error
            size = (stop - start) // 2
            _release_cached()
            continue
        start = stop
    return results


def _release_cached() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
