"""Result files of `camlens explain` and `camlens compare`: panels, maps, figures and the manifest."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from camlens.cli.explaining import ExplainedImage, FailedImage, Workplace
from camlens.cli.naming import free_stem
from camlens.core.details import finite, json_values
from camlens.core.errors import StoreError
from camlens.core.store import MANIFEST, SIGNATURE, atomic_file, earlier_manifest, own_files, result_directory
from camlens.render.theme import Look

if TYPE_CHECKING:
    from PIL.Image import Image

_MOST_IN_MANIFEST = 2000  # numbers per detail: weights of superpixels fit, maps of pixels do not


@dataclass(frozen=True)
class Gallery:
    """The written manifest and the images that failed; `directory` is None if nothing was written."""

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
    """Write a panel `NAME.png` and a map `NAME.npy` per image and one `manifest.json`, all or nothing.

    A map is float32 (*grid): signed, at the resolution of the layer. Further results of the method are in the
    manifest under `details`, or in `NAME-DETAIL.npy` if they are as large as a picture.

    Earlier results are kept in `directory`, and in the manifest under `earlier`, unless the same image is explained
    again or `force` is passed. Files that camlens has not written are never touched.
    """
    earlier = {} if force else earlier_manifest(directory)
    entries: list[dict[str, Any]] = []
    failed: list[FailedImage] = []
    facts: dict[str, Any] = {}
    with result_directory(directory) as unfinished:
        names = _Names(directory, earlier)
        for image in images:
            if isinstance(image, FailedImage):
                failed.append(image)
                continue
            stem = names.stem(image.path)
            image.panel(look).save(unfinished / f"{stem}.png")
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
        manifest = {
            **facts,
            "images": entries,
            "failed": [{"image": str(failure.path), "error": failure.reason} for failure in failed],
        }
        if entries:
            write_manifest(unfinished, manifest, earlier=earlier)
    return Gallery(directory if entries else None, manifest, tuple(failed))


def description(image: ExplainedImage) -> dict[str, Any]:
    """Return the manifest entry of one image, as JSON values."""
    explanation = image.explanation
    return {
        "image": str(image.path),
        "picture_size": list(image.view.picture.shape[:2]),
        "region": None if image.view.geometry is None else list(image.view.geometry.region),
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
        **({"details": plain_details(image)} if explanation.details else {}),
        **({} if image.check is None else {"check": image.check.to_dict()}),
        **({} if image.verdict is None else {"verdict": asdict(image.verdict)}),
    }


def shared_facts(place: Workplace, image: ExplainedImage) -> dict[str, Any]:
    """Return what all images of a run share: model, method, layers and provenance."""
    explanation = image.explanation
    provenance = {name: fact for name, fact in explanation.provenance.items() if name != "warnings"}
    return {
        "model": place.loaded.spec,
        "method": explanation.method,
        "layers": list(explanation.layers),
        "input_size": list(explanation.input_size),
        "provenance": provenance,
    }


def detail_arrays(image: ExplainedImage) -> dict[str, np.ndarray[Any, Any]]:
    """Return the details that are as large as a picture, such as segments: each is written to its own file."""
    return {
        name.replace("@", "-"): detail[0].cpu().numpy()
        for name, detail in image.explanation.details.items()
        if isinstance(detail, Tensor) and _is_large(detail, image)
    }


def plain_details(image: ExplainedImage) -> dict[str, Any]:
    """Return the other details of the only image and target, as JSON values."""
    return {
        name: json_values(detail[0]) if isinstance(detail, Tensor) else detail
        for name, detail in image.explanation.details.items()
        if not (isinstance(detail, Tensor) and _is_large(detail, image))
    }


def _is_large(detail: Tensor, image: ExplainedImage) -> bool:
    size = image.explanation.input_size
    return tuple(detail.shape[1:][-len(size) :]) == size or detail[0].numel() > _MOST_IN_MANIFEST


def signed_map(image: ExplainedImage) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the signed map (*grid) of the only target."""
    explanation = image.explanation
    return explanation.maps[explanation.layers[-1]][0, 0].cpu().numpy()


def write_manifest(directory: Path, manifest: Mapping[str, Any], *, earlier: Mapping[str, Any] | None = None) -> None:
    """Write the manifest with the names of all files, including those kept from `earlier` runs."""
    written = {path.name for path in directory.iterdir()} | {MANIFEST}
    kept = _kept_runs(earlier or {}, {entry["image"] for entry in manifest["images"]})
    named = {name for run in kept for entry in run["images"] for name in _files_of(entry)}
    if earlier and "images" not in earlier:  # a result of another kind, such as that of Explanation.save
        named |= own_files(earlier)
    files = sorted(written | named)
    text = json.dumps({**manifest, "earlier": kept, "files": files}, indent=2, allow_nan=False)
    (directory / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _kept_runs(earlier: Mapping[str, Any], replaced: set[str]) -> list[dict[str, Any]]:
    """Return the earlier runs, latest first, without the images in `replaced`."""
    runs = [earlier, *earlier.get("earlier", ())] if earlier.get("images") else []
    kept = []
    for run in runs:
        images = [entry for entry in run["images"] if entry["image"] not in replaced]
        facts = {name: fact for name, fact in run.items() if name not in ("images", "failed", "earlier", "files")}
        if images:
            kept.append({**facts, "images": images})
    return kept


def _files_of(entry: Mapping[str, Any]) -> list[str]:
    return [entry["panel"], entry["map"], *entry.get("arrays", {}).values()]


class _Names:
    """File names for results: an earlier result of the same image is replaced, no other file is."""

    def __init__(self, directory: Path, earlier: Mapping[str, Any]) -> None:
        runs = [earlier, *earlier.get("earlier", ())]
        entries = [entry for run in runs for entry in run.get("images", ())]
        self._known = {entry["image"]: Path(entry["panel"]).stem for entry in entries}
        present = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
        reusable = own_files(earlier_manifest(directory)) - {name for entry in entries for name in _files_of(entry)}
        self._taken = {"manifest", "index", *(Path(name).stem.casefold() for name in present - reusable)}

    def stem(self, path: Path) -> str:
        """Return the file stem for the results of `path`."""
        return self._known.pop(str(path), None) or free_stem(path, self._taken)


def check_replaceable_file(path: Path, *, force: bool) -> None:
    """Raise StoreError if `path` is a directory, or a file that camlens has not written and `force` is not passed."""
    if path.is_dir():
        raise StoreError(
            f"{path} is a directory: pass --output a file name, such as figure.png",
            code="output.is-a-directory",
            path=str(path),
        )
    if path.exists() and not force and not _is_ours(path):
        raise StoreError(
            f"{path} exists and was not written by camlens: pass another --output, or --force to replace it",
            code="output.foreign-file",
            path=str(path),
        )


def _is_ours(path: Path) -> bool:
    """Whether a PNG or HTML file has the signature of camlens near its beginning."""
    with path.open("rb") as file:
        return SIGNATURE.encode() in file.read(2048)


def check_figure_file(path: Path, *, force: bool) -> None:
    """Raise StoreError if `path` has another suffix than .png, or must not be replaced."""
    check_replaceable_file(path, force=force)
    if path.suffix.lower() != ".png":
        raise StoreError(
            f"figures are PNG files, but {path} ends in {path.suffix or 'no suffix'}: pass --output"
            f" {path.with_suffix('.png')}",
            code="output.suffix",
            path=str(path),
        )


def save_figure(picture: "Image", path: Path, *, force: bool) -> None:
    """Write a picture as a PNG file with the signature of camlens, all or nothing."""
    from PIL.PngImagePlugin import PngInfo

    check_figure_file(path, force=force)
    info = PngInfo()
    info.add_text("Software", SIGNATURE)
    with atomic_file(path, force=True) as unfinished:
        picture.save(unfinished, format="PNG", pnginfo=info)
