"""Predictions for every image of the dataset, computed in small steps in the background."""

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

PENDING, UNREADABLE, UNKNOWN = -1, -2, -1
LARGEST_STEP = 32
QUICK, LONG = 0.02, 0.06  # seconds of a step; requests wait for the current one, so it must stay short
Predict = Callable[[Sequence[int]], list[tuple[int, float]]]


class Predictions:
    """Predicted class and confidence by sample number, filled in by `step` in a seeded random order."""

    def __init__(
        self, labels: NDArray[np.int32], predict: Predict, accepted: Mapping[int, Collection[int]] | None = None
    ) -> None:
        self.labels = labels
        self._accepted = accepted or {}  # other classes that count as correct, by sample number
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
        """Predict these images next."""
        with self._lock:
            self._wanted.extend(number for number in numbers if self.classes[number] == PENDING)

    def step(self) -> bool:
        """Predict a few more images; return False if none is left."""
        batch = self._batch()
        if not batch:
            return False
        start = time.perf_counter()
        try:
            answers = self._predict(batch)
        except Exception:  # noqa: BLE001  # an image on which a user's model raises must not spoil the batch
            answers = [self._alone(number) for number in batch]
        for number, (index, confidence) in zip(batch, answers, strict=True):
            self.put(number, index, confidence)
        took = time.perf_counter() - start
        if took > LONG:
            self._size = max(1, self._size // 2)
        elif took < QUICK:
            self._size = min(LARGEST_STEP, self._size * 2)
        return True

    def put(self, number: int, index: int, confidence: float) -> None:
        """Store the prediction of one image."""
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
        """Mask of the images that have a prediction."""
        return self.classes >= 0

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Mask of the predictions known to be correct."""
        return self.settled & self._right

    @property
    def incorrect(self) -> NDArray[np.bool_]:
        """Mask of the predictions known to be wrong."""
        incorrect: NDArray[np.bool_] = self.settled & (self.labels != UNKNOWN) & ~self._right
        return incorrect

    @property
    def finished(self) -> bool:
        """Whether no image is pending."""
        return not (self.classes == PENDING).any()
