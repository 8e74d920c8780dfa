"""Results on disk: a panel and a map for each image, and one manifest that says how they were made."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camlens.core import store
from camlens.core.errors import StoreError
from camlens.core.store import MANIFEST, atomic_directory, atomic_file
from camlens.panels.explaining import ExplainedImage, FailedImage, Workplace, finite
from camlens.panels.naming import free_stem
from camlens.panels.pictures import panel_picture
from camlens.render.theme import Look

_MOST_IN_MANIFEST = 2000  # numbers of one detail: weights of segments are read there, maps of pixels are not


@dataclass(frozen=True)
class Gallery:
    """What was written: the manifest, and the images that failed. `directory` is None where nothing was."""

    directory: Path | None
    manifest: Mapping[str, Any]
    failed: tuple[FailedImage, ...]


def write_gallery(
    directory: Path,
    place: Workplace,
    images: Iterable[ExplainedImage | FailedImage],
    *,
    look: Look,
    force: bool = False,
) -> Gallery:
    """Write `NAME.png` and `NAME.npy` for each image beside one `manifest.json`, all or nothing.

    A map is float32 (*grid): signed, at the layer's own resolution. What else the method found stands in the
    manifest under `details`, or as `NAME-DETAIL.npy` where it is as large as a picture. Raises StoreError where
    something stands in `directory` already, also with `force` where that something is not an earlier result.
    """
    entries: list[dict[str, Any]] = []
    failed: list[FailedImage] = []
    facts: dict[str, Any] = {}
    waiting = iter(images)
    with replaceable(directory, force=force) as unfinished:
        taken: set[str] = {"manifest", "index"}
        for image in waiting:
            if isinstance(image, FailedImage):
                failed.append(image)
                continue
            stem = free_stem(image.path, taken)
            panel_picture(image, look).save(unfinished / f"{stem}.png")
            np.save(unfinished / f"{stem}.npy", signed_map(image), allow_pickle=False)
            arrays = detail_arrays(image)
            for name, array in arrays.items():
                np.save(unfinished / f"{stem}-{name}.npy", array, allow_pickle=False)
            files = {name: f"{stem}-{name}.npy" for name in arrays}
            entries.append(
                {**description(image), "panel": f"{stem}.png", "map": f"{stem}.npy"}
                | ({"arrays": files} if files else {})
            )
            facts = facts or shared_facts(place, image)
        manifest = {**facts, "images": entries, "failed": [_failure(one) for one in failed]}
        if entries:
            write_manifest(unfinished, manifest)
    return Gallery(directory if entries else None, manifest, tuple(failed))


def description(image: ExplainedImage) -> dict[str, Any]:
    """What is known of one explained image, as plain values that JSON can hold."""
    explanation = image.explanation
    return {
        "image": str(image.path),
        "layer": explanation.layers[-1],
        "map_shape": list(explanation.maps[explanation.layers[-1]].shape[2:]),
        "class_idx": image.class_index,
        "class_name": image.target,
        "confidence": finite(image.confidence),
        "score": finite(float(explanation.scores[0, 0])),
        "predictions": [
            {**prediction, "confidence": finite(prediction["confidence"])} for prediction in image.predictions
        ],
        "warnings": image.warnings,
    } | ({"details": plain_details(image)} if explanation.details else {})


def shared_facts(place: Workplace, image: ExplainedImage) -> dict[str, Any]:
    """What holds for all images of one run: model, method, layer and provenance."""
    explanation = image.explanation
    provenance = {name: fact for name, fact in explanation.provenance.items() if name != "warnings"}
    if place.layer_choice is not None:
        provenance["layer_choice"] = dict.fromkeys(provenance["layer_choice"], place.layer_choice)
    return {
        "model": place.loaded.spec,
        "method": explanation.method,
        "layers": list(explanation.layers),
        "input_size": list(explanation.input_size),
        "provenance": provenance,
    }


def detail_arrays(image: ExplainedImage) -> dict[str, np.ndarray[Any, Any]]:
    """Details that are as large as a picture, such as segments (*input size): they go into files of their own."""
    return {
        name.replace("@", "-"): one[0].cpu().numpy()
        for name, one in image.explanation.details.items()
        if isinstance(one, Tensor) and _is_large(one, image)
    }


def plain_details(image: ExplainedImage) -> dict[str, Any]:
    """The other details of the only image and target, as plain values that JSON can hold."""
    details = image.explanation.details.items()
    return {
        name: _plain(one[0]) if isinstance(one, Tensor) else one
        for name, one in details
        if not (isinstance(one, Tensor) and _is_large(one, image))
    }


def _is_large(detail: Tensor, image: ExplainedImage) -> bool:
    size = image.explanation.input_size
    return tuple(detail.shape[1:][-len(size) :]) == size or detail[0].numel() > _MOST_IN_MANIFEST


def _plain(detail: Tensor) -> Any:
    if detail.is_floating_point() and not torch.isfinite(detail).all():
        return [_plain(one) for one in detail] if detail.ndim else finite(float(detail))
    return detail.tolist()


def signed_map(image: ExplainedImage) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The map of the only target, (*grid), as the method gave it."""
    explanation = image.explanation
    return explanation.maps[explanation.layers[-1]][0, 0].cpu().numpy()


def write_manifest(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest and name in it every file that lies in the directory."""
    files = sorted([path.name for path in directory.iterdir()] + [MANIFEST])
    text = json.dumps({**manifest, "files": files}, indent=2, allow_nan=False)
    (directory / MANIFEST).write_text(text + "\n", encoding="utf-8")


@contextmanager
def replaceable(directory: Path, *, force: bool) -> Iterator[Path]:
    """A new directory that takes the place of `directory`, where nothing is lost by that.

    It is given up, and nothing is written, where the block leaves it empty.
    """
    check_replaceable(directory, force=force)
    try:
        with atomic_directory(directory, force=force) as unfinished:
            yield unfinished
            if not any(unfinished.iterdir()):
                raise _EmptyResultError
    except _EmptyResultError:
        return


def check_replaceable(directory: Path, *, force: bool) -> None:
    """Raise StoreError, in the words of the command line, unless `directory` may be written or replaced."""
    store.check_replaceable(directory, force=force, place="--output", word="--force")


def check_replaceable_file(path: Path, *, force: bool) -> None:
    """Raise StoreError where `path` exists and `force` was not said, or where it is a directory."""
    if path.is_dir():
        raise StoreError(f"{path} is a directory: give --output the name of a picture, such as figure.png")
    if path.exists() and not force:
        raise StoreError(f"{path} exists already: choose another --output, or say --force to replace it")


def check_figure_file(path: Path, *, force: bool) -> None:
    """Raise StoreError unless `path` can become a PNG file, which is what a figure is written as."""
    check_replaceable_file(path, force=force)
    if path.suffix.lower() != ".png":
        raise StoreError(
            f"{path} would be a PNG file in spite of its name: give --output a name that ends in .png, such as"
            f" {path.with_suffix('.png')}"
        )


@contextmanager
def figure_file(path: Path, *, force: bool) -> Iterator[Path]:
    """A PNG file that becomes `path` when the block ends well."""
    check_figure_file(path, force=force)
    with atomic_file(path, force=force) as unfinished:
        yield unfinished
        unfinished.chmod(0o644)


def _failure(image: FailedImage) -> dict[str, str]:
    return {"image": str(image.path), "error": image.reason}


class _EmptyResultError(Exception):
    """Leaves `replaceable` without a result."""
