"""Open a source of images: a folder per class, a flat folder, files, a manifest, a saved dataset, or the demo.

Images are decoded when a sample is loaded: an unreadable image raises DataError from its own `load()`.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from camlens.core.errors import DataError
from camlens.data.decode import MAX_PIXELS
from camlens.data.hugging_face import hugging_face
from camlens.data.manifest import manifest
from camlens.data.places import SUFFIXES, LocalPlace, Place, RemotePlace, place_of, split_url
from camlens.data.samples import Box, Mask, Sample, Samples, Source, file_reader, printable

if TYPE_CHECKING:
    from camlens.data.demo import DemoPhotos

__all__ = [
    "Box",
    "Mask",
    "Sample",
    "Samples",
    "Source",
    "demo",
    "flat_folder",
    "folder_per_class",
    "hugging_face",
    "list_of_files",
    "manifest",
    "names_images",
    "open_source",
]

_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test"})
_SAVED_DATA_SET = ("dataset_dict.json", "state.json")
_MANIFESTS = (".csv", ".tsv", ".parquet", ".pq")
_DEMOS = {"photos": "absent", "watermark": "trained", "watermark-moved": "moved"}


def open_source(source: str | Path | Sequence[str | Path], *, max_pixels: int = MAX_PIXELS, seed: int = 0) -> Source:
    """Open a path, a URL, "demo:NAME" or a list of files as a source.

    A directory with images in subdirectories has one class per subdirectory; one with images only at its top is
    unlabeled; one saved by `datasets` is that dataset. A .csv, .tsv or .parquet file is a manifest, any other file a
    single image. URLs are read with fsspec. `seed` applies only to the demo.

    Raises DataError if the source does not exist, has no images, or is ambiguous.
    """
    if not isinstance(source, str | Path | Iterable):
        raise DataError(
            f'a source must be a path, a URL, a list of files or "demo:gallery", not {source!r}',
            code="data.type",
            type=type(source).__name__,
        )
    if not isinstance(source, str | Path):
        return list_of_files(source, max_pixels=max_pixels)
    if str(source).startswith("demo:"):
        return demo(str(source).removeprefix("demo:"), seed=seed)
    place = place_of(source)
    if isinstance(place, RemotePlace):
        return _open_url(place, max_pixels)
    path = Path(str(place))
    if path.is_dir():
        return _open_directory(path, max_pixels)
    if not path.exists():
        raise DataError(
            f'{source} does not exist{_hint(path)}; a source is a directory, a file or "demo:gallery"',
            code="data.absent",
            path=str(source),
            suggestions=_similar(path),
        )
    if path.suffix.lower() in _MANIFESTS:
        return manifest(path, max_pixels=max_pixels)
    return list_of_files([path], max_pixels=max_pixels)


def names_images(source: str) -> bool:
    """Return whether a path or URL names its images: a manifest or an image, not a directory or a demo dataset."""
    return Path(source).suffix.lower() in _MANIFESTS or Path(source).expanduser().is_file()


def folder_per_class(directory: str | Path, *, max_pixels: int = MAX_PIXELS) -> Source:
    """Open a directory with one subdirectory per class; deeper levels belong to the class."""
    return _per_class(*_images(directory), max_pixels)


def _per_class(place: Place, images: Mapping[str, str | None], max_pixels: int) -> Source:
    nested = {name: stamp for name, stamp in images.items() if "/" in name}
    class_names = sorted({name.partition("/")[0] for name in nested})
    if not class_names:
        raise DataError(
            f"{place} has images but no subdirectories for classes: open it as a flat folder",
            code="data.no-classes",
            path=str(place),
        )
    if _SPLITS.issuperset(name.lower() for name in class_names) and all(name.count("/") > 1 for name in nested):
        raise DataError(
            f"the subdirectories of {place} are splits ({', '.join(class_names)}), not classes: open one of them, such"
            f" as {place}/{class_names[-1]}",
            code="data.splits",
            path=str(place),
            splits=list(class_names),
        )
    index = {name: label for label, name in enumerate(class_names)}
    samples = []
    for name, stamp in nested.items():
        class_name = name.partition("/")[0]
        samples.append(
            place.sample(name, max_pixels, label=index[class_name], class_name=printable(class_name), stamp=stamp)
        )
    return Samples.of(samples, list(map(printable, class_names)))


def flat_folder(directory: str | Path, *, max_pixels: int = MAX_PIXELS) -> Source:
    """Open all images in a directory, at any depth, without labels."""
    return _flat(*_images(directory), max_pixels)


def _flat(place: Place, images: Mapping[str, str | None], max_pixels: int) -> Source:
    return Samples.of([place.sample(name, max_pixels, stamp=stamp) for name, stamp in images.items()])


def list_of_files(paths: Iterable[str | Path], *, max_pixels: int = MAX_PIXELS) -> Source:
    """Open these files, in this order, without labels. Unreadable files raise DataError when loaded."""
    samples: list[Sample] = []
    taken: set[str] = set()
    for path in (Path(path).expanduser() for path in paths):
        name = path.as_posix() if path.as_posix() not in taken else f"{path.as_posix()}#{len(samples) + 1}"
        taken.add(name)
        samples.append(Sample(printable(name), path, None, None, file_reader(path, max_pixels)))
    if not samples:
        raise DataError("the list of files is empty: pass at least one image", code="data.no-images")
    return Samples.of(samples)


def demo(name: str, *, seed: int = 0) -> Source:
    """Open demo images: "gallery", or the composed "photos", "watermark" and "watermark-moved".

    "gallery" has photographs with ImageNet classes. "watermark" is like the training data of the model
    "demo:watermark". In "watermark-moved" all classes except pagoda carry the watermark, which misleads that model.
    """
    if name == "gallery":
        from camlens.data.gallery import gallery  # needs scikit-image, which is optional

        return gallery()
    if name not in _DEMOS:
        choices = [f"demo:{known}" for known in ("gallery", *_DEMOS)]
        raise DataError(
            f"there is no demo:{name}: choose one of {', '.join(choices)}",
            code="data.unknown-demo",
            name=name,
            choices=choices,
        )
    from camlens.data.demo import CLASS_NAMES, DemoPhotos  # as above

    photos = DemoPhotos(seed=seed, watermark=_DEMOS[name])
    return Samples(list(CLASS_NAMES), len(photos), partial(_demo_sample, photos, CLASS_NAMES))


def _demo_sample(photos: "DemoPhotos", class_names: Sequence[str], index: int) -> Sample:
    label = index % len(class_names)  # known without composing the image
    composed = cache(partial(photos.__getitem__, index))  # shared by image and mask
    return Sample(
        id=f"{photos.split}-{index:05d}-{class_names[label]}",
        path=None,
        label=label,
        class_name=class_names[label],
        read=lambda: composed().image,
        read_mask=lambda: composed().mask,
    )


def _open_directory(directory: Path, max_pixels: int) -> Source:
    if any((directory / name).is_file() for name in _SAVED_DATA_SET):
        return hugging_face(directory, max_pixels=max_pixels)
    return _open_images(directory, max_pixels)


def _open_url(place: RemotePlace, max_pixels: int) -> Source:
    directory, name = split_url(place.root)
    if name.lower().endswith(_MANIFESTS):
        return manifest(place.root, max_pixels=max_pixels)
    if not place.is_directory():
        return Samples.of([RemotePlace(directory).sample(name, max_pixels)])
    if any(place.holds(name) for name in _SAVED_DATA_SET):
        return hugging_face(place.root, max_pixels=max_pixels)
    return _open_images(place.root, max_pixels)


def _open_images(directory: str | Path, max_pixels: int) -> Source:
    place, images = _images(directory)
    tops = [name for name in images if "/" not in name]
    if len(tops) == len(images):
        return _flat(place, images, max_pixels)
    if tops:
        raise DataError(
            f"{directory} has {len(tops)} images (such as {tops[0]}) beside subdirectories with images, so it is"
            " neither flat nor a folder per class: move them into a subdirectory, or pass a list of files",
            code="data.mixed",
            path=str(directory),
            images=tops,
        )
    return _per_class(place, images, max_pixels)


def _images(directory: str | Path) -> tuple[Place, Mapping[str, str | None]]:
    place = place_of(directory)
    if isinstance(place, LocalPlace) and not place.root.is_dir():
        raise DataError(f"{place} is not a directory{_hint(place.root)}", code="data.not-a-directory", path=str(place))
    images = place.images()
    if not images:
        raise DataError(
            f"{place} has no images, which are files that end in {', '.join(SUFFIXES)}",
            code="data.no-images",
            path=str(place),
        )
    return place, images


def _similar(path: Path) -> list[str]:
    """Return the siblings of a path with similar names."""
    siblings = [sibling.name for sibling in path.parent.iterdir()] if path.parent.is_dir() else []
    return [str(path.parent / name) for name in difflib.get_close_matches(path.name, siblings, n=3)]


def _hint(path: Path) -> str:
    similar = _similar(path)
    return f", did you mean {' or '.join(similar)}?" if similar else ""
