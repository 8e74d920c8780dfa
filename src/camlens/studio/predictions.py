"""What the model says about every image of the data, found out in small steps while nobody waits."""

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

PENDING, UNREADABLE, UNKNOWN = -1, -2, -1
LARGEST_STEP = 32
QUICK, LONG = 0.02, 0.06  # seconds: a click must not wait for a step that takes long
Predict = Callable[[Sequence[int]], list[tuple[int, float]]]


class Predictions:
    """Predicted class and confidence by sample number, filled by `step` in a seeded random order."""

    def __init__(
        self, labels: NDArray[np.int32], predict: Predict, accepted: Mapping[int, Collection[int]] | None = None
    ) -> None:
        self.labels = labels
        self._accepted = accepted or {}  # further right classes by sample number
        self._right = np.zeros(len(labels), dtype=np.bool_)
        self.classes = np.full(len(labels), PENDING, dtype=np.int32)
        self.confidences = np.zeros(len(labels), dtype=np.float32)
        self._predict = predict
        self._order = np.random.default_rng(0).permutation(len(labels))
        self._next = 0
        self._size = 4
        self._wanted: deque[int] = deque()
        self._lock = Lock()

    def want(self, numbers: Sequence[int]) -> None:
        """Predict these soon: somebody looks at them."""
        with self._lock:
            self._wanted.extend(one for one in numbers if self.classes[one] == PENDING)

    def step(self) -> bool:
        """Predict a few more images; False when all are done."""
        batch = self._batch()
        if not batch:
            return False
        start = time.perf_counter()
        try:
            found = self._predict(batch)
        except Exception:  # noqa: BLE001  # one image on which a user's model raises must not cost the others
            found = [self._alone(number) for number in batch]
        for number, (index, confidence) in zip(batch, found, strict=True):
            self.put(number, index, confidence)
        took = time.perf_counter() - start
        if took > LONG:
            self._size = max(1, self._size // 2)
        elif took < QUICK:
            self._size = min(LARGEST_STEP, self._size * 2)
        return True

    def put(self, number: int, index: int, confidence: float) -> None:
        """Note what the model says about one image."""
        self.confidences[number] = confidence
        self._right[number] = index == self.labels[number] or index in self._accepted.get(number, ())
        self.classes[number] = index

    def _alone(self, number: int) -> tuple[int, float]:
        try:
            return self._predict([number])[0]
        except Exception:  # noqa: BLE001
            return UNREADABLE, 0.0

    def _batch(self) -> list[int]:
        batch: list[int] = []
        with self._lock:
            while self._wanted and len(batch) < self._size:
                number = self._wanted.popleft()
                if self.classes[number] == PENDING and number not in batch:
                    batch.append(number)
        while len(batch) < self._size and self._next < len(self._order):
            number = int(self._order[self._next])
            self._next += 1
            if self.classes[number] == PENDING and number not in batch:
                batch.append(number)
        return batch

    @property
    def settled(self) -> NDArray[np.bool_]:
        """Which images have a prediction."""
        return self.classes >= 0

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Which predictions are right, as far as labels are known."""
        return self.settled & self._right

    @property
    def incorrect(self) -> NDArray[np.bool_]:
        """Which predictions are wrong, as far as labels are known."""
        incorrect: NDArray[np.bool_] = self.settled & (self.labels != UNKNOWN) & ~self._right
        return incorrect

    @property
    def finished(self) -> bool:
        """Whether every image was looked at."""
        return not (self.classes == PENDING).any()

    def count(self, indices: NDArray[np.int32]) -> "Counts":
        """How often each class occurs, as a lookup that knows zero."""
        return Counts(np.bincount(indices[indices >= 0]))


class Counts:
    """Numbers by class; classes that never occurred count zero."""

    def __init__(self, counts: NDArray[np.int64]) -> None:
        self._counts = counts

    def __getitem__(self, index: int) -> int:
        return int(self._counts[index]) if index < len(self._counts) else 0
