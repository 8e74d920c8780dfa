"""Where images come from: a folder per class, a flat folder, files, a manifest, a saved data set, the demo.

A source knows its samples and their labels at once and decodes nothing until a sample is loaded, so that one
unreadable image is one DataError at its own `load()` and never the end of the others.
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
    "open_source",
]

_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test"})
_SAVED_DATA_SET = ("dataset_dict.json", "state.json")
_MANIFESTS = (".csv", ".tsv", ".parquet", ".pq")
_DEMOS = {"photos": "absent", "watermark": "trained", "watermark-moved": "moved"}


def open_source(source: str | Path | Sequence[str | Path], *, max_pixels: int = MAX_PIXELS, seed: int = 0) -> Source:
    """The source that a path, a URL, a "demo:NAME" or a list of files means.

    A directory whose images lie in sub-directories has one class for each of these; one with images at its
    top only is flat and unlabelled; one that `datasets` saved is that data set. A .csv, .tsv or .parquet file is
    a manifest, any other file is one image. A URL is read with fsspec. `seed` is for the demo alone.

    Raises DataError where nothing is there, nothing in it is an image, or two readings are possible.
    """
    if not isinstance(source, str | Path | Iterable):
        raise DataError(
            f'a source is a path, a URL, a list of files or "demo:gallery", not {source!r}',
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
            f'{source} does not exist{_near(path)}; a source is a directory, a file or "demo:gallery"',
            code="data.absent",
            path=str(source),
        )
    if path.suffix.lower() in _MANIFESTS:
        return manifest(path, max_pixels=max_pixels)
    return list_of_files([path], max_pixels=max_pixels)


def folder_per_class(directory: str | Path, *, max_pixels: int = MAX_PIXELS) -> Source:
    """Images in sub-directories: the first level names the class, deeper levels belong to it."""
    return _per_class(*_found_images(directory), max_pixels)


def _per_class(place: Place, images: Mapping[str, str | None], max_pixels: int) -> Source:
    nested = {name: stamp for name, stamp in images.items() if "/" in name}
    class_names = sorted({name.partition("/")[0] for name in nested})
    if not class_names:
        raise DataError(
            f"{place} has images but no sub-directories that could be classes: open it as a flat folder",
            code="data.no-classes",
            path=str(place),
        )
    if _SPLITS.issuperset(name.lower() for name in class_names) and all(name.count("/") > 1 for name in nested):
        raise DataError(
            f"{place} holds the splits {', '.join(class_names)}, not classes: open one of them, such as"
            f" {place}/{class_names[-1]}",
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
    """Every image under a directory, at any depth, without labels."""
    return _flat(*_found_images(directory), max_pixels)


def _flat(place: Place, images: Mapping[str, str | None], max_pixels: int) -> Source:
    return Samples.of([place.sample(name, max_pixels, stamp=stamp) for name, stamp in images.items()])


def list_of_files(paths: Iterable[str | Path], *, max_pixels: int = MAX_PIXELS) -> Source:
    """These files in this order, without labels; one that is missing or no image says so on loading."""
    samples: list[Sample] = []
    taken: set[str] = set()
    for path in (Path(path).expanduser() for path in paths):
        name = path.as_posix() if path.as_posix() not in taken else f"{path.as_posix()}#{len(samples) + 1}"
        taken.add(name)
        samples.append(Sample(printable(name), path, None, None, file_reader(path, max_pixels)))
    if not samples:
        raise DataError("the list of files is empty: name at least one image", code="data.no-images")
    return Samples.of(samples)


def demo(name: str, *, seed: int = 0) -> Source:
    """Images that need no download: "gallery", or the composed "photos", "watermark" and "watermark-moved".

    "gallery" holds real photographs with ImageNet's classes. "watermark" is what the cheating model was trained on;
    in "watermark-moved" every class but the marked one has the mark, and that model falls for it.
    """
    if name == "gallery":
        from camlens.data.gallery import gallery  # scikit-image: in the extra `demo` alone

        return gallery()
    if name not in _DEMOS:
        choices = [f"demo:{known}" for known in ("gallery", *_DEMOS)]
        raise DataError(
            f"there is no demo:{name}; choose one of {', '.join(choices)}",
            code="data.unknown-demo",
            name=name,
            choices=choices,
        )
    from camlens.data.demo import CLASS_NAMES, DemoPhotos  # scikit-image, as above

    photos = DemoPhotos(seed=seed, watermark=_DEMOS[name])
    return Samples(list(CLASS_NAMES), len(photos), partial(_demo_sample, photos, CLASS_NAMES))


def _demo_sample(photos: "DemoPhotos", class_names: Sequence[str], index: int) -> Sample:
    label = index % len(class_names)  # as the photographs are composed: known without composing one
    composed = cache(partial(photos.__getitem__, index))  # once for image and mask
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
    place, images = _found_images(directory)
    tops = [name for name in images if "/" not in name]
    if len(tops) == len(images):
        return _flat(place, images, max_pixels)
    if tops:
        raise DataError(
            f"{directory} has {len(tops)} images (such as {tops[0]}) beside sub-directories with images, so it is"
            " neither flat nor a folder per class: move them into a sub-directory, or name the images one by one",
            code="data.mixed",
            path=str(directory),
            images=len(tops),
        )
    return _per_class(place, images, max_pixels)


def _found_images(directory: str | Path) -> tuple[Place, Mapping[str, str | None]]:
    place = place_of(directory)
    if isinstance(place, LocalPlace) and not place.root.is_dir():
        raise DataError(f"{place} is not a directory{_near(place.root)}", code="data.not-a-directory", path=str(place))
    images = place.images()
    if not images:
        raise DataError(
            f"{place} has no images: no file in it ends in {', '.join(SUFFIXES)}",
            code="data.no-images",
            path=str(place),
        )
    return place, images


def _near(path: Path) -> str:
    siblings = [sibling.name for sibling in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, siblings, n=3)
    return f", did you mean {' or '.join(str(path.parent / name) for name in close)}?" if close else ""
