"""A cache bounded in bytes: what was used longest ago goes first."""

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Generic, TypeVar

V = TypeVar("V")


class ByteCache(Generic[V]):
    """Values by key, together at most `capacity` bytes. Safe to share between threads."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._held = 0
        self._values: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> V | None:
        """The value of `key`, now the most recently used one; None where there is none."""
        with self._lock:
            found = self._values.get(key)
            if found is None:
                return None
            self._values.move_to_end(key)
            return found[0]

    def put(self, key: Hashable, value: V, size: int) -> None:
        """Keep a value of `size` bytes; one larger than the whole cache is not kept."""
        with self._lock:
            self._forget(key)
            if size > self.capacity:
                return
            self._values[key] = value, size
            self._held += size
            while self._held > self.capacity:
                self._forget(next(iter(self._values)))

    def _forget(self, key: Hashable) -> None:
        _, size = self._values.pop(key, (None, 0))
        self._held -= size

    @property
    def held(self) -> int:
        """Bytes held now."""
        return self._held

    def __len__(self) -> int:
        return len(self._values)
