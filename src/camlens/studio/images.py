"""The images of the studio: those of the data with their labels, and uploads."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from camlens.core.errors import DataError
from camlens.data.decode import FORMATS, decode_image
from camlens.data.labels import translated
from camlens.data.sources import Samples, Source, open_source
from camlens.models import LoadedModel
from camlens.studio.cache import ByteCache
from camlens.studio.encoding import bounded
from camlens.studio.predictions import Predictions
from camlens.studio.settings import StudioSettings

Pixels = NDArray[np.uint8]
UNKNOWN = -1


@dataclass(frozen=True)
class Labels:
    """The true class of each image as an index into the model's classes, or `UNKNOWN`; `problem` describes oddities."""

    indices: NDArray[np.int32]
    problem: str | None

    @property
    def known(self) -> bool:
        """Whether any image has a class of the model."""
        return bool((self.indices != UNKNOWN).any())


def labels_of(labels: Sequence[int | None], names: Sequence[str], model_names: Sequence[str]) -> Labels:
    """Translate the labels of a dataset into the model's classes."""
    translation = translated(names, model_names)
    classes = [translation(label) for label in labels]
    indices = np.array([UNKNOWN if index is None else index for index in classes], dtype=np.int32)
    return Labels(indices, _problem(names, translation.how, translation.problem, bool((indices != UNKNOWN).any())))


def _problem(names: Sequence[str], how: str, error: Exception | None, known: bool) -> str | None:
    if error is not None:
        return str(error)
    if how == "by place":
        return "folder names and class names of the model differ: they are matched by their order"
    if not known:
        return "the images have no labels, so predictions cannot be checked: put each class into its own folder"
    if len(names) == 1:
        return f"all images belong to one class, {names[0]!r}: comparisons between classes are empty"
    return None


Filter = Literal["all", "correct", "incorrect"]
STRIP = 20  # images in the strip of a page
NO_DATA = "no dataset is open: upload an image, or start with --data FOLDER"


@dataclass(frozen=True, eq=False)
class Gallery:
    """The images of a dataset with their labels in the model's classes; pixels are read on demand."""

    spec: str
    source: Source
    labels: Labels
    problem: str | None
    accepted: Mapping[int, frozenset[int]] = field(default_factory=dict)  # also correct, by sample number

    def __len__(self) -> int:
        return len(self.source)

    def checked(self, number: int) -> int:
        """Return the number of a sample; raise DataError if it is out of range."""
        if not 0 <= number < len(self):
            raise DataError(
                f"image s{number} does not exist: the dataset has {len(self):,} images, numbered from s0",
                code="image.unknown",
                image=number,
                images=len(self),
            )
        return number

    def pixels(self, number: int) -> Pixels:
        """Read the pixels of one image; raise DataError if it is missing or unreadable."""
        return self.source[self.checked(number)].load()

    def name(self, number: int) -> str:
        """Return the name of the image in its dataset."""
        return self.source[number].id

    def path(self, number: int) -> Path | None:
        """Return the file of the image, or None if it has none."""
        return self.source[number].path

    @property
    def class_names(self) -> list[str]:
        """Class names of the dataset."""
        return self.source.class_names


def open_gallery(data: str | None, loaded: LoadedModel) -> Gallery:
    """Open a dataset; if there is none or it cannot be read, return an empty gallery with the problem."""
    own = "demo:gallery" if loaded.spec == "demo:imagenet" else loaded.spec
    spec = data if data is not None else (own if own.startswith("demo:") else None)
    if spec is None:
        return _empty("", NO_DATA)
    try:
        source = open_source(spec)
    except DataError as error:
        return _empty(spec, str(error))
    if loaded.task == "regression":
        return Gallery(spec, source, Labels(np.full(len(source), UNKNOWN, dtype=np.int32), None), None)
    numbers = [sample.label for sample in source]
    labels = labels_of(numbers, source.class_names, loaded.class_names)
    accepted = {
        number: frozenset(
            index for index in translated(sample.accepted, loaded.class_names, by="name").classes if index is not None
        )
        for number, sample in enumerate(source)
        if sample.accepted
    }
    return Gallery(spec, source, labels, labels.problem, accepted)


def _empty(spec: str, problem: str) -> Gallery:
    return Gallery(spec, Samples.of([]), Labels(np.zeros(0, dtype=np.int32), None), problem)


def fitting(
    predictions: Predictions, show: Filter, *, label: int | None = None, prediction: int | None = None
) -> NDArray[np.int64]:
    """Return the numbers of the images that match the filter, the true class and the predicted class."""
    fits = {
        "all": np.ones(len(predictions.labels), dtype=bool),
        "correct": predictions.correct,
        "incorrect": predictions.incorrect,
    }[show]
    if label is not None:
        fits = fits & (predictions.labels == label)
    if prediction is not None:
        fits = fits & (predictions.classes == prediction)
    return np.flatnonzero(fits)


def drawn(numbers: NDArray[np.int64], count: int, seed: int) -> list[int]:
    """Draw `count` of the numbers at random, without replacement."""
    chosen = np.random.default_rng(seed).choice(numbers, size=min(count, len(numbers)), replace=False)
    return [int(number) for number in chosen]


def confused(predictions: Predictions, classes: int, limit: int) -> list[tuple[int, int, int]]:
    """Return the most frequent errors as (true class, predicted class, count), most frequent first."""
    wrong = predictions.incorrect
    codes = predictions.labels[wrong].astype(np.int64) * classes + predictions.classes[wrong]
    pairs, counts = np.unique(codes, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:limit]
    return [(int(pairs[place] // classes), int(pairs[place] % classes), int(counts[place])) for place in order]


__all__ = ["FORMATS", "Uploads"]
_LONGEST = 2048


class Uploads:
    """Uploaded images by id. Only their pixels are kept, and the least recently used are dropped."""

    def __init__(self, settings: StudioSettings) -> None:
        self.settings = settings
        self._images = ByteCache(settings.kept_uploads_bytes)

    def add(self, body: bytes) -> str:
        """Decode an upload and return its id; raise DataError if it is not an accepted image."""
        bounds = self.settings
        image = decode_image(body, max_pixels=bounds.upload_pixels, max_bytes=bounds.upload_bytes, enough=_LONGEST)
        smaller = bounded(image, _LONGEST)  # no model needs more pixels
        name = "u" + hashlib.sha256(smaller.tobytes()).hexdigest()[:16]
        self._images.put(name, smaller, smaller.nbytes)
        return name

    def find(self, name: str) -> Pixels:
        """Return the pixels of an upload; raise DataError if it was dropped."""
        image = self._images.get(name, np.ndarray)
        if image is None:
            raise DataError(
                f"upload {name} is no longer stored: upload the image again", code="image.dropped", image=name
            )
        return image
