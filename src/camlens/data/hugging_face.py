"""Image datasets saved by Hugging Face's `datasets`."""

import importlib
from functools import partial
from pathlib import Path
from typing import Any

from camlens.core.errors import DataError, MissingExtraError
from camlens.data.decode import MAX_PIXELS, Pixels, decode_image
from camlens.data.places import is_url
from camlens.data.samples import Sample, Samples, Source

_PREFERRED_SPLITS = ("test", "validation", "train")


def hugging_face(directory: str | Path, *, split: str | None = None, max_pixels: int = MAX_PIXELS) -> Source:
    """Open a dataset written by `save_to_disk`, local or at a URL, with its image column and class labels, if any.

    `split` defaults to the first that exists of test, validation and train. Images are decoded as safely as files.

    Raises DataError if the directory is not such a dataset or has no image column, MissingExtraError without
    `datasets`.
    """
    try:
        datasets: Any = importlib.import_module("datasets")
    except ImportError as error:
        raise MissingExtraError.of("datasets", "hf") from error
    try:
        saved = datasets.load_from_disk(directory if is_url(directory) else str(Path(directory).expanduser()))
    except Exception as error:  # damaged files raise errors of many kinds
        reason = " ".join(str(error).split())
        raise DataError(
            f"{directory} cannot be read as a Hugging Face dataset: {reason}",
            code="data.unreadable",
            path=str(directory),
        ) from error
    table = _split(saved, split, directory) if isinstance(saved, datasets.DatasetDict) else saved
    images = [name for name, feature in table.features.items() if isinstance(feature, datasets.Image)]
    if not images:
        raise DataError(
            f"{directory} has no column of images (columns: {', '.join(table.column_names)})",
            code="data.no-image-column",
            path=str(directory),
            columns=list(table.column_names),
        )
    classes = [name for name, feature in table.features.items() if isinstance(feature, datasets.ClassLabel)]
    encoded = table.select_columns([images[0]]).cast_column(images[0], datasets.Image(decode=False))
    class_names = list(table.features[classes[0]].names) if classes else []
    labels = list(table[classes[0]]) if classes else [None] * len(table)
    stamp = getattr(table, "_fingerprint", None)
    sample = partial(_sample, encoded, images[0], labels, class_names, max_pixels, stamp)
    return Samples(class_names, len(table), sample)


def _split(saved: Any, split: str | None, directory: str | Path) -> Any:
    candidates = [split] if split is not None else [*_PREFERRED_SPLITS, *saved]
    chosen = next((name for name in candidates if name in saved), None)
    if chosen is None:
        raise DataError(
            f"{directory} has no split {split!r}: choose one of {', '.join(saved) or 'none'}",
            code="data.no-split",
            path=str(directory),
            split=split,
            splits=list(saved),
        )
    return saved[chosen]


def _sample(
    encoded: Any,
    column: str,
    labels: list[int | None],
    class_names: list[str],
    max_pixels: int,
    stamp: str | None,
    index: int,
) -> Sample:
    label = labels[index]
    known = label is not None and 0 <= label < len(class_names)  # -1 is a missing label
    return Sample(
        id=f"{index:06d}",
        path=None,
        label=label if known else None,
        class_name=class_names[label] if label is not None and known else None,
        read=partial(_read, encoded, column, index, max_pixels),
        stamp=stamp,
    )


def _read(encoded: Any, column: str, index: int, max_pixels: int) -> Pixels:
    stored = encoded[index][column]
    name = f"image {index} of the dataset"
    if stored is None or (stored["bytes"] is None and not stored["path"]):
        raise DataError(f"{name} is missing", code="data.absent", path=str(name))
    source = stored["bytes"] if stored["bytes"] is not None else stored["path"]
    return decode_image(source, name=name, max_pixels=max_pixels)
