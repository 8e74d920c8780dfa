"""A least-recently-used cache with a limit in bytes."""

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import TypeVar

V = TypeVar("V")


class ByteCache:
    """Map keys to values of at most `capacity` bytes in total; thread-safe."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._size = 0
        self._values: OrderedDict[Hashable, tuple[object, int]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, kind: type[V]) -> V | None:
        """Return the value of `key` if it is a `kind`, and mark it as used; otherwise return None."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            value, _ = self._values[key]
            return value if isinstance(value, kind) else None

    def put(self, key: Hashable, value: object, size: int) -> None:
        """Store a value of `size` bytes; a value larger than the cache is dropped."""
        with self._lock:
            self._forget(key)
            if size > self.capacity:
                return
            self._values[key] = value, size
            self._size += size
            while self._size > self.capacity:
                self._forget(next(iter(self._values)))

    def _forget(self, key: Hashable) -> None:
        _, size = self._values.pop(key, (None, 0))
        self._size -= size
