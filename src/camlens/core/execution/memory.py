"""Run a batch in parts if it does not fit into memory, with the same result."""

import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from camlens.core.errors import InputError

Result = TypeVar("Result")


class OverBudgetError(MemoryError):
    """More memory was about to be used than the user allows."""


class _Watch(TorchDispatchMode):
    """Count the bytes of tensors made in the block that are still alive, and stop above a limit."""

    def __init__(self, limit: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.limit = limit
        self._counted = 0
        self._alive: dict[int, tuple[weakref.ref[torch.UntypedStorage], int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, list | tuple) else (result,):
            if isinstance(tensor, Tensor) and tensor.layout == torch.strided:
                self._count(tensor.untyped_storage())
        if self._counted > self.limit and self.held > self.limit:
            raise OverBudgetError(f"{self._counted:,} bytes are held, {self.limit:,} are allowed")
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        known = self._alive.get(storage._cdata)
        if known is None or known[0]() is None:
            size = storage.nbytes()
            self._alive[storage._cdata] = weakref.ref(storage), size
            self._counted += size - (0 if known is None else known[1])

    @property
    def held(self) -> int:
        """The bytes alive now. Counted without weakref callbacks, in which a Ctrl-C would be swallowed."""
        self._alive = {key: known for key, known in self._alive.items() if known[0]() is not None}
        self._counted = sum(size for _, size in self._alive.values())
        return self._counted


def within(budget: int | None) -> AbstractContextManager[object]:
    """A block that raises OverBudgetError as soon as its tensors use more than `budget` bytes (None: no limit)."""
    return nullcontext() if budget is None else _Watch(budget)


def in_parts(
    images: int, budget: int | None, explain: Callable[[int, int], Result], largest: int | None = None
) -> list[Result]:
    """Return the results of `explain(start, stop)` over all images, halving the batch size when memory runs out.

    Later batches keep the size that fitted. Raises InputError if a single image does not fit.
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
                    f"layers, smaller inputs, or a larger memory_budget",
                    code="memory.exhausted",
                ) from error
            size = (stop - start) // 2
            _release_cached()
            continue
        start = stop
    return results


def _release_cached() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
